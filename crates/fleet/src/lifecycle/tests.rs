use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(30);
/// When every situation of the table is entered.
const ENTERED: Duration = Duration::from_secs(1_000);

/// Longer than the grace, so that only one of them is over in each row of the table.
const PAUSE: Duration = Duration::from_secs(60);

fn machine() -> Machine {
    let mut policy = Policy::new(false, Some(GRACE));
    policy.backoff.first = PAUSE;
    let mut machine = Machine::new(policy);
    machine.step(Input::Start, ENTERED);
    machine
}

fn after(inputs: &[Input]) -> Machine {
    let mut machine = machine();
    for &input in inputs {
        machine.step(input, ENTERED);
    }
    machine
}

fn looking(machine: &Machine) -> LookId {
    match machine.phase {
        Phase::Warm(Watch {
            looking: Some(id), ..
        }) => id,
        // One that nobody waits for.
        _ => LookId(u64::MAX),
    }
}

const NOTHING: Option<Waiting> = Some(Waiting {
    ready: 0,
    due: 0,
    elsewhere: 0,
});
const UNLOAD: Input = Input::Ordered(Order::Unload);
const WARM: Input = Input::Ordered(Order::Warm { hold_ms: 0 });

/// Every situation that differs in what it does.
fn situations() -> Vec<(&'static str, Machine)> {
    let mut drained = after(&[Input::Taken, Input::Needed, Input::Loaded, Input::Settled]);
    let id = looking(&drained);
    drained.step(Input::Looked(id, NOTHING), ENTERED);
    drained.step(Input::Tick, ENTERED + Policy::default().poll);
    vec![
        ("cold", after(&[])),
        (
            "cold, pausing",
            after(&[Input::Taken, Input::Needed, Input::LoadFailed, Input::Needed]),
        ),
        ("loading", after(&[Input::Taken, Input::Needed])),
        (
            "loading, to unload",
            after(&[Input::Taken, Input::Needed, UNLOAD]),
        ),
        (
            "warm, in hand",
            after(&[Input::Taken, Input::Needed, Input::Loaded]),
        ),
        (
            "warm, looking",
            after(&[Input::Taken, Input::Needed, Input::Loaded, Input::Settled]),
        ),
        ("warm, drained", drained),
        (
            "draining, in hand",
            after(&[Input::Taken, Input::Needed, Input::Loaded, UNLOAD]),
        ),
        (
            "draining, ending",
            after(&[Input::Taken, Input::Needed, Input::Loaded, UNLOAD, Input::Settled]),
        ),
    ]
}

