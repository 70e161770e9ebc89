//! Photos whose surface is far from the others', by the modified z-score.

use super::builder::Record;
use super::statistics::{RobustScale, rounded};
use super::{Feature, Outlier, Outliers};

/// Modified z-score beyond which a value is an outlier (Iglewicz & Hoaglin 1993).
pub const OUTLIER_THRESHOLD: f64 = 3.5;
/// With fewer photos nothing is called an outlier: the median itself is hardly known.
pub const MIN_PHOTOS_FOR_OUTLIERS: usize = 5;
/// The most that one scope lists.
pub const MAX_LISTED_OUTLIERS: usize = 100;

/// Only features that carry a level are judged: the others follow from them, and would flag a photo twice.
const JUDGED: [Feature; 6] = [
    Feature::GrassPercent,
    Feature::CrackDensityPercent,
    Feature::CrackCount,
    Feature::MoistureScore,
    Feature::LaplacianVariance,
    Feature::Brightness,
];

pub(super) fn find<'k>(records: &[&Record], key: impl Fn(&Record) -> &'k str) -> Outliers {
    if records.len() < MIN_PHOTOS_FOR_OUTLIERS {
        return Outliers::default();
    }
    let mut found: Vec<(f64, f64, Feature, &Record)> = Vec::new();
    for feature in JUDGED {
        let mut sorted: Vec<u32> = records.iter().map(|r| r.values.hundredths(feature)).collect();
        sorted.sort_unstable();
        let Some(scale) = RobustScale::of(&sorted) else {
            continue;
        };
        for &record in records {
            let score = scale.score(f64::from(record.values.hundredths(feature)) / 100.0);
            if score.abs() > OUTLIER_THRESHOLD {
                found.push((score, scale.median, feature, record));
            }
        }
    }
    found.sort_by(|a, b| {
        b.0.abs()
            .total_cmp(&a.0.abs())
            .then(a.3.index.cmp(&b.3.index))
            .then(a.2.cmp(&b.2))
    });
    Outliers {
        total: found.len() as u64,
        listed: found
            .iter()
            .take(MAX_LISTED_OUTLIERS)
            .map(|&(score, median, feature, record)| Outlier {
                index: record.index,
                key: key(record).to_owned(),
                feature,
                value: f64::from(record.values.hundredths(feature)) / 100.0,
                median,
                score: rounded(score, 2),
            })
            .collect(),
    }
}
