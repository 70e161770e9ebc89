//! When a delivery that failed is tried again. Pure.

use std::time::Duration;

use sha2::{Digest, Sha256};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Seconds before the second try, the third, and so on: the standard's example, three days in all.
const DELAYS: [u64; 9] = [
    5,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];
/// The longest delay, a receiver's own wish included.
const LONGEST: Duration = Duration::from_secs(24 * HOUR);

/// How long to wait after a failed try of the delivery `id` that `tries` came before; `None` when enough was tried.
/// `wish` is what the receiver asked for (`Retry-After`).
///
/// Up to a tenth is added, different from delivery to delivery: what a receiver missed while it was down does not come
/// back all at once.
pub(super) fn delay(id: &str, tries: u32, wish: Option<Duration>) -> Option<Duration> {
    let seconds = *DELAYS.get(usize::try_from(tries).ok()?)?;
    let [first, second, ..] = <[u8; 32]>::from(Sha256::digest(format!("{tries}.{id}")));
    let share = f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX);
    let planned = Duration::from_secs(seconds).mul_f64(1.0 + 0.1 * share);
    Some(planned.max(wish.unwrap_or_default().min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_spread_over_three_days() {
        let delays: Vec<Duration> = (0..).map_while(|tries| delay("msg_1", tries, None)).collect();
        assert_eq!(delays.len(), 9);
        assert!(delays.is_sorted());
        for (delay, seconds) in delays.iter().zip(DELAYS) {
            let planned = Duration::from_secs(seconds);
            assert!((planned..=planned.mul_f64(1.1)).contains(delay), "{delay:?}");
        }
        // 75 h 35 min 5 s without the spread.
        let total: Duration = delays.iter().sum();
        assert!((272_105..=299_316).contains(&total.as_secs()), "{total:?}");
        assert_eq!(delay("msg_1", u32::MAX, None), None);
    }

    #[test]
    fn deliveries_are_spread_and_each_is_certain() {
        let first = |id| delay(id, 8, None);
        assert_eq!(first("msg_1"), first("msg_1"));
        assert_ne!(first("msg_1"), first("msg_2"));
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_less_or_for_ever() {
        let asked = |seconds| delay("msg_1", 1, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(3_600), Some(Duration::from_secs(3_600)));
        assert_eq!(asked(1), delay("msg_1", 1, None));
        assert_eq!(asked(u64::MAX), Some(LONGEST));
        assert_eq!(delay("msg_1", 9, Some(LONGEST)), None);
    }
}
