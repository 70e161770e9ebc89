//! Surface features of the largest golden crop (1280x720), tiled to three sizes: all of them, and kernel by kernel. `bench/opencv_surface.py` times
//! OpenCV's functions for the same features on the same pixels.

#![expect(clippy::expect_used, reason = "a bench without its picture is none")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pitch::RgbImage;
use pitch::surface::SurfaceReader;
use pitch::surface::kernels::Kernels;

fn golden() -> RgbImage {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/surface/08.png");
    let decoder = png::Decoder::new(std::io::BufReader::new(
        std::fs::File::open(file).expect("the golden image"),
    ));
    let mut reader = decoder.read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    RgbImage::from_pixels(info.width as usize, info.height as usize, pixels).expect("RGB")
}

fn tiled(image: &RgbImage, width: usize, height: usize) -> RgbImage {
    let mut out = RgbImage::black(width, height);
    for y in 0..height {
        let row = image.row(y % image.height()).iter().copied().cycle();
        out.row_mut(y)
            .iter_mut()
            .zip(row)
            .for_each(|(to, from)| *to = from);
    }
    out
}

fn surface(criterion: &mut Criterion) {
    let image = golden();
    let mut group = criterion.benchmark_group("surface");
    for (width, height) in [(640, 480), (1280, 720), (1920, 1440)] {
        let image = tiled(&image, width, height);
        let mut reader = SurfaceReader::default();
        group.throughput(Throughput::Elements((width * height) as u64));
        group.bench_function(BenchmarkId::new("read", format!("{width}x{height}")), |b| {
            b.iter(|| reader.read(black_box(&image)));
        });
        let size = format!("{width}x{height}");
        let mut kernels = Kernels::new(&image);
        group.bench_function(BenchmarkId::new("pixels", &size), |b| {
            b.iter(|| black_box(&mut kernels).pixels());
        });
        group.bench_function(BenchmarkId::new("edges", &size), |b| {
            b.iter(|| black_box(&mut kernels).edges());
        });
        group.bench_function(BenchmarkId::new("cracks", &size), |b| {
            b.iter(|| black_box(&mut kernels).cracks());
        });
        group.bench_function(BenchmarkId::new("laplacian", &size), |b| {
            b.iter(|| black_box(&mut kernels).laplacian());
        });
        group.bench_function(BenchmarkId::new("dominant colour", &size), |b| {
            b.iter(|| black_box(&mut kernels).dominant_colour());
        });
    }
}

criterion_group!(benches, surface);
criterion_main!(benches);
