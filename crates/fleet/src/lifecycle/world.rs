//! A simulated worker: queues that fill and empty, loads that take time and fail, photos that take time, and a driver
//! that does what it is told. The promises are checked against what was really so, not against what the machine saw.

use proptest::prelude::*;

use super::*;

/// Something from outside.
#[derive(Clone, Copy, Debug)]
enum Outside {
    Pass(u64),
    Arrives,
    TakenByAnother,
    /// The broker goes or comes back.
    Broker,
    /// Another worker takes a photo in hand or settles it.
    Elsewhere,
    Order(Order),
    /// The next loads fail, or succeed.
    Bundle,
    Dies,
}

fn outside() -> impl Strategy<Value = Outside> {
    let order = prop_oneof![
        (0u64..60_000).prop_map(|hold_ms| Order::Warm { hold_ms }),
        Just(Order::Unload),
        Just(Order::Reload),
    ];
    prop_oneof![
        6 => (0u64..50_000).prop_map(Outside::Pass),
        4 => (0u64..1_000).prop_map(Outside::Pass),
        5 => Just(Outside::Arrives),
        1 => Just(Outside::TakenByAnother),
        1 => Just(Outside::Broker),
        1 => Just(Outside::Elsewhere),
        1 => order.prop_map(Outside::Order),
        1 => Just(Outside::Bundle),
        1 => Just(Outside::Dies),
    ]
}

struct World {
    machine: Machine,
    policy: Policy,
    now: Duration,
    engine: State,
    /// When the load or the unload that is under way is over.
    ready_at: Option<Duration>,
    /// When each photo in hand is done, once the engine is warm.
    in_hand: Vec<Option<Duration>>,
    queue: u64,
    broker: bool,
    elsewhere: bool,
    bundle_good: bool,
    load_ms: u64,
    photo_ms: u64,
    loads: u64,
    /// When there was last anything to do, or the models were wanted.
    work: Duration,
    /// When the driver last saw any of it.
    seen: Duration,
}

impl World {
    fn new(policy: Policy, load_ms: u64, photo_ms: u64) -> Self {
        Self {
            machine: Machine::new(policy),
            policy,
            now: Duration::ZERO,
            engine: State::Cold,
            ready_at: None,
            in_hand: Vec::new(),
            queue: 0,
            broker: true,
            elsewhere: false,
            bundle_good: true,
            load_ms,
            photo_ms,
            loads: 0,
            work: Duration::ZERO,
            seen: Duration::ZERO,
        }
    }

