//! Restraint when what the worker needs is away: taking photos only to send them to the retry queues would spend
//! their attempts on somebody else's trouble.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Failures in a row that are borne before there is a pause: a single photo may have a trouble of its own.
const BORNE: u32 = 2;
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(15);

/// Failures that were not the photos' fault, and the pause that follows from them.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Pressure {
    /// A photo went through: store and engine are there.
    pub(crate) fn relieve(&self) {
        *self.state() = State::default();
    }

    /// A try failed because of store or engine.
    pub(crate) fn add(&self) {
        let mut state = self.state();
        state.in_a_row = state.in_a_row.saturating_add(1);
        if let Some(doublings) = state.in_a_row.checked_sub(BORNE + 1) {
            let pause = SHORTEST
                .saturating_mul(2u32.saturating_pow(doublings))
                .min(LONGEST);
            state.until = Some(Instant::now() + pause);
        }
    }

    /// Returns when the pause is over, at once if there is none. Cancel-safe.
    pub(crate) async fn pause(&self) {
        loop {
            let until = self.state().until;
            match until {
                Some(until) if until > Instant::now() => sleep_until(until).await,
                _ => return,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete before its guard goes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_limit_and_end_with_the_first_success() {
        let pressure = Pressure::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pressure.add();
            let begun = Instant::now();
            pressure.pause().await;
            pauses.push(begun.elapsed());
        }
        assert_eq!(pauses[..2], [Duration::ZERO; 2]);
        assert!(pauses[2] >= SHORTEST, "{pauses:?}");
        assert!(pauses.is_sorted(), "{pauses:?}");
        let last = pauses[11];
        assert!(
            (LONGEST..LONGEST + Duration::from_millis(10)).contains(&last),
            "{pauses:?}"
        );
        pressure.add();
        pressure.relieve();
        let begun = Instant::now();
        pressure.pause().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
