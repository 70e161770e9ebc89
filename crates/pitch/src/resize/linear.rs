//! `cv2.resize(…, interpolation=INTER_LINEAR)` for 8-bit RGB, equal to OpenCV 4 and 5 bit for bit.
//!
//! OpenCV interpolates in fixed point: weights with 11 fractional bits, horizontally first, and a vertical step in
//! 16-bit multiplications that keep the high half. When both sides shrink to exactly a half it takes the rounded mean
//! of 2x2 pixels instead.

use multiversion::multiversion;

use crate::RgbImage;

/// Fractional bits of a weight (`INTER_RESIZE_COEF_BITS`).
const WEIGHT_ONE: f32 = 2048.0;

/// Where one output sample comes from: `source[index] * weights[0] + source[index + 1] * weights[1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tap {
    index: isize,
    weights: [i16; 2],
}

/// The taps of every output sample along one side, indices not clamped.
fn taps(source: usize, target: usize) -> Vec<Tap> {
    // OpenCV derives the scale from its inverse; the detour changes the last bit.
    let scale = 1.0 / (target as f64 / source as f64);
    (0..target)
        .map(|i| {
            let position = ((i as f64 + 0.5) * scale - 0.5) as f32;
            let index = position.floor();
            let fraction = position - index;
            let weight = |w: f32| (w * WEIGHT_ONE).round_ties_even() as i16;
            Tap {
                index: index as isize,
                weights: [weight(1.0 - fraction), weight(fraction)],
            }
        })
        .collect()
}

/// A tap along a row: byte offset of the left pixel, never the last one, and both weights.
#[derive(Clone, Copy)]
struct ColumnTap {
    offset: usize,
    weights: [i16; 2],
}

fn column_taps(source: usize, target: usize) -> Vec<ColumnTap> {
    let last = source as isize - 1;
    taps(source, target)
        .into_iter()
        .map(|Tap { index, weights }| {
            let one = WEIGHT_ONE as i16;
            let (index, weights) = if index < 0 {
                (0, [one, 0])
            } else if index >= last {
                (last - 1, [0, one])
            } else {
                (index, weights)
            };
            ColumnTap {
                offset: index.max(0) as usize * 3,
                weights,
            }
        })
        .collect()
}

/// One row, each colour on its own.
struct PlanarRow<T> {
    width: usize,
    samples: Vec<T>,
}

impl<T: Copy + Default> PlanarRow<T> {
    fn new(width: usize) -> Self {
        Self {
            width,
            samples: vec![T::default(); width * 3],
        }
    }

    fn planes_mut(&mut self) -> [&mut [T]; 3] {
        let (red, rest) = self.samples.split_at_mut(self.width);
        let (green, blue) = rest.split_at_mut(self.width);
        [red, green, blue]
    }

    fn planes(&self) -> [&[T]; 3] {
        let (red, rest) = self.samples.split_at(self.width);
        let (green, blue) = rest.split_at(self.width);
        [red, green, blue]
    }
}

/// Resizes and hands every output row, top to bottom, to `sink` as `(y, [red, green, blue])`, `width` samples each.
/// Nothing larger than a few rows is held. An empty source or target gives no rows.
pub fn for_each_row(source: &RgbImage, width: usize, height: usize, mut sink: impl FnMut(usize, [&[u8]; 3])) {
    if source.width() == 0 || source.height() == 0 || width == 0 {
        return;
    }
    let mut out = PlanarRow::<u8>::new(width);
    if source.width() == width * 2 && source.height() == height * 2 {
        for y in 0..height {
            halve_rows(source.row(2 * y), source.row(2 * y + 1), out.planes_mut());
            sink(y, out.planes());
        }
        return;
    }
    let columns = column_taps(source.width(), width);
    let mut rows = [PlanarRow::<i16>::new(width), PlanarRow::new(width)];
    let mut held = [usize::MAX; 2];
    for (y, tap) in taps(source.height(), height).into_iter().enumerate() {
        let clamp = |index: isize| index.clamp(0, source.height() as isize - 1) as usize;
        let wanted = [clamp(tap.index), clamp(tap.index + 1)];
        if held[1] == wanted[0] {
            rows.swap(0, 1);
            held.swap(0, 1);
        }
        for ((row, held), wanted) in rows.iter_mut().zip(&mut held).zip(wanted) {
            if *held != wanted {
                stretch_row(source.row(wanted), &columns, row.planes_mut());
                *held = wanted;
            }
        }
        blend_rows(&rows[0].samples, &rows[1].samples, tap.weights, &mut out.samples);
        sink(y, out.planes());
    }
}

/// Resizes to `width` x `height`.
pub fn resize(source: &RgbImage, width: usize, height: usize) -> RgbImage {
    let mut target = RgbImage::black(width, height);
    for_each_row(source, width, height, |y, [red, green, blue]| {
        let samples = red.iter().zip(green).zip(blue);
        for (pixel, ((&r, &g), &b)) in target.row_mut(y).chunks_exact_mut(3).zip(samples) {
            pixel.copy_from_slice(&[r, g, b]);
        }
    });
    target
}

/// The horizontal step, without the four bits that the vertical step drops anyway: values up to 32640.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn stretch_row(row: &[u8], columns: &[ColumnTap], [red, green, blue]: [&mut [i16]; 3]) {
    // A row of a single pixel has no right neighbour; its taps weigh the second pixel only.
    let doubled: [u8; 6];
    let row = match *row {
        [r, g, b] => {
            doubled = [r, g, b, r, g, b];
            &doubled[..]
        }
        _ => row,
    };
    let outputs = red.iter_mut().zip(green).zip(blue);
    for (tap, ((r, g), b)) in columns.iter().zip(outputs) {
        let Some(&[r0, g0, b0, r1, g1, b1]) = row[tap.offset..].first_chunk() else {
            continue;
        };
        let [left, right] = tap.weights.map(i32::from);
        let mix = |a: u8, b: u8| ((i32::from(a) * left + i32::from(b) * right) >> 4) as i16;
        *r = mix(r0, r1);
        *g = mix(g0, g1);
        *b = mix(b0, b1);
    }
}

/// The vertical step.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn blend_rows(upper: &[i16], lower: &[i16], [top, bottom]: [i16; 2], out: &mut [u8]) {
    let high_half = |a: i16, b: i16| ((i32::from(a) * i32::from(b)) >> 16) as i16;
    for ((out, &u), &l) in out.iter_mut().zip(upper).zip(lower) {
        *out = ((high_half(u, top) + high_half(l, bottom) + 2) >> 2) as u8;
    }
}

/// The rounded mean of every 2x2 block of pixels.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn halve_rows(upper: &[u8], lower: &[u8], [red, green, blue]: [&mut [u8]; 3]) {
    let blocks = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
    let outputs = red.iter_mut().zip(green).zip(blue);
    for ((u, l), ((r, g), b)) in blocks.zip(outputs) {
        let mean = |c: usize| {
            ((u16::from(u[c]) + u16::from(u[c + 3]) + u16::from(l[c]) + u16::from(l[c + 3]) + 2) >> 2) as u8
        };
        *r = mean(0);
        *g = mean(1);
        *b = mean(2);
    }
}
