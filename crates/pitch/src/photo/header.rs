//! What is known of a photo before any of its pixels is decoded.

use super::exif::ExifFacts;
use super::orientation::Orientation;
use super::{CropWant, FULL_DECODE_PIXELS, OVERVIEW_SIDE, jpeg_denominator};
use crate::analysis::PhotoFormat;

/// What a photo's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    format: PhotoFormat,
    stored: (usize, usize),
    orientation: Orientation,
    taken_at: Option<String>,
    channels: usize,
    progressive: bool,
    scratch: u64,
}

impl Header {
    pub(super) fn new(
        format: PhotoFormat,
        stored: (usize, usize),
        exif: ExifFacts,
        channels: usize,
        progressive: bool,
        scratch: u64,
    ) -> Self {
        Self {
            format,
            stored,
            orientation: exif.orientation,
            taken_at: exif.taken_at,
            channels,
            progressive,
            scratch,
        }
    }

    /// Container format.
    pub fn format(&self) -> PhotoFormat {
        self.format
    }

    /// Columns of the upright photo.
    pub fn width(&self) -> usize {
        self.orientation.size(self.stored.0, self.stored.1).0
    }

    /// Rows of the upright photo.
    pub fn height(&self) -> usize {
        self.orientation.size(self.stored.0, self.stored.1).1
    }

    /// Columns and rows as stored, before orientation.
    pub fn stored_size(&self) -> (usize, usize) {
        self.stored
    }

    /// EXIF orientation, 1..=8; 1 when absent, absurd, or applied by the decoder itself (HEIC).
    pub fn orientation(&self) -> u8 {
        self.orientation.exif()
    }

    pub(super) fn turn(&self) -> Orientation {
        self.orientation
    }

    /// EXIF `DateTimeOriginal` as ISO 8601 local time, `2026-06-14T10:32:11`.
    pub fn taken_at(&self) -> Option<&str> {
        self.taken_at.as_deref()
    }

    /// Samples per stored pixel: 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha or CMYK.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// A JPEG of several scans, or an interlaced PNG: the decoder holds all of it before the first row is ready.
    pub fn progressive(&self) -> bool {
        self.progressive
    }

    /// Whether the photo is decoded once and kept whole, as opposed to read twice.
    pub(super) fn kept_whole(&self) -> bool {
        self.format != PhotoFormat::Jpeg || self.stored.0 * self.stored.1 <= FULL_DECODE_PIXELS
    }

    /// The side in pixels to ask of [`Photo::overview`](super::Photo::overview) when crops as `want` says follow. That is
    /// [`OVERVIEW_SIDE`], or more where the overview then serves for crops of most of the photo, too, without a second
    /// read of the file.
    pub fn overview_side(&self, want: CropWant) -> usize {
        let (longer, side) = (self.stored.0.max(self.stored.1), want.analysis_max_side);
        if side > OVERVIEW_SIDE && longer > 2 * side {
            side
        } else {
            OVERVIEW_SIDE
        }
    }

    /// Bytes that decoding this photo holds at its peak, an overview of [`Header::overview_side`] and a crop of the whole
    /// photo included: an upper bound, for admission by a memory budget. The encoded bytes are not in it.
    pub fn decoded_cost(&self, want: CropWant) -> u64 {
        let (width, height) = (self.stored.0 as u64, self.stored.1 as u64);
        let longer = width.max(height);
        let pixels = width * height;
        let analysed = match want.analysis_max_side as u64 {
            0 => pixels * 3,
            // Area averaging keeps one row of sums; the picture itself is the bulk.
            side if longer > side => (pixels * 3).saturating_mul(side) / longer * side / longer,
            _ => pixels * 3,
        };
        // 224 columns of every row of the crop, between the classifier's two passes.
        let classifier = 224 * 3 * height.max(width) + 224 * 224 * 3;
        let overview = if self.kept_whole() {
            // The whole picture, and the overview averaged from it.
            pixels * 3 + pixels * 3 / 4
        } else {
            let denominator = u64::from(jpeg_denominator(longer as usize, self.overview_side(want)));
            width.div_ceil(denominator) * height.div_ceil(denominator) * 3
        };
        self.scratch + overview + analysed + classifier
    }
}
