//! The kernels of [`SurfaceReader`] one by one, for `benches/surface.rs`: nothing else has a use for them apart.

use super::{PixelSums, SurfaceReader, dominant, laplacian_variance, pixels};
use crate::RgbImage;

/// A reader that has read `image` once, so that every kernel finds what the ones before it left.
pub struct Kernels<'a> {
    image: &'a RgbImage,
    reader: SurfaceReader,
}

impl<'a> Kernels<'a> {
    /// For an image that has pixels.
    pub fn new(image: &'a RgbImage) -> Self {
        let mut reader = SurfaceReader::default();
        reader.read(image);
        reader.grey.resize(image.width() * image.height(), 0);
        Self { image, reader }
    }

    /// One pass over the pixels: HSV, the grass mask and its count, grey, dark pixels, moisture, means and deviations.
    /// Gives the number of grass pixels.
    pub fn pixels(&mut self) -> u64 {
        let mut sums = PixelSums::default();
        let rows = self.reader.grey.chunks_exact_mut(self.image.width());
        for (y, grey) in rows.enumerate() {
            pixels::read_row(self.image.row(y), grey, &mut self.reader.grass_row, &mut sums);
        }
        sums.grass
    }

    /// Gaussian blur and Canny.
    pub fn edges(&mut self) {
        let (width, height) = (self.image.width(), self.image.height());
        self.reader.edges.find(&self.reader.grey, width, height, |_| ());
    }

    /// Dilation, contours, and which of them are cracks. Gives the number of edge pixels and of cracks.
    pub fn cracks(&mut self) -> (u64, usize) {
        self.reader.count_cracks(self.image.width(), self.image.height())
    }

    /// Variance of the Laplacian.
    pub fn laplacian(&self) -> f64 {
        laplacian_variance(&self.reader.grey, self.image.width())
    }

    /// The centre of the largest of three k-means clusters.
    pub fn dominant_colour(&self) -> [u8; 3] {
        dominant::dominant(self.image)
    }
}
