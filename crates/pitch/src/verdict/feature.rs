//! The features that a set is summed up by, as integers.

use serde::{Deserialize, Serialize};

use crate::analysis::Surface;

/// A feature with a median and a spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Grass cover in percent.
    GrassPercent,
    /// Crack density in percent.
    CrackDensityPercent,
    /// Number of cracks.
    CrackCount,
    /// Moisture score, 0..=100.
    MoistureScore,
    /// Percent of pixels with grey below 100.
    DarkPercent,
    /// Mean HSV saturation, 0..=255.
    MeanSaturation,
    /// Variance of the Laplacian.
    LaplacianVariance,
    /// Standard deviation of grey.
    StdDev,
    /// Mean grey, 0..=255.
    Brightness,
    /// Mean red, 0..=255.
    MeanRed,
    /// Mean green, 0..=255.
    MeanGreen,
    /// Mean blue, 0..=255.
    MeanBlue,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 12] = [
        Self::GrassPercent,
        Self::CrackDensityPercent,
        Self::CrackCount,
        Self::MoistureScore,
        Self::DarkPercent,
        Self::MeanSaturation,
        Self::LaplacianVariance,
        Self::StdDev,
        Self::Brightness,
        Self::MeanRed,
        Self::MeanGreen,
        Self::MeanBlue,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrassPercent => "grass_percent",
            Self::CrackDensityPercent => "crack_density_percent",
            Self::CrackCount => "crack_count",
            Self::MoistureScore => "moisture_score",
            Self::DarkPercent => "dark_percent",
            Self::MeanSaturation => "mean_saturation",
            Self::LaplacianVariance => "laplacian_variance",
            Self::StdDev => "std_dev",
            Self::Brightness => "brightness",
            Self::MeanRed => "mean_red",
            Self::MeanGreen => "mean_green",
            Self::MeanBlue => "mean_blue",
        }
    }

    /// The words on a page, with the unit where there is one.
    pub const fn title(self) -> &'static str {
        match self {
            Self::GrassPercent => "Grass cover (%)",
            Self::CrackDensityPercent => "Crack density (%)",
            Self::CrackCount => "Cracks",
            Self::MoistureScore => "Moisture score",
            Self::DarkPercent => "Dark pixels (%)",
            Self::MeanSaturation => "Saturation",
            Self::LaplacianVariance => "Roughness (Laplacian variance)",
            Self::StdDev => "Contrast (standard deviation)",
            Self::Brightness => "Brightness",
            Self::MeanRed => "Red",
            Self::MeanGreen => "Green",
            Self::MeanBlue => "Blue",
        }
    }

    const fn of(self, surface: &Surface) -> f64 {
        match self {
            Self::GrassPercent => surface.grass.percent,
            Self::CrackDensityPercent => surface.cracks.density_percent,
            Self::CrackCount => surface.cracks.count as f64,
            Self::MoistureScore => surface.moisture.score,
            Self::DarkPercent => surface.moisture.dark_percent,
            Self::MeanSaturation => surface.moisture.mean_saturation,
            Self::LaplacianVariance => surface.texture.laplacian_variance,
            Self::StdDev => surface.texture.std_dev,
            Self::Brightness => surface.brightness.mean,
            Self::MeanRed => surface.colour.mean_rgb[0],
            Self::MeanGreen => surface.colour.mean_rgb[1],
            Self::MeanBlue => surface.colour.mean_rgb[2],
        }
    }
}

/// The features of one photo in hundredths: exact for values that carry two decimals, half the size of floats, and
/// ordered without a thought for NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeatureValues([u32; Feature::ALL.len()]);

impl FeatureValues {
    /// Values outside 0..=42,949,672.95 are clamped, NaN reads as 0; neither comes from an analysis.
    pub(super) fn of(surface: &Surface) -> Self {
        Self(Feature::ALL.map(|feature| (feature.of(surface) * 100.0).round() as u32))
    }

    pub(super) const fn hundredths(&self, feature: Feature) -> u32 {
        self.0[feature as usize]
    }
}
