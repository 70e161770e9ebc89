//! What reading a JPEG costs, by what is read of it. The figures are discussed in `docs/decisions/decoding.md`.
//!
//! The photos are drawn and grained so that their files are as large as a camera's: 3 bits a pixel.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mozjpeg::{ColorSpace, Compress};
use pitch::photo::{self, CropWant, Limits};

const SIZES: [(u16, u16); 3] = [(1600, 1200), (4000, 3000), (6000, 4000)];
const NATIVE: CropWant = CropWant { analysis_max_side: 0 };
const ANALYSIS: CropWant = CropWant {
    analysis_max_side: 1920,
};

fn camera_jpeg(width: u16, height: u16, progressive: bool) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    let mut state = 1_u32;
    for y in 0..i32::from(height) {
        for x in 0..i32::from(width) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = i32::from((state >> 24) as u8 % 15) - 7;
            let wave = (x / 40 * 7 + y / 30 * 5) % 60;
            for base in [60, 110, 50] {
                pixels.push((base + wave + grain).clamp(0, 255) as u8);
            }
        }
    }
    let encode = || {
        let mut compress = Compress::new(ColorSpace::JCS_RGB);
        compress.set_fastest_defaults();
        compress.set_size(width.into(), height.into());
        compress.set_quality(90.0);
        if progressive {
            compress.set_progressive_mode();
        }
        let mut compress = compress.start_compress(Vec::new())?;
        compress.write_scanlines(&pixels)?;
        compress.finish()
    };
    encode().unwrap_or_else(|error: std::io::Error| {
        eprintln!("no photo to measure: {error}");
        Vec::new()
    })
}

/// Opens the photo, makes an overview if asked, and crops the middle `share` of both sides.
fn read(jpeg: &[u8], overview: bool, crop: Option<(f64, CropWant)>) {
    let result = photo::open(jpeg, &Limits::default()).and_then(|mut photo| {
        if overview {
            let side = photo.header().overview_side(ANALYSIS);
            black_box(photo.overview(side)?);
        }
        if let Some((share, want)) = crop {
            let (width, height) = (photo.header().width(), photo.header().height());
            let edge = |side: usize, sign: f64| (side as f64 * (0.5 + sign * share / 2.0)) as usize;
            let rect = [
                edge(width, -1.0),
                edge(height, -1.0),
                edge(width, 1.0),
                edge(height, 1.0),
            ];
            black_box(photo.crop(rect, want)?);
        }
        Ok(())
    });
    if let Err(error) = result {
        eprintln!("{error}");
    }
}

fn decode(c: &mut Criterion) {
    for (width, height) in SIZES {
        let megapixels = (u32::from(width) * u32::from(height)).div_ceil(1_000_000);
        for (kind, progressive) in [("baseline", false), ("progressive", true)] {
            if progressive && megapixels != 12 {
                continue;
            }
            let jpeg = camera_jpeg(width, height, progressive);
            let mut group = c.benchmark_group(format!("{kind} {megapixels} MP"));
            group.sample_size(10);
            let mut run = |name: &str, overview, crop| {
                group.bench_function(name, |b| b.iter(|| read(&jpeg, overview, crop)));
            };
            run("header", false, None);
            run("whole, own size", false, Some((1.0, NATIVE)));
            run("overview", true, None);
            run("overview + crop half the sides", true, Some((0.5, ANALYSIS)));
            run("overview + crop whole", true, Some((1.0, ANALYSIS)));
            group.finish();
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
