//! Pillow's `Image.resize(size, BILINEAR)` for 8-bit RGB, equal to it bit for bit.
//!
//! Not interpolation but a convolution: the triangle filter widens with the shrinking factor, so that every source
//! pixel counts. Weights have 22 fractional bits; the horizontal step rounds to 8 bits before the vertical one
//! (Pillow's `src/libImaging/Resample.c`).

use multiversion::multiversion;

use crate::RgbImage;

const PRECISION_BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Source samples are read in groups of this many.
const GROUP: usize = 16;

/// What one output sample is made of: `weights.len()` source samples from `start` on.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

fn windows(source: usize, target: usize) -> Vec<Window> {
    let scale = source as f64 / target as f64;
    let filter_scale = scale.max(1.0);
    let support = filter_scale;
    (0..target)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5).max(0.0) as usize).min(source);
            let raw: Vec<f64> = (start..end)
                .map(|x| (1.0 - ((x as f64 - centre + 0.5) * (1.0 / filter_scale)).abs()).max(0.0))
                .collect();
            let sum: f64 = raw.iter().sum();
            let fixed = |w: f64| (0.5 + w / sum * f64::from(1 << PRECISION_BITS)) as i32;
            Window {
                start,
                weights: raw.into_iter().map(fixed).collect(),
            }
        })
        .collect()
}

/// The horizontal windows as the kernel reads them: every window padded to whole groups with weights of zero.
struct Columns {
    /// First source sample of each window.
    starts: Vec<usize>,
    /// Groups per window, the same for all.
    groups: usize,
    /// All weights of the first window, then of the second one...
    weights: Vec<[i32; GROUP]>,
    /// Samples that a padded plane must have.
    padded: usize,
}

impl Columns {
    fn new(source: usize, target: usize) -> Self {
        let windows = windows(source, target);
        let longest = windows.iter().map(|w| w.weights.len()).max().unwrap_or(0);
        let groups = longest.div_ceil(GROUP);
        let mut weights = vec![[0; GROUP]; groups * target];
        for (window, padded) in windows.iter().zip(weights.chunks_mut(groups.max(1))) {
            padded.as_flattened_mut()[..window.weights.len()].copy_from_slice(&window.weights);
        }
        Self {
            starts: windows.iter().map(|w| w.start).collect(),
            groups,
            weights,
            padded: source + groups * GROUP,
        }
    }
}

/// A resize that takes the source row by row, so that the source never has to be in memory as a whole.
pub struct RowResizer {
    source: [usize; 2],
    columns: Columns,
    rows: Vec<Window>,
    vertical_first: bool,
    /// The row that goes through the horizontal step, each colour on its own, padded.
    planes: [Vec<u8>; 3],
    /// The row that leaves the first step.
    between: Vec<u8>,
    /// Sums of the output rows that are under way: row `y` in slot `y % slots`.
    sums: Vec<i32>,
    slots: usize,
    /// Source rows taken.
    taken: usize,
    target: RgbImage,
    /// Target rows that are complete.
    finished: usize,
}

impl RowResizer {
    /// Makes ready to resize a `width` x `height` source to `target_width` x `target_height`.
    pub fn new(width: usize, height: usize, target_width: usize, target_height: usize) -> Self {
        let vertical_first = is_vertical_first([width, height], [target_width, target_height]);
        Self::in_order(width, height, target_width, target_height, vertical_first)
    }

    /// Makes ready to resize an image that lies on its side, one whose rows are the columns of the upright image: turned
    /// upright, the result is what [`RowResizer::new`] gives for the upright image.
    pub fn turned(width: usize, height: usize, target_width: usize, target_height: usize) -> Self {
        let vertical_first = !is_vertical_first([height, width], [target_height, target_width]);
        Self::in_order(width, height, target_width, target_height, vertical_first)
    }

    fn in_order(
        width: usize,
        height: usize,
        target_width: usize,
        target_height: usize,
        vertical_first: bool,
    ) -> Self {
        let (target_width, target_height) = if width == 0 || height == 0 {
            (0, 0)
        } else {
            (target_width, target_height)
        };
        let rows = windows(height.max(1), target_height);
        let columns = Columns::new(width.max(1), target_width);
        let slots = most_under_way(&rows);
        let between = 3 * if vertical_first { width } else { target_width };
        Self {
            source: [width, height],
            planes: std::array::from_fn(|_| vec![0; columns.padded]),
            between: vec![0; between],
            sums: vec![HALF; slots * between],
            slots,
            columns,
            rows,
            vertical_first,
            taken: 0,
            target: RgbImage::black(target_width, target_height),
            finished: 0,
        }
    }

