//! Levels of the medians, by the thresholds of a single photo.

use super::{Feature, Levels};
use crate::analysis::{
    Brightness, BrightnessLevel, Colour, ColourType, CrackSeverity, Cracks, Grass, GrassLevel, Moisture,
    MoistureLevel, Surface, Texture, TextureType,
};

const fn grass(percent: f64) -> GrassLevel {
    match percent {
        p if p > 60.0 => GrassLevel::High,
        p if p > 30.0 => GrassLevel::Medium,
        p if p > 10.0 => GrassLevel::Low,
        _ => GrassLevel::Minimal,
    }
}

const fn cracks(density: f64, count: f64) -> CrackSeverity {
    if density > 5.0 || count > 20.0 {
        CrackSeverity::High
    } else if density > 2.0 || count > 10.0 {
        CrackSeverity::Medium
    } else if density > 0.5 || count > 3.0 {
        CrackSeverity::Low
    } else {
        CrackSeverity::None
    }
}

const fn moisture(score: f64) -> MoistureLevel {
    match score {
        s if s > 60.0 => MoistureLevel::Wet,
        s if s > 40.0 => MoistureLevel::Damp,
        s if s > 25.0 => MoistureLevel::SlightlyDamp,
        _ => MoistureLevel::Dry,
    }
}

fn colour([r, g, b]: [f64; 3]) -> ColourType {
    if g > r && g > b && g > 100.0 {
        ColourType::Green
    } else if r > 150.0 && g > 120.0 && b < 100.0 {
        ColourType::BrownRed
    } else if r > 180.0 && g > 180.0 && b > 150.0 {
        ColourType::LightPale
    } else {
        ColourType::Mixed
    }
}

const fn texture(variance: f64) -> TextureType {
    match variance {
        v if v > 1000.0 => TextureType::VeryRough,
        v if v > 500.0 => TextureType::Rough,
        v if v > 200.0 => TextureType::Moderate,
        _ => TextureType::Smooth,
    }
}

const fn brightness(mean: f64) -> BrightnessLevel {
    match mean {
        m if m > 180.0 => BrightnessLevel::VeryBright,
        m if m > 140.0 => BrightnessLevel::Bright,
        m if m > 100.0 => BrightnessLevel::Moderate,
        m if m > 60.0 => BrightnessLevel::Dark,
        _ => BrightnessLevel::VeryDark,
    }
}

/// The surface whose every feature is the median that `median` gives, with the levels of those medians.
pub(super) fn typical_surface(median: impl Fn(Feature) -> f64) -> Surface {
    let (density, count) = (median(Feature::CrackDensityPercent), median(Feature::CrackCount));
    let mean_rgb = [Feature::MeanRed, Feature::MeanGreen, Feature::MeanBlue].map(&median);
    Surface {
        grass: Grass {
            percent: median(Feature::GrassPercent),
            level: grass(median(Feature::GrassPercent)),
        },
        cracks: Cracks {
            density_percent: density,
            count: count.round() as usize,
            severity: cracks(density, count),
        },
        moisture: Moisture {
            score: median(Feature::MoistureScore),
            level: moisture(median(Feature::MoistureScore)),
            dark_percent: median(Feature::DarkPercent),
            mean_saturation: median(Feature::MeanSaturation),
        },
        colour: Colour {
            mean_rgb,
            dominant_rgb: mean_rgb.map(|channel| channel.round() as u8),
            kind: colour(mean_rgb),
        },
        texture: Texture {
            laplacian_variance: median(Feature::LaplacianVariance),
            std_dev: median(Feature::StdDev),
            kind: texture(median(Feature::LaplacianVariance)),
        },
        brightness: Brightness {
            mean: median(Feature::Brightness),
            level: brightness(median(Feature::Brightness)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_strict() {
        assert_eq!(
            [10.0, 10.01, 30.01, 60.01].map(grass),
            [
                GrassLevel::Minimal,
                GrassLevel::Low,
                GrassLevel::Medium,
                GrassLevel::High
            ]
        );
        assert_eq!(
            [(0.5, 3.0), (0.5, 3.5), (2.01, 0.0), (0.0, 20.5)].map(|(d, c)| cracks(d, c)),
            [
                CrackSeverity::None,
                CrackSeverity::Low,
                CrackSeverity::Medium,
                CrackSeverity::High
            ]
        );
        assert_eq!(
            [25.0, 25.01, 40.01, 60.01].map(moisture),
            [
                MoistureLevel::Dry,
                MoistureLevel::SlightlyDamp,
                MoistureLevel::Damp,
                MoistureLevel::Wet
            ]
        );
        assert_eq!(
            [200.0, 200.01, 500.01, 1000.01].map(texture),
            [
                TextureType::Smooth,
                TextureType::Moderate,
                TextureType::Rough,
                TextureType::VeryRough
            ]
        );
        assert_eq!(
            [60.0, 60.01, 100.01, 140.01, 180.01].map(brightness),
            [
                BrightnessLevel::VeryDark,
                BrightnessLevel::Dark,
                BrightnessLevel::Moderate,
                BrightnessLevel::Bright,
                BrightnessLevel::VeryBright
            ]
        );
        assert_eq!(
            [
                [90.0, 101.0, 80.0],
                [151.0, 121.0, 99.0],
                [181.0, 181.0, 151.0],
                [120.0, 110.0, 100.0]
            ]
            .map(colour),
            [
                ColourType::Green,
                ColourType::BrownRed,
                ColourType::LightPale,
                ColourType::Mixed
            ]
        );
    }
}
