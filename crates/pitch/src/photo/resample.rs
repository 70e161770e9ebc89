//! Scaling while rows stream by, so that a crop is never in memory at full resolution.

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

/// Averages areas of pixels, fed row by row from the top.
pub(super) struct AreaDownscaler {
    columns: Windows,
    rows: Windows,
    width: usize,
    height: usize,
    next_input: usize,
    next_output: usize,
    sums: Vec<f32>,
    scaled: Vec<f32>,
    finished: Vec<u8>,
}

impl AreaDownscaler {
    /// From `input` to `output` columns and rows; `output` is not larger.
    pub(super) fn new(input: (usize, usize), output: (usize, usize)) -> Self {
        Self {
            columns: Windows::areas(input.0, output.0),
            rows: Windows::areas(input.1, output.1),
            width: output.0,
            height: output.1,
            next_input: 0,
            next_output: 0,
            sums: vec![0.0; output.0 * 3],
            scaled: vec![0.0; output.0 * 3],
            finished: vec![0; output.0 * 3],
        }
    }

    /// Takes the next input row; calls `emit` with each output row that it completes.
    pub(super) fn push_row(&mut self, row: &[u8], mut emit: impl FnMut(&[u8])) {
        for (x, out) in self.scaled.chunks_exact_mut(3).enumerate() {
            let (first, weights) = self.columns.window(x);
            let mut sum = [0.0_f32; 3];
            for (pixel, &weight) in row[first * 3..].chunks_exact(3).zip(weights) {
                for (sum, &sample) in sum.iter_mut().zip(pixel) {
                    *sum += weight * f32::from(sample);
                }
            }
            out.copy_from_slice(&sum);
        }
        while self.next_output < self.height {
            let (first, weights) = self.rows.window(self.next_output);
            let Some(&weight) = self.next_input.checked_sub(first).and_then(|at| weights.get(at)) else {
                break;
            };
            for (sum, &value) in self.sums.iter_mut().zip(&self.scaled) {
                *sum += weight * value;
            }
            if self.next_input + 1 < first + weights.len() {
                break;
            }
            for (out, sum) in self.finished.iter_mut().zip(&mut self.sums) {
                // Rounds halves up; the sums are never negative, and the cast saturates.
                *out = (*sum + 0.5) as u8;
                *sum = 0.0;
            }
            self.next_output += 1;
            emit(&self.finished[..self.width * 3]);
        }
        self.next_input += 1;
    }
}
