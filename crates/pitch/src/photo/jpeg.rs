//! JPEG: headers, whole pictures at a DCT scale, and rectangles of them, row by row.

mod libjpeg;

use libjpeg::{JpegReader, Samples};

use super::error::PhotoError;
use super::exif;
use super::header::Header;
use super::limits::{Deadline, Limits};
use super::orientation::{Orientation, UprightCanvas};
use crate::analysis::{PhotoFormat, PixelBox};
use crate::rgb::RgbImage;

/// Facts of a JPEG's header that later reads need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JpegFacts {
    header: libjpeg::JpegHeader,
}

impl JpegFacts {
    /// Rectangles can be cut out while decoding: one scan and the sampling of cameras. libjpeg's cropping is least
    /// tested outside of that, and gains nothing once all coefficients are in memory.
    fn crops(&self) -> bool {
        self.header.plain_sampling && !self.header.multiple_scans
    }
}

/// Reads the header and checks it against `limits`; nothing larger than a few kilobytes is allocated.
pub(super) fn read_header(
    bytes: &[u8],
    limits: &Limits,
    deadline: Deadline,
) -> Result<(Header, JpegFacts), PhotoError> {
    let reader = JpegReader::new(bytes, deadline, limits.max_memory)?;
    let header = reader.header()?;
    limits.check_size(header.width as u64, header.height as u64)?;
    let exif = exif::find_in_jpeg(bytes)
        .map(|tiff| exif::read(tiff.to_vec()))
        .unwrap_or_default();
    let scratch = if header.multiple_scans {
        header.coefficient_bytes
    } else {
        // Row buffers of libjpeg, generously: 32 rows of all components in 16 bits.
        header.width as u64 * 32 * 8
    };
    Ok((
        Header::new(
            PhotoFormat::Jpeg,
            (header.width, header.height),
            exif,
            header.components,
            header.multiple_scans,
            scratch,
        ),
        JpegFacts { header },
    ))
}

/// What a decoding run works on.
#[derive(Clone, Copy)]
pub(super) struct JpegSource<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) facts: JpegFacts,
    pub(super) orientation: Orientation,
    pub(super) deadline: Deadline,
    pub(super) max_memory: u64,
}

impl<'a> JpegSource<'a> {
    fn start(&self, denominator: u32) -> Result<(Rows<'a>, usize, usize), PhotoError> {
        let mut reader = JpegReader::new(self.bytes, self.deadline, self.max_memory)?;
        let samples = self.facts.header.samples;
        let (width, height) = reader.start(samples, denominator)?;
        let cmyk = match samples {
            Samples::Rgb => Vec::new(),
            Samples::Cmyk => vec![0; width * samples.per_pixel()],
        };
        Ok((Rows { reader, cmyk }, width, height))
    }

    /// The whole picture, upright, at `1/denominator` of its size (rounded up). Fails on a file that was cut anywhere.
    pub(super) fn decode(&self, denominator: u32) -> Result<RgbImage, PhotoError> {
        let (mut rows, width, height) = self.start(denominator)?;
        let mut canvas = UprightCanvas::new(self.orientation, width, height)?;
        let mut row = vec![0; width * 3];
        while !canvas.is_full() {
            match canvas.next_row_mut() {
                Some(place) => rows.read(place)?,
                None => {
                    rows.read(&mut row)?;
                    canvas.push_row(&row);
                }
            }
        }
        rows.reader.finish()?;
        canvas.into_image()
    }

    /// Feeds the stored rows of `rect` (stored corners at the scale) to `push`. Rows above it are passed over without
    /// transforming them, rows below are not read at all.
    pub(super) fn stream(
        &self,
        denominator: u32,
        [x1, y1, x2, y2]: PixelBox,
        mut push: impl FnMut(&[u8]) -> Result<(), PhotoError>,
    ) -> Result<(), PhotoError> {
        let (mut rows, width, height) = self.start(denominator)?;
        let (x2, y2) = (x2.min(width), y2.min(height));
        let mut first = 0;
        if self.facts.crops() {
            // Chroma is smoothed between neighbouring columns: two columns of MCUs beyond either edge give it the
            // neighbours that it has in the whole picture.
            let margin = 2 * self.facts.header.mcu_width;
            let start = x1.saturating_sub(margin);
            let end = (x2 + margin).min(width);
            first = rows.reader.crop_columns(start, end - start)?;
            if y1 > 0 {
                rows.reader.skip_rows(y1)?;
            }
        }
        let mut row = vec![0; width * 3];
        if !self.facts.crops() {
            for _ in 0..y1 {
                rows.read(&mut row)?;
            }
        }
        for _ in y1..y2 {
            rows.read(&mut row)?;
            push(&row[(x1 - first) * 3..(x2 - first) * 3])?;
        }
        if y2 == height {
            rows.reader.finish()?;
        }
        Ok(())
    }
}

/// RGB rows of a running decoder.
struct Rows<'a> {
    reader: JpegReader<'a>,
    /// One row as stored, for CMYK.
    cmyk: Vec<u8>,
}

impl Rows<'_> {
    fn read(&mut self, row: &mut [u8]) -> Result<(), PhotoError> {
        if self.cmyk.is_empty() {
            return self.reader.read_row(row);
        }
        self.reader.read_row(&mut self.cmyk)?;
        for (rgb, cmyk) in row.chunks_exact_mut(3).zip(self.cmyk.chunks_exact(4)) {
            // OpenCV's icvCvt_CMYK2BGR_8u_C4C3R: samples as Adobe stores them, inverted.
            let key = i32::from(cmyk[3]);
            for (out, &ink) in rgb.iter_mut().zip(cmyk) {
                *out = (key - (((255 - i32::from(ink)) * key) >> 8)).clamp(0, 255) as u8;
            }
        }
        Ok(())
    }
}
