//! A timeline that takes no more room the longer it gets.

use crate::memory::Memory;

/// Memory at a moment, in seconds since the start.
pub(crate) type Sample = (f64, Memory);

/// Samples that are kept at most: more than the picture has columns of pixels. A multiple of four.
const MOST: usize = 1024;

/// What was seen, in the order of time. When there is no more room, neighbours become one stretch, of which the lowest
/// and the highest sample stay: neither a peak nor what came back after it goes out of sight.
#[derive(Debug)]
pub(super) struct Timeline {
    kept: Vec<Sample>,
    stretch: Option<Stretch>,
    /// Samples of one stretch.
    length: usize,
}

/// Neighbours in time.
#[derive(Debug)]
struct Stretch {
    lowest: Sample,
    highest: Sample,
    samples: usize,
}

impl Stretch {
    fn new(sample: Sample) -> Self {
        Self {
            lowest: sample,
            highest: sample,
            samples: 1,
        }
    }

    fn add(&mut self, sample: Sample) {
        if sample.1.resident < self.lowest.1.resident {
            self.lowest = sample;
        }
        // The later of equals, so that a flat stretch keeps both ends.
        if sample.1.resident >= self.highest.1.resident {
            self.highest = sample;
        }
        self.samples += 1;
    }

    /// Both, the earlier first; one if there is only one.
    fn ends(&self) -> impl Iterator<Item = Sample> + use<> {
        let (lowest, highest) = (self.lowest, self.highest);
        let (first, last) = if lowest.0 <= highest.0 {
            (lowest, highest)
        } else {
            (highest, lowest)
        };
        std::iter::once(first).chain((last.0 > first.0).then_some(last))
    }
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self {
            kept: Vec::with_capacity(MOST),
            stretch: None,
            length: 2,
        }
    }

    /// Adds what was seen last.
    pub(super) fn add(&mut self, sample: Sample) {
        let stretch = match &mut self.stretch {
            None => self.stretch.insert(Stretch::new(sample)),
            Some(stretch) => {
                stretch.add(sample);
                stretch
            }
        };
        if stretch.samples < self.length {
            return;
        }
        self.kept.extend(stretch.ends());
        self.stretch = None;
        if self.kept.len() + 2 > MOST {
            self.thin();
        }
    }

    /// All that is left of it.
    pub(super) fn take(&mut self) -> Vec<Sample> {
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend(self.stretch.take().iter().flat_map(Stretch::ends));
        kept
    }

    /// Makes room: of two stretches one.
    fn thin(&mut self) {
        let thinned: Vec<_> = self
            .kept
            .chunks(4)
            .filter_map(|samples| {
                let (first, rest) = samples.split_first()?;
                let mut stretch = Stretch::new(*first);
                rest.iter().for_each(|sample| stretch.add(*sample));
                Some(stretch)
            })
            .collect();
        self.kept.clear();
        self.kept.extend(thinned.iter().flat_map(Stretch::ends));
        self.length *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u32, resident: u64) -> Sample {
        let memory = Memory {
            resident,
            ..Memory::default()
        };
        (f64::from(second), memory)
    }

    fn timeline(count: u32, resident: impl Fn(u32) -> u64) -> Vec<Sample> {
        let mut timeline = Timeline::new();
        (0..count).for_each(|second| timeline.add(sample(second, resident(second))));
        timeline.take()
    }

    #[test]
    fn a_short_one_is_whole() {
        for count in [0, 1, 2, 7, 1000] {
            let rising: Vec<_> = (0..count).map(|second| sample(second, second.into())).collect();
            assert_eq!(timeline(count, u64::from), rising);
            let falling: Vec<_> = (0..count)
                .map(|second| sample(second, u64::from(count - second)))
                .collect();
            assert_eq!(timeline(count, |second| u64::from(count - second)), falling);
        }
    }

    #[test]
    fn a_long_one_keeps_its_peaks_and_what_came_back_after_them() {
        // A day of samples, each 25 ms.
        const COUNT: u32 = 24 * 3600 * 40;
        let (peaks, troughs) = ([77_777, 2_345_678], [3, 1_000_001]);
        let kept = timeline(COUNT, |second| match second {
            _ if peaks.contains(&second) => 900,
            _ if troughs.contains(&second) => 1,
            _ => 100 + u64::from(second % 7),
        });
        assert!(kept.len() <= MOST, "{}", kept.len());
        assert!(kept.len() >= MOST / 4, "{}", kept.len());
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
        for second in peaks {
            assert!(kept.contains(&sample(second, 900)), "{second}");
        }
        for second in troughs {
            assert!(kept.contains(&sample(second, 1)), "{second}");
        }
        let widest = kept
            .windows(2)
            .map(|pair| pair[1].0 - pair[0].0)
            .fold(0.0, f64::max);
        let stretch = f64::from(COUNT) / kept.len() as f64 * 2.0;
        assert!(widest <= 3.0 * stretch, "no hole in it: {widest} of {stretch}");
    }
}
