//! HEIC and AVIF through libheif, found at run time: the program starts without it, and a photo that needs it says so.
//!
//! Everything unsafe about it is in `libheif`. libheif applies rotation and mirroring (`irot`, `imir`) itself, and
//! in HEIF these count, not the orientation in EXIF: a decoded picture is upright.

mod libheif;

use std::path::Path;

use self::libheif::Context;
use super::error::PhotoError;
use super::exif;
use super::header::Header;
use super::limits::{Deadline, Limits};
use super::orientation::{Orientation, zeroed_pixels};
use crate::analysis::PhotoFormat;
use crate::rgb::RgbImage;

/// Finds and loads libheif, its decoders with it. The first HEIC photo would do so as well; a process that closes its
/// sandbox (Landlock) calls this before, because nothing can be loaded after.
///
/// # Errors
/// [`PhotoErrorKind::HeicUnavailable`](super::PhotoErrorKind::HeicUnavailable), now and for every HEIC photo after.
pub fn preload() -> Result<(), PhotoError> {
    libheif::library().map(|_| ())
}

/// As [`preload`], but loads the library at `path`. Whichever of them is called first in a process decides.
///
/// # Errors
/// As [`preload`].
pub fn preload_from(path: &Path) -> Result<(), PhotoError> {
    libheif::library_at(path).map(|_| ())
}

/// Reads the header and checks it against `limits`.
pub(super) fn read_header(bytes: &[u8], limits: &Limits) -> Result<Header, PhotoError> {
    check_boxes(bytes)?;
    let context = Context::new(bytes, limits)?;
    let (width, height) = context.size()?;
    limits.check_size(width as u64, height as u64)?;
    let mut facts = context
        .exif_block()
        .and_then(|block| {
            // ISO/IEC 23008-12, A.2.1: how many bytes to pass over before the TIFF structure.
            let (offset, rest) = block.split_first_chunk::<4>()?;
            rest.get(u32::from_be_bytes(*offset) as usize..)
                .map(<[u8]>::to_vec)
        })
        .map(exif::read)
        .unwrap_or_default();
    facts.orientation = Orientation::UPRIGHT;
    // The decoder's planes, their conversion to RGB, and a turned copy.
    let scratch = (width as u64 * height as u64).saturating_mul(10);
    Ok(Header::new(
        PhotoFormat::Heic,
        (width, height),
        facts,
        3,
        false,
        scratch,
    ))
}

/// The whole picture, upright, without alpha.
pub(super) fn decode(bytes: &[u8], limits: &Limits, deadline: Deadline) -> Result<RgbImage, PhotoError> {
    let context = Context::new(bytes, limits)?;
    let (width, height) = context.size()?;
    limits.check_size(width as u64, height as u64)?;
    let mut pixels = zeroed_pixels(width, height)?;
    context.decode(width, height, &mut pixels)?;
    deadline.check()?;
    RgbImage::from_pixels(width, height, pixels)
        .map_err(|_| PhotoError::corrupt("the picture's size changed while it was decoded"))
}

/// Follows the boxes of ISO/IEC 14496-12 at the top of the file: a file that ends within one was cut, which libheif
/// notices in some of them only.
fn check_boxes(bytes: &[u8]) -> Result<(), PhotoError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(size) = rest.first_chunk::<4>() else {
            return Err(PhotoError::Truncated);
        };
        let size = match u32::from_be_bytes(*size) {
            // To the end of the file.
            0 => return Ok(()),
            1 => {
                let large = rest.get(8..).and_then(|rest| rest.first_chunk::<8>());
                let large = large.ok_or(PhotoError::Truncated)?;
                usize::try_from(u64::from_be_bytes(*large)).unwrap_or(usize::MAX)
            }
            size => size as usize,
        };
        if size < 8 {
            return Err(PhotoError::corrupt("a box smaller than its header"));
        }
        rest = rest.get(size..).ok_or(PhotoError::Truncated)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_must_fit_in_the_file() {
        assert_eq!(check_boxes(b"\0\0\0\x08ftyp\0\0\0\x00mdat..."), Ok(()));
        assert_eq!(
            check_boxes(b"\0\0\0\x08ftyp\0\0\0\x09mdat"),
            Err(PhotoError::Truncated)
        );
        assert_eq!(check_boxes(b"\0\0\0\x08ftyp\0\0"), Err(PhotoError::Truncated));
        assert_eq!(check_boxes(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x10"), Ok(()));
        assert!(check_boxes(b"\0\0\0\x07ftyp").is_err());
    }
}
