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
