//! `GaussianBlur` 5x5 and `Canny` 50/150 (Sobel 3x3, L1 gradient) in one sweep over rolling rows (Canny 1986).

use multiversion::multiversion;

/// A gradient above it may be an edge.
const LOW: u16 = 50;
/// A gradient above it is one.
const HIGH: u16 = 150;

/// A maximum between the thresholds, not yet joined to an edge.
const WEAK: u8 = 1;
/// On an edge.
const EDGE: u8 = 2;

/// Finds edges; keeps its buffers between images.
#[derive(Default)]
pub(super) struct EdgeFinder {
    /// Vertical sums of the blur, two mirrored samples at either end.
    sums: Vec<u16>,
    /// Three blurred rows, a repeated sample at either end.
    blurred: [Vec<u8>; 3],
    /// Horizontal and vertical derivatives of the last two rows.
    derivatives: [[Vec<i16>; 2]; 2],
    /// Gradients of the last three rows, 0 at either end.
    gradients: [Vec<u16>; 3],
    /// One byte a pixel, a frame of one pixel around.
    map: Vec<u8>,
    stack: Vec<u32>,
    width: usize,
}

impl EdgeFinder {
    /// Finds the edges of a grey plane; calls `row_blurred` with each row of the blurred plane, in order.
    pub(super) fn find(
        &mut self,
        grey: &[u8],
        width: usize,
        height: usize,
        mut row_blurred: impl FnMut(&[u8]),
    ) {
        self.reset(width, height);
        for y in 0..height {
            // Rows beyond the top and the bottom repeat the outermost ones.
            if y == 0 {
                self.blur_row(grey, 0, height);
                row_blurred(&self.blurred[0][1..=width]);
            }
            if y + 1 < height {
                self.blur_row(grey, y + 1, height);
                row_blurred(&self.blurred[(y + 1) % 3][1..=width]);
            }
            let [above, below] = [y.saturating_sub(1) % 3, (y + 1).min(height - 1) % 3];
            let [dx, dy] = &mut self.derivatives[y % 2];
            let rows = [above, y % 3, below].map(|i| &self.blurred[i][..]);
            sobel_row(rows, dx, dy, &mut self.gradients[y % 3][1..=width]);
            if y > 0 {
                self.thin_row(y - 1);
            }
        }
        self.gradients[height % 3].fill(0);
        self.thin_row(height - 1);
        self.join();
    }

    /// Whether each pixel of row `y` is on an edge: 2 or less.
    fn row(&self, y: usize) -> &[u8] {
        &self.map[(y + 1) * (self.width + 2) + 1..][..self.width]
    }

    /// Row `y` as bits, least significant first; `words` holds one for every 64 pixels. Gives the number of edge pixels.
    pub(super) fn row_bits(&self, y: usize, words: &mut [u64]) -> u64 {
        let mut count = 0;
        for (word, pixels) in words.iter_mut().zip(self.row(y).chunks(64)) {
            *word = pack(pixels);
            count += u64::from(word.count_ones());
        }
        count
    }

    /// The edges as 255 and 0.
    pub(super) fn plane(&self, height: usize) -> Vec<u8> {
        let rows = (0..height).flat_map(|y| self.row(y));
        rows.map(|&v| if v == EDGE { 255 } else { 0 }).collect()
    }

    fn reset(&mut self, width: usize, height: usize) {
        self.width = width;
        self.sums.resize(width + 4, 0);
        self.blurred.iter_mut().for_each(|row| row.resize(width + 2, 0));
        self.derivatives
            .iter_mut()
            .flatten()
            .for_each(|row| row.resize(width, 0));
        for row in &mut self.gradients {
            row.clear();
            row.resize(width + 2, 0);
        }
        self.map.clear();
        self.map.resize((width + 2) * (height + 2), 0);
        self.stack.clear();
    }

    fn blur_row(&mut self, grey: &[u8], y: usize, height: usize) {
        let width = self.width;
        let rows = [-2, -1, 0, 1, 2].map(|d| &grey[mirrored(y as isize + d, height) * width..][..width]);
        blur_down(rows, &mut self.sums[2..width + 2]);
        for (beyond, x) in [
            (0, -2),
            (1, -1),
            (width + 2, width as isize),
            (width + 3, width as isize + 1),
        ] {
            self.sums[beyond] = self.sums[2 + mirrored(x, width)];
        }
        let blurred = &mut self.blurred[y % 3];
        blur_across(&self.sums, &mut blurred[1..=width]);
        blurred[0] = blurred[1];
        blurred[width + 1] = blurred[width];
    }

    /// Non-maximum suppression of row `y`, whose neighbours' gradients are there.
    fn thin_row(&mut self, y: usize) {
        let [above, here, below] = [(y + 2) % 3, y % 3, (y + 1) % 3].map(|i| &self.gradients[i][..]);
        let [dx, dy] = &self.derivatives[y % 2];
        let start = (y + 1) * (self.width + 2) + 1;
        let row = &mut self.map[start..][..self.width];
        thin(above, here, below, dx, dy, row);
        for (block, pixels) in row.chunks(64).enumerate() {
            let mut bits = pack(pixels);
            while bits != 0 {
                self.stack
                    .push((start + block * 64 + bits.trailing_zeros() as usize) as u32);
                bits &= bits - 1;
            }
        }
    }

