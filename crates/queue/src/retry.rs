//! How often a failing message is tried again, and when.

use std::time::Duration;

use crate::delivery::Outcome;

/// Retries with growing delays, then rejection. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The delay before the second try, the third, and so on; as many retries as there are delays.
    pub delays: Vec<Duration>,
}

impl Default for RetryPolicy {
    /// Five retries over about a quarter of an hour: longer than a server's restart, shorter than patience.
    fn default() -> Self {
        Self {
            delays: crate::topology::DEFAULT_RETRY_DELAYS.to_vec(),
        }
    }
}

impl RetryPolicy {
    /// What becomes of a message whose try `attempt` (from 1) failed in a way that another try may cure.
    pub fn outcome(&self, attempt: u32, reason: impl Into<String>) -> Outcome {
        let reason = reason.into();
        let retry = usize::try_from(attempt.max(1) - 1)
            .ok()
            .and_then(|index| self.delays.get(index));
        match retry {
            Some(&after) => Outcome::Retry { after, reason },
            None => Outcome::Reject {
                reason: format!("gave up after {attempt} attempts: {reason}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_retries_with_growing_delays_and_then_rejection() {
        let policy = RetryPolicy::default();
        let delays: Vec<_> = (1..=5)
            .map(|attempt| match policy.outcome(attempt, "s3") {
                Outcome::Retry { after, reason } if reason == "s3" => after,
                other => panic!("attempt {attempt}: {other:?}"),
            })
            .collect();
        assert!(delays.is_sorted_by(|a, b| a < b), "{delays:?}");
        assert_eq!(
            policy.outcome(6, "s3"),
            Outcome::Reject {
                reason: "gave up after 6 attempts: s3".into()
            }
        );
        assert!(matches!(policy.outcome(u32::MAX, "x"), Outcome::Reject { .. }));
    }
}