    /// Takes the next source row, top to bottom: `width` pixels `R G B`. What is missing or too much is black or
    /// ignored.
    pub fn push(&mut self, row: &[u8]) {
        if self.taken >= self.source[1] || self.finished >= self.rows.len() {
            return;
        }
        let row = &row[..row.len().min(self.source[0] * 3)];
        let row = if self.vertical_first {
            row
        } else {
            convolve_row(row, &mut self.planes, &self.columns, &mut self.between);
            &self.between
        };
        let y = self.taken;
        self.taken += 1;
        let samples = self.between.len();
        let mut complete = self.finished;
        for out in self.finished..self.rows.len() {
            let window = &self.rows[out];
            if y < window.start {
                break;
            }
            if let Some(&weight) = window.weights.get(y - window.start) {
                let sums = &mut self.sums[out % self.slots * samples..][..samples];
                add_weighted_row(row, weight, sums);
            }
            if y + 1 >= window.start + window.weights.len() {
                complete = out + 1;
            }
        }
        for out in self.finished..complete {
            let sums = &mut self.sums[out % self.slots * samples..][..samples];
            let target = self.target.row_mut(out);
            if self.vertical_first {
                round_sums(sums, &mut self.between);
                convolve_row(&self.between, &mut self.planes, &self.columns, target);
            } else {
                round_sums(sums, target);
            }
            sums.fill(HALF);
        }
        self.finished = complete;
    }

    /// The resized image. Rows of the target whose source rows were not all pushed are black.
    pub fn finish(self) -> RgbImage {
        self.target
    }
}

/// Which step Pillow takes first, since version 12: the vertical one where it shrinks the image by much more. Each
/// step rounds, so the order shows in the last bit.
fn is_vertical_first([width, height]: [usize; 2], target: [usize; 2]) -> bool {
    let shrink = |source: usize, target: usize| source as i64 - target as i64;
    let down = shrink(height, target[1]);
    down > 0 && down > 2 * shrink(width, target[0])
}

/// The most output rows whose windows share a source row.
fn most_under_way(rows: &[Window]) -> usize {
    let mut most = 1;
    let mut first = 0;
    for (y, window) in rows.iter().enumerate() {
        while rows[first].start + rows[first].weights.len() <= window.start {
            first += 1;
        }
        most = most.max(y + 1 - first);
    }
    most
}

/// Resizes `source` to `width` x `height`.
pub fn resize(source: &RgbImage, width: usize, height: usize) -> RgbImage {
    let mut resizer = RowResizer::new(source.width(), source.height(), width, height);
    for y in 0..source.height() {
        resizer.push(source.row(y));
    }
    resizer.finish()
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn convolve_row(row: &[u8], planes: &mut [Vec<u8>; 3], columns: &Columns, out: &mut [u8]) {
    let [red, green, blue] = planes;
    let samples = red.iter_mut().zip(green).zip(blue);
    for (&[pr, pg, pb], ((r, g), b)) in row.as_chunks::<3>().0.iter().zip(samples) {
        *r = pr;
        *g = pg;
        *b = pb;
    }

    let groups = columns.groups;
    let windows = columns
        .starts
        .iter()
        .zip(columns.weights.chunks_exact(groups.max(1)));
    for ((&start, weights), out) in windows.zip(out.as_chunks_mut::<3>().0) {
        for (plane, out) in planes.iter().zip(out) {
            let samples = plane[start..][..groups * GROUP].as_chunks::<GROUP>().0;
            let mut sums = [0i32; GROUP];
            for (samples, weights) in samples.iter().zip(weights) {
                for ((sum, &sample), &weight) in sums.iter_mut().zip(samples).zip(weights) {
                    *sum += i32::from(sample) * weight;
                }
            }
            *out = round(sums.iter().sum::<i32>() + HALF);
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn add_weighted_row(row: &[u8], weight: i32, sums: &mut [i32]) {
    for (sum, &sample) in sums.iter_mut().zip(row) {
        *sum += i32::from(sample) * weight;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn round_sums(sums: &[i32], out: &mut [u8]) {
    for (&sum, out) in sums.iter().zip(out) {
        *out = round(sum);
    }
}

#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noise(width: usize, height: usize, seed: u32) -> RgbImage {
        let mut image = RgbImage::black(width, height);
        let mut state = seed;
        for sample in image.pixels_mut() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *sample = (state >> 24) as u8;
        }
        image
    }

    /// Rows become columns; with `mirrored`, the last row becomes the first column.
    fn turn(image: &RgbImage, mirrored: bool) -> RgbImage {
        let (width, height) = (image.width(), image.height());
        let mut turned = RgbImage::black(height, width);
        for y in 0..height {
            let x = if mirrored { height - 1 - y } else { y };
            for (row, pixel) in image.row(y).chunks_exact(3).enumerate() {
                turned.row_mut(row)[x * 3..][..3].copy_from_slice(pixel);
            }
        }
        turned
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_turned_image_gives_the_turned_result(
            width in 1usize..200,
            height in 1usize..200,
            target_width in 1usize..60,
            target_height in 1usize..60,
            seed: u32,
            mirrored: bool,
        ) {
            let lying = noise(width, height, seed);
            let mut resizer = RowResizer::turned(width, height, target_width, target_height);
            for y in 0..height {
                resizer.push(lying.row(y));
            }
            let upright = resize(&turn(&lying, mirrored), target_height, target_width);
            prop_assert_eq!(turn(&resizer.finish(), mirrored), upright);
        }

        #[test]
        fn any_rows_are_taken(
            width in 0usize..9,
            height in 0usize..9,
            target in (0usize..9, 0usize..9),
            rows in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..12),
        ) {
            let mut resizer = RowResizer::new(width, height, target.0, target.1);
            for row in &rows {
                resizer.push(row);
            }
            resizer.finish();
        }
    }
}
