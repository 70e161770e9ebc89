//! How the surface moves through the day.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::builder::Record;
use super::statistics::{median, rounded, theil_sen};
use super::{Feature, Timeline, TimelinePoint, Trend, Trends};

/// A longer series is gathered into buckets, which also bounds the quadratic cost of the trend.
pub const MAX_POINTS: usize = 120;

/// Widths of a bucket in seconds that a reader can name; beyond the last one it doubles.
const WIDTHS: [i64; 15] = [
    60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600,
];

/// Seconds of a local time such as `2026-06-14T10:32:11`, counted as if it were UTC: only differences matter.
pub(super) fn seconds(local: &str) -> Option<i64> {
    let time: DateTime = local.parse().ok()?;
    Some(Offset::UTC.to_timestamp(time).ok()?.as_second())
}

fn local(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map(|time| Offset::UTC.to_datetime(time).to_string())
        .unwrap_or_default()
}

/// `None` when no record carries a time.
pub(super) fn timeline(records: &[&Record]) -> Option<Timeline> {
    let mut timed: Vec<(i64, &Record)> = records
        .iter()
        .filter_map(|&record| Some((record.taken_at?, record)))
        .collect();
    timed.sort_unstable_by_key(|&(at, record)| (at, record.index));
    let (&(first, _), &(last, _)) = (timed.first()?, timed.last()?);

    let width = (timed.len() > MAX_POINTS).then(|| bucket_width(first, last));
    let buckets: Vec<(i64, &[(i64, &Record)])> = match width {
        None => timed.chunks(1).map(|photo| (photo[0].0, photo)).collect(),
        Some(width) => timed
            .chunk_by(|a, b| a.0.div_euclid(width) == b.0.div_euclid(width))
            .map(|photos| (photos[0].0.div_euclid(width) * width, photos))
            .collect(),
    };
    let points: Vec<TimelinePoint> = buckets.iter().map(|&(at, photos)| point(at, photos)).collect();
    let hours: Vec<f64> = buckets
        .iter()
        .map(|&(at, _)| (at - first) as f64 / 3600.0)
        .collect();
    let trend = |value: fn(&TimelinePoint) -> f64| trend(&hours, points.iter().map(value));
    let trends = match (
        trend(|p| p.crack_density_percent),
        trend(|p| p.moisture_score),
        trend(|p| p.grass_percent),
    ) {
        (Some(crack_density_percent), Some(moisture_score), Some(grass_percent)) => Some(Trends {
            crack_density_percent,
            moisture_score,
            grass_percent,
        }),
        _ => None,
    };
    Some(Timeline {
        timed_photos: timed.len() as u64,
        untimed_photos: (records.len() - timed.len()) as u64,
        bucket_seconds: width.map(i64::unsigned_abs),
        points,
        trends,
    })
}

/// The least width that gives at most [`MAX_POINTS`] buckets.
fn bucket_width(first: i64, last: i64) -> i64 {
    let buckets = |width: i64| last.div_euclid(width) - first.div_euclid(width) + 1;
    let doubled = std::iter::successors(Some(WIDTHS[WIDTHS.len() - 1]), |width| width.checked_mul(2));
    WIDTHS
        .into_iter()
        .chain(doubled)
        .find(|&width| buckets(width) <= MAX_POINTS as i64)
        .unwrap_or(i64::MAX)
}

fn point(at: i64, photos: &[(i64, &Record)]) -> TimelinePoint {
    let middle = |feature| {
        let mut values: Vec<u32> = photos.iter().map(|(_, r)| r.values.hundredths(feature)).collect();
        rounded(median(&mut values), 4)
    };
    TimelinePoint {
        at: local(at),
        photos: photos.len() as u64,
        crack_density_percent: middle(Feature::CrackDensityPercent),
        moisture_score: middle(Feature::MoistureScore),
        grass_percent: middle(Feature::GrassPercent),
    }
}

/// `None` with fewer than three points or without two different times: two points always have a slope, and it says
/// nothing.
fn trend(hours: &[f64], values: impl Iterator<Item = f64>) -> Option<Trend> {
    let points: Vec<(f64, f64)> = hours.iter().copied().zip(values).collect();
    if points.len() < 3 {
        return None;
    }
    theil_sen(&points).map(|slope| Trend {
        per_hour: rounded(slope.median, 6),
        low: rounded(slope.low, 6),
        high: rounded(slope.high, 6),
    })
}
