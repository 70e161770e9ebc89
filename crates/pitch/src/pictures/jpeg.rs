//! Encoding of finished pictures.

use std::io;

use mozjpeg::{ColorSpace, Compress};

use crate::RgbImage;

/// Quality in libjpeg's terms.
const QUALITY: f32 = 85.0;

/// The picture as a baseline JPEG.
///
/// # Errors
/// When the picture is empty or a side exceeds what JPEG can hold, 65,500 pixels.
pub(super) fn encode(picture: &RgbImage) -> io::Result<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    encode_samples(width, height, ColorSpace::JCS_RGB, picture.pixels())
}

/// Interleaved `R G B _` samples as a baseline JPEG.
///
/// # Errors
/// See [`encode`].
pub(super) fn encode_rgbx(width: usize, height: usize, samples: &[u8]) -> io::Result<Vec<u8>> {
    encode_samples(width, height, ColorSpace::JCS_EXT_RGBX, samples)
}

fn encode_samples(width: usize, height: usize, layout: ColorSpace, samples: &[u8]) -> io::Result<Vec<u8>> {
    let fits = |side: usize| (1..=65_500).contains(&side);
    if !fits(width) || !fits(height) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{width}x{height} pixels cannot be a JPEG"),
        ));
    }
    let mut compress = Compress::new(layout);
    compress.set_size(width, height);
    // Mozjpeg's own defaults search long for the smallest file; a picture is looked at once or never.
    compress.set_fastest_defaults();
    compress.set_quality(QUALITY);
    let mut compress = compress.start_compress(Vec::new())?;
    compress.write_scanlines(samples)?;
    compress.finish()
}
