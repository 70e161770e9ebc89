//! When a worker's models are loaded and when they go: warm while there is work, gone when there is none.
//!
//! [`Machine`] is pure. Whoever drives it tells it what happens ([`Input`]) and what time it is, carries out the
//! [`Action`]s in their order, and steps it with [`Input::Tick`] at [`Machine::wake`]. Time is what has passed since
//! a moment that the driver chooses; it never goes back. `docs/state-machines.md` draws the machine, and its table is
//! run as a test.
//!
//! The promises, which `world.rs` tests against a simulated worker and `tests.rs` against arbitrary inputs:
//! - nothing is loaded twice, however many photos arrive together, and nothing that no photo needs;
//! - nothing is unloaded while a photo is in hand;
//! - the models go at most [`Policy::unload_grace`] + [`Policy::poll`] after the last sign of work, and not before the
//!   grace has passed without one.

mod policy;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::policy::{Backoff, Policy};

/// Where the models are in their life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There is no engine process.
    #[default]
    Cold,
    /// It starts.
    Loading,
    /// It works, or could at once.
    Warm,
    /// What is in hand is finished and nothing more is taken, or the process is ending.
    Draining,
}

impl State {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Cold, Self::Loading, Self::Warm, Self::Draining];

    /// The name on the wire and on the metrics page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Loading => "loading",
            Self::Warm => "warm",
            Self::Draining => "draining",
        }
    }
}

/// Why the models go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnloadReason {
    /// There was nothing to do for the grace.
    Drained,
    /// Somebody said so.
    Manual,
    /// Another bundle takes their place.
    Swap,
    /// The worker goes.
    Shutdown,
}

impl UnloadReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Drained, Self::Manual, Self::Swap, Self::Shutdown];

    /// The name on the wire and on the metrics page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Manual => "manual",
            Self::Swap => "swap",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What an operator asks of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Load now, and stay warm for at least `hold_ms` even if there is nothing to do. Ends a `Drain`.
    Warm {
        /// Milliseconds from now.
        #[serde(default)]
        hold_ms: u64,
    },
    /// Finish what is in hand and unload. The next photo loads again.
    Unload,
    /// Finish what is in hand, unload, and take no more until a `Warm`.
    Drain,
    /// Finish what is in hand, then take the bundle that lies in its place now.
    Reload,
}

/// Which [`Action::Look`] is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookId(u64);

/// What waits, seen at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages ready in the queues that this worker takes from.
    pub ready: u64,
    /// Messages that come back to those queues within the grace.
    pub due: u64,
    /// Photos in hand of other workers: each may come back.
    pub elsewhere: u64,
}

impl Waiting {
    /// Whether there is no work in sight.
    pub const fn is_nothing(self) -> bool {
        self.ready == 0 && self.due == 0 && self.elsewhere == 0
    }
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The worker begins. Once, first.
    Start,
    /// A photo was taken from a queue.
    Taken,
    /// A photo in hand cannot go on without the models. (Many can: cancelled ones, those that were analysed before.)
    Needed,
    /// A photo that was taken is settled, whatever became of it.
    Settled,
    /// The answer to [`Action::Look`]; `None` when the broker does not tell, which is not the same as nothing.
    Looked(LookId, Option<Waiting>),
    /// [`Action::Load`] is done.
    Loaded,
    /// [`Action::Load`] failed.
    LoadFailed,
    /// [`Action::Unload`] is done.
    Unloaded,
    /// The engine process is gone, and nobody asked it to end. With photos in hand it is started again by the next of
    /// them.
    Ended,
    /// Somebody said so.
    Ordered(Order),
    /// The worker goes: it takes no more and its models go when nothing is in hand. Final.
    Shutdown,
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the engine; then [`Input::Loaded`] or [`Input::LoadFailed`].
    Load,
    /// End the engine, in which nothing is in hand; then [`Input::Unloaded`].
    Unload(UnloadReason),
    /// Open the bundle that lies in its place now. The engine is not running.
    Reopen,
    /// See what waits; then [`Input::Looked`] with the same id.
    Look(LookId),
}

/// The life of the models of one worker.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    phase: Phase,
    now: Duration,
    in_hand: u64,
    /// Takes no more until told to.
    held: bool,
    /// Takes no more, ever.
    going: bool,
    /// The bundle is to be opened again when the engine is not running.
    reopen: bool,
    /// A photo in hand waits for the models, and no load has begun for it.
    needed: bool,
    /// Somebody wants the models, work or not; ends with the load.
    wanted: bool,
    /// The models are wanted until then, work or not.
    hold_until: Duration,
    looks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Cold {
        /// Loads that failed in a row.
        failures: u32,
        /// The next try is not before that.
        not_before: Duration,
    },
    Loading {
        failures: u32,
        /// They are to go as soon as they are there.
        then: Option<UnloadReason>,
    },
    Warm(Watch),
    Finishing(UnloadReason),
    Ending(UnloadReason),
}

