//! Pictures that show what was found: overlays on the analysed crop, the photo with its box, and a page with all of it.

pub mod colour_maps;
pub mod overlays;

mod canvas;
mod jpeg;
mod report_page;

use std::io;

use crate::RgbImage;
use crate::analysis::{
    Advice, Classification, Detection, OverlayKind, PhotoFacts, Picture, PixelBox, Size, Surface,
};

/// Longest side of an overlay in pixels.
const LONGEST_SIDE: usize = 1280;

/// A picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The JPEG encoder gave up.
    #[error("cannot encode a picture: {0}")]
    Encode(#[from] io::Error),
    /// The embedded font does not parse.
    #[error("cannot read the embedded font: {0}")]
    Font(#[from] ttf_parser::FaceParsingError),
    /// The page's pixels could not be allocated.
    #[error("a page of {width}x{height} pixels cannot be drawn")]
    Page {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// What the pictures show.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The whole photo at any size.
    pub overview: &'a RgbImage,
    /// The analysed crop.
    pub crop: &'a RgbImage,
    /// What was measured at each pixel of the crop.
    pub maps: Maps<'a>,
    /// The file.
    pub photo: &'a PhotoFacts,
    /// Where the pitch is.
    pub detection: &'a Detection,
    /// What its surface is like.
    pub surface: &'a Surface,
    /// What it favours.
    pub classification: &'a Classification,
    /// What follows.
    pub advice: &'a Advice,
}

/// One value for each pixel of the crop, rows top to bottom. A map may be empty when no picture shows it.
#[derive(Clone, Copy, Default)]
pub struct Maps<'a> {
    /// Not 0 where grass is.
    pub grass: &'a [u8],
    /// Not 0 on a Canny edge.
    pub edges: &'a [u8],
    /// Grey, 0..=255.
    pub grey: &'a [u8],
}

impl Subject<'_> {
    /// The overlay of `kind`, shrunk to `longest_side`. The report is a page of its own.
    fn overlay(&self, kind: OverlayKind, longest_side: usize) -> RgbImage {
        let Self { crop, maps, .. } = *self;
        match kind {
            OverlayKind::Grass => overlays::grass(crop, maps.grass, longest_side),
            OverlayKind::Cracks => overlays::cracks(crop, maps.edges, longest_side),
            OverlayKind::Moisture => overlays::moisture(crop, maps.grey, longest_side),
            OverlayKind::Crop | OverlayKind::Report => overlays::plain(crop, longest_side),
            OverlayKind::Box => {
                let size = Size {
                    width: self.photo.width,
                    height: self.photo.height,
                };
                let boxes: Vec<PixelBox> = self.detection.boxes.iter().map(|b| b.corners).collect();
                overlays::boxed(self.overview, size, &boxes, longest_side)
            }
        }
    }
}

/// Makes the pictures of `kinds`, each once, in that order.
///
/// # Errors
/// See [`PictureError`]; none is the photo's fault.
pub fn draw(kinds: &[OverlayKind], subject: &Subject<'_>) -> Result<Vec<Picture>, PictureError> {
    let mut pictures: Vec<Picture> = Vec::with_capacity(kinds.len());
    for &kind in kinds {
        if pictures.iter().any(|p| p.kind == kind) {
            continue;
        }
        let jpeg = match kind {
            OverlayKind::Report => report_page::draw(subject)?,
            _ => jpeg::encode(&subject.overlay(kind, LONGEST_SIDE))?,
        };
        pictures.push(Picture { kind, jpeg });
    }
    Ok(pictures)
}

#[cfg(test)]
mod test_subject;

#[cfg(test)]
mod tests {
    use super::test_subject::TestSubject;
    use super::*;

    /// Columns and rows from the frame header of a baseline JPEG (ITU-T T.81, B.2.2).
    fn jpeg_size(jpeg: &[u8]) -> (usize, usize) {
        let at = jpeg.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
        let side = |i: usize| usize::from(u16::from_be_bytes([jpeg[at + i], jpeg[at + i + 1]]));
        (side(7), side(5))
    }

    #[test]
    fn every_kind_is_drawn_once_and_no_other() {
        let made = TestSubject::new(RgbImage::black(1600, 900), RgbImage::black(300, 1500));
        let subject = made.subject();
        assert_eq!(draw(&[], &subject).unwrap(), []);
        let twice = [OverlayKind::ALL, OverlayKind::ALL].concat();
        let pictures = draw(&twice, &subject).unwrap();
        let kinds: Vec<_> = pictures.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, OverlayKind::ALL);
        for Picture { kind, jpeg } in pictures {
            let expected = match kind {
                OverlayKind::Report => (1600, 1690),
                OverlayKind::Box => (1280, 720),
                _ => (256, 1280),
            };
            assert_eq!(jpeg_size(&jpeg), expected, "{kind:?}");
        }
    }

    #[test]
    fn pictures_of_the_smallest_photo() {
        for (width, height) in [(1, 1), (3000, 1), (1, 3000)] {
            let image = RgbImage::black(width, height);
            let made = TestSubject::new(image.clone(), image);
            assert_eq!(draw(&OverlayKind::ALL, &made.subject()).unwrap().len(), 6);
        }
    }

    /// For the eye: `PITCH_PAGE=page.jpg PITCH_PHOTO=photo.jpg cargo test -p pitch page_for_the_eye -- --ignored`.
    #[test]
    #[ignore = "writes a picture to look at"]
    fn page_for_the_eye() {
        let bytes = std::fs::read(std::env::var("PITCH_PHOTO").unwrap()).unwrap();
        let mut photo = crate::photo::open(&bytes, &crate::photo::Limits::default()).unwrap();
        let overview = photo.overview(1280).unwrap().image.clone();
        let corners = [
            overview.width() / 4,
            overview.height() / 4,
            overview.width() / 2 + 1,
            overview.height() / 2 + 1,
        ];
        let crop = overview.crop(corners);
        let made = TestSubject::new(overview, crop);
        let page = draw(&[OverlayKind::Report], &made.subject()).unwrap();
        std::fs::write(std::env::var("PITCH_PAGE").unwrap(), &page[0].jpeg).unwrap();
    }
}
