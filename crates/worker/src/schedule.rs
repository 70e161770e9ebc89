//! Models that are loaded ahead of the work: before a match, every Saturday at nine.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Local, TimeZone};
use croner::Cron;
use croner::errors::CronError;
use fleet::lifecycle::Order;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::context::Context;

/// The clock on the wall is looked at this often: it may be set, and the machine may have slept.
const LOOK: Duration = Duration::from_secs(30);

/// Times at which the models are to be warm, as a cron pattern (minute, hour, day, month, day of week) in the machine's
/// time zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WarmAt {
    cron: Cron,
    pattern: String,
}

impl WarmAt {
    /// The first such time after `now`.
    ///
    /// # Errors
    /// When there is none, such as a 30th of February.
    pub fn after<Z: TimeZone>(&self, now: &DateTime<Z>) -> Result<DateTime<Z>, CronError> {
        self.cron.find_next_occurrence(now, false)
    }
}

impl FromStr for WarmAt {
    type Err = CronError;

    fn from_str(pattern: &str) -> Result<Self, CronError> {
        Ok(Self {
            cron: Cron::from_str(pattern)?,
            pattern: pattern.to_owned(),
        })
    }
}

impl TryFrom<String> for WarmAt {
    type Error = CronError;

    fn try_from(pattern: String) -> Result<Self, CronError> {
        pattern.parse()
    }
}

impl From<WarmAt> for String {
    fn from(warm_at: WarmAt) -> Self {
        warm_at.pattern
    }
}

impl fmt::Display for WarmAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

impl PartialEq for WarmAt {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

/// Warms the models when it is time, for ever.
pub(crate) async fn keep(context: &Context) {
    let Some(warm_at) = &context.config.warm_at else {
        return;
    };
    let hold_ms = u64::try_from(context.config.warm_for.as_millis()).unwrap_or(u64::MAX);
    loop {
        let next = match warm_at.after(&Local::now()) {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, pattern = %warm_at, "the models are not warmed by schedule");
                return;
            }
        };
        reach(&next, Local::now).await;
        tracing::info!(pattern = %warm_at, hold_ms, "the models are warmed by schedule");
        context.engines.want(context.engines.own_choice());
        drop(context.models.order(Order::Warm { hold_ms }));
    }
}

/// Waits until the clock on the wall shows `at`.
async fn reach<Z: TimeZone>(at: &DateTime<Z>, now: impl Fn() -> DateTime<Z>) {
    while let Ok(left) = at.clone().signed_duration_since(now()).to_std()
        && !left.is_zero()
    {
        sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use tokio::time::Instant;

    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn patterns_are_crons() {
        // 2026-11-24 is a Tuesday.
        let now = utc("2026-11-24T15:00:00Z");
        for (pattern, next) in [
            ("0 9 * * SAT", "2026-11-28T09:00:00Z"),
            ("30 15 * * *", "2026-11-24T15:30:00Z"),
            ("0 15 * * *", "2026-11-25T15:00:00Z"),
            ("*/20 8-17 1 * *", "2026-12-01T08:00:00Z"),
        ] {
            let warm_at: WarmAt = pattern.parse().unwrap();
            assert_eq!(warm_at.after(&now).unwrap(), utc(next), "{pattern}");
            assert_eq!(warm_at.to_string(), pattern);
        }
        for bad in ["", "soon", "61 * * * *", "* * * *"] {
            assert!(bad.parse::<WarmAt>().is_err(), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_on_the_wall_counts_even_when_it_is_set() {
        let (start, begun) = (utc("2026-11-24T15:00:00Z"), Instant::now());
        // After a minute it is put an hour ahead.
        let now = || {
            let passed = begun.elapsed();
            let set = if passed >= Duration::from_secs(60) {
                3_600
            } else {
                0
            };
            start + TimeDelta::from_std(passed).unwrap() + TimeDelta::seconds(set)
        };
        reach(&utc("2026-11-24T15:00:45Z"), now).await;
        assert_eq!(begun.elapsed().as_secs(), 45);
        reach(&utc("2026-11-24T16:30:00Z"), now).await;
        assert_eq!(begun.elapsed().as_secs(), 1_800);
        reach(&start, now).await;
        assert_eq!(begun.elapsed().as_secs(), 1_800, "what is past");
    }
}
