//! The detector's input: the photo shrunk into `imgsz` and padded with grey, as ultralytics 8 predicts.

use multiversion::multiversion;

use crate::RgbImage;
use crate::analysis::Size;
use crate::networks::{DetectorShape, Planes};
use crate::resize::linear;

/// The grey of the padding, 0..=255.
const PADDING: u8 = 114;

/// Where an image lies in the detector's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Letterbox {
    /// Input pixels per image pixel.
    pub ratio: f64,
    /// Padding on the left, in input pixels.
    pub left: usize,
    /// Padding above, in input pixels.
    pub top: usize,
    /// The image without padding, in input pixels.
    pub content: Size,
    /// The input.
    pub input: Size,
}

impl Letterbox {
    /// Places an image of `image` pixels, neither side 0, in an input of `shape`: each side is padded to the next
    /// multiple of the stride, or to the full square where the model has a fixed one.
    pub fn new(image: Size, shape: &DetectorShape) -> Self {
        let side = shape.image_size as f64;
        let ratio = (side / image.height as f64).min(side / image.width as f64);
        // Python's round() goes to even, and a sliver of a photo would round to nothing.
        let scaled = |n: usize| ((n as f64 * ratio).round_ties_even() as usize).max(1);
        let content = Size {
            width: scaled(image.width),
            height: scaled(image.height),
        };
        let padding = |n: usize| {
            if shape.fixed_square {
                shape.image_size.saturating_sub(n)
            } else {
                n.next_multiple_of(shape.stride.max(1)) - n
            }
        };
        let (across, down) = (padding(content.width), padding(content.height));
        // `round(d / 2 - 0.1)`: an odd pixel goes right and below.
        Self {
            ratio,
            left: across / 2,
            top: down / 2,
            content,
            input: Size {
                width: content.width + across,
                height: content.height + down,
            },
        }
    }

    /// The input for `image`, which must have the size that the letterbox was made for: R, G, B planes in 0..=1.
    pub fn planes(&self, image: &RgbImage) -> Planes {
        let Size { width, height } = self.input;
        let mut values = vec![f32::from(PADDING) / 255.0; 3 * width * height];
        linear::for_each_row(image, self.content.width, self.content.height, |y, row| {
            let start = (self.top + y) * width + self.left;
            let planes = values.chunks_exact_mut(width * height);
            for (plane, samples) in planes.zip(row) {
                to_unit_range(samples, &mut plane[start..][..self.content.width]);
            }
        });
        Planes {
            width,
            height,
            values,
        }
    }

    /// Maps a point of the input back to the image. The padding removed is the one that was applied; ultralytics
    /// removes one rounded differently, up to half an input pixel away.
    pub fn to_image(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [
            (x - self.left as f64) / self.ratio,
            (y - self.top as f64) / self.ratio,
        ]
    }
}

/// Samples 0..=255 as 0.0..=1.0.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn to_unit_range(samples: &[u8], values: &mut [f32]) {
    for (value, &sample) in values.iter_mut().zip(samples) {
        *value = f32::from(sample) / 255.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(fixed_square: bool) -> DetectorShape {
        DetectorShape {
            image_size: 640,
            stride: 32,
            fixed_square,
            classes: vec!["pitch".to_owned()],
        }
    }

    fn letterbox(width: usize, height: usize, fixed_square: bool) -> Letterbox {
        Letterbox::new(Size { width, height }, &shape(fixed_square))
    }

    #[test]
    fn four_by_three_runs_at_640_by_480() {
        let found = letterbox(4000, 3000, false);
        assert_eq!(
            found.input,
            Size {
                width: 640,
                height: 480
            }
        );
        assert_eq!((found.left, found.top), (0, 0));
    }

    #[test]
    fn a_fixed_model_gets_a_square() {
        let found = letterbox(4000, 3000, true);
        assert_eq!(
            found.input,
            Size {
                width: 640,
                height: 640
            }
        );
        assert_eq!((found.left, found.top), (0, 80));
    }

    #[test]
    fn a_sliver_keeps_a_pixel() {
        let found = letterbox(32_768, 1, false);
        assert_eq!(found.content.height, 1);
        assert_eq!(
            found.input,
            Size {
                width: 640,
                height: 32
            }
        );
    }

    #[test]
    fn points_come_back() {
        let found = letterbox(1023, 767, false);
        let [x, y] = found.to_image([
            found.left as f64 + 100.0 * found.ratio,
            found.top as f64 + 50.0 * found.ratio,
        ]);
        assert!((x - 100.0).abs() < 1e-9 && (y - 50.0).abs() < 1e-9);
    }
}
