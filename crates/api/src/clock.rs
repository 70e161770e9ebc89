//! The time, replaceable in tests.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Tells the time of day. Waiting is tokio's.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds of Unix time.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// `ms` of Unix time as RFC 3339 in UTC, with milliseconds.
pub fn rfc3339(ms: u64) -> String {
    let at = Timestamp::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    format!("{:.3}", at.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        // RFC 3339, 5.8: 1985-04-12T23:20:50.52Z is 482196050520 ms.
        assert_eq!(rfc3339(482_196_050_520), "1985-04-12T23:20:50.520Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-30T22:00:00.999Z");
    }
}
