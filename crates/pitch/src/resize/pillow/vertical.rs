//! The step that mixes rows.

use multiversion::multiversion;

use super::{HALF, Window, round, windows};

/// Takes rows from the top and gives those of the output as they are complete.
pub(super) struct Vertical {
    rows: Vec<Window>,
    /// Sums of the output rows that are under way: row `y` in slot `y % slots`.
    sums: Vec<i32>,
    slots: usize,
    /// Samples in a row.
    samples: usize,
    /// Rows taken.
    taken: usize,
    /// Output rows given.
    finished: usize,
    /// The one that is given.
    rounded: Vec<u8>,
}

impl Vertical {
    /// From `source` to `target` rows of `samples` samples.
    pub(super) fn new(samples: usize, source: usize, target: usize) -> Self {
        let rows = windows(source.max(1), target);
        let slots = most_under_way(&rows);
        Self {
            sums: vec![HALF; slots * samples],
            rounded: vec![0; samples],
            slots,
            rows,
            samples,
            taken: 0,
            finished: 0,
        }
    }

    /// Takes the next row; calls `emit` with each output row that it completes. Samples that a row lacks are black.
    pub(super) fn push(&mut self, row: &[u8], mut emit: impl FnMut(&[u8])) {
        let y = self.taken;
        self.taken += 1;
        let mut complete = self.finished;
        for out in self.finished..self.rows.len() {
            let window = &self.rows[out];
            if y < window.start {
                break;
            }
            if let Some(&weight) = window.weights.get(y - window.start) {
                let sums = &mut self.sums[out % self.slots * self.samples..][..self.samples];
                add_weighted_row(row, weight, sums);
            }
            if y + 1 >= window.end() {
                complete = out + 1;
            }
        }
        for out in self.finished..complete {
            let sums = &mut self.sums[out % self.slots * self.samples..][..self.samples];
            round_sums(sums, &mut self.rounded);
            emit(&self.rounded);
            sums.fill(HALF);
        }
        self.finished = complete;
    }
}

/// The most output rows whose windows share a source row.
fn most_under_way(rows: &[Window]) -> usize {
    let mut most = 1;
    let mut first = 0;
    for (y, window) in rows.iter().enumerate() {
        while rows[first].end() <= window.start {
            first += 1;
        }
        most = most.max(y + 1 - first);
    }
    most
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
