//! The step that mixes columns, sixteen rows at a time.
//!
//! Along a row an output pixel is a sum over a few neighbours, too few to fill a vector. So rows are gathered, and a
//! column of them is what vectors hold: all rows of a block go through the same weights side by side.

use multiversion::multiversion;

use super::{HALF, Window, round, windows};

/// Rows in a block.
const ROWS: usize = 16;

/// Samples of a column of a block: `R G B` of the first row, then of the second...
const LANES: usize = ROWS * 3;

/// Output columns whose source columns are turned at once: few enough to stay in the first cache.
const GROUP: usize = 16;

/// Takes rows from the top and gives them at the width of the output, a block at a time.
pub(super) struct Horizontal {
    columns: Vec<Window>,
    /// Samples in a source row, without what pads it.
    samples: usize,
    /// The rows of a block, each with a sample more, so that a pixel is read as four.
    rows: Vec<u8>,
    /// Rows in the block.
    filled: usize,
    /// Source columns of a group of output columns.
    turned: Vec<[u8; LANES]>,
    /// The block at the width of the output.
    out: Vec<u8>,
}

impl Horizontal {
    /// From `source` to `target` columns.
    pub(super) fn new(source: usize, target: usize) -> Self {
        let columns = windows(source.max(1), target);
        let longest = columns
            .chunks(GROUP)
            .map(|group| span(group).len())
            .max()
            .unwrap_or(0);
        let samples = source.max(1) * 3;
        Self {
            columns,
            samples,
            rows: vec![0; ROWS * (samples + 1)],
            filled: 0,
            turned: vec![[0; LANES]; longest],
            out: vec![0; ROWS * target * 3],
        }
    }

    /// Takes the next row; calls `emit` with every row of the block when it is full. Samples that a row lacks are black.
    pub(super) fn push(&mut self, row: &[u8], emit: impl FnMut(&[u8])) {
        let place = &mut self.rows[self.filled * (self.samples + 1)..][..self.samples];
        let (given, lacking) = place.split_at_mut(row.len().min(self.samples));
        given.copy_from_slice(&row[..given.len()]);
        lacking.fill(0);
        self.filled += 1;
        if self.filled == ROWS {
            self.flush(emit);
        }
    }

    /// Calls `emit` with the rows that are left in the block.
    pub(super) fn flush(&mut self, emit: impl FnMut(&[u8])) {
        let filled = std::mem::take(&mut self.filled);
        if filled == 0 || self.columns.is_empty() {
            return;
        }
        convolve(&self.rows, &self.columns, &mut self.turned, &mut self.out);
        let width = self.columns.len() * 3;
        self.out.chunks_exact(width).take(filled).for_each(emit);
    }
}

/// The source columns of neighbouring output columns.
fn span(group: &[Window]) -> std::ops::Range<usize> {
    let start = group.first().map_or(0, |window| window.start);
    start..group.iter().map(Window::end).max().unwrap_or(start)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn convolve(rows: &[u8], columns: &[Window], turned: &mut [[u8; LANES]], out: &mut [u8]) {
    let width = columns.len() * 3;
    for (group, at) in columns.chunks(GROUP).zip((0..).step_by(GROUP * 3)) {
        let span = span(group);
        turn(rows, span.clone(), turned);
        for (window, at) in group.iter().zip((at..).step_by(3)) {
            let mut sums = [HALF; LANES];
            let columns = &turned[window.start - span.start..][..window.weights.len()];
            for (column, &weight) in columns.iter().zip(&window.weights) {
                for (sum, &sample) in sums.iter_mut().zip(column) {
                    *sum += i32::from(sample) * weight;
                }
            }
            let rounded = sums.map(round);
            for (row, pixel) in out.chunks_exact_mut(width).zip(rounded.as_chunks::<3>().0) {
                row[at..at + 3].copy_from_slice(pixel);
            }
        }
    }
}

/// Columns `span` of the rows become rows of `turned`.
#[inline(always)]
fn turn(rows: &[u8], span: std::ops::Range<usize>, turned: &mut [[u8; LANES]]) {
    for (y, row) in rows.chunks_exact(rows.len() / ROWS).enumerate() {
        let pixels = row[span.start * 3..].windows(4).step_by(3);
        let columns = turned[..span.len()].iter_mut().zip(pixels);
        if y + 1 < ROWS {
            // A pixel and a sample that the next row replaces: one move of four bytes instead of two.
            columns.for_each(|(column, pixel)| column[y * 3..y * 3 + 4].copy_from_slice(pixel));
        } else {
            columns.for_each(|(column, pixel)| column[y * 3..].copy_from_slice(&pixel[..3]));
        }
    }
}
