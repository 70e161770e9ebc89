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