    fn drained(&self) -> bool {
        self.in_hand.is_empty() && self.queue == 0 && self.broker && !self.elsewhere
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            if matches!(
                input,
                Input::Taken | Input::Settled | Input::Loaded | Input::Ordered(_)
            ) {
                self.seen = self.now;
            }
            for action in self.machine.step(input, self.now) {
                match action {
                    Action::Load => {
                        assert_eq!(self.engine, State::Cold, "loaded twice");
                        self.engine = State::Loading;
                        self.ready_at = Some(self.now + Duration::from_millis(self.load_ms));
                    }
                    Action::Unload(reason) => {
                        assert_eq!(self.engine, State::Warm, "unloaded what is not loaded");
                        assert!(self.in_hand.is_empty(), "unloaded with a photo in hand");
                        if reason == UnloadReason::Drained {
                            let grace = self.policy.unload_grace.unwrap();
                            assert!(self.drained(), "unloaded with work in sight");
                            assert!(self.now - self.seen >= grace, "unloaded before the grace");
                        }
                        self.engine = State::Draining;
                        self.ready_at = Some(self.now + Duration::from_millis(200));
                    }
                    Action::Reopen => assert_eq!(self.engine, State::Cold, "swapped under a running engine"),
                    Action::Look(id) => {
                        let seen = self.broker.then_some(Waiting {
                            ready: self.queue,
                            due: 0,
                            elsewhere: u64::from(self.elsewhere),
                        });
                        if !self.drained() {
                            self.seen = self.now;
                        }
                        inputs.push(Input::Looked(id, seen));
                    }
                }
            }
        }
        self.take();
        self.check();
    }

    /// What the worker does whenever it can.
    fn take(&mut self) {
        while self.queue > 0 && self.broker && self.in_hand.len() < 3 && self.machine.takes() {
            self.queue -= 1;
            self.in_hand.push(None);
            self.step(Input::Taken);
            self.step(Input::Needed);
        }
        if self.engine == State::Warm {
            let done = self.now + Duration::from_millis(self.photo_ms);
            for photo in &mut self.in_hand {
                photo.get_or_insert(done);
            }
        }
    }

    fn check(&mut self) {
        if !self.drained() {
            self.work = self.work.max(self.now);
        }
        if self.machine.state() == State::Warm
            && let Some(grace) = self.policy.unload_grace
        {
            let longest = grace + self.policy.poll;
            let idle = self.now.saturating_sub(self.work);
            assert!(idle <= longest, "warm for {idle:?} without work");
        }
    }

    /// The next thing that happens by itself, not after `until`.
    fn next(&self, until: Duration) -> Option<Duration> {
        let photos = self.in_hand.iter().flatten().copied();
        let next = photos.chain(self.ready_at).chain(self.machine.wake()).min()?;
        (next <= until).then_some(next.max(self.now))
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.next(until) {
            self.now = next;
            self.check();
            if self.ready_at.is_some_and(|ready| ready <= self.now) {
                self.ready_at = None;
                let input = match (self.engine, self.bundle_good) {
                    (State::Loading, true) => {
                        self.loads += 1;
                        self.engine = State::Warm;
                        self.work = self.work.max(self.now);
                        Input::Loaded
                    }
                    (State::Loading, false) => {
                        // Whoever waited for it gives its photo back.
                        self.engine = State::Cold;
                        Input::LoadFailed
                    }
                    _ => {
                        self.engine = State::Cold;
                        Input::Unloaded
                    }
                };
                let waited = self.in_hand.len();
                self.step(input);
                if input == Input::LoadFailed {
                    for _ in 0..waited {
                        self.in_hand.remove(0);
                        self.queue += 1;
                        self.step(Input::Settled);
                    }
                }
                continue;
            }
            let done = self
                .in_hand
                .iter()
                .position(|done| done.is_some_and(|done| done <= self.now));
            match done {
                Some(photo) => {
                    self.in_hand.swap_remove(photo);
                    self.step(Input::Settled);
                }
                None => self.step(Input::Tick),
            }
        }
        self.now = until;
        self.check();
    }

    fn happens(&mut self, what: Outside) {
        match what {
            Outside::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Outside::Arrives => {
                self.queue += 1;
                self.take();
            }
            Outside::TakenByAnother => self.queue = self.queue.saturating_sub(1),
            Outside::Broker => {
                self.broker = !self.broker;
                self.take();
            }
            Outside::Elsewhere => self.elsewhere = !self.elsewhere,
            Outside::Order(order) => {
                if let Order::Warm { hold_ms } = order {
                    self.work = self.work.max(self.now + Duration::from_millis(hold_ms));
                }
                self.step(Input::Ordered(order));
            }
            Outside::Bundle => self.bundle_good = !self.bundle_good,
            Outside::Dies => {
                if self.engine == State::Warm
                    && self.in_hand.is_empty()
                    && self.machine.state() == State::Warm
                {
                    self.engine = State::Cold;
                    self.step(Input::Ended);
                }
            }
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The promises hold, and what is there to be done is done in the end.
    #[test]
    fn the_promises_hold_whatever_happens(
        happenings in prop::collection::vec(outside(), 0..60),
        grace in prop::option::weighted(0.9, 0u64..40_000),
        preload: bool,
        load_ms in 1u64..3_000,
        photo_ms in 1u64..5_000,
    ) {
        let policy = Policy::new(preload, grace.map(Duration::from_millis));
        let mut world = World::new(policy, load_ms, photo_ms);
        world.step(Input::Start);
        for what in happenings {
            world.happens(what);
        }
        (world.bundle_good, world.elsewhere) = (true, false);
        if !world.broker {
            world.happens(Outside::Broker);
        }
        world.pass(Duration::from_secs(3_600));
        prop_assert_eq!(world.queue, 0, "photos are left lying");
        prop_assert!(world.in_hand.is_empty());
        if grace.is_some() {
            prop_assert_eq!(world.engine, State::Cold);
        }
        world.step(Input::Shutdown);
        world.pass(Duration::from_secs(60));
        prop_assert_eq!(world.engine, State::Cold);
    }

    /// However photos arrive, as long as none stays away for the grace: one load, and one unload after the last.
    #[test]
    fn a_set_is_one_load(gaps in prop::collection::vec(0u64..25_000, 1..100), load_ms in 1u64..2_000) {
        let mut world = World::new(Policy::default(), load_ms, 300);
        world.step(Input::Start);
        world.pass(Duration::from_secs(600));
        prop_assert_eq!(world.loads, 0, "nothing is loaded while the queue is empty");
        for gap in gaps {
            world.happens(Outside::Arrives);
            world.pass(Duration::from_millis(gap));
        }
        world.pass(Duration::from_secs(120));
        prop_assert_eq!((world.loads, world.engine), (1, State::Cold));
    }
}
