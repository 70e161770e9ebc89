//! The steps around the networks: letterbox, classifier resize, overlays.

use criterion::{Criterion, criterion_group, criterion_main};
use pitch::RgbImage;
use pitch::analysis::Size;
use pitch::detect::letterbox::Letterbox;
use pitch::networks::DetectorShape;
use pitch::pictures::overlays;
use pitch::resize::pillow;

/// Noise, so that nothing is predictable.
fn noise(width: usize, height: usize) -> RgbImage {
    let mut image = RgbImage::black(width, height);
    let mut state = 7u32;
    for sample in image.pixels_mut() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *sample = (state >> 24) as u8;
    }
    image
}

fn letterbox(c: &mut Criterion) {
    let shape = DetectorShape {
        image_size: 640,
        stride: 32,
        fixed_square: false,
        classes: Vec::new(),
    };
    for (width, height) in [(1280, 960), (1500, 1000), (4000, 3000)] {
        let image = noise(width, height);
        let letterbox = Letterbox::new(Size { width, height }, &shape);
        c.bench_function(&format!("letterbox {width}x{height}"), |b| {
            b.iter(|| letterbox.planes(&image));
        });
    }
}

fn classifier_resize(c: &mut Criterion) {
    for (width, height) in [(600, 800), (800, 600), (2315, 3897), (3897, 2315)] {
        let image = noise(width, height);
        c.bench_function(&format!("classifier resize {width}x{height}"), |b| {
            b.iter(|| pillow::resize(&image, 224, 224));
        });
    }
}

fn pictures(c: &mut Criterion) {
    for (width, height) in [(640, 480), (1141, 1920)] {
        let crop = noise(width, height);
        let map: Vec<u8> = crop.pixels().iter().step_by(3).copied().collect();
        let mut bench = |name: &str, draw: fn(&RgbImage, &[u8], usize) -> RgbImage| {
            c.bench_function(&format!("{name} {width}x{height}"), |b| {
                b.iter(|| draw(&crop, &map, 1280))
            });
        };
        bench("grass", overlays::grass);
        bench("cracks", overlays::cracks);
        bench("moisture", overlays::moisture);
    }
}

criterion_group!(benches, letterbox, classifier_resize, pictures);
criterion_main!(benches);
