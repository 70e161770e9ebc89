//! Resampling, letterboxing, colour maps and blending against OpenCV and Pillow
//! (`golden/make_vision_golden.py` made the values).

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic, too")]

use pitch::RgbImage;
use pitch::analysis::Size;
use pitch::detect::letterbox::Letterbox;
use pitch::networks::DetectorShape;
use pitch::pictures::{colour_maps, overlays};
use pitch::resize::{linear, pillow};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/vision/golden.json")).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn size(value: &Value) -> (usize, usize) {
    let side = |i: usize| value[i].as_u64().unwrap() as usize;
    (side(0), side(1))
}

/// `pattern` of the script.
fn pattern((width, height): (usize, usize)) -> RgbImage {
    let mut state = 7u32;
    let pixels = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    RgbImage::from_pixels(width, height, pixels.take(width * height * 3).collect()).unwrap()
}

#[test]
fn linear_resize_equals_opencv() {
    for case in golden()["linear"].as_array().unwrap() {
        let (width, height) = size(&case["to"]);
        let found = linear::resize(&pattern(size(&case["from"])), width, height);
        assert_eq!(sha256(found.pixels()), case["sha256"], "{case}");
    }
}

#[test]
fn bilinear_resize_equals_pillow() {
    for case in golden()["pillow_bilinear"].as_array().unwrap() {
        let (width, height) = size(&case["to"]);
        let found = pillow::resize(&pattern(size(&case["from"])), width, height);
        assert_eq!(sha256(found.pixels()), case["sha256"], "{case}");
    }
}

#[test]
fn letterbox_equals_ultralytics() {
    for case in golden()["letterbox"].as_array().unwrap() {
        let image = pattern(size(&case["from"]));
        let shape = DetectorShape {
            image_size: 640,
            stride: 32,
            fixed_square: case["fixed_square"].as_bool().unwrap(),
            classes: Vec::new(),
        };
        let (width, height) = size(&case["from"]);
        let letterbox = Letterbox::new(Size { width, height }, &shape);
        assert!(
            (letterbox.ratio - case["ratio"].as_f64().unwrap()).abs() < 1e-12,
            "{case}"
        );
        assert_eq!(letterbox.left as u64, case["left"].as_u64().unwrap(), "{case}");
        assert_eq!(letterbox.top as u64, case["top"].as_u64().unwrap(), "{case}");
        let planes = letterbox.planes(&image);
        assert_eq!((planes.width, planes.height), size(&case["to"]), "{case}");
        let bytes: Vec<u8> = planes.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(sha256(&bytes), case["sha256"], "{case}");
    }
}

#[test]
fn colour_maps_equal_opencv() {
    let golden = golden();
    assert_eq!(
        sha256(colour_maps::HOT.as_flattened()),
        golden["colour_maps"]["hot"]
    );
    assert_eq!(
        sha256(colour_maps::JET.as_flattened()),
        golden["colour_maps"]["jet"]
    );
}

#[test]
fn blending_equals_opencv() {
    for (weight, expected) in golden()["blends"].as_object().unwrap() {
        let weight_value: f32 = weight.parse().unwrap();
        let pairs = (0..=255u8).flat_map(|image| (0..=255u8).map(move |colour| (image, colour)));
        let found: Vec<u8> = pairs
            .map(|(image, colour)| overlays::add_weighted(image, colour, weight_value))
            .collect();
        assert_eq!(sha256(&found), *expected, "{weight}");
    }
}
