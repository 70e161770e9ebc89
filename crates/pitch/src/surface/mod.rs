//! Surface features of a crop: grass, cracks, moisture, colour, texture, brightness.
//!
//! Every number equals the one that OpenCV's 8-bit functions give (golden data in `tests/golden`), except the dominant
//! colour, whose k-means starts from random centres there. Nothing larger than two bytes a pixel is kept meanwhile.

mod cracks;
mod dominant;
mod edges;
#[doc(hidden)]
pub mod kernels;
pub(crate) mod levels;
mod pixels;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod tests;

use crate::RgbImage;
use crate::analysis::{Brightness, Colour, Cracks, Grass, Moisture, Surface, Texture};
use cracks::CrackFinder;
use edges::EdgeFinder;
use pixels::PixelSums;

/// What the pictures show: one byte a pixel, in the size of the crop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maps {
    /// Grey.
    pub grey: Vec<u8>,
    /// 255 on grass, else 0.
    pub grass: Vec<u8>,
    /// 255 on a Canny edge, else 0.
    pub edges: Vec<u8>,
}

/// Buffers are kept for crops up to this size: the largest at the default analysis scale.
const KEPT_PIXELS: usize = 1920 * 1920;

/// Reads surfaces; keeps its buffers from one crop to the next.
#[derive(Default)]
pub struct SurfaceReader {
    grey: Vec<u8>,
    grass_row: Vec<u8>,
    edges: EdgeFinder,
    cracks: CrackFinder,
}

impl SurfaceReader {
    /// The features of `image`. An image without pixels reads as a black one.
    pub fn read(&mut self, image: &RgbImage) -> Surface {
        let surface = self.run(image, |_| ());
        self.shrink();
        surface
    }

    /// The features of `image`, and the maps behind them.
    pub fn read_with_maps(&mut self, image: &RgbImage) -> (Surface, Maps) {
        let mut grass = Vec::with_capacity(image.width() * image.height());
        let surface = self.run(image, |row| grass.extend_from_slice(row));
        let edges = self.edges.plane(image.height());
        let grey = std::mem::take(&mut self.grey);
        self.shrink();
        (surface, Maps { grey, grass, edges })
    }

    /// Gives the buffers back to the allocator when a crop read at its own size made them large.
    fn shrink(&mut self) {
        if self.grey.capacity() > KEPT_PIXELS {
            *self = Self::default();
        }
    }

    fn run(&mut self, image: &RgbImage, mut grass_row: impl FnMut(&[u8])) -> Surface {
        let black = RgbImage::black(1, 1);
        let image = if image.pixels().is_empty() { &black } else { image };
        let (width, height) = (image.width(), image.height());
        let mut sums = PixelSums::default();
        self.grey.resize(width * height, 0);
        self.grass_row.resize(width, 0);
        for (y, grey) in self.grey.chunks_exact_mut(width).enumerate() {
            pixels::read_row(image.row(y), grey, &mut self.grass_row, &mut sums);
            grass_row(&self.grass_row);
        }
        self.edges.find(&self.grey, width, height, |_| ());
        let (edge_pixels, cracks) = self.count_cracks(width, height);
        summarise(
            image,
            &sums,
            laplacian_variance(&self.grey, width),
            edge_pixels,
            cracks,
        )
    }

    fn count_cracks(&mut self, width: usize, height: usize) -> (u64, usize) {
        self.cracks.start(width, height);
        let edge_pixels = (0..height)
            .map(|y| self.edges.row_bits(y, self.cracks.edge_row(y)))
            .sum();
        self.cracks.dilate();
        (edge_pixels, self.cracks.count())
    }
}

/// Variance of `Laplacian(grey, CV_64F)`.
fn laplacian_variance(grey: &[u8], width: usize) -> f64 {
    let height = grey.len() / width;
    let row = |y: usize| &grey[y * width..][..width];
    let (mut sum, mut squares) = (0i64, 0u64);
    for y in 0..height {
        let above = y.checked_sub(1).unwrap_or(1.min(height - 1));
        let below = if y + 1 < height {
            y + 1
        } else {
            y.saturating_sub(1)
        };
        let (row_sum, row_squares) = pixels::laplacian_sums(row(above), row(y), row(below));
        sum += row_sum;
        squares += row_squares;
    }
    variance(sum as f64, squares as f64, grey.len() as f64)
}

fn variance(sum: f64, squares: f64, n: f64) -> f64 {
    let mean = sum / n;
    (squares / n - mean * mean).max(0.0)
}

fn summarise(
    image: &RgbImage,
    sums: &PixelSums,
    laplacian_variance: f64,
    edges: u64,
    cracks: usize,
) -> Surface {
    let n = (image.width() * image.height()).max(1) as f64;
    let mean = |sum: u64| sum as f64 / n;
    let percent = |count: u64| 100.0 * count as f64 / n;

    let grass = percent(sums.grass);
    let density = percent(edges);
    let grey = mean(sums.grey);
    let dark = percent(sums.dark);
    let moisture = ((100.0 - grey / 255.0 * 100.0) + dark) / 2.0;
    let colour = sums.rgb.map(mean);
    Surface {
        grass: Grass {
            percent: two_decimals(grass),
            level: levels::grass(grass),
        },
        cracks: Cracks {
            density_percent: two_decimals(density),
            count: cracks,
            severity: levels::cracks(density, cracks),
        },
        moisture: Moisture {
            score: two_decimals(moisture),
            level: levels::moisture(moisture),
            dark_percent: two_decimals(dark),
            mean_saturation: two_decimals(mean(sums.saturation)),
        },
        colour: Colour {
            mean_rgb: colour.map(two_decimals),
            dominant_rgb: dominant::dominant(image),
            kind: levels::colour(colour),
        },
        texture: Texture {
            laplacian_variance: two_decimals(laplacian_variance),
            std_dev: two_decimals(variance(sums.grey as f64, sums.grey_squares as f64, n).sqrt()),
            kind: levels::texture(laplacian_variance),
        },
        brightness: Brightness {
            mean: two_decimals(grey),
            level: levels::brightness(grey),
        },
    }
}

/// Rounds to two decimals, halves to even, as Python's `round` does for values that are exact.
fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round_ties_even() / 100.0
}