/// What a warm machine knows of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watch {
    /// Since when every look saw nothing and no photo was in hand.
    drained_since: Option<Duration>,
    /// The look that is under way; one that a photo came in between counts for nothing.
    looking: Option<LookId>,
    /// When the next look is due.
    look_at: Duration,
}

impl Machine {
    /// A worker that has not begun, with nothing loaded.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            phase: Phase::Cold {
                failures: 0,
                not_before: Duration::ZERO,
            },
            now: Duration::ZERO,
            in_hand: 0,
            held: false,
            going: false,
            reopen: false,
            needed: false,
            wanted: false,
            hold_until: Duration::ZERO,
            looks: 0,
        }
    }

    /// Where the models are.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Cold { .. } => State::Cold,
            Phase::Loading { .. } => State::Loading,
            Phase::Warm(_) => State::Warm,
            Phase::Finishing(_) | Phase::Ending(_) => State::Draining,
        }
    }

    /// Whether the engine works for who has a photo in hand: also while it is to go afterwards.
    pub fn is_usable(&self) -> bool {
        matches!(self.phase, Phase::Warm(_) | Phase::Finishing(_))
    }

    /// Whether the worker may take photos: not while it drains or was told not to, and not in the pause after a load
    /// that failed, which would cost every photo a try.
    pub fn takes(&self) -> bool {
        let able = match self.phase {
            Phase::Cold { not_before, .. } => self.now >= not_before,
            Phase::Loading { then, .. } => then.is_none(),
            Phase::Warm(_) => true,
            Phase::Finishing(_) | Phase::Ending(_) => false,
        };
        able && !self.held && !self.going
    }

    /// Whether an operator told it to take no more.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Photos in hand.
    pub fn in_hand(&self) -> u64 {
        self.in_hand
    }

    /// When the models go if no work is seen until then; `None` while there is no such moment.
    pub fn unload_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::Warm(watch) => {
                let due = watch.drained_since?.saturating_add(self.policy.unload_grace?);
                Some(due.max(self.hold_until))
            }
            _ => None,
        }
    }

    /// When to step it with [`Input::Tick`] at the latest, if nothing else happens before.
    pub fn wake(&self) -> Option<Duration> {
        match self.phase {
            // Also with nothing in hand: that it takes again is news.
            Phase::Cold { not_before, .. } if self.now < not_before => Some(not_before),
            Phase::Warm(watch) if self.may_look(watch) => Some(watch.look_at),
            _ => None,
        }
    }

    /// What follows from `input` at `now`, to be done in this order.
    pub fn step(&mut self, input: Input, now: Duration) -> Vec<Action> {
        self.now = self.now.max(now);
        let mut actions = Vec::new();
        match input {
            Input::Start => self.wanted |= self.policy.preload,
            Input::Taken => self.taken(),
            Input::Needed => self.needed |= matches!(self.phase, Phase::Cold { .. } | Phase::Ending(_)),
            Input::Settled => self.settled(),
            Input::Looked(id, waiting) => self.looked(id, waiting, &mut actions),
            Input::Loaded => self.loaded(),
            Input::LoadFailed => self.load_failed(),
            Input::Unloaded => self.unloaded(),
            Input::Ended => self.ended(),
            Input::Ordered(order) => self.ordered(order),
            Input::Shutdown => {
                self.going = true;
                self.release();
                self.leave(UnloadReason::Shutdown);
            }
            Input::Tick => {}
        }
        self.proceed(&mut actions);
        actions
    }

    fn taken(&mut self) {
        self.in_hand = self.in_hand.saturating_add(1);
        if let Phase::Warm(watch) = &mut self.phase {
            watch.drained_since = None;
            watch.looking = None;
        }
    }

    fn settled(&mut self) {
        self.in_hand = self.in_hand.saturating_sub(1);
        self.needed &= self.in_hand > 0;
        if let Phase::Warm(watch) = &mut self.phase
            && self.in_hand == 0
        {
            watch.look_at = self.now;
        }
    }

    fn looked(&mut self, id: LookId, waiting: Option<Waiting>, actions: &mut Vec<Action>) {
        let Phase::Warm(mut watch) = self.phase else {
            return;
        };
        if watch.looking != Some(id) {
            return;
        }
        watch.looking = None;
        let nothing = waiting.is_some_and(Waiting::is_nothing);
        watch.drained_since = nothing.then(|| watch.drained_since.unwrap_or(self.now));
        let next = self
            .now
            .saturating_add(self.policy.poll.max(Policy::SHORTEST_POLL));
        self.phase = Phase::Warm(watch);
        let due = self.unload_at();
        if due.is_some_and(|due| due <= self.now) {
            self.end(UnloadReason::Drained, actions);
            return;
        }
        watch.look_at = due.map_or(next, |due| due.min(next));
        self.phase = Phase::Warm(watch);
    }

    fn loaded(&mut self) {
        if let Phase::Loading { then, .. } = self.phase {
            self.phase = match then {
                Some(reason) => Phase::Finishing(reason),
                None => self.warm(),
            };
        }
    }

    fn load_failed(&mut self) {
        if let Phase::Loading { failures, .. } = self.phase {
            let failures = failures.saturating_add(1);
            self.phase = Phase::Cold {
                failures,
                not_before: self.now.saturating_add(self.policy.backoff.pause(failures)),
            };
        }
    }

    fn unloaded(&mut self) {
        if let Phase::Ending(_) = self.phase {
            self.phase = Phase::Cold {
                failures: 0,
                not_before: self.now,
            };
        }
    }

    fn ended(&mut self) {
        // Whoever is in hand starts it again, and a process that is to end has ended.
        if let Phase::Warm(_) = self.phase
            && self.in_hand == 0
        {
            self.phase = Phase::Cold {
                failures: 1,
                not_before: self.now.saturating_add(self.policy.backoff.pause(1)),
            };
        }
    }

    fn ordered(&mut self, order: Order) {
        if self.going {
            return;
        }
        match order {
            Order::Warm { hold_ms } => {
                let hold = Duration::from_millis(hold_ms);
                self.hold_until = self.hold_until.max(self.now.saturating_add(hold));
                self.held = false;
                self.stay();
            }
            Order::Unload => {
                self.release();
                self.leave(UnloadReason::Manual);
            }
            Order::Drain => {
                self.held = true;
                self.release();
                self.leave(UnloadReason::Manual);
            }
            Order::Reload => {
                self.reopen = true;
                // Who was warm is warm again afterwards; a bundle that cannot be loaded shows at once.
                self.wanted |= !self.held && matches!(self.phase, Phase::Warm(_) | Phase::Loading { .. });
                self.leave(UnloadReason::Swap);
            }
        }
    }

    /// Nobody wants the models for their own sake any more.
    fn release(&mut self) {
        self.wanted = false;
        self.hold_until = self.now;
    }

    /// The models are wanted.
    fn stay(&mut self) {
        match &mut self.phase {
            Phase::Cold { not_before, .. } => {
                *not_before = self.now;
                self.wanted = true;
            }
            Phase::Loading { then, .. } => {
                if !self.reopen {
                    *then = None;
                } else {
                    self.wanted = true;
                }
            }
            Phase::Warm(watch) => watch.drained_since = None,
            Phase::Finishing(_) if !self.reopen => self.phase = self.warm(),
            Phase::Finishing(_) | Phase::Ending(_) => self.wanted = true,
        }
    }

    /// The models are to go when nothing is in hand.
    fn leave(&mut self, reason: UnloadReason) {
        match &mut self.phase {
            Phase::Loading { then, .. } => *then = Some(then.map_or(reason, |first| first.max(reason))),
            Phase::Warm(_) => self.phase = Phase::Finishing(reason),
            Phase::Finishing(first) => *first = (*first).max(reason),
            Phase::Cold { .. } | Phase::Ending(_) => {}
        }
    }

    fn warm(&self) -> Phase {
        Phase::Warm(Watch {
            drained_since: None,
            looking: None,
            look_at: self.now,
        })
    }

    fn end(&mut self, reason: UnloadReason, actions: &mut Vec<Action>) {
        self.phase = Phase::Ending(reason);
        actions.push(Action::Unload(reason));
    }

    fn may_look(&self, watch: Watch) -> bool {
        watch.looking.is_none() && self.in_hand == 0 && self.policy.unload_grace.is_some()
    }

    /// What the state and the time demand, whatever was told last.
    fn proceed(&mut self, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Cold {
                mut failures,
                mut not_before,
            } => {
                if std::mem::take(&mut self.reopen) {
                    actions.push(Action::Reopen);
                    // What kept the old bundle from loading says nothing about the new one.
                    (failures, not_before) = (0, self.now);
                    self.phase = Phase::Cold { failures, not_before };
                }
                let wanted = self.needed || self.wanted || self.now < self.hold_until;
                if wanted && self.now >= not_before && !self.going {
                    (self.needed, self.wanted) = (false, false);
                    // Who takes no more loads only for what is still in hand.
                    let then = self.held.then_some(UnloadReason::Manual);
                    self.phase = Phase::Loading { failures, then };
                    actions.push(Action::Load);
                }
            }
            Phase::Finishing(reason) if self.in_hand == 0 => self.end(reason, actions),
            Phase::Warm(mut watch) if self.may_look(watch) && self.now >= watch.look_at => {
                self.looks += 1;
                let id = LookId(self.looks);
                watch.looking = Some(id);
                self.phase = Phase::Warm(watch);
                actions.push(Action::Look(id));
            }
            Phase::Loading { .. } | Phase::Warm(_) | Phase::Finishing(_) | Phase::Ending(_) => {}
        }
    }
}
