//! From measures to levels. Every bound is exclusive: a level begins above it.

use crate::analysis::{BrightnessLevel, ColourType, CrackSeverity, GrassLevel, MoistureLevel, TextureType};

/// Of grass cover in percent.
pub(crate) fn grass(percent: f64) -> GrassLevel {
    match percent {
        p if p > 60.0 => GrassLevel::High,
        p if p > 30.0 => GrassLevel::Medium,
        p if p > 10.0 => GrassLevel::Low,
        _ => GrassLevel::Minimal,
    }
}

/// Of edge density in percent and number of cracks, whichever is worse.
pub(crate) fn cracks(density: f64, count: usize) -> CrackSeverity {
    match (density, count) {
        (d, n) if d > 5.0 || n > 20 => CrackSeverity::High,
        (d, n) if d > 2.0 || n > 10 => CrackSeverity::Medium,
        (d, n) if d > 0.5 || n > 3 => CrackSeverity::Low,
        _ => CrackSeverity::None,
    }
}

/// Of the moisture score, 0..=100.
pub(crate) fn moisture(score: f64) -> MoistureLevel {
    match score {
        s if s > 60.0 => MoistureLevel::Wet,
        s if s > 40.0 => MoistureLevel::Damp,
        s if s > 25.0 => MoistureLevel::SlightlyDamp,
        _ => MoistureLevel::Dry,
    }
}

/// Of the mean colour; the first that fits.
pub(crate) fn colour([r, g, b]: [f64; 3]) -> ColourType {
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

/// Of the variance of the Laplacian.
pub(crate) fn texture(variance: f64) -> TextureType {
    match variance {
        v if v > 1000.0 => TextureType::VeryRough,
        v if v > 500.0 => TextureType::Rough,
        v if v > 200.0 => TextureType::Moderate,
        _ => TextureType::Smooth,
    }
}

/// Of the mean grey, 0..=255.
pub(crate) fn brightness(mean: f64) -> BrightnessLevel {
    match mean {
        m if m > 180.0 => BrightnessLevel::VeryBright,
        m if m > 140.0 => BrightnessLevel::Bright,
        m if m > 100.0 => BrightnessLevel::Moderate,
        m if m > 60.0 => BrightnessLevel::Dark,
        _ => BrightnessLevel::VeryDark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_itself_belongs_below() {
        for (at, below, above) in [
            (10.0, GrassLevel::Minimal, GrassLevel::Low),
            (30.0, GrassLevel::Low, GrassLevel::Medium),
            (60.0, GrassLevel::Medium, GrassLevel::High),
        ] {
            assert_eq!((grass(at), grass(at + 1e-9)), (below, above));
        }
        for (at, below, above) in [
            (25.0, MoistureLevel::Dry, MoistureLevel::SlightlyDamp),
            (40.0, MoistureLevel::SlightlyDamp, MoistureLevel::Damp),
            (60.0, MoistureLevel::Damp, MoistureLevel::Wet),
        ] {
            assert_eq!((moisture(at), moisture(at + 1e-9)), (below, above));
        }
        for (at, below, above) in [
            (200.0, TextureType::Smooth, TextureType::Moderate),
            (500.0, TextureType::Moderate, TextureType::Rough),
            (1000.0, TextureType::Rough, TextureType::VeryRough),
        ] {
            assert_eq!((texture(at), texture(at + 1e-9)), (below, above));
        }
        for (at, below, above) in [
            (60.0, BrightnessLevel::VeryDark, BrightnessLevel::Dark),
            (100.0, BrightnessLevel::Dark, BrightnessLevel::Moderate),
            (140.0, BrightnessLevel::Moderate, BrightnessLevel::Bright),
            (180.0, BrightnessLevel::Bright, BrightnessLevel::VeryBright),
        ] {
            assert_eq!((brightness(at), brightness(at + 1e-9)), (below, above));
        }
    }

    #[test]
    fn cracks_by_density_or_by_number() {
        assert_eq!(cracks(0.5, 3), CrackSeverity::None);
        assert_eq!(cracks(0.51, 0), CrackSeverity::Low);
        assert_eq!(cracks(0.0, 4), CrackSeverity::Low);
        assert_eq!(cracks(2.0, 10), CrackSeverity::Low);
        assert_eq!(cracks(2.01, 0), CrackSeverity::Medium);
        assert_eq!(cracks(0.0, 11), CrackSeverity::Medium);
        assert_eq!(cracks(5.0, 20), CrackSeverity::Medium);
        assert_eq!(cracks(5.01, 0), CrackSeverity::High);
        assert_eq!(cracks(0.0, 21), CrackSeverity::High);
    }

    #[test]
    fn colours_in_their_order() {
        assert_eq!(colour([90.0, 101.0, 90.0]), ColourType::Green);
        assert_eq!(colour([90.0, 100.0, 90.0]), ColourType::Mixed);
        assert_eq!(colour([151.0, 121.0, 99.0]), ColourType::BrownRed);
        assert_eq!(colour([150.0, 121.0, 99.0]), ColourType::Mixed);
        assert_eq!(colour([181.0, 181.0, 151.0]), ColourType::LightPale);
        assert_eq!(colour([181.0, 182.0, 151.0]), ColourType::Green);
        assert_eq!(colour([100.0, 100.0, 100.0]), ColourType::Mixed);
    }
}
