//! The verdict of a set of photos, schema `pitchfleet.verdict/1`: what the batch and each of its groups say together.
//!
//! [`VerdictBuilder`] takes one photo at a time and keeps about 100 bytes of each (its features as integers) and its
//! key, so that ten thousand photos are one to two megabytes. All sums are integers: the verdict is the same to the last bit
//! whatever the order in which photos arrive.

mod builder;
mod consensus;
mod feature;
mod outliers;
mod statistics;
#[cfg(test)]
mod tests;
mod timeline;
mod typical;

use std::collections::BTreeMap;

pub use builder::{Observation, VerdictBuilder};
pub use feature::Feature;
pub use outliers::{MAX_LISTED_OUTLIERS, MIN_PHOTOS_FOR_OUTLIERS, OUTLIER_THRESHOLD};
use serde::{Deserialize, Serialize};
pub use timeline::MAX_POINTS;

use crate::analysis::{
    Advice, BrightnessLevel, ClassScores, ColourType, CrackSeverity, GrassLevel, MoistureLevel, PitchClass,
    TextureType,
};

/// The value of [`Verdict::schema`].
pub const VERDICT_SCHEMA: &str = "pitchfleet.verdict/1";

/// What a set of photos says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Always [`VERDICT_SCHEMA`].
    pub schema: String,
    /// All photos together.
    pub batch: Summary,
    /// Each group, in the order of names. Photos without a group count in the batch only.
    pub groups: Vec<GroupSummary>,
}

/// A group's summary under its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Pitch, end or session of play.
    pub name: String,
    /// Its photos together.
    #[serde(flatten)]
    pub summary: Summary,
}

/// What the photos of one scope (the batch or a group) say together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many photos, and what became of them.
    pub counts: Counts,
    /// What the pitch favours; absent when no photo was analysed, and so is all that follows.
    pub consensus: Option<Consensus>,
    /// How far the photos agree on it.
    pub agreement: Option<Agreement>,
    /// Median and spread of each feature over the photos of the consensus.
    pub features: Option<BTreeMap<Feature, Spread>>,
    /// Levels of the medians.
    pub levels: Option<Levels>,
    /// Photos whose surface is far from the others'.
    pub outliers: Outliers,
    /// How the surface moves through the day; absent when no photo carries a time.
    pub timeline: Option<Timeline>,
    /// What follows for a captain, from the consensus and the medians.
    pub advice: Option<Advice>,
}

/// How many photos, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub photos: u64,
    /// With an analysis.
    pub analysed: u64,
    /// Without one.
    pub failed: u64,
    /// Failures by code.
    pub failures: BTreeMap<String, u64>,
    /// Analysed as a whole, because no pitch was found or none was looked for.
    pub without_detected_pitch: u64,
}

/// Which photos a summary rests on, and how each of them weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Photos with a detected pitch, each weighted by the confidence of its detection. The features of the others
    /// are those of a whole scene and stay out.
    DetectedPitches,
    /// Every analysed photo, with equal weights: none has a detected pitch, as with `full_frame`.
    AllAnalysed,
}

/// What the pitch favours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consensus {
    /// Which photos it rests on.
    pub basis: Basis,
    /// How many they are.
    pub photos: u64,
    /// Weighted mean of the networks' probabilities, six decimals.
    pub model: ClassScores,
    /// Weighted mean of the probabilities after the cricket rules, six decimals; its class is the consensus.
    pub corrected: ClassScores,
    /// How many of the photos each rule fired on.
    pub rules: BTreeMap<String, u64>,
}

/// How far the photos agree on the consensus class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Share of the photos whose own class is the consensus, 0..=1.
    pub share: f64,
    /// Index of qualitative variation, `k/(k-1) (1 - sum p^2)` over the k = 4 classes: 0 when all photos agree, 1 when
    /// they spread evenly (Wilcox, Indices of Qualitative Variation, ORNL-TM-1919, 1967).
    pub index_of_qualitative_variation: f64,
    /// Photos by their own class.
    pub classes: BTreeMap<PitchClass, u64>,
}

/// Median and spread, quantiles by linear interpolation (type 7 of Hyndman & Fan 1996, numpy's default).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Least value.
    pub min: f64,
    /// First quartile.
    pub q1: f64,
    /// Median.
    pub median: f64,
    /// Third quartile.
    pub q3: f64,
    /// Greatest value.
    pub max: f64,
    /// Interquartile range, `q3 - q1`.
    pub iqr: f64,
}

/// Levels of the medians.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Of the median grass cover.
    pub grass: GrassLevel,
    /// Of the median density and the median count.
    pub cracks: CrackSeverity,
    /// Of the median moisture score.
    pub moisture: MoistureLevel,
    /// Of the medians of mean R, G and B.
    pub colour: ColourType,
    /// Of the median variance of the Laplacian.
    pub texture: TextureType,
    /// Of the median brightness.
    pub brightness: BrightnessLevel,
}

/// Photos whose surface is far from the others'.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outliers {
    /// How many values lie beyond the threshold.
    pub total: u64,
    /// The farthest of them, at most [`MAX_LISTED_OUTLIERS`].
    pub listed: Vec<Outlier>,
}

/// One value that is far from the others'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlier {
    /// Place of the photo in the batch.
    pub index: u64,
    /// Key of the photo.
    pub key: String,
    /// The feature.
    pub feature: Feature,
    /// Its value on this photo.
    pub value: f64,
    /// Its median over the scope.
    pub median: f64,
    /// Modified z-score, signed.
    pub score: f64,
}

/// How the surface moves through the day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Photos of the basis that carry a time.
    pub timed_photos: u64,
    /// Photos of the basis that carry none, or one that cannot be read.
    pub untimed_photos: u64,
    /// Width of a bucket in seconds; absent when every photo is a point of its own.
    pub bucket_seconds: Option<u64>,
    /// In the order of time.
    pub points: Vec<TimelinePoint>,
    /// Trends over the points; absent with fewer than three or without two different times.
    pub trends: Option<Trends>,
}

/// A photo, or the medians of the photos in a bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// Local time, ISO 8601; a bucket's start.
    pub at: String,
    /// Photos behind it.
    pub photos: u64,
    /// Crack density.
    pub crack_density_percent: f64,
    /// Moisture score.
    pub moisture_score: f64,
    /// Grass cover.
    pub grass_percent: f64,
}

/// A trend for each feature of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trends {
    /// Of crack density.
    pub crack_density_percent: Trend,
    /// Of the moisture score.
    pub moisture_score: Trend,
    /// Of grass cover.
    pub grass_percent: Trend,
}

/// Theil-Sen slope: the median of the slopes of all pairs of points (Sen, JASA 63, 1968), which one bad photo
/// cannot turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Change per hour.
    pub per_hour: f64,
    /// Lower end of its 95 % confidence interval.
    pub low: f64,
    /// Upper end of its 95 % confidence interval.
    pub high: f64,
}

impl Trend {
    /// Whether the confidence interval leaves no doubt about the sign.
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}
