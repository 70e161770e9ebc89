//! Photos that must fail, each with its own code, and odd ones that must not. None may end the process.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::time::Duration;

use pitch::photo::{self, Crop, CropWant, Limits, PhotoError, PhotoErrorKind};
use proptest::prelude::*;

const WANT: CropWant = CropWant {
    analysis_max_side: 1920,
};

fn bytes(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/photos")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What an analysis reads: the header, an overview, and the middle of the photo.
fn analyse(bytes: &[u8], limits: &Limits) -> Result<Crop, PhotoError> {
    let mut photo = photo::open(bytes, limits)?;
    let side = photo.header().overview_side(WANT);
    photo.overview(side)?;
    let (width, height) = (photo.header().width(), photo.header().height());
    photo.crop(
        [width / 4, height / 4, width - width / 4, height - height / 4],
        WANT,
    )
}

fn kind(bytes: &[u8]) -> Option<PhotoErrorKind> {
    analyse(bytes, &Limits::default()).err().map(|error| error.kind())
}

fn position(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap()
}

/// Where each marker of a JPEG's segments stands, up to the first scan.
fn sof(jpeg: &[u8]) -> usize {
    (0..jpeg.len() - 1)
        .find(|&i| jpeg[i] == 0xff && matches!(jpeg[i + 1], 0xc0 | 0xc2))
        .unwrap()
}

#[test]
fn an_empty_file() {
    assert_eq!(kind(b""), Some(PhotoErrorKind::EmptyFile));
}

#[test]
fn text_named_jpg() {
    assert_eq!(
        kind(b"The pitch looked dry on the first morning.\n"),
        Some(PhotoErrorKind::UnsupportedFormat)
    );
}

#[test]
fn other_formats() {
    for bytes in [
        &b"GIF89a\x01\0\x01\0"[..],
        b"%PDF-1.7",
        b"BM\x36\0\0\0",
        &[0; 64],
        &[0xff; 64],
    ] {
        assert_eq!(kind(bytes), Some(PhotoErrorKind::UnsupportedFormat), "{bytes:?}");
    }
}

#[test]
fn a_jpeg_cut_anywhere() {
    for name in [
        "base420.jpg",
        "progressive.jpg",
        "restart.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "scans.jpg",
    ] {
        let whole = bytes(name);
        for length in 1..whole.len() {
            assert_eq!(
                kind(&whole[..length]),
                Some(PhotoErrorKind::Truncated),
                "{name} cut to {length} of {} bytes",
                whole.len()
            );
        }
    }
}

#[test]
fn a_large_jpeg_cut_anywhere() {
    for name in ["large420.jpg", "large_progressive.jpg", "large422_turned6.jpg"] {
        let whole = bytes(name);
        for length in (1..whole.len())
            .step_by(whole.len() / 23)
            .chain([whole.len() - 1])
        {
            assert_eq!(
                kind(&whole[..length]),
                Some(PhotoErrorKind::Truncated),
                "{name} cut to {length}"
            );
        }
    }
}

#[test]
fn other_formats_cut_anywhere() {
    let names = [
        "rgb8.png",
        "interlaced.png",
        "lossy.webp",
        "lossless.webp",
        "plain.heic",
    ];
    for name in names.into_iter().filter(|&name| kind(&bytes(name)).is_none()) {
        let whole = bytes(name);
        // Less than the first box of a HEIC could be anything.
        let least = if name == "plain.heic" { 12 } else { 1 };
        for length in (least..whole.len())
            .step_by(whole.len() / 150 + 1)
            .chain([whole.len() - 1])
        {
            assert_eq!(
                kind(&whole[..length]),
                Some(PhotoErrorKind::Truncated),
                "{name} cut to {length} of {}",
                whole.len()
            );
        }
    }
}

#[test]
fn a_tiff_cut_anywhere() {
    for name in ["rgb8.tif", "rgb16.tif", "tiled.tif"] {
        let whole = bytes(name);
        for length in (1..whole.len()).step_by(whole.len() / 150 + 1) {
            let kind = kind(&whole[..length]);
            assert_eq!(kind, Some(PhotoErrorKind::Truncated), "{name} cut to {length}");
        }
    }
}

#[test]
fn sizes_over_the_limits() {
    assert_eq!(kind(&bytes("bomb.png")), Some(PhotoErrorKind::SideTooLong));
    assert_eq!(
        kind(&bytes("many_pixels.png")),
        Some(PhotoErrorKind::TooManyPixels)
    );
    assert_eq!(kind(&bytes("zero.png")), Some(PhotoErrorKind::ZeroDimension));

    let limits = Limits {
        max_side: 100_000,
        ..Limits::default()
    };
    let error = analyse(&bytes("bomb.png"), &limits).unwrap_err();
    assert_eq!(error.kind(), PhotoErrorKind::TooManyPixels);
    assert!(error.to_string().contains("50000x50000"), "{error}");

    let limits = Limits {
        max_bytes: 1000,
        ..Limits::default()
    };
    let error = analyse(&bytes("base420.jpg"), &limits).unwrap_err();
    assert_eq!(error.kind(), PhotoErrorKind::TooManyBytes);
}

#[test]
fn jpeg_sizes_over_the_limits() {
    let plain = bytes("base420.jpg");
    let at = sof(&plain) + 5;
    let with_size = |height: u16, width: u16| {
        let mut jpeg = plain.clone();
        jpeg[at..at + 2].copy_from_slice(&height.to_be_bytes());
        jpeg[at + 2..at + 4].copy_from_slice(&width.to_be_bytes());
        jpeg
    };
    assert_eq!(kind(&with_size(0, 197)), Some(PhotoErrorKind::ZeroDimension));
    assert_eq!(kind(&with_size(131, 0)), Some(PhotoErrorKind::ZeroDimension));
    assert_eq!(kind(&with_size(65_500, 10)), Some(PhotoErrorKind::SideTooLong));
    assert_eq!(
        kind(&with_size(65_535, 65_535)),
        Some(PhotoErrorKind::SideTooLong)
    );
    assert_eq!(
        kind(&with_size(32_000, 32_000)),
        Some(PhotoErrorKind::TooManyPixels)
    );
    // Within every limit, but the data is that of a smaller picture.
    assert!(matches!(
        kind(&with_size(9000, 9000)),
        Some(PhotoErrorKind::Corrupt | PhotoErrorKind::Truncated)
    ));
}

#[test]
fn webp_and_tiff_sizes_over_the_limits() {
    let mut webp = bytes("lossless.webp");
    // VP8L: 14 bits of width less one, 14 bits of height less one, after the signature byte.
    let at = position(&webp, b"VP8L") + 9;
    webp[at..at + 4].copy_from_slice(&(0x3ffe_u32 | 0x3ffe << 14).to_le_bytes());
    assert_eq!(kind(&webp), Some(PhotoErrorKind::TooManyPixels));

    let with_width = |width: u32| {
        let mut tiff = bytes("grey8.tif");
        // The directory's entry for ImageWidth: tag 256, type LONG or SHORT, one value.
        let at = [[0, 1, 4, 0, 1, 0, 0, 0], [0, 1, 3, 0, 1, 0, 0, 0]]
            .iter()
            .find_map(|entry| tiff.windows(8).position(|window| window == entry))
            .unwrap();
        tiff[at + 2] = 4;
        tiff[at + 8..at + 12].copy_from_slice(&width.to_le_bytes());
        tiff
    };
    assert_eq!(kind(&with_width(0)), Some(PhotoErrorKind::ZeroDimension));
    assert_eq!(kind(&with_width(2_000_000)), Some(PhotoErrorKind::SideTooLong));
}

#[test]
fn animations() {
    assert_eq!(kind(&bytes("animated.webp")), Some(PhotoErrorKind::Animated));
    assert_eq!(kind(&bytes("animated.png")), Some(PhotoErrorKind::Animated));
}

#[test]
fn absurd_exif_is_passed_over() {
    for name in ["absurd_exif.jpg", "turned99.jpg"] {
        let bytes = bytes(name);
        let photo = photo::open(&bytes, &Limits::default()).unwrap();
        assert_eq!(photo.header().orientation(), 1, "{name}");
        assert_eq!(photo.header().taken_at(), None, "{name}");
        assert_eq!(kind(&bytes), None, "{name}");
    }
}

#[test]
fn odd_but_whole_photos_are_read() {
    for name in [
        "cmyk.jpg",
        "cmyk_key.jpg",
        "grey.jpg",
        "arithmetic.jpg",
        "trailing.jpg",
        "stray.jpg",
        "grey16.png",
        "rgb16.png",
        "bits1.png",
        "palette_transparent.png",
        "text_bomb.png",
        "grey16.tif",
        "pages.tif",
    ] {
        assert_eq!(kind(&bytes(name)), None, "{name}");
    }
}

#[test]
fn a_jpeg_of_a_kind_that_is_not_read() {
    let mut lossless = bytes("base420.jpg");
    let at = sof(&lossless) + 1;
    lossless[at] = 0xc3;
    assert_eq!(kind(&lossless), Some(PhotoErrorKind::UnsupportedFormat));
}

#[test]
fn damaged_scans_are_corrupt_not_grey() {
    let mut jpeg = bytes("base420.jpg");
    // A marker in the middle of the scan: libjpeg alone would paint the rest grey and be content.
    let middle = jpeg.len() / 2;
    jpeg[middle..middle + 2].copy_from_slice(&[0xff, 0xd9]);
    assert_eq!(kind(&jpeg), Some(PhotoErrorKind::Corrupt));

    let mut restart = bytes("restart.jpg");
    let at = position(&restart, &[0xff, 0xd3]);
    restart.drain(at..at + 200);
    assert_eq!(kind(&restart), Some(PhotoErrorKind::Corrupt));

    let mut png = bytes("rgb8.png");
    let middle = png.len() / 2;
    png[middle] ^= 0xff;
    assert_eq!(kind(&png), Some(PhotoErrorKind::Corrupt));
}

/// Two issues with the JPEG standard (libjpeg-turbo project, 2018): thousands of scans cost seconds each per megapixel.
#[test]
fn a_bomb_of_scans() {
    let progressive = bytes("progressive.jpg");
    // The first scan of coarse DC can be decoded over and over.
    let start = position(&progressive, &[0xff, 0xda]);
    let end = (start + 2..progressive.len() - 1)
        .find(|&i| progressive[i] == 0xff && progressive[i + 1] >= 0xc0)
        .unwrap();
    let mut bomb = progressive[..end].to_vec();
    for _ in 0..2000 {
        bomb.extend_from_slice(&progressive[start..end]);
    }
    bomb.extend_from_slice(&progressive[end..]);
    let error = analyse(&bomb, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), PhotoErrorKind::Corrupt);
    assert!(error.to_string().contains("scans"), "{error}");
}