    /// Hysteresis: what touches an edge, directly or through others, is an edge.
    fn join(&mut self) {
        let stride = self.width + 2;
        while let Some(at) = self.stack.pop() {
            let at = at as usize;
            for start in [at - stride - 1, at - 1, at + stride - 1] {
                for (i, value) in self.map[start..start + 3].iter_mut().enumerate() {
                    if *value == WEAK {
                        *value = EDGE;
                        self.stack.push((start + i) as u32);
                    }
                }
            }
        }
    }
}

/// Index of a sample beyond the ends, mirrored without repeating the last one (`BORDER_REFLECT_101`).
fn mirrored(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let period = 2 * (n as isize - 1);
    let i = i.rem_euclid(period);
    i.min(period - i) as usize
}

/// Edge pixels among at most 64 as bits.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn pack(pixels: &[u8]) -> u64 {
    if let Ok(full) = <&[u8; 64]>::try_from(pixels) {
        // Eight bytes of 0, 1 or 2: bit 1 of each, gathered by a multiplication.
        return full
            .as_chunks::<8>()
            .0
            .iter()
            .enumerate()
            .fold(0, |word, (i, bytes)| {
                let bits = (u64::from_le_bytes(*bytes) >> 1) & 0x0101_0101_0101_0101;
                word | (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i)
            });
    }
    pixels
        .iter()
        .enumerate()
        .fold(0, |word, (i, &v)| word | u64::from(v >> 1) << i)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn blur_down(rows: [&[u8]; 5], sums: &mut [u16]) {
    let n = sums.len();
    let [a, b, c, d, e] = rows.map(|row| &row[..n]);
    for x in 0..n {
        let [a, b, c, d, e] = [a[x], b[x], c[x], d[x], e[x]].map(u16::from);
        sums[x] = a + e + 4 * (b + d) + 6 * c;
    }
}

/// The kernel's weights sum to 256; with the half that rounds, 255 everywhere stays below 2^16.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn blur_across(sums: &[u16], blurred: &mut [u8]) {
    let n = blurred.len();
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|i| &sums[i..][..n]);
    for x in 0..n {
        blurred[x] = ((a[x] + e[x] + 4 * (b[x] + d[x]) + 6 * c[x] + 128) >> 8) as u8;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn sobel_row([above, here, below]: [&[u8]; 3], dx: &mut [i16], dy: &mut [i16], gradient: &mut [u16]) {
    let n = gradient.len();
    let (dx, dy) = (&mut dx[..n], &mut dy[..n]);
    let [a0, a1, a2] = [0, 1, 2].map(|i| &above[i..][..n]);
    let [h0, h2] = [0, 2].map(|i| &here[i..][..n]);
    let [b0, b1, b2] = [0, 1, 2].map(|i| &below[i..][..n]);
    for x in 0..n {
        let [a0, a1, a2, h0, h2, b0, b1, b2] =
            [a0[x], a1[x], a2[x], h0[x], h2[x], b0[x], b1[x], b2[x]].map(i16::from);
        let across = (a2 - a0) + 2 * (h2 - h0) + (b2 - b0);
        let down = (b0 - a0) + 2 * (b1 - a1) + (b2 - a2);
        dx[x] = across;
        dy[x] = down;
        gradient[x] = across.unsigned_abs() + down.unsigned_abs();
    }
}

/// Marks maxima of the gradient along its direction, in the four sectors and with the comparisons of OpenCV's Canny.
/// The gradient rows have one more sample at either end than the others.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn thin(above: &[u16], here: &[u16], below: &[u16], dx: &[i16], dy: &[i16], out: &mut [u8]) {
    /// tan(22.5 degrees) with 15 fractional bits.
    const TAN_22: i32 = 13573;
    let n = out.len();
    let (dx, dy) = (&dx[..n], &dy[..n]);
    let [a0, a1, a2] = [0, 1, 2].map(|i| &above[i..][..n]);
    let [h0, h1, h2] = [0, 1, 2].map(|i| &here[i..][..n]);
    let [b0, b1, b2] = [0, 1, 2].map(|i| &below[i..][..n]);
    for x in 0..n {
        let m = h1[x];
        let (ax, ay) = (i32::from(dx[x]).abs(), i32::from(dy[x]).abs() << 15);
        let tan = ax * TAN_22;
        let flat = ay < tan;
        let steep = ay > tan + (ax << 16);
        let rising = (dx[x] ^ dy[x]) < 0;
        let across = (m > h0[x]) & (m >= h2[x]);
        let down = (m > a1[x]) & (m >= b1[x]);
        let one_diagonal = (m > a2[x]) & (m > b0[x]);
        let other_diagonal = (m > a0[x]) & (m > b2[x]);
        let diagonal = (rising & one_diagonal) | (!rising & other_diagonal);
        let maximum = (flat & across) | (!flat & steep & down) | (!flat & !steep & diagonal);
        out[x] = u8::from(maximum & (m > LOW)) + u8::from(maximum & (m > HIGH));
    }
}
