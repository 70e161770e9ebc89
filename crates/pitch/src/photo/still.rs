//! WebP and TIFF, through the `image` crate: decoded in one call.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use exif::{Context, In, Reader as ExifReader, Tag};
use image::codecs::{tiff::TiffDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, ImageResult, Limits as ImageLimits};

use super::error::PhotoError;
use super::exif::{self as exif_facts, ExifFacts};
use super::header::Header;
use super::limits::{Deadline, Limits};
use super::orientation::{Orientation, UprightCanvas, zeroed_bytes};
use crate::analysis::PhotoFormat;
use crate::rgb::RgbImage;

/// What becomes of an alpha channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpha {
    /// Left out: `cv2.imread` drops that of PNG and WebP.
    Dropped,
    /// The colours are laid on black: libtiff, hence `cv2.imread`, does so with the unassociated alpha of TIFF.
    OnBlack,
}

/// Reads a WebP's header and checks it against `limits`.
pub(super) fn read_webp_header(bytes: &[u8], limits: &Limits) -> Result<Header, PhotoError> {
    // RFC 9649, 2.4: the size of all that follows it.
    let declared = bytes.get(4..).and_then(|rest| rest.first_chunk::<4>());
    let declared = declared.map(|digits| u64::from(u32::from_le_bytes(*digits)));
    if declared.is_none_or(|size| size + 8 > bytes.len() as u64) {
        return Err(PhotoError::Truncated);
    }
    let mut decoder = guarded(|| WebPDecoder::new(Cursor::new(bytes)))?;
    let (width, height) = decoder.dimensions();
    limits.check_size(u64::from(width), u64::from(height))?;
    if decoder.has_animation() {
        return Err(PhotoError::Animated);
    }
    let exif = guarded(|| decoder.exif_metadata()).ok().flatten();
    // RFC 9649, 2.7.1: some writers keep JPEG's prefix.
    let exif = exif
        .map(|mut block| {
            if block.starts_with(b"Exif\0\0") {
                block.drain(..6);
            }
            exif_facts::read(block)
        })
        .unwrap_or_default();
    Ok(header(PhotoFormat::Webp, &decoder, exif, 8))
}

/// Reads a TIFF's header (its first page) and checks it against `limits`.
pub(super) fn read_tiff_header(bytes: &[u8], limits: &Limits) -> Result<(Header, Alpha), PhotoError> {
    let tags = ExifReader::new()
        .continue_on_error(true)
        .read_raw(bytes.to_vec())
        .or_else(|error| error.distill_partial_result(|_| {}));
    let mut facts = ExifFacts::default();
    let mut alpha = Alpha::Dropped;
    if let Ok(tags) = tags {
        let number = |tag| {
            tags.get_field(tag, In::PRIMARY)
                .and_then(|field| field.value.get_uint(0))
        };
        if let (Some(width), Some(height)) = (number(Tag::ImageWidth), number(Tag::ImageLength)) {
            limits.check_size(u64::from(width), u64::from(height))?;
        }
        // TIFF 6.0, ExtraSamples: 2 is alpha that the colours were not multiplied with yet.
        if number(Tag(Context::Tiff, 338)) == Some(2) {
            alpha = Alpha::OnBlack;
        }
        facts = exif_facts::facts(&tags);
    }
    let decoder = guarded(|| TiffDecoder::new(Cursor::new(bytes)))?;
    let (width, height) = decoder.dimensions();
    limits.check_size(u64::from(width), u64::from(height))?;
    // The crate decodes into a buffer of its own first.
    let twice = decoder.total_bytes() / u64::from(width).max(1) / u64::from(height).max(1) * 2;
    Ok((header(PhotoFormat::Tiff, &decoder, facts, twice + 4), alpha))
}

fn header(
    format: PhotoFormat,
    decoder: &impl ImageDecoder,
    exif: ExifFacts,
    scratch_per_pixel: u64,
) -> Header {
    let (width, height) = decoder.dimensions();
    Header::new(
        format,
        (width as usize, height as usize),
        exif,
        usize::from(decoder.color_type().channel_count()),
        false,
        u64::from(width) * u64::from(height) * scratch_per_pixel,
    )
}