/// Its name in the table, the input, and how long after the situation was entered it comes.
type Event = (&'static str, fn(&Machine) -> Input, Duration);

/// Everything that can happen.
fn events() -> Vec<Event> {
    let soon = Duration::from_secs(5);
    let work = |machine: &Machine| {
        let seen = Waiting {
            ready: 1,
            ..Waiting::default()
        };
        Input::Looked(looking(machine), Some(seen))
    };
    vec![
        ("photo taken", |_| Input::Taken, Duration::ZERO),
        ("photo needs the models", |_| Input::Needed, Duration::ZERO),
        ("photo settled", |_| Input::Settled, soon),
        ("look: work", work, soon),
        ("look: nothing", |m| Input::Looked(looking(m), NOTHING), soon),
        (
            "look: nothing, grace over",
            |m| Input::Looked(looking(m), NOTHING),
            GRACE,
        ),
        ("look: broker silent", |m| Input::Looked(looking(m), None), soon),
        ("pause over", |_| Input::Tick, PAUSE),
        ("loaded", |_| Input::Loaded, soon),
        ("load failed", |_| Input::LoadFailed, soon),
        ("unloaded", |_| Input::Unloaded, soon),
        ("engine gone", |_| Input::Ended, soon),
        ("`warm`", |_| WARM, Duration::ZERO),
        ("`unload`", |_| UNLOAD, Duration::ZERO),
        ("`drain`", |_| Input::Ordered(Order::Drain), Duration::ZERO),
        ("`reload`", |_| Input::Ordered(Order::Reload), Duration::ZERO),
        ("shutdown", |_| Input::Shutdown, Duration::ZERO),
    ]
}

fn cell(before: &Machine, input: Input, after: Duration) -> String {
    let mut machine = before.clone();
    let actions = machine.step(input, ENTERED + after);
    let mut doing: Vec<_> = actions.into_iter().map(word).collect();
    match (before.unload_at(), machine.unload_at(), machine.state()) {
        (None, Some(_), _) => doing.push("grace begins".to_owned()),
        (Some(_), None, State::Warm) => doing.push("grace ends".to_owned()),
        _ => {}
    }
    let actions = doing.join(", ");
    match (machine.state() == before.state(), actions.as_str()) {
        (true, _) => actions,
        (false, "") => machine.state().name().to_owned(),
        (false, _) => format!("{}: {actions}", machine.state().name()),
    }
}

fn word(action: Action) -> String {
    match action {
        Action::Load => "load".to_owned(),
        Action::Unload(reason) => format!("unload ({})", reason.name()),
        Action::Reopen => "reopen".to_owned(),
        Action::Look(_) => "look".to_owned(),
    }
}

#[test]
fn the_table_in_the_documentation_is_what_the_machine_does() {
    let situations = situations();
    let mut table = String::from("| |");
    for (name, _) in &situations {
        let _ = write!(table, " {name} |");
    }
    table.push_str("\n|-|");
    table.push_str(&"-|".repeat(situations.len()));
    table.push('\n');
    for (name, input, wait) in events() {
        let _ = write!(table, "| {name} |");
        for (_, machine) in &situations {
            let _ = write!(table, " {} |", cell(machine, input(machine), wait));
        }
        table.push('\n');
    }
    let documentation = include_str!("../../../../docs/state-machines.md");
    assert!(
        documentation.contains(&table),
        "docs/state-machines.md should have this table:\n{table}"
    );
}

#[test]
fn preloading_and_holding_want_the_models_without_work() {
    let policy = Policy::new(true, Some(GRACE));
    let mut machine = Machine::new(policy);
    assert_eq!(machine.step(Input::Start, ENTERED), [Action::Load]);

    let mut machine = self::machine();
    let hold = Duration::from_secs(600);
    let warm = Input::Ordered(Order::Warm { hold_ms: 600_000 });
    assert_eq!(machine.step(warm, ENTERED), [Action::Load]);
    machine.step(Input::Loaded, ENTERED);
    machine.step(Input::Looked(looking(&machine), NOTHING), ENTERED);
    assert_eq!(machine.unload_at(), Some(ENTERED + hold));
    // A load that fails is tried again for as long as the models are wanted.
    let mut machine = self::machine();
    machine.step(warm, ENTERED);
    machine.step(Input::LoadFailed, ENTERED);
    let wake = machine.wake().unwrap();
    assert_eq!(machine.step(Input::Tick, wake), [Action::Load]);
    machine.step(Input::LoadFailed, ENTERED + hold);
    let wake = machine.wake().unwrap();
    assert_eq!(machine.step(Input::Tick, wake), []);
    assert!(machine.takes());
}

#[test]
fn a_grace_of_zero_is_at_once_and_never_is_never() {
    let mut machine = Machine::new(Policy::new(false, Some(Duration::ZERO)));
    machine.step(Input::Taken, ENTERED);
    machine.step(Input::Needed, ENTERED);
    machine.step(Input::Loaded, ENTERED);
    let look = machine.step(Input::Settled, ENTERED);
    let [Action::Look(id)] = look[..] else {
        panic!("{look:?}")
    };
    let unload = machine.step(Input::Looked(id, NOTHING), ENTERED);
    assert_eq!(unload, [Action::Unload(UnloadReason::Drained)]);

    let mut machine = Machine::new(Policy::new(false, None));
    machine.step(Input::Taken, ENTERED);
    machine.step(Input::Needed, ENTERED);
    machine.step(Input::Loaded, ENTERED);
    assert_eq!(machine.step(Input::Settled, ENTERED), []);
    assert_eq!((machine.wake(), machine.unload_at()), (None, None));
}

#[test]
fn a_photo_between_question_and_answer_spoils_the_answer() {
    let mut machine = Machine::new(Policy::new(false, Some(Duration::ZERO)));
    machine.step(Input::Taken, ENTERED);
    machine.step(Input::Needed, ENTERED);
    machine.step(Input::Loaded, ENTERED);
    machine.step(Input::Settled, ENTERED);
    let stale = looking(&machine);
    machine.step(Input::Taken, ENTERED);
    let again = machine.step(Input::Settled, ENTERED);
    assert_eq!(machine.step(Input::Looked(stale, NOTHING), ENTERED), []);
    assert_eq!(machine.state(), State::Warm);
    let [Action::Look(id)] = again[..] else {
        panic!("{again:?}")
    };
    machine.step(Input::Looked(id, NOTHING), ENTERED);
    assert_eq!(machine.state(), State::Draining);
}

#[test]
fn what_needs_no_models_loads_none() {
    let mut machine = machine();
    assert_eq!(machine.step(Input::Taken, ENTERED), []);
    assert_eq!(machine.step(Input::Settled, ENTERED), []);
    // The last who needed them gave up before they were loaded again.
    let mut machine = after(&[
        Input::Taken,
        Input::Needed,
        Input::LoadFailed,
        Input::Needed,
        Input::Settled,
    ]);
    let wake = machine.wake().unwrap();
    assert_eq!(machine.step(Input::Tick, wake), []);
}

#[test]
fn who_is_held_takes_nothing_until_warm_and_finishes_what_it_has() {
    let mut machine = machine();
    machine.step(Input::Taken, ENTERED);
    machine.step(Input::Needed, ENTERED);
    machine.step(Input::LoadFailed, ENTERED);
    machine.step(Input::Needed, ENTERED);
    machine.step(Input::Ordered(Order::Drain), ENTERED);
    assert!(machine.is_held() && !machine.takes());
    let wake = machine.wake().unwrap();
    assert_eq!(machine.step(Input::Tick, wake), [Action::Load]);
    machine.step(Input::Loaded, wake);
    let ending = machine.step(Input::Settled, wake);
    assert_eq!(ending, [Action::Unload(UnloadReason::Manual)]);
    machine.step(Input::Unloaded, wake);
    assert!(!machine.takes());
    assert_eq!(machine.step(WARM, wake), [Action::Load]);
    assert!(machine.takes());
}

#[test]
fn a_reload_loads_the_new_bundle_where_the_old_one_was_warm() {
    let reload = Input::Ordered(Order::Reload);
    let mut machine = after(&[Input::Taken, Input::Needed, Input::Loaded, reload]);
    assert!(
        !machine.takes(),
        "a photo for the new bundle would meet the old one"
    );
    let ending = machine.step(Input::Settled, ENTERED);
    assert_eq!(ending, [Action::Unload(UnloadReason::Swap)]);
    assert_eq!(
        machine.step(Input::Unloaded, ENTERED),
        [Action::Reopen, Action::Load]
    );
    let mut failing = after(&[Input::Taken, Input::Needed, reload]);
    assert_eq!(
        failing.step(Input::LoadFailed, ENTERED),
        [Action::Reopen, Action::Load]
    );
}

#[test]
fn orders_are_words_on_the_wire() {
    let text = r#"{"order":"warm","hold_ms":5}"#;
    let order: Order = serde_json::from_str(text).unwrap();
    assert_eq!(order, Order::Warm { hold_ms: 5 });
    assert_eq!(serde_json::to_string(&order).unwrap(), text);
    let order: Order = serde_json::from_str(r#"{"order":"warm"}"#).unwrap();
    assert_eq!(order, Order::Warm { hold_ms: 0 });
}

fn any_input() -> impl Strategy<Value = Input> {
    let order = prop_oneof![
        (0u64..100_000).prop_map(|hold_ms| Order::Warm { hold_ms }),
        Just(Order::Unload),
        Just(Order::Drain),
        Just(Order::Reload),
    ];
    let waiting = prop::option::of((0u64..2, 0u64..2, 0u64..2));
    prop_oneof![
        1 => Just(Input::Start),
        3 => Just(Input::Taken),
        3 => Just(Input::Needed),
        3 => Just(Input::Settled),
        3 => (0u64..20, waiting).prop_map(|(id, waiting)| {
            let waiting = waiting.map(|(ready, due, elsewhere)| Waiting { ready, due, elsewhere });
            Input::Looked(LookId(id), waiting)
        }),
        3 => Just(Input::Loaded),
        1 => Just(Input::LoadFailed),
        1 => Just(Input::Unloaded),
        1 => Just(Input::Ended),
        2 => order.prop_map(Input::Ordered),
        1 => Just(Input::Shutdown),
        2 => Just(Input::Tick),
    ]
}

proptest! {
    /// Even a driver that tells nonsense gets no second load, and no unload over a photo in hand.
    #[test]
    fn whatever_is_told_nothing_is_loaded_twice_or_unloaded_in_hand(
        inputs in prop::collection::vec((any_input(), 0u64..40_000), 0..80),
        preload: bool,
        grace in prop::option::of(0u64..60_000),
    ) {
        let mut machine = Machine::new(Policy::new(preload, grace.map(Duration::from_millis)));
        let mut now = Duration::ZERO;
        let mut engine = State::Cold;
        for (input, pause) in inputs {
            now += Duration::from_millis(pause);
            match (input, engine) {
                (Input::Loaded, State::Loading) => engine = State::Warm,
                (Input::LoadFailed, State::Loading) | (Input::Unloaded, State::Draining) => engine = State::Cold,
                (Input::Ended, State::Warm) if machine.in_hand() == 0 => engine = State::Cold,
                _ => {}
            }
            for action in machine.step(input, now) {
                match action {
                    Action::Load => {
                        prop_assert_eq!(engine, State::Cold);
                        engine = State::Loading;
                    }
                    Action::Unload(_) => {
                        prop_assert_eq!(engine, State::Warm);
                        prop_assert_eq!(machine.in_hand(), 0);
                        engine = State::Draining;
                    }
                    Action::Reopen => prop_assert_eq!(engine, State::Cold),
                    Action::Look(_) => prop_assert_eq!(machine.in_hand(), 0),
                }
            }
            // Finishing is draining before the engine is told.
            let told = matches!((machine.state(), engine), (State::Draining, State::Warm));
            prop_assert!(told || machine.state() == engine, "{:?} {:?}", machine, engine);
        }
    }
}
