//! When photos come: at breaks of play, and a few in between.

use fastrand::Rng;
use serde::Serialize;
use thiserror::Error;

/// Seconds of a day.
pub const SECONDS: f64 = 86_400.0;

/// A time at which photographers upload what they have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Break {
    /// Seconds after midnight.
    pub at: f64,
    /// Its part of the day's photos; all parts together are 1 at most, and what is missing comes in between.
    pub share: f64,
}

/// A day of photos.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Day {
    /// Photos in all.
    pub photos: u64,
    /// When most of them come.
    pub breaks: Vec<Break>,
    /// Seconds over which those of one break arrive: the line out of the ground, not the fleet, decides.
    pub over: f64,
    /// Photos of each set that comes in between.
    pub small_set: u64,
    /// From when to when sets come in between, seconds after midnight.
    pub open: (f64, f64),
}

/// A day that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DayError {
    /// A share below 0, or all of them above 1.
    #[error("the shares of the breaks are not between 0 and 1 together")]
    Shares,
    /// Not within a day, or the end before the beginning.
    #[error("times are seconds of one day, and a day opens before it closes")]
    Times,
}

impl Day {
    /// A day of a Test: inspection, lunch, tea, stumps, and a twentieth of the photos in small sets in between.
    pub fn of_test(photos: u64) -> Self {
        let hour = |hours: f64| hours * 3600.0;
        Self {
            photos,
            breaks: [(10.25, 0.10), (13.0, 0.25), (15.667, 0.20), (18.0, 0.40)]
                .map(|(at, share)| Break { at: hour(at), share })
                .into(),
            over: 900.0,
            small_set: 20,
            open: (hour(9.5), hour(19.0)),
        }
    }

    /// Every photo's arrival in seconds after midnight, in order. Photos of a break come evenly over their time, each a
    /// little early or late; small sets come at any time, whole. The same seed gives the same day.
    ///
    /// # Errors
    /// When the day cannot be.
    pub fn arrivals(&self, seed: u64) -> Result<Vec<f64>, DayError> {
        let shares: f64 = self.breaks.iter().map(|at| at.share).sum();
        if self.breaks.iter().any(|at| !(0.0..=1.0).contains(&at.share)) || shares > 1.0 + 1e-9 {
            return Err(DayError::Shares);
        }
        let within = |at: f64| (0.0..SECONDS).contains(&at);
        let times = self
            .breaks
            .iter()
            .map(|at| at.at)
            .chain([self.open.0, self.open.1]);
        if !times.into_iter().all(within) || self.open.0 > self.open.1 || !(0.0..SECONDS).contains(&self.over)
        {
            return Err(DayError::Times);
        }
        let mut random = Rng::with_seed(seed);
        let mut arrivals = Vec::new();
        for at in &self.breaks {
            let count = (self.photos as f64 * at.share).round() as u64;
            let step = self.over / count.max(1) as f64;
            for photo in 0..count {
                arrivals.push(at.at + (photo as f64 + random.f64()) * step);
            }
        }
        let mut left = self.photos.saturating_sub(arrivals.len() as u64);
        while left > 0 {
            let count = left.min(self.small_set.max(1));
            let at = self.open.0 + random.f64() * (self.open.1 - self.open.0);
            arrivals.extend((0..count).map(|_| at));
            left -= count;
        }
        arrivals.truncate(usize::try_from(self.photos).unwrap_or(usize::MAX));
        arrivals.sort_by(f64::total_cmp);
        Ok(arrivals)
    }

    /// Photos of the largest break.
    pub fn largest(&self) -> u64 {
        let share = self.breaks.iter().map(|at| at.share).fold(0.0, f64::max);
        (self.photos as f64 * share).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_photos_when_they_come() {
        let day = Day::of_test(10_000);
        let arrivals = day.arrivals(7).unwrap();
        assert_eq!(arrivals.len(), 10_000);
        assert!(arrivals.is_sorted());
        let stumps = 18.0 * 3600.0;
        let at_stumps = arrivals
            .iter()
            .filter(|&&at| (stumps..stumps + day.over).contains(&at));
        // 4,000 of the break, and perhaps a few small sets.
        assert!((4_000..4_200).contains(&at_stumps.count()));
        assert_eq!(day.largest(), 4_000);
        assert_eq!(day.arrivals(7).unwrap(), arrivals, "the same seed, the same day");
        assert_ne!(day.arrivals(8).unwrap(), arrivals);
    }

    #[test]
    fn days_that_cannot_be_are_refused() {
        let mut day = Day::of_test(10);
        day.breaks[0].share = 0.9;
        assert_eq!(day.arrivals(1), Err(DayError::Shares));
        day.breaks[0].share = f64::NAN;
        assert_eq!(day.arrivals(1), Err(DayError::Shares));
        let mut day = Day::of_test(10);
        day.breaks[0].at = SECONDS;
        assert_eq!(day.arrivals(1), Err(DayError::Times));
        let mut day = Day::of_test(10);
        day.open = (5.0, 4.0);
        assert_eq!(day.arrivals(1), Err(DayError::Times));
    }

    #[test]
    fn no_photos_are_no_arrivals() {
        assert_eq!(Day::of_test(0).arrivals(1), Ok(Vec::new()));
    }
}
