//! From the rows of a rectangle to the two pictures that the analysis reads.

use super::CropWant;
use super::error::PhotoError;
use super::orientation::{Orientation, UprightCanvas};
use super::resample::AreaDownscaler;
use crate::classify::INPUT_SIDE;
use crate::resize::pillow::RowResizer;
use crate::rgb::RgbImage;

/// A rectangle of a photo, as the surface features and the classifier read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crop {
    /// Upright, at most [`CropWant::analysis_max_side`] long, averaged by area; the photo's own pixels where that leaves
    /// the size as it is.
    pub analysed: RgbImage,
    /// Upright, 224x224, by Pillow's antialiased bilinear filter; the aspect is not kept, as the classifier was trained.
    pub classifier: RgbImage,
}

impl CropWant {
    /// Size at which a crop of `width` x `height` pixels is analysed.
    pub fn analysed_size(&self, width: usize, height: usize) -> (usize, usize) {
        let (longer, most) = (width.max(height), self.analysis_max_side);
        if most == 0 || longer <= most {
            return (width, height);
        }
        let scaled = |side: usize| ((side * most + longer / 2) / longer).max(1);
        (scaled(width), scaled(height))
    }
}

/// Builds a [`Crop`] from stored rows.
pub(super) struct CropBuilder {
    /// `None` when the size stays.
    area: Option<AreaDownscaler>,
    analysed: UprightCanvas,
    pillow: RowResizer,
    orientation: Orientation,
}

impl CropBuilder {
    /// For `input` stored columns and rows that become `analysed` stored columns and rows.
    pub(super) fn new(
        orientation: Orientation,
        input: (usize, usize),
        analysed: (usize, usize),
    ) -> Result<Self, PhotoError> {
        let pillow = if orientation.transposes() {
            RowResizer::turned
        } else {
            RowResizer::new
        };
        Ok(Self {
            area: (input != analysed).then(|| AreaDownscaler::new(input, analysed)),
            analysed: UprightCanvas::new(orientation, analysed.0, analysed.1)?,
            pillow: pillow(input.0, input.1, INPUT_SIDE, INPUT_SIDE),
            orientation,
        })
    }

    pub(super) fn push_row(&mut self, row: &[u8]) {
        match &mut self.area {
            None => self.analysed.push_row(row),
            Some(area) => area.push_row(row, |row| self.analysed.push_row(row)),
        }
        self.pillow.push(row);
    }

    pub(super) fn finish(self) -> Result<Crop, PhotoError> {
        let square = self.pillow.finish();
        let classifier = if self.orientation == Orientation::UPRIGHT {
            square
        } else {
            let mut canvas = UprightCanvas::new(self.orientation, INPUT_SIDE, INPUT_SIDE)?;
            for y in 0..INPUT_SIDE {
                canvas.push_row(square.row(y));
            }
            canvas.into_image()?
        };
        Ok(Crop {
            analysed: self.analysed.into_image()?,
            classifier,
        })
    }
}
