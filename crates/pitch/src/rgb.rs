//! The one pixel container of the analysis.

/// An 8-bit RGB image: rows top to bottom, pixels interleaved `R G B`, no padding between rows.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl RgbImage {
    /// Wraps `pixels`, which must hold exactly `width * height * 3` bytes.
    ///
    /// # Errors
    /// Gives the buffer back when its length does not fit the size.
    pub fn from_pixels(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, Vec<u8>> {
        if width.checked_mul(height).and_then(|n| n.checked_mul(3)) == Some(pixels.len()) {
            Ok(Self {
                width,
                height,
                pixels,
            })
        } else {
            Err(pixels)
        }
    }

    /// A black image.
    pub fn black(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: vec![0; width * height * 3],
        }
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// All samples, `height * width * 3` of them.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All samples, to write.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The samples of row `y`, `width * 3` of them.
    pub fn row(&self, y: usize) -> &[u8] {
        &self.pixels[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// The samples of row `y`, to write.
    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        &mut self.pixels[y * self.width * 3..(y + 1) * self.width * 3]
    }

    /// A copy of the rectangle with corners `(x1, y1)` and `(x2, y2)`, the second one exclusive, clipped to the image.
    pub fn crop(&self, [x1, y1, x2, y2]: [usize; 4]) -> Self {
        let (x2, y2) = (x2.min(self.width), y2.min(self.height));
        let (x1, y1) = (x1.min(x2), y1.min(y2));
        let mut pixels = Vec::with_capacity((x2 - x1) * (y2 - y1) * 3);
        for y in y1..y2 {
            pixels.extend_from_slice(&self.row(y)[x1 * 3..x2 * 3]);
        }
        Self {
            width: x2 - x1,
            height: y2 - y1,
            pixels,
        }
    }

    /// Gives the samples away.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}
