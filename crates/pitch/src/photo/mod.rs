//! Photo bytes in, upright RGB out: only as much of it, at only the resolution, that is needed.
//!
//! [`open`] reads the header and checks every limit; no pixel is allocated before that. [`Photo::overview`] gives the
//! picture that detection runs on, [`Photo::crop`] the two pictures of a rectangle that the surface features and the
//! classifier read.
//!
//! A small photo, or one that is no JPEG, is decoded once and kept. A large JPEG is read twice and never whole: first
//! scaled by the DCT, then the rows and columns of the crop at full resolution, streamed through the scalers. The
//! figures behind that are in `docs/decisions/decoding.md`.

mod crop;
mod error;
mod exif;
mod header;
pub mod heic;
mod jpeg;
mod limits;
mod orientation;
mod png;
mod resample;
mod sniff;
mod still;

pub use crop::Crop;
use crop::CropBuilder;
pub use error::{PhotoError, PhotoErrorKind};
pub use header::Header;
use jpeg::{JpegFacts, JpegSource};
use limits::Deadline;
pub use limits::Limits;
use orientation::Orientation;
use still::Alpha;

use crate::analysis::{Options, PhotoFormat, PixelBox};
use crate::rgb::RgbImage;

/// Longer side in pixels below which an overview for detection should not go.
pub const OVERVIEW_SIDE: usize = 1280;

/// JPEGs up to so many pixels are decoded once and kept: 12 MB, and a second read would cost more than it saves.
const FULL_DECODE_PIXELS: usize = 4_000_000;

/// How a rectangle is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropWant {
    /// Longest side in pixels at which the surface is analysed; 0 is the photo's own resolution.
    pub analysis_max_side: usize,
}

/// A picture of the whole photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overview<'p> {
    /// Upright.
    pub image: &'p RgbImage,
    /// Pixels of the overview per pixel of the photo, in either direction: 1, 1/2, 1/3...
    pub scale: f64,
}

/// A photo whose header has been read and passed every limit.
#[derive(Debug)]
pub struct Photo<'a> {
    bytes: &'a [u8],
    limits: Limits,
    deadline: Deadline,
    header: Header,
    facts: FormatFacts,
    /// The whole photo at its own size, of those that are kept.
    whole: Option<RgbImage>,
    /// The whole photo, and the divisor of its size.
    overview: Option<(RgbImage, usize)>,
}

/// What the first look at a file of some formats leaves for decoding.
#[derive(Debug)]
enum FormatFacts {
    Jpeg(JpegFacts),
    Tiff(Alpha),
    None,
}

/// Reads the header of the photo in `bytes` and checks it against `limits`. Decoding time runs from here.
///
/// # Errors
/// Every [`PhotoErrorKind`] that a header can cause; see there.
pub fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Photo<'a>, PhotoError> {
    limits.check_bytes(bytes.len())?;
    let deadline = Deadline::after(limits.decode_time);
    let (header, facts) = match sniff::sniff(bytes)? {
        PhotoFormat::Jpeg => {
            let (header, facts) = jpeg::read_header(bytes, limits, deadline)?;
            (header, FormatFacts::Jpeg(facts))
        }
        PhotoFormat::Png => (png::read_header(bytes, limits)?, FormatFacts::None),
        PhotoFormat::Webp => (still::read_webp_header(bytes, limits)?, FormatFacts::None),
        PhotoFormat::Tiff => {
            let (header, alpha) = still::read_tiff_header(bytes, limits)?;
            (header, FormatFacts::Tiff(alpha))
        }
        PhotoFormat::Heic => (heic::read_header(bytes, limits)?, FormatFacts::None),
    };
    limits.check_memory(header.decoded_cost(CropWant {
        analysis_max_side: Options::default().analysis_max_side,
    }))?;
    Ok(Photo {
        bytes,
        limits: limits.clone(),
        deadline,
        header,
        facts,
        whole: None,
        overview: None,
    })
}

