//! The surface that a set's medians describe, with the levels of a single photo.

use super::{Feature, Levels};
use crate::analysis::{Brightness, Colour, Cracks, Grass, Moisture, Surface, Texture};
use crate::surface::levels;

/// The surface whose every feature is the median that `median` gives, with the levels of those medians.
pub(super) fn typical_surface(median: impl Fn(Feature) -> f64) -> Surface {
    let (density, count) = (median(Feature::CrackDensityPercent), median(Feature::CrackCount));
    let mean_rgb = [Feature::MeanRed, Feature::MeanGreen, Feature::MeanBlue].map(&median);
    Surface {
        grass: Grass {
            percent: median(Feature::GrassPercent),
            level: levels::grass(median(Feature::GrassPercent)),
        },
        cracks: Cracks {
            density_percent: density,
            count: count.round() as usize,
            // A median between two counts passes a threshold when it is beyond the lower one.
            severity: levels::cracks(density, count.ceil() as usize),
        },
        moisture: Moisture {
            score: median(Feature::MoistureScore),
            level: levels::moisture(median(Feature::MoistureScore)),
            dark_percent: median(Feature::DarkPercent),
            mean_saturation: median(Feature::MeanSaturation),
        },
        colour: Colour {
            mean_rgb,
            dominant_rgb: mean_rgb.map(|channel| channel.round() as u8),
            kind: levels::colour(mean_rgb),
        },
        texture: Texture {
            laplacian_variance: median(Feature::LaplacianVariance),
            std_dev: median(Feature::StdDev),
            kind: levels::texture(median(Feature::LaplacianVariance)),
        },
        brightness: Brightness {
            mean: median(Feature::Brightness),
            level: levels::brightness(median(Feature::Brightness)),
        },
    }
}

impl From<&Surface> for Levels {
    fn from(surface: &Surface) -> Self {
        Self {
            grass: surface.grass.level,
            cracks: surface.cracks.severity,
            moisture: surface.moisture.level,
            colour: surface.colour.kind,
            texture: surface.texture.kind,
            brightness: surface.brightness.level,
        }
    }
}
