//! When the models are unloaded. Pure: what is seen and what time it is are told.

use std::time::Duration;

use tokio::time::Instant;

/// What is seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The engine process runs.
    pub(crate) loaded: bool,
    /// Photos in hand.
    pub(crate) in_hand: usize,
    /// Photos taken since the worker started.
    pub(crate) taken: u64,
    /// Messages ready in the lanes that the worker reads, or due in them within the grace; `None` when the broker does
    /// not tell, which is not the same as none.
    pub(crate) waiting: Option<u64>,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Stay,
    /// The models go.
    Unload,
}

/// Keeps the models while there is anything to do, and for the grace after.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    grace: Option<Duration>,
    taken: u64,
    drained_since: Option<Instant>,
}

impl Lifecycle {
    /// Unloads after `grace` with nothing to do; `None` is never.
    pub(crate) fn new(grace: Option<Duration>) -> Self {
        Self {
            grace,
            taken: 0,
            drained_since: None,
        }
    }

    /// What follows from what is seen now.
    pub(crate) fn step(&mut self, seen: Seen, now: Instant) -> Step {
        let untouched = std::mem::replace(&mut self.taken, seen.taken) == seen.taken;
        let drained = seen.loaded && seen.in_hand == 0 && seen.waiting == Some(0);
        let Some(grace) = self.grace.filter(|_| drained) else {
            self.drained_since = None;
            return Step::Stay;
        };
        // A photo that came and went between two looks was work all the same.
        let since = self.drained_since.filter(|_| untouched).unwrap_or(now);
        self.drained_since = Some(since);
        if now.saturating_duration_since(since) >= grace {
            self.drained_since = None;
            Step::Unload
        } else {
            Step::Stay
        }
    }

    /// How long until the next look.
    pub(crate) fn period(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        self.grace
            .map_or(LONGEST, |grace| (grace / 6).clamp(SHORTEST, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Seen = Seen {
        loaded: true,
        in_hand: 0,
        taken: 5,
        waiting: Some(0),
    };

    fn seconds(grace: u64) -> Lifecycle {
        Lifecycle::new(Some(Duration::from_secs(grace)))
    }

    #[test]
    fn the_grace_begins_when_there_is_nothing_to_do() {
        let (mut lifecycle, start) = (seconds(30), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(lifecycle.step(IDLE, at(0)), Step::Stay);
        assert_eq!(lifecycle.step(IDLE, at(29)), Step::Stay);
        assert_eq!(lifecycle.step(IDLE, at(30)), Step::Unload);
    }

    #[test]
    fn whatever_happens_begins_it_again() {
        let busy = [
            Seen { in_hand: 1, ..IDLE },
            Seen {
                waiting: Some(1),
                ..IDLE
            },
            Seen {
                waiting: None,
                ..IDLE
            },
            Seen { taken: 6, ..IDLE },
        ];
        for seen in busy {
            let (mut lifecycle, start) = (seconds(30), Instant::now());
            let at = |seconds| start + Duration::from_secs(seconds);
            lifecycle.step(IDLE, at(0));
            assert_eq!(lifecycle.step(seen, at(29)), Step::Stay, "{seen:?}");
            let idle = Seen {
                taken: seen.taken,
                ..IDLE
            };
            assert_eq!(lifecycle.step(idle, at(31)), Step::Stay, "{seen:?}");
            assert_eq!(lifecycle.step(idle, at(61)), Step::Unload, "{seen:?}");
        }
    }

    #[test]
    fn zero_is_at_once_and_never_is_never() {
        let now = Instant::now();
        let mut at_once = seconds(0);
        assert_eq!(at_once.step(Seen { in_hand: 1, ..IDLE }, now), Step::Stay);
        assert_eq!(at_once.step(IDLE, now), Step::Unload);
        let mut never = Lifecycle::new(None);
        for days in 0..10 {
            let later = now + Duration::from_secs(days * 86_400);
            assert_eq!(never.step(IDLE, later), Step::Stay);
        }
    }

    #[test]
    fn what_is_not_loaded_is_not_unloaded() {
        let mut lifecycle = seconds(0);
        let cold = Seen {
            loaded: false,
            ..IDLE
        };
        assert_eq!(lifecycle.step(cold, Instant::now()), Step::Stay);
    }

    proptest! {
        /// Whatever is seen: the models go only after a grace in which every look saw nothing to do and no photo was
        /// taken, and they go at the first look after such a grace.
        #[test]
        fn the_models_go_exactly_after_a_quiet_grace(
            looks in prop::collection::vec((0u64..20, any::<bool>(), 0usize..2, 0u64..2, 0u64..3), 1..60),
        ) {
            let grace = Duration::from_secs(30);
            let mut lifecycle = Lifecycle::new(Some(grace));
            let mut now = Instant::now();
            let mut taken = 0;
            let mut quiet_since: Option<Instant> = None;
            for (pause, loaded, in_hand, more, waiting) in looks {
                now += Duration::from_secs(pause);
                taken += more;
                // 2 stands for a broker that does not tell.
                let waiting = (waiting < 2).then_some(waiting);
                let seen = Seen { loaded, in_hand, taken, waiting };
                let drained = loaded && in_hand == 0 && waiting == Some(0);
                quiet_since = if !drained {
                    None
                } else if more > 0 {
                    Some(now)
                } else {
                    Some(quiet_since.unwrap_or(now))
                };
                let due = quiet_since.is_some_and(|since| now - since >= grace);
                let step = lifecycle.step(seen, now);
                prop_assert_eq!(step == Step::Unload, due);
                if due {
                    quiet_since = None;
                }
            }
        }
    }
}
