//! Pillow's `Image.resize(size, BILINEAR)` for 8-bit RGB, equal to it bit for bit.
//!
//! Not interpolation but a convolution: the triangle filter widens with the shrinking factor, so that every source
//! pixel counts. Weights have 22 fractional bits; the horizontal step rounds to 8 bits before the vertical one
//! (Pillow's `src/libImaging/Resample.c`).

mod horizontal;
mod vertical;

use self::horizontal::Horizontal;
use self::vertical::Vertical;
use crate::RgbImage;

const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// What one output sample is made of: `weights.len()` source samples from `start` on.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

impl Window {
    /// The first source sample that is not part of it.
    fn end(&self) -> usize {
        self.start + self.weights.len()
    }
}

fn windows(source: usize, target: usize) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let filter_scale = scale.max(1.0);
    let support = filter_scale;
    (0..target)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5).max(0.0) as usize).min(source);
            let raw: Vec<f64> = (start..end)
                .map(|x| (1.0 - ((x as f64 - centre + 0.5) * (1.0 / filter_scale)).abs()).max(0.0))
                .collect();
            let sum: f64 = raw.iter().sum();
            let fixed = |w: f64| (0.5 + w / sum * f64::from(1 << PRECISION_BITS)) as i32;
            Window {
                start,
                weights: raw.into_iter().map(fixed).collect(),
            }
        })
        .collect()
}

/// A resize that takes the source row by row, so that the source never has to be in memory as a whole.
pub struct RowResizer {
    horizontal: Horizontal,
    vertical: Vertical,
    vertical_first: bool,
    target: Target,
}

impl RowResizer {
    /// Makes ready to resize a `width` x `height` source to `target_width` x `target_height`.
    pub fn new(width: usize, height: usize, target_width: usize, target_height: usize) -> Self {
        let vertical_first = is_vertical_first([width, height], [target_width, target_height]);
        Self::in_order(width, height, target_width, target_height, vertical_first)
    }

    /// Makes ready to resize an image that lies on its side, one whose rows are the columns of the upright image: turned
    /// upright, the result is what [`RowResizer::new`] gives for the upright image.
    pub fn turned(width: usize, height: usize, target_width: usize, target_height: usize) -> Self {
        let vertical_first = !is_vertical_first([height, width], [target_height, target_width]);
        Self::in_order(width, height, target_width, target_height, vertical_first)
    }

    fn in_order(
        width: usize,
        height: usize,
        target_width: usize,
        target_height: usize,
        vertical_first: bool,
    ) -> Self {
        let (target_width, target_height) = if width == 0 || height == 0 {
            (0, 0)
        } else {
            (target_width, target_height)
        };
        let between = if vertical_first { width } else { target_width };
        Self {
            horizontal: Horizontal::new(width, target_width),
            vertical: Vertical::new(between * 3, height, target_height),
            vertical_first,
            target: Target {
                image: RgbImage::black(target_width, target_height),
                filled: 0,
            },
        }
    }

    /// Takes the next source row, top to bottom: `width` pixels `R G B`. What is missing or too much is black or
    /// ignored.
    pub fn push(&mut self, row: &[u8]) {
        let Self {
            horizontal,
            vertical,
            target,
            vertical_first,
        } = self;
        if *vertical_first {
            vertical.push(row, |row| horizontal.push(row, |row| target.push(row)));
        } else {
            horizontal.push(row, |row| vertical.push(row, |row| target.push(row)));
        }
    }

    /// The resized image. Rows of the target whose source rows were not all pushed are black.
    pub fn finish(mut self) -> RgbImage {
        let Self {
            horizontal,
            vertical,
            target,
            vertical_first,
            ..
        } = &mut self;
        if *vertical_first {
            horizontal.flush(|row| target.push(row));
        } else {
            horizontal.flush(|row| vertical.push(row, |row| target.push(row)));
        }
        self.target.image
    }
}

/// The resized image, filled from the top.
struct Target {
    image: RgbImage,
    filled: usize,
}

impl Target {
    fn push(&mut self, row: &[u8]) {
        if self.filled < self.image.height() {
            self.image.row_mut(self.filled).copy_from_slice(row);
            self.filled += 1;
        }
    }
}

/// Which step Pillow takes first, since version 12: the vertical one where it shrinks the image by much more. Each
/// step rounds, so the order shows in the last bit.
fn is_vertical_first([width, height]: [usize; 2], target: [usize; 2]) -> bool {
    let shrink = |source: usize, target: usize| source as i64 - target as i64;
    let down = shrink(height, target[1]);
    down > 0 && down > 2 * shrink(width, target[0])
}

/// Resizes `source` to `width` x `height`.
pub fn resize(source: &RgbImage, width: usize, height: usize) -> RgbImage {
    let mut resizer = RowResizer::new(source.width(), source.height(), width, height);
    for y in 0..source.height() {
        resizer.push(source.row(y));
    }
    resizer.finish()
}

#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(width: usize, height: usize, seed: u32) -> RgbImage {
        let mut image = RgbImage::black(width, height);
        let mut state = seed;
        for sample in image.pixels_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (state >> 24) as u8;
        }
        image
    }

    /// Rows become columns; with `mirrored`, the last row becomes the first column.
    fn turn(image: &RgbImage, mirrored: bool) -> RgbImage {
        let (width, height) = (image.width(), image.height());
        let mut turned = RgbImage::black(height, width);
        for y in 0..height {
            let x = if mirrored { height - 1 - y } else { y };
            for (row, pixel) in image.row(y).chunks_exact(3).enumerate() {
                turned.row_mut(row)[x * 3..][..3].copy_from_slice(pixel);
            }
        }
        turned
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_turned_image_gives_the_turned_result(
            width in 1usize..200,
            height in 1usize..200,
            target_width in 1usize..60,
            target_height in 1usize..60,
            seed: u32,
            mirrored: bool,
        ) {
            let lying = noise(width, height, seed);
            let mut resizer = RowResizer::turned(width, height, target_width, target_height);
            for y in 0..height {
                resizer.push(lying.row(y));
            }
            let upright = resize(&turn(&lying, mirrored), target_height, target_width);
            prop_assert_eq!(turn(&resizer.finish(), mirrored), upright);
        }

        #[test]
        fn any_rows_are_taken(
            width in 0usize..9,
            height in 0usize..9,
            target in (0usize..9, 0usize..9),
            rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..12),
        ) {
            let mut resizer = RowResizer::new(width, height, target.0, target.1);
            for row in &rows {
                resizer.push(row);
            }
            resizer.finish();
        }
    }
}
