//! What an operator chooses about the life of the models.

use std::time::Duration;

/// How long the models are kept, and how they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Load at the start instead of with the first photo.
    pub preload: bool,
    /// How long no work must have been in sight before the models go: zero is at once, `None` is never.
    pub unload_grace: Option<Duration>,
    /// Longest time between two looks at the queues while nothing is in hand.
    pub poll: Duration,
    /// Pauses between loads that fail.
    pub backoff: Backoff,
}

impl Policy {
    /// Looks closer together would keep the broker busy with answering.
    pub(super) const SHORTEST_POLL: Duration = Duration::from_millis(100);
    const LONGEST_POLL: Duration = Duration::from_secs(5);

    /// With looks that fit the grace.
    pub fn new(preload: bool, unload_grace: Option<Duration>) -> Self {
        let poll = unload_grace.map_or(Self::LONGEST_POLL, |grace| {
            (grace / 6).clamp(Self::SHORTEST_POLL, Self::LONGEST_POLL)
        });
        Self {
            preload,
            unload_grace,
            poll,
            backoff: Backoff::default(),
        }
    }
}

impl Default for Policy {
    /// Lazy, with a grace of 30 s.
    fn default() -> Self {
        Self::new(false, Some(Duration::from_secs(30)))
    }
}

/// Pauses that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The pause after so many failures in a row.
    pub fn pause(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        self.first
            .saturating_mul(2u32.saturating_pow(doublings))
            .min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit() {
        let backoff = Backoff::default();
        let seconds: Vec<_> = (1..=8).map(|n| backoff.pause(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.pause(u32::MAX), backoff.longest);
    }

    #[test]
    fn looks_fit_the_grace() {
        let poll = |grace| {
            Policy::new(false, Some(Duration::from_millis(grace)))
                .poll
                .as_millis()
        };
        assert_eq!(
            [0, 600, 6_000, 30_000, 3_600_000].map(poll),
            [100, 100, 1_000, 5_000, 5_000]
        );
        assert_eq!(Policy::new(false, None).poll, Duration::from_secs(5));
    }
}
