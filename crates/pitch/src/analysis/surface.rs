//! The features of a pitch's surface and their levels.

use serde::{Deserialize, Serialize};

use super::level;

/// The features of the surface. Percentages, scores, densities and variances carry two decimals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surface {
    /// Grass cover.
    pub grass: Grass,
    /// Cracks.
    pub cracks: Cracks,
    /// Moisture.
    pub moisture: Moisture,
    /// Colour.
    pub colour: Colour,
    /// Texture.
    pub texture: Texture,
    /// Brightness.
    pub brightness: Brightness,
}

/// Grass cover.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grass {
    /// Percent of pixels in the grass range of HSV.
    pub percent: f64,
    /// Its level.
    pub level: GrassLevel,
}

/// Cracks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cracks {
    /// Percent of pixels on a Canny edge.
    pub density_percent: f64,
    /// Long, thin contours.
    pub count: usize,
    /// Their severity.
    pub severity: CrackSeverity,
}

/// Moisture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moisture {
    /// Mean of darkness (percent) and `dark_percent`, 0..=100.
    pub score: f64,
    /// Its level.
    pub level: MoistureLevel,
    /// Percent of pixels with grey below 100.
    pub dark_percent: f64,
    /// Mean HSV saturation, 0..=255.
    pub mean_saturation: f64,
}

/// Colour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Colour {
    /// Mean R, G, B, 0..=255.
    pub mean_rgb: [f64; 3],
    /// Centre of the largest of three k-means clusters, R, G, B.
    pub dominant_rgb: [u8; 3],
    /// Its type, judged on the mean.
    #[serde(rename = "type")]
    pub kind: ColourType,
}

/// Texture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Texture {
    /// Variance of the 3x3 Laplacian of grey.
    pub laplacian_variance: f64,
    /// Standard deviation of grey.
    pub std_dev: f64,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: TextureType,
}

/// Brightness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brightness {
    /// Mean grey, 0..=255.
    pub mean: f64,
    /// Its level.
    pub level: BrightnessLevel,
}

level! {
    /// Grass cover in percent.
    GrassLevel {
        /// At most 10.
        Minimal = "Minimal",
        /// More than 10.
        Low = "Low",
        /// More than 30.
        Medium = "Medium",
        /// More than 60.
        High = "High",
    }
}

level! {
    /// Severity of cracking.
    CrackSeverity {
        /// Neither of the others.
        None = "None",
        /// Density over 0.5 or more than 3 cracks.
        Low = "Low",
        /// Density over 2 or more than 10 cracks.
        Medium = "Medium",
        /// Density over 5 or more than 20 cracks.
        High = "High",
    }
}

level! {
    /// Moisture score.
    MoistureLevel {
        /// At most 25.
        Dry = "Dry",
        /// More than 25.
        SlightlyDamp = "Slightly Damp",
        /// More than 40.
        Damp = "Damp",
        /// More than 60.
        Wet = "Wet",
    }
}

level! {
    /// Type of the mean colour.
    ColourType {
        /// g > r, g > b, g > 100.
        Green = "Green",
        /// r > 150, g > 120, b < 100.
        BrownRed = "Brown/Red",
        /// r > 180, g > 180, b > 150.
        LightPale = "Light/Pale",
        /// None of the others.
        Mixed = "Mixed",
    }
}

level! {
    /// Variance of the Laplacian.
    TextureType {
        /// At most 200.
        Smooth = "Smooth",
        /// More than 200.
        Moderate = "Moderate",
        /// More than 500.
        Rough = "Rough",
        /// More than 1000.
        VeryRough = "Very Rough",
    }
}

level! {
    /// Mean grey.
    BrightnessLevel {
        /// At most 60.
        VeryDark = "Very Dark",
        /// More than 60.
        Dark = "Dark",
        /// More than 100.
        Moderate = "Moderate",
        /// More than 140.
        Bright = "Bright",
        /// More than 180.
        VeryBright = "Very Bright",
    }
}
