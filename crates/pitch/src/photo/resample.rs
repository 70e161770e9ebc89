//! Scaling while rows stream by, so that a crop is never in memory at full resolution.

use multiversion::multiversion;

/// Weighted sums of neighbouring samples, one window per output sample.
struct Windows {
    /// First input index and where the weights start, per output index.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Windows {
    /// Areas of the input that each of `output` samples covers, as OpenCV's `INTER_AREA` weighs them.
    fn areas(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let mut windows = Self {
            starts: Vec::with_capacity(output),
            weights: Vec::new(),
        };
        for i in 0..output {
            let (from, to) = (i as f64 * scale, ((i + 1) as f64 * scale).min(input as f64));
            let first = from as usize;
            windows.starts.push((first, windows.weights.len()));
            let mut x = first;
            while (x as f64) < to - 1e-9 {
                let covered = (to.min((x + 1) as f64) - from.max(x as f64)).max(0.0);
                windows.weights.push((covered / (to - from)) as f32);
                x += 1;
            }
        }
        windows
    }

    fn window(&self, i: usize) -> (usize, &[f32]) {
        let (first, at) = self.starts[i];
        let end = self.starts.get(i + 1).map_or(self.weights.len(), |next| next.1);
        (first, &self.weights[at..end])
    }
}

/// Averages areas of pixels as OpenCV's `INTER_AREA` does when it shrinks, fed row by row from the top. OpenCV sums in
/// another order, which shows in the last bit of a few samples in ten thousand.
pub(super) struct AreaDownscaler {
    columns: Windows,
    rows: Windows,
    height: usize,
    next_input: usize,
    next_output: usize,
    /// The output row under way, at the width of the input and with one sample more, so that a pixel is read as four.
    sums: Vec<f32>,
    finished: Vec<u8>,
}

impl AreaDownscaler {
    /// From `input` to `output` columns and rows; `output` is not larger.
    pub(super) fn new(input: (usize, usize), output: (usize, usize)) -> Self {
        Self {
            columns: Windows::areas(input.0, output.0),
            rows: Windows::areas(input.1, output.1),
            height: output.1,
            next_input: 0,
            next_output: 0,
            sums: vec![0.0; input.0 * 3 + 1],
            finished: vec![0; output.0 * 3],
        }
    }

    /// Takes the next input row; calls `emit` with each output row that it completes.
    pub(super) fn push_row(&mut self, row: &[u8], mut emit: impl FnMut(&[u8])) {
        while self.next_output < self.height {
            let (first, weights) = self.rows.window(self.next_output);
            let place = self.next_input.checked_sub(first);
            let Some(&weight) = place.and_then(|at| weights.get(at)) else {
                break;
            };
            add_weighted(&mut self.sums, row, weight);
            if self.next_input + 1 < first + weights.len() {
                break;
            }
            average_columns(&self.columns, &self.sums, &mut self.finished);
            self.sums.fill(0.0);
            self.next_output += 1;
            emit(&self.finished);
        }
        self.next_input += 1;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma+bmi1+bmi2"))]
fn add_weighted(sums: &mut [f32], row: &[u8], weight: f32) {
    for (sum, &sample) in sums.iter_mut().zip(row) {
        *sum += weight * f32::from(sample);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+fma+bmi1+bmi2"))]
fn average_columns(columns: &Windows, sums: &[f32], out: &mut [u8]) {
    for (x, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (first, weights) = columns.window(x);
        // Four lanes, of which the last is the next pixel's and is not used. Starting at a half makes the cast round;
        // nothing is negative.
        let mut pixel = [0.5_f32; 4];
        for (lanes, &weight) in sums[first * 3..].windows(4).step_by(3).zip(weights) {
            for (sum, &lane) in pixel.iter_mut().zip(lanes) {
                *sum += weight * lane;
            }
        }
        for (out, sum) in out.iter_mut().zip(pixel) {
            *out = sum as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenCV 5.0: `cv2.resize(image, size, interpolation=cv2.INTER_AREA)` of the formula below, 7x5 RGB.
    #[test]
    fn averages_as_inter_area() {
        let image: Vec<Vec<u8>> = (0..5_usize)
            .map(|y| {
                (0..21_usize)
                    .map(|i| ((i * 37 + y * 91 + i * y * 13) % 256) as u8)
                    .collect()
            })
            .collect();
        for (width, height, expected) in EXPECTED {
            let mut scaler = AreaDownscaler::new((7, 5), (*width, *height));
            let mut out = Vec::new();
            for row in &image {
                scaler.push_row(row, |row| out.extend_from_slice(row));
            }
            assert_eq!(out, *expected, "{width}x{height}");
        }
    }

    const EXPECTED: &[(usize, usize, &[u8])] = &[
        (
            3,
            2,
            &[
                123, 112, 138, 134, 130, 104, 122, 126, 137, 130, 151, 105, 165, 148, 81, 133, 168, 78,
            ],
        ),
        (
            5,
            4,
            &[
                52, 77, 117, 176, 76, 116, 104, 114, 117, 127, 167, 60, 134, 137, 176, 145, 157, 139, 139,
                128, 184, 120, 102, 120, 137, 192, 101, 130, 76, 131, 114, 141, 139, 168, 85, 156, 194, 60,
                94, 146, 217, 75, 90, 161, 78, 105, 177, 59, 146, 181, 63, 151, 193, 67, 155, 242, 72, 159,
                99, 76,
            ],
        ),
        (
            7,
            1,
            &[
                80, 143, 103, 166, 127, 139, 150, 111, 123, 135, 95, 107, 170, 233, 40, 103, 166, 127, 138,
                99, 111,
            ],
        ),
        (
            1,
            5,
            &[
                114, 114, 114, 139, 116, 129, 127, 154, 144, 152, 119, 85, 141, 193, 63,
            ],
        ),
        (
            6,
            3,
            &[
                54, 82, 124, 170, 95, 137, 132, 86, 128, 130, 172, 68, 92, 134, 103, 164, 118, 160, 136, 184,
                116, 147, 122, 185, 136, 82, 145, 177, 152, 69, 122, 185, 138, 89, 109, 120, 86, 155, 85,
                168, 149, 80, 163, 144, 74, 158, 197, 69, 152, 236, 64, 147, 99, 59,
            ],
        ),
    ];
}
