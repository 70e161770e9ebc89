//! PNG, row by row where it is not interlaced.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use png::{ColorType, Decoder, DecodingError, Limits as PngLimits, Reader, Transformations};

use super::error::PhotoError;
use super::exif;
use super::header::Header;
use super::limits::{Deadline, Limits};
use super::orientation::{Orientation, UprightCanvas, zeroed_bytes};
use crate::analysis::PhotoFormat;
use crate::rgb::RgbImage;

type PngReader<'a> = Reader<Cursor<&'a [u8]>>;

/// Reads the header and checks it against `limits`.
pub(super) fn read_header(bytes: &[u8], limits: &Limits) -> Result<Header, PhotoError> {
    // IHDR stands at a fixed place; look at it before any library does.
    let side = |at: usize| {
        let digits = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        digits.map(|digits| u64::from(u32::from_be_bytes(*digits)))
    };
    let (Some(width), Some(height)) = (side(16), side(20)) else {
        return Err(PhotoError::Truncated);
    };
    limits.check_size(width, height)?;
    let reader = open(bytes, limits)?;
    let info = reader.info();
    if info.is_animated() {
        return Err(PhotoError::Animated);
    }
    let exif = info
        .exif_metadata
        .as_ref()
        .map(|tiff| exif::read(tiff.to_vec()))
        .unwrap_or_default();
    let line = reader.output_line_size(info.width).unwrap_or(usize::MAX) as u64;
    let scratch = if info.interlaced {
        line.saturating_mul(height)
    } else {
        // The row, the one above it, and the inflater's window, generously.
        line * 4 + (1 << 20)
    };
    Ok(Header::new(
        PhotoFormat::Png,
        (info.width as usize, info.height as usize),
        exif,
        info.color_type.samples(),
        info.interlaced,
        scratch,
    ))
}

/// The whole picture, upright. Alpha is dropped and 16 bits keep their upper 8, as `cv2.imread` does.
pub(super) fn decode(
    bytes: &[u8],
    limits: &Limits,
    orientation: Orientation,
    deadline: Deadline,
) -> Result<RgbImage, PhotoError> {
    let mut reader = open(bytes, limits)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let mut canvas = UprightCanvas::new(orientation, width, height)?;
    let (color, _) = reader.output_color_type();
    let mut rgb = vec![0; width * 3];
    if reader.info().interlaced {
        let len = reader
            .output_buffer_size()
            .ok_or_else(|| PhotoError::corrupt("a size that overflows"))?;
        let mut pixels = zeroed_bytes(len)?;
        guarded(|| reader.next_frame(&mut pixels))?;
        for row in pixels.chunks_exact(len / height.max(1)) {
            push(&mut canvas, &mut rgb, row, color)?;
        }
    } else {
        while !canvas.is_full() {
            deadline.check()?;
            match guarded(|| reader.next_row())? {
                Some(row) => push(&mut canvas, &mut rgb, row.data(), color)?,
                None => return Err(PhotoError::Truncated),
            }
        }
    }
    // To the end marker: a file cut after its last row is cut all the same.
    guarded(|| reader.finish())?;
    canvas.into_image()
}

fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<PngReader<'a>, PhotoError> {
    let bytes_limit = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), PngLimits { bytes: bytes_limit });
    // Text may inflate to anything, and colour profiles are not applied.
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    guarded(|| decoder.read_info())
}

fn push(canvas: &mut UprightCanvas, rgb: &mut [u8], row: &[u8], color: ColorType) -> Result<(), PhotoError> {
    match color {
        ColorType::Grayscale => spread(rgb, row, 1, |p| [p[0]; 3]),
        ColorType::GrayscaleAlpha => spread(rgb, row, 2, |p| [p[0]; 3]),
        ColorType::Rgb => spread(rgb, row, 3, |p| [p[0], p[1], p[2]]),
        ColorType::Rgba => spread(rgb, row, 4, |p| [p[0], p[1], p[2]]),
        ColorType::Indexed => return Err(PhotoError::corrupt("a palette that was not expanded")),
    }
    canvas.push_row(rgb);
    Ok(())
}

fn spread(rgb: &mut [u8], row: &[u8], samples: usize, to_rgb: impl Fn(&[u8]) -> [u8; 3]) {
    for (out, pixel) in rgb.chunks_exact_mut(3).zip(row.chunks_exact(samples)) {
        out.copy_from_slice(&to_rgb(pixel));
    }
}

/// Runs a call of the decoder, which is fuzzed but not ours: should it panic, one photo is corrupt.
fn guarded<T>(call: impl FnOnce() -> Result<T, DecodingError>) -> Result<T, PhotoError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(DecodingError::IoError(error))) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(PhotoError::Truncated)
        }
        Ok(Err(DecodingError::LimitsExceeded)) => Err(PhotoError::OutOfMemory),
        Ok(Err(error)) => Err(PhotoError::corrupt(error.to_string())),
        Err(_) => Err(PhotoError::corrupt("the decoder gave up")),
    }
}