/// The largest of 8, 4, 2, 1 that leaves `longer` pixels at least `at_least` long.
fn jpeg_denominator(longer: usize, at_least: usize) -> u32 {
    let fits = |denominator: &u32| longer.div_ceil(*denominator as usize) >= at_least;
    [8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

impl Photo<'_> {
    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole photo, upright: at its own size when that is decoded anyway, else as small as the DCT scale gives it with
    /// its longer side still at least `at_least` pixels. The photo keeps it: a second call costs nothing. [`Header::overview_side`] says what to ask for.
    ///
    /// # Errors
    /// [`PhotoErrorKind::Truncated`], [`PhotoErrorKind::Corrupt`], [`PhotoErrorKind::DecodeTimeout`],
    /// [`PhotoErrorKind::OutOfMemory`].
    pub fn overview(&mut self, at_least: usize) -> Result<Overview<'_>, PhotoError> {
        let longer = self.header.width().max(self.header.height());
        let divisor = if self.header.kept_whole() {
            // The detector then sees the very pixels that it would be given by the reference.
            1
        } else {
            jpeg_denominator(longer, at_least) as usize
        };
        let (image, divisor) = if divisor == 1 {
            (self.whole()?, 1)
        } else {
            if self.overview.as_ref().is_none_or(|(_, made)| *made != divisor)
                && let Some(source) = self.jpeg_source()
            {
                self.overview = Some((source.decode(divisor as u32)?, divisor));
            }
            match &self.overview {
                Some((image, divisor)) => (image, *divisor),
                None => return Err(PhotoError::corrupt("no overview")),
            }
        };
        Ok(Overview {
            image,
            scale: 1.0 / divisor as f64,
        })
    }

    /// The rectangle with the corners `rect`, in pixels of the upright photo, clipped to it. Read at full resolution;
    /// only where it is more than twice as long as [`CropWant::analysis_max_side`] does the DCT scale it first.
    ///
    /// # Errors
    /// [`PhotoErrorKind::EmptyCrop`] and those of [`Photo::overview`].
    pub fn crop(&mut self, rect: PixelBox, want: CropWant) -> Result<Crop, PhotoError> {
        let (width, height) = (self.header.width(), self.header.height());
        let clipped = [rect[0], rect[1], rect[2].min(width), rect[3].min(height)];
        let [x1, y1, x2, y2] = clipped;
        if x1 >= x2 || y1 >= y2 {
            return Err(PhotoError::EmptyCrop { rect });
        }
        let analysed = want.analysed_size(x2 - x1, y2 - y1);
        match self.jpeg_source() {
            Some(source) if !self.header.kept_whole() => self.crop_jpeg(source, clipped, analysed, want),
            _ => crop_image(self.whole()?, clipped, analysed),
        }
    }

    /// The whole photo at its own size.
    fn whole(&mut self) -> Result<&RgbImage, PhotoError> {
        let whole = match self.whole.take() {
            Some(whole) => whole,
            None => self.decode_whole()?,
        };
        Ok(self.whole.insert(whole))
    }

    fn decode_whole(&self) -> Result<RgbImage, PhotoError> {
        let (bytes, limits) = (self.bytes, &self.limits);
        let (turn, deadline) = (self.header.turn(), self.deadline);
        match (self.header.format(), &self.facts) {
            (_, FormatFacts::Tiff(alpha)) => still::decode_tiff(bytes, limits, turn, deadline, *alpha),
            (PhotoFormat::Png, _) => png::decode(bytes, limits, turn, deadline),
            (PhotoFormat::Webp, _) => still::decode_webp(bytes, limits, turn, deadline),
            (PhotoFormat::Heic, _) => heic::decode(bytes, limits, deadline),
            _ => match self.jpeg_source() {
                Some(source) => source.decode(1),
                None => Err(PhotoError::corrupt("no decoder was set up")),
            },
        }
    }

    fn jpeg_source(&self) -> Option<JpegSource<'_>> {
        match self.facts {
            FormatFacts::Jpeg(facts) => Some(JpegSource {
                bytes: self.bytes,
                facts,
                orientation: self.header.turn(),
                deadline: self.deadline,
                max_memory: self.limits.max_memory,
            }),
            _ => None,
        }
    }

    fn crop_jpeg(
        &self,
        source: JpegSource<'_>,
        rect: PixelBox,
        analysed: (usize, usize),
        want: CropWant,
    ) -> Result<Crop, PhotoError> {
        let longer = (rect[2] - rect[0]).max(rect[3] - rect[1]);
        let denominator = match want.analysis_max_side {
            0 => 1,
            side => [4, 2].into_iter().find(|d| longer > d * side).unwrap_or(1),
        };
        let scaled = [
            rect[0] / denominator,
            rect[1] / denominator,
            rect[2].div_ceil(denominator),
            rect[3].div_ceil(denominator),
        ];
        if let Some((overview, divisor)) = &self.overview
            && *divisor == denominator
        {
            return crop_image(overview, scaled, analysed);
        }
        let orientation = self.header.turn();
        let (stored_width, stored_height) = self.header.stored_size();
        let stored = orientation.stored_rect(
            scaled,
            stored_width.div_ceil(denominator),
            stored_height.div_ceil(denominator),
        );
        let size = (stored[2] - stored[0], stored[3] - stored[1]);
        let mut builder = CropBuilder::new(orientation, size, orientation.size(analysed.0, analysed.1))?;
        source.stream(denominator as u32, stored, |row| {
            builder.push_row(row);
            Ok(())
        })?;
        builder.finish()
    }
}

fn crop_image(
    image: &RgbImage,
    [x1, y1, x2, y2]: PixelBox,
    analysed: (usize, usize),
) -> Result<Crop, PhotoError> {
    let (x2, y2) = (x2.min(image.width()), y2.min(image.height()));
    let mut builder = CropBuilder::new(Orientation::UPRIGHT, (x2 - x1, y2 - y1), analysed)?;
    for y in y1..y2 {
        builder.push_row(&image.row(y)[x1 * 3..x2 * 3]);
    }
    builder.finish()
}
