//! Lengths of time for people.

use std::time::Duration;

/// `8 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        for (seconds, expected) in [(8, "8 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")] {
            assert_eq!(clock(Duration::from_secs(seconds)), expected);
        }
    }
}
