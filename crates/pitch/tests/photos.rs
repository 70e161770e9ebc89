//! Photos that are read, against what OpenCV reads of them (`photos/make_photos.py`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use pitch::RgbImage;
use pitch::photo::{self, CropWant, Limits};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Expected {
    width: usize,
    height: usize,
    sha256: String,
}

const NATIVE: CropWant = CropWant { analysis_max_side: 0 };

fn bytes(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/photos")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&bytes("expected.json")).unwrap()
}

fn sha256(image: &RgbImage) -> String {
    Sha256::digest(image.pixels())
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// The whole photo at its own size, by way of a crop.
fn read(name: &str) -> RgbImage {
    let bytes = bytes(name);
    let mut photo = photo::open(&bytes, &Limits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (width, height) = (photo.header().width(), photo.header().height());
    let crop = photo
        .crop([0, 0, width, height], NATIVE)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    crop.analysed
}

#[test]
fn pixels_are_those_of_opencv() {
    let mut different = Vec::new();
    for (name, expected) in expected() {
        if ["animated.png", "animated.webp"].contains(&name.as_str()) {
            continue;
        }
        let image = read(&name);
        assert_eq!(
            (image.width(), image.height()),
            (expected.width, expected.height),
            "{name}"
        );
        if sha256(&image) != expected.sha256 {
            different.push(name);
        }
    }
    assert_eq!(different, Vec::<String>::new());
}

/// Mean absolute difference per sample.
fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let total: u64 = a
        .pixels()
        .iter()
        .zip(b.pixels())
        .map(|(&a, &b)| u64::from(a.abs_diff(b)))
        .sum();
    total as f64 / a.pixels().len() as f64
}

/// With libheif (Debian: `libheif1`) the pixels; without it the remedy, which `heic_missing.rs` tests everywhere.
#[test]
fn heic_and_avif_are_read_where_libheif_is() {
    if let Err(error) = photo::heic::preload() {
        assert_eq!(error.kind(), photo::PhotoErrorKind::HeicUnavailable);
        return;
    }
    let scene = read("rgb8.png");
    for name in ["plain.heic", "plain.avif"] {
        let difference = difference(&read(name), &scene);
        assert!(difference < 4.0, "{name}: {difference}");
    }
    // The upright scene of `turned6`, stored with an `irot` that turns it by another quarter, which makes half a turn
    // of the scene; and with an EXIF orientation that must not turn it once more.
    let mut upside_down = scene.pixels().to_vec();
    upside_down.reverse();
    upside_down
        .as_chunks_mut::<3>()
        .0
        .iter_mut()
        .for_each(|p| p.reverse());
    let upside_down = RgbImage::from_pixels(scene.width(), scene.height(), upside_down).unwrap();
    let difference = difference(&read("turned6.heic"), &upside_down);
    assert!(difference < 4.0, "{difference}");
    let turned = bytes("turned6.heic");
    let photo = photo::open(&turned, &Limits::default()).unwrap();
    assert_eq!(photo.header().orientation(), 1);
    assert_eq!(photo.header().taken_at(), Some("2026-06-14T10:32:11"));
}

/// Rectangles of a large JPEG are cut out while it is decoded; they must be those of the whole picture.
#[test]
fn streamed_crops_equal_the_whole_picture() {
    for name in [
        "large420.jpg",
        "large422_turned6.jpg",
        "large_turned3.jpg",
        "large_progressive.jpg",
    ] {
        let whole = read(name);
        let bytes = bytes(name);
        let mut photo = photo::open(&bytes, &Limits::default()).unwrap();
        let (width, height) = (whole.width(), whole.height());
        for rect in [
            [0, 0, 40, 30],
            [701, 333, 1402, 901],
            [1, 1, width - 1, height - 1],
            [width - 7, height - 5, width, height],
            [16, 16, 17, height],
            [333, 640, width, 641],
        ] {
            let crop = photo.crop(rect, NATIVE).unwrap();
            assert_eq!(crop.analysed, whole.crop(rect), "{name} {rect:?}");
        }
    }
}

/// Scaling by the DCT, turned or not, and with a crop's own scaling after it, shows the same scene.
#[test]
fn scaled_reads_show_the_same_scene() {
    for (name, upright) in [
        ("large420.jpg", "large420.jpg"),
        ("large422_turned6.jpg", "large422_turned6.jpg"),
    ] {
        let whole = read(upright);
        let (width, height) = (whole.width(), whole.height());
        let bytes = bytes(name);
        let mut photo = photo::open(&bytes, &Limits::default()).unwrap();
        let longer = width.max(height);
        let overview = photo.overview(longer / 2).unwrap();
        assert!((overview.scale - 0.5).abs() < 1e-9, "{name}");
        let half = overview.image.clone();
        assert_eq!(
            (half.width(), half.height()),
            (width.div_ceil(2), height.div_ceil(2))
        );
        assert!(difference(&half, &halved(&whole)) < 2.0, "{name}");

        // Read from the overview, then anew.
        let want = CropWant {
            analysis_max_side: longer / 3,
        };
        let from_overview = photo.crop([0, 0, width, height], want).unwrap();
        let mut again = photo::open(&bytes, &Limits::default()).unwrap();
        let anew = again.crop([0, 0, width, height], want).unwrap();
        assert_eq!(
            (anew.analysed.width(), anew.analysed.height()),
            want.analysed_size(width, height)
        );
        assert!(
            difference(&from_overview.analysed, &anew.analysed) < 1.0,
            "{name}"
        );
        assert!(
            difference(&from_overview.classifier, &anew.classifier) < 1.0,
            "{name}"
        );
    }
}

/// Means of 2x2 pixels, less at the right and bottom edges of odd sizes.
fn halved(image: &RgbImage) -> RgbImage {
    let (width, height) = (image.width().div_ceil(2), image.height().div_ceil(2));
    let mut out = RgbImage::black(width, height);
    for y in 0..height {
        let below = (2 * y + 1).min(image.height() - 1);
        for x in 0..width {
            let right = (2 * x + 1).min(image.width() - 1);
            for channel in 0..3 {
                let at = |x: usize, y: usize| u32::from(image.row(y)[x * 3 + channel]);
                let sum = at(2 * x, 2 * y) + at(right, 2 * y) + at(2 * x, below) + at(right, below);
                out.row_mut(y)[x * 3 + channel] = ((sum + 2) / 4) as u8;
            }
        }
    }
    out
}

#[test]
fn headers_say_what_exif_says() {
    let read = |name: &str| {
        let bytes = bytes(name);
        let photo = photo::open(&bytes, &Limits::default()).unwrap();
        photo.header().clone()
    };
    for orientation in 1..=8 {
        let header = read(&format!("turned{orientation}.jpg"));
        assert_eq!(header.orientation(), orientation);
        assert_eq!(header.taken_at(), Some("2026-06-14T10:32:11"));
        assert_eq!(header.stored_size(), (197, 131));
        let upright = if orientation >= 5 { (131, 197) } else { (197, 131) };
        assert_eq!((header.width(), header.height()), upright);
    }
    for name in ["turned6.png", "turned6.webp"] {
        let header = read(name);
        assert_eq!(
            (header.orientation(), header.taken_at()),
            (6, Some("2026-06-14T10:32:11")),
            "{name}"
        );
    }
    assert_eq!(read("turned6.tif").orientation(), 6);
    assert!(read("progressive.jpg").progressive());
    assert!(!read("base420.jpg").progressive());
    assert_eq!(read("grey.jpg").channels(), 1);
    assert_eq!(read("cmyk.jpg").channels(), 4);
}

/// OpenCV fails on this one; turned, it is the scene of the TIFF that is not.
#[test]
fn a_turned_tiff_is_upright() {
    assert_eq!(read("turned6.tif"), read("turned6.png"));
}
