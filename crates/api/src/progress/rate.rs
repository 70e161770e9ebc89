//! Photos a second over the last minute.

const SECONDS: u64 = 60;

/// Counts by second, in a ring. Pure: the time is passed in, in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    ring: [u32; SECONDS as usize],
    /// The second that was counted last.
    last: u64,
    /// The second of the first photo.
    first: Option<u64>,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            ring: [0; SECONDS as usize],
            last: 0,
            first: None,
        }
    }
}

impl Rate {
    pub(super) fn add(&mut self, photos: u64, now_ms: u64) {
        let now = now_ms / 1000;
        self.advance(now);
        self.first.get_or_insert(now);
        let slot = &mut self.ring[place(now)];
        *slot = slot.saturating_add(u32::try_from(photos).unwrap_or(u32::MAX));
    }

    /// Over the last minute, or since the first photo; `None` when none came in that time.
    pub(super) fn per_second(&self, now_ms: u64) -> Option<f64> {
        let mut current = self.clone();
        let now = now_ms / 1000;
        current.advance(now);
        let photos: u64 = current.ring.iter().map(|&count| u64::from(count)).sum();
        let seconds = (now - current.first?.min(now) + 1).min(SECONDS);
        #[expect(clippy::cast_precision_loss, reason = "photos of a minute")]
        (photos > 0).then(|| photos as f64 / seconds as f64)
    }

    fn advance(&mut self, now: u64) {
        let passed = now.saturating_sub(self.last).min(SECONDS);
        for back in 0..passed {
            self.ring[place(now - back)] = 0;
        }
        self.last = self.last.max(now);
    }
}

fn place(second: u64) -> usize {
    usize::try_from(second % SECONDS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let mut rate = Rate::default();
        let start = 1_700_000_000_000;
        assert_eq!(rate.per_second(start), None);
        for second in 0..120 {
            rate.add(if second < 60 { 7 } else { 3 }, start + second * 1000);
        }
        assert_eq!(rate.per_second(start + 119_000), Some(3.0));
        assert_eq!(
            rate.per_second(start + 149_000),
            Some(1.5),
            "half a minute of silence"
        );
        assert_eq!(rate.per_second(start + 300_000), None);
    }

    #[test]
    fn a_rate_does_not_wait_for_a_minute() {
        let mut rate = Rate::default();
        rate.add(5, 10_000);
        rate.add(5, 11_000);
        assert_eq!(rate.per_second(11_500), Some(5.0));
        rate.add(1, 9_000);
        assert!(rate.per_second(11_500).is_some(), "a clock that goes back");
    }
}
