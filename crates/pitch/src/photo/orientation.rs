//! EXIF orientation: where a stored pixel belongs in the upright picture.

use super::error::PhotoError;
use crate::analysis::PixelBox;
use crate::rgb::RgbImage;

/// EXIF 2.32 tag 0x0112, 1..=8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    pub(super) const UPRIGHT: Self = Self(1);

    /// Anything outside 1..=8 is upright, as viewers treat it.
    pub(super) fn from_exif(value: u32) -> Self {
        match u8::try_from(value) {
            Ok(value @ 1..=8) => Self(value),
            _ => Self::UPRIGHT,
        }
    }

    pub(super) const fn exif(self) -> u8 {
        self.0
    }

    /// Whether columns become rows.
    pub(super) const fn transposes(self) -> bool {
        self.0 >= 5
    }

    /// Whether a stored column index runs against its upright counterpart.
    const fn flips_columns(self) -> bool {
        matches!(self.0, 2 | 3 | 7 | 8)
    }

    /// Whether a stored row index runs against its upright counterpart.
    const fn flips_rows(self) -> bool {
        matches!(self.0, 3 | 4 | 6 | 7)
    }

    /// Upright width and height from stored ones (and the other way round).
    pub(super) const fn size(self, width: usize, height: usize) -> (usize, usize) {
        if self.transposes() {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// The stored rectangle behind an upright one; `width` and `height` are the stored picture's.
    pub(super) fn stored_rect(self, [x1, y1, x2, y2]: PixelBox, width: usize, height: usize) -> PixelBox {
        let [mut x1, mut y1, mut x2, mut y2] = if self.transposes() {
            [y1, x1, y2, x2]
        } else {
            [x1, y1, x2, y2]
        };
        if self.flips_columns() {
            (x1, x2) = (width - x2, width - x1);
        }
        if self.flips_rows() {
            (y1, y2) = (height - y2, height - y1);
        }
        [x1, y1, x2, y2]
    }
}

/// An upright picture that is filled with stored rows from the top, without a second buffer to turn it in.
pub(super) struct UprightCanvas {
    orientation: Orientation,
    /// Stored size.
    width: usize,
    height: usize,
    next_row: usize,
    /// All of them, zeros at first, once a row has to be written elsewhere than at the end.
    pixels: Vec<u8>,
}

impl UprightCanvas {
    /// For stored rows of `width` pixels, `height` of them.
    pub(super) fn new(orientation: Orientation, width: usize, height: usize) -> Result<Self, PhotoError> {
        Ok(Self {
            orientation,
            width,
            height,
            next_row: 0,
            pixels: reserved(pixel_bytes(width, height)?)?,
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.next_row >= self.height
    }

    /// The place of the next stored row, when it lies in one piece in the upright picture; the row counts as pushed.
    pub(super) fn next_row_mut(&mut self) -> Option<&mut [u8]> {
        if self.is_full() || self.orientation.transposes() || self.orientation.flips_columns() {
            return None;
        }
        let y = if self.orientation.flips_rows() {
            self.height - 1 - self.next_row
        } else {
            self.next_row
        };
        self.next_row += 1;
        let row = self.width * 3;
        self.all_pixels().get_mut(y * row..(y + 1) * row)
    }

    /// Puts the next stored row (`width * 3` samples) in its place; rows past the last are dropped.
    pub(super) fn push_row(&mut self, row: &[u8]) {
        if self.is_full() {
            return;
        }
        let y = if self.orientation.flips_rows() {
            self.height - 1 - self.next_row
        } else {
            self.next_row
        };
        self.next_row += 1;
        let flip = self.orientation.flips_columns();
        // Pixel x of the row lands at `first + x * stride` pixels (or runs backwards from the last).
        let (first, stride) = if self.orientation.transposes() {
            (y, self.height)
        } else {
            (y * self.width, 1)
        };
        let width = self.width;
        if stride == 1 && !flip {
            let row = &row[..width * 3];
            if first * 3 == self.pixels.len() {
                self.pixels.extend_from_slice(row);
            } else {
                self.all_pixels()[first * 3..(first + width) * 3].copy_from_slice(row);
            }
            return;
        }
        let pixels = self.all_pixels();
        for (x, pixel) in row.chunks_exact(3).take(width).enumerate() {
            let x = if flip { width - 1 - x } else { x };
            let at = (first + x * stride) * 3;
            pixels[at..at + 3].copy_from_slice(pixel);
        }
    }

    /// The picture; rows that were never pushed are black.
    pub(super) fn into_image(mut self) -> Result<RgbImage, PhotoError> {
        let (width, height) = self.orientation.size(self.width, self.height);
        self.all_pixels();
        RgbImage::from_pixels(width, height, self.pixels)
            .map_err(|_| PhotoError::corrupt("the picture's size changed while it was decoded"))
    }

    fn all_pixels(&mut self) -> &mut [u8] {
        self.pixels.resize(self.width * self.height * 3, 0);
        &mut self.pixels
    }
}

/// `width * height * 3` zeros, or an error where `vec!` would end the process.
pub(super) fn zeroed_pixels(width: usize, height: usize) -> Result<Vec<u8>, PhotoError> {
    zeroed_bytes(pixel_bytes(width, height)?)
}

/// `len` zeros, or an error where `vec!` would end the process.
pub(super) fn zeroed_bytes(len: usize) -> Result<Vec<u8>, PhotoError> {
    let mut bytes = reserved(len)?;
    bytes.resize(len, 0);
    Ok(bytes)
}

fn pixel_bytes(width: usize, height: usize) -> Result<usize, PhotoError> {
    width
        .checked_mul(height)
        .and_then(|n| n.checked_mul(3))
        .ok_or(PhotoError::OutOfMemory)
}

fn reserved(len: usize) -> Result<Vec<u8>, PhotoError> {
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| PhotoError::OutOfMemory)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF 2.32, 4.6.4 A: which upright corner the stored first row and first column lie at, as a picture of 3x2
    /// stored samples 0..6.
    #[test]
    fn places_stored_pixels_as_exif_says() {
        let expected: [(u8, [usize; 6]); 8] = [
            (1, [0, 1, 2, 3, 4, 5]),
            (2, [2, 1, 0, 5, 4, 3]),
            (3, [5, 4, 3, 2, 1, 0]),
            (4, [3, 4, 5, 0, 1, 2]),
            (5, [0, 3, 1, 4, 2, 5]),
            (6, [3, 0, 4, 1, 5, 2]),
            (7, [5, 2, 4, 1, 3, 0]),
            (8, [2, 5, 1, 4, 0, 3]),
        ];
        for (value, wanted) in expected {
            let orientation = Orientation::from_exif(value.into());
            let mut canvas = UprightCanvas::new(orientation, 3, 2).unwrap();
            for y in 0..2_u8 {
                let row: Vec<u8> = (0..3).flat_map(|x| [y * 3 + x; 3]).collect();
                canvas.push_row(&row);
            }
            let image = canvas.into_image().unwrap();
            let samples: Vec<usize> = image.pixels().iter().step_by(3).map(|&s| s.into()).collect();
            assert_eq!(samples, wanted, "orientation {value}");
            assert_eq!((image.width(), image.height()), orientation.size(3, 2));
            // Every upright pixel is found again in the stored picture.
            for y in 0..image.height() {
                for x in 0..image.width() {
                    let [sx, sy, ..] = orientation.stored_rect([x, y, x + 1, y + 1], 3, 2);
                    assert_eq!(image.row(y)[x * 3] as usize, sy * 3 + sx, "orientation {value}");
                }
            }
        }
    }

    #[test]
    fn absurd_values_are_upright() {
        for value in [0, 9, 255, 256, u32::MAX] {
            assert_eq!(Orientation::from_exif(value), Orientation::UPRIGHT);
        }
    }
}