#[test]
fn time_runs_out() {
    let limits = Limits {
        decode_time: Duration::ZERO,
        ..Limits::default()
    };
    for name in [
        "base420.jpg",
        "large_progressive.jpg",
        "rgb8.png",
        "lossy.webp",
        "rgb8.tif",
    ] {
        let error = analyse(&bytes(name), &limits).unwrap_err();
        assert_eq!(error.kind(), PhotoErrorKind::DecodeTimeout, "{name}");
    }
}

#[test]
fn memory_runs_out() {
    let limits = Limits {
        max_memory: 16 << 20,
        ..Limits::default()
    };
    // Their pixels are the same; the progressive one has its coefficients in memory, too.
    assert!(analyse(&bytes("large420.jpg"), &limits).is_ok());
    let error = analyse(&bytes("large_progressive.jpg"), &limits).unwrap_err();
    assert_eq!(error.kind(), PhotoErrorKind::TooMuchMemory);
}

#[test]
fn a_rectangle_outside_the_photo() {
    let bytes = bytes("base420.jpg");
    let mut photo = photo::open(&bytes, &Limits::default()).unwrap();
    for rect in [
        [197, 0, 300, 50],
        [0, 131, 50, 200],
        [10, 10, 10, 20],
        [20, 10, 10, 20],
        [usize::MAX; 4],
    ] {
        assert_eq!(
            photo.crop(rect, WANT).unwrap_err().kind(),
            PhotoErrorKind::EmptyCrop,
            "{rect:?}"
        );
    }
    let clipped = photo.crop([100, 100, usize::MAX, usize::MAX], WANT).unwrap();
    assert_eq!((clipped.analysed.width(), clipped.analysed.height()), (97, 31));
}

