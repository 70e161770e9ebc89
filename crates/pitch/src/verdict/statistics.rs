//! Robust statistics over small integers and points, each by the definition that numpy and scipy use.

use super::Spread;

/// Two-sided 95 % quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Rounds to `decimals`, so that documents do not carry digits without meaning.
pub(super) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

/// Quantile `p` (0..=1) of sorted hundredths by linear interpolation, in units; 0 for none.
fn quantile(sorted: &[u32], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = p * last as f64;
    let low = f64::from(sorted[(place.floor() as usize).min(last)]);
    let high = f64::from(sorted[(place.ceil() as usize).min(last)]);
    (low + (high - low) * place.fract()) / 100.0
}

/// Median and quartiles of sorted hundredths, four decimals.
pub(super) fn spread(sorted: &[u32]) -> Spread {
    let [min, q1, median, q3, max] = [0.0, 0.25, 0.5, 0.75, 1.0].map(|p| rounded(quantile(sorted, p), 4));
    Spread {
        min,
        q1,
        median,
        q3,
        max,
        iqr: rounded(q3 - q1, 4),
    }
}

/// Median of hundredths, in units; sorts them.
pub(super) fn median(values: &mut [u32]) -> f64 {
    values.sort_unstable();
    quantile(values, 0.5)
}

/// Centre and scale of the modified z-score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RobustScale {
    pub(super) median: f64,
    scale: f64,
}

impl RobustScale {
    /// The median absolute deviation over 0.6745 (Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993). Where
    /// more than half of the values are equal that is 0, and 1.253314 times the mean absolute deviation stands in for
    /// it, as in IBM SPSS. `None` when all values are equal.
    pub(super) fn of(sorted: &[u32]) -> Option<Self> {
        let median = quantile(sorted, 0.5);
        // Twice the deviation in hundredths stays an integer when the median lies between two values.
        let twice_median = (median * 200.0).round() as i64;
        let mut deviations: Vec<u32> = sorted
            .iter()
            .map(|&v| {
                (2 * i64::from(v) - twice_median)
                    .unsigned_abs()
                    .min(u64::from(u32::MAX)) as u32
            })
            .collect();
        deviations.sort_unstable();
        let median_deviation = quantile(&deviations, 0.5) / 2.0;
        let scale = if median_deviation > 0.0 {
            median_deviation / 0.6745
        } else {
            let sum: u64 = deviations.iter().map(|&d| u64::from(d)).sum();
            1.253_314 * sum as f64 / 200.0 / deviations.len().max(1) as f64
        };
        (scale > 0.0).then_some(Self { median, scale })
    }

    pub(super) fn score(&self, value: f64) -> f64 {
        (value - self.median) / self.scale
    }
}

/// `k/(k-1) (1 - sum p^2)` of counts over k categories.
pub(super) fn index_of_qualitative_variation<const K: usize>(counts: [u64; K]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 || K < 2 {
        return 0.0;
    }
    let squares: f64 = counts
        .iter()
        .map(|&count| (count as f64 / total as f64).powi(2))
        .sum();
    K as f64 / (K - 1) as f64 * (1.0 - squares)
}

/// A slope with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slope {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Theil-Sen slope of `y` over `x`, with Sen's interval (JASA 63, 1968), as `scipy.stats.theilslopes` computes them.
/// `None` when no two points differ in `x`. Quadratic in the number of points.
pub(super) fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (i, &(x1, y1)) in points.iter().enumerate() {
        for &(x2, y2) in &points[i + 1..] {
            if x1 != x2 {
                slopes.push((y2 - y1) / (x2 - x1));
            }
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let last = slopes.len().checked_sub(1)?;
    let median = f64::midpoint(slopes[last / 2], slopes[last.div_ceil(2)]);

    let count = points.len() as f64;
    let variance = (count * (count - 1.0) * (2.0 * count + 5.0)
        - tie_correction(points.iter().map(|p| p.0))
        - tie_correction(points.iter().map(|p| p.1)))
        / 18.0;
    let reach = Z_95 * variance.max(0.0).sqrt();
    let pairs = slopes.len() as f64;
    // Half to even, as scipy's `np.round`.
    let high = (((pairs + reach) / 2.0).round_ties_even() as usize).min(last);
    let low = (((pairs - reach) / 2.0).round_ties_even() - 1.0).max(0.0) as usize;
    Some(Slope {
        median,
        low: slopes[low.min(last)],
        high: slopes[high],
    })
}

/// Sum of `k (k - 1) (2k + 5)` over runs of k equal values.
fn tie_correction(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values
        .chunk_by(|a, b| a == b)
        .map(|run| run.len() as f64)
        .map(|k| k * (k - 1.0) * (2.0 * k + 5.0))
        .sum()
}
