//! A made-up analysis to draw.

use crate::RgbImage;
use crate::advice;
use crate::analysis::{
    Advice, Brightness, BrightnessLevel, Classification, Colour, ColourType, CrackSeverity, Cracks,
    DetectedBox, Detection, Grass, GrassLevel, Moisture, MoistureLevel, PhotoFacts, PhotoFormat,
    Probabilities, Size, Surface, Texture, TextureType,
};
use crate::rules;

use super::{Maps, Subject};

pub(super) struct TestSubject {
    overview: RgbImage,
    crop: RgbImage,
    grass: Vec<u8>,
    edges: Vec<u8>,
    grey: Vec<u8>,
    photo: PhotoFacts,
    detection: Detection,
    surface: Surface,
    classification: Classification,
    advice: Advice,
}

impl TestSubject {
    pub(super) fn new(overview: RgbImage, crop: RgbImage) -> Self {
        let surface = Surface {
            grass: Grass {
                percent: 52.34,
                level: GrassLevel::Medium,
            },
            cracks: Cracks {
                density_percent: 3.61,
                count: 16,
                severity: CrackSeverity::Medium,
            },
            moisture: Moisture {
                score: 47.2,
                level: MoistureLevel::Damp,
                dark_percent: 18.11,
                mean_saturation: 71.04,
            },
            colour: Colour {
                mean_rgb: [171.2, 148.9, 104.3],
                dominant_rgb: [180, 156, 110],
                kind: ColourType::Mixed,
            },
            texture: Texture {
                laplacian_variance: 1611.42,
                std_dev: 31.87,
                kind: TextureType::VeryRough,
            },
            brightness: Brightness {
                mean: 147.25,
                level: BrightnessLevel::Bright,
            },
        };
        let model = Probabilities::from_array([0.41, 0.1, 0.13, 0.36]);
        let (corrected, rules) = rules::apply(model, &surface);
        let corners = [
            overview.width() / 4,
            overview.height() / 4,
            overview.width() / 2 + 1,
            overview.height() / 2 + 1,
        ];
        let size = Size {
            width: crop.width(),
            height: crop.height(),
        };
        let samples = crop.pixels().as_chunks::<3>().0;
        Self {
            grass: samples.iter().map(|[r, g, _]| u8::from(g > r) * 255).collect(),
            edges: (0..samples.len()).map(|i| u8::from(i % 97 < 2) * 255).collect(),
            grey: samples.iter().map(|p| p[1]).collect(),
            photo: PhotoFacts {
                format: PhotoFormat::Jpeg,
                width: overview.width(),
                height: overview.height(),
                orientation: 1,
                taken_at: Some("2026-06-14T10:32:11".to_owned()),
            },
            detection: Detection {
                detected: true,
                confidence: Some(0.913),
                best: Some(corners),
                boxes: vec![DetectedBox {
                    corners,
                    confidence: 0.913,
                    class: "pitch".to_owned(),
                }],
                crop: size,
                analysed: size,
            },
            advice: advice::advise(corrected.best(), &surface),
            classification: Classification {
                model: model.into(),
                corrected: corrected.into(),
                rules,
            },
            surface,
            overview,
            crop,
        }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            overview: &self.overview,
            crop: &self.crop,
            maps: Maps {
                grass: &self.grass,
                edges: &self.edges,
                grey: &self.grey,
            },
            photo: &self.photo,
            detection: &self.detection,
            surface: &self.surface,
            classification: &self.classification,
            advice: &self.advice,
        }
    }
}