/// Small enough to run many times, one of each decoder's paths.
const SEEDS: [&str; 16] = [
    "base420.jpg",
    "base411.jpg",
    "progressive.jpg",
    "restart.jpg",
    "grey.jpg",
    "cmyk.jpg",
    "arithmetic.jpg",
    "turned6.jpg",
    "absurd_exif.jpg",
    "rgb8.png",
    "interlaced.png",
    "palette_transparent.png",
    "lossy.webp",
    "lossless.webp",
    "tiled.tif",
    "plain.heic",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the bytes, the answer is a picture within the limits or an error.
    #[test]
    fn damage_never_panics_and_never_exceeds_limits(
        seed in 0..SEEDS.len(),
        // Mostly near the front, where the headers are.
        flips in prop::collection::vec((0.0..1.0_f64, any::<bool>(), any::<u8>()), 1..12),
        keep in 0.0..1.5_f64,
    ) {
        let mut damaged = bytes(SEEDS[seed]);
        let length = damaged.len();
        for (place, anywhere, value) in flips {
            let place = if anywhere { place } else { place.powi(4) };
            damaged[(place * length as f64) as usize] = value;
        }
        damaged.truncate((keep * length as f64) as usize);
        let limits = Limits {
            max_pixels: 1_000_000,
            max_memory: 32 << 20,
            ..Limits::default()
        };
        if let Ok(mut photo) = photo::open(&damaged, &limits) {
            let (width, height) = (photo.header().width(), photo.header().height());
            prop_assert!((width * height) as u64 <= limits.max_pixels);
            prop_assert!(photo.header().decoded_cost(WANT) <= limits.max_memory);
            let _ = photo.overview(64);
            if let Ok(crop) = photo.crop([width / 3, height / 3, width, height], WANT) {
                prop_assert_eq!(crop.analysed.width(), width - width / 3);
            }
        }
    }
}
