//! The pass over colour: grey, grass, and the sums behind the means.

use multiversion::multiversion;

/// Pixels that are handled at once: what fits in registers after the channels are pulled apart.
const BLOCK: usize = 64;

/// Sums over pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PixelSums {
    /// Of R, G, B.
    pub(super) rgb: [u64; 3],
    /// Of HSV saturation.
    pub(super) saturation: u64,
    /// Of grey.
    pub(super) grey: u64,
    /// Of grey squared.
    pub(super) grey_squares: u64,
    /// Pixels on grass.
    pub(super) grass: u64,
    /// Pixels with grey below 100.
    pub(super) dark: u64,
}

/// Reads a row of R, G, B samples: writes its grey and its grass mask (255 or 0), adds to `sums`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
pub(super) fn read_row(row: &[u8], grey: &mut [u8], grass: &mut [u8], sums: &mut PixelSums) {
    let mut block = [0u8; BLOCK * 3];
    let outputs = grey.chunks_mut(BLOCK).zip(grass.chunks_mut(BLOCK));
    for (pixels, (grey, grass)) in row.chunks(BLOCK * 3).zip(outputs) {
        let n = grey.len();
        block[..pixels.len()].copy_from_slice(pixels);
        // Black adds to no sum but the count of dark pixels.
        block[pixels.len()..].fill(0);
        let (mut block_grey, mut block_grass) = ([0u8; BLOCK], [0u8; BLOCK]);
        read_block(&block, &mut block_grey, &mut block_grass, sums);
        sums.dark -= (BLOCK - n) as u64;
        grey.copy_from_slice(&block_grey[..n]);
        grass.copy_from_slice(&block_grass[..n]);
    }
}

#[inline(always)]
fn read_block(
    block: &[u8; BLOCK * 3],
    grey: &mut [u8; BLOCK],
    grass: &mut [u8; BLOCK],
    sums: &mut PixelSums,
) {
    let mut channels = [[0i32; BLOCK]; 3];
    for i in 0..BLOCK {
        for c in 0..3 {
            channels[c][i] = i32::from(block[3 * i + c]);
        }
    }
    let [reds, greens, blues] = &channels;
    let (mut red, mut green, mut blue, mut saturations) = (0, 0, 0, 0);
    let (mut greys, mut squares, mut covered, mut dark) = (0, 0, 0, 0);
    for i in 0..BLOCK {
        let (r, g, b) = (reds[i], greens[i], blues[i]);
        let y = grey_of(r, g, b);
        let [h, s, v] = hsv_of(r, g, b);
        let is_grass = i32::from((25..=85).contains(&h) & (s >= 40) & (v >= 40));
        grey[i] = y as u8;
        grass[i] = (is_grass * 255) as u8;
        red += r;
        green += g;
        blue += b;
        saturations += s;
        greys += y;
        squares += y * y;
        covered += is_grass;
        dark += i32::from(y < 100);
    }
    for (sum, added) in sums.rgb.iter_mut().zip([red, green, blue]) {
        *sum += added as u64;
    }
    sums.saturation += saturations as u64;
    sums.grey += greys as u64;
    sums.grey_squares += squares as u64;
    sums.grass += covered as u64;
    sums.dark += dark as u64;
}

/// `COLOR_RGB2GRAY` in OpenCV's fixed point with 15 fractional bits.
#[inline(always)]
fn grey_of(r: i32, g: i32, b: i32) -> i32 {
    (r * 9798 + g * 19235 + b * 3735 + (1 << 14)) >> 15
}

/// `COLOR_RGB2HSV` on 8 bits: hue 0..=179, saturation and value 0..=255. OpenCV divides by tables with 12 fractional
/// bits; a rounded float division gives the same entries and needs no look-up (a test compares all of them).
#[inline(always)]
pub(super) fn hsv_of(r: i32, g: i32, b: i32) -> [i32; 3] {
    let v = r.max(g).max(b);
    let range = v - r.min(g).min(b);
    let s = (range * rounded_quotient(255.0 * 4096.0, v) + (1 << 11)) >> 12;
    let towards_green = b - r + 2 * range;
    let towards_blue = r - g + 4 * range;
    let h = if v == r {
        g - b
    } else if v == g {
        towards_green
    } else {
        towards_blue
    };
    let h = (h * rounded_quotient(180.0 * 4096.0 / 6.0, range) + (1 << 11)) >> 12;
    [if h < 0 { h + 180 } else { h }, s, v]
}

/// `scale / n` to the nearest integer, halves to even; for `n = 0` some finite value, which its callers multiply by 0.
#[inline(always)]
fn rounded_quotient(scale: f32, n: i32) -> i32 {
    // Adding 1.5 * 2^23 leaves the integer in the low bits of a float: a conversion without a branch.
    const SHIFT: f32 = 12_582_912.0;
    ((scale / n.max(1) as f32 + SHIFT).to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32)
}

/// Sum and sum of squares of the 4-neighbour Laplacian over a row that has rows `above` and `below`; beyond the ends
/// the row is mirrored without repeating its last sample (`BORDER_REFLECT_101`).
pub(super) fn laplacian_sums(above: &[u8], row: &[u8], below: &[u8]) -> (i64, u64) {
    let width = row.len();
    let at = |x: usize, left: usize, right: usize| {
        let [u, d, l, r, c] = [above[x], below[x], row[left], row[right], row[x]].map(i64::from);
        u + d + l + r - 4 * c
    };
    if width < 3 {
        let values = (0..width).map(|x| at(x, width - 1 - x, width - 1 - x));
        return values.fold((0, 0), |(sum, squares), v| (sum + v, squares + (v * v) as u64));
    }
    let (mut sum, mut squares) = inner_laplacian_sums(above, row, below);
    for value in [at(0, 1, 1), at(width - 1, width - 2, width - 2)] {
        sum += value;
        squares += (value * value) as u64;
    }
    (sum, squares)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn inner_laplacian_sums(above: &[u8], row: &[u8], below: &[u8]) -> (i64, u64) {
    let (mut sum, mut squares) = (0i64, 0u64);
    let inner = row.len() - 2;
    let (above, below, left, right, centre) = (
        &above[1..][..inner],
        &below[1..][..inner],
        &row[..inner],
        &row[2..][..inner],
        &row[1..][..inner],
    );
    let mut x = 0;
    while x < inner {
        // 1024 squares of at most 1020 stay below 2^31.
        let end = (x + 1024).min(inner);
        let (mut part, mut part_squares) = (0i32, 0i32);
        let neighbours = above[x..end]
            .iter()
            .zip(&below[x..end])
            .zip(&left[x..end])
            .zip(&right[x..end]);
        for ((((&u, &d), &l), &r), &c) in neighbours.zip(&centre[x..end]) {
            let value = i32::from(u) + i32::from(d) + i32::from(l) + i32::from(r) - 4 * i32::from(c);
            part += value;
            part_squares += value * value;
        }
        sum += i64::from(part);
        squares += part_squares as u64;
        x = end;
    }
    (sum, squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_those_of_opencvs_tables() {
        for n in 1..256 {
            let table = |scale: f64| (scale / f64::from(n)).round_ties_even() as i32;
            assert_eq!(
                rounded_quotient(255.0 * 4096.0, n),
                table(f64::from(255 << 12)),
                "saturation, {n}"
            );
            assert_eq!(
                rounded_quotient(180.0 * 4096.0 / 6.0, n),
                table(f64::from(180 << 12) / 6.0),
                "hue, {n}"
            );
        }
    }
}