/// The whole picture, upright.
pub(super) fn decode_webp(
    bytes: &[u8],
    limits: &Limits,
    orientation: Orientation,
    deadline: Deadline,
) -> Result<RgbImage, PhotoError> {
    let decoder = guarded(|| WebPDecoder::new(Cursor::new(bytes)))?;
    decode(decoder, limits, orientation, deadline, Alpha::Dropped)
}

/// The whole first page, upright.
pub(super) fn decode_tiff(
    bytes: &[u8],
    limits: &Limits,
    orientation: Orientation,
    deadline: Deadline,
    alpha: Alpha,
) -> Result<RgbImage, PhotoError> {
    let decoder = guarded(|| TiffDecoder::new(Cursor::new(bytes)))?;
    decode(decoder, limits, orientation, deadline, alpha)
}

fn decode(
    mut decoder: impl ImageDecoder,
    limits: &Limits,
    orientation: Orientation,
    deadline: Deadline,
    alpha: Alpha,
) -> Result<RgbImage, PhotoError> {
    let mut image_limits = ImageLimits::no_limits();
    image_limits.max_alloc = Some(limits.max_memory);
    guarded(|| decoder.set_limits(image_limits))?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    let color = decoder.color_type();
    // `from_decoder` would allocate by itself and past the limits.
    let len = usize::try_from(decoder.total_bytes()).map_err(|_| PhotoError::OutOfMemory)?;
    let mut samples = zeroed_bytes(len)?;
    guarded(|| decoder.read_image(&mut samples))?;
    deadline.check()?;
    let mut canvas = UprightCanvas::new(orientation, width, height)?;
    let mut rgb = vec![0; width * 3];
    for row in samples.chunks_exact(len / height.max(1)) {
        to_rgb(&mut rgb, row, color, alpha)?;
        canvas.push_row(&rgb);
    }
    canvas.into_image()
}

/// One row as 8-bit RGB. Colours of 16 bits are rounded to 8, as libtiff does for `cv2.imread`; grey ones keep their
/// upper 8, as OpenCV does itself.
fn to_rgb(rgb: &mut [u8], row: &[u8], color: ColorType, alpha: Alpha) -> Result<(), PhotoError> {
    let (samples, bytes) = match color {
        ColorType::L8 => (1, 1),
        ColorType::La8 => (2, 1),
        ColorType::Rgb8 => (3, 1),
        ColorType::Rgba8 => (4, 1),
        ColorType::L16 => (1, 2),
        ColorType::La16 => (2, 2),
        ColorType::Rgb16 => (3, 2),
        ColorType::Rgba16 => (4, 2),
        _ => return Err(PhotoError::unsupported("a picture with floating-point samples")),
    };
    let is_grey = samples < 3;
    let sample = |pixel: &[u8], channel: usize| -> u8 {
        if bytes == 1 {
            return pixel[channel];
        }
        // `image` hands 16 bits out in the machine's order.
        let wide = u16::from_ne_bytes([pixel[channel * 2], pixel[channel * 2 + 1]]);
        if is_grey {
            (wide >> 8) as u8
        } else {
            ((u32::from(wide) + 128) / 257) as u8
        }
    };
    let pixels = row.chunks_exact(samples * bytes);
    for (out, pixel) in rgb.chunks_exact_mut(3).zip(pixels) {
        for (channel, out) in out.iter_mut().enumerate() {
            *out = sample(pixel, if is_grey { 0 } else { channel });
        }
        if samples == 4 && alpha == Alpha::OnBlack {
            let opacity = u32::from(sample(pixel, 3));
            for out in out {
                *out = ((u32::from(*out) * opacity + 127) / 255) as u8;
            }
        }
    }
    Ok(())
}

/// Runs a call of a decoder, which is fuzzed but not ours: should it panic, one photo is corrupt.
fn guarded<T>(call: impl FnOnce() -> ImageResult<T>) -> Result<T, PhotoError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ImageError::IoError(error))) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(PhotoError::Truncated)
        }
        Ok(Err(ImageError::Limits(_))) => Err(PhotoError::OutOfMemory),
        Ok(Err(ImageError::Unsupported(error))) => Err(PhotoError::unsupported(error.to_string())),
        Ok(Err(error)) => Err(PhotoError::corrupt(error.to_string())),
        Err(_) => Err(PhotoError::corrupt("the decoder gave up")),
    }
}
