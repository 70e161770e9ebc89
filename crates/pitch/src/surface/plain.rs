//! Plain, one step after the other.

use super::cracks::Contour;
use crate::RgbImage;

pub(super) fn grey(image: &RgbImage) -> Vec<u8> {
    let weigh = |p: &[u8]| {
        ((u32::from(p[0]) * 9798 + u32::from(p[1]) * 19235 + u32::from(p[2]) * 3735 + (1 << 14)) >> 15) as u8
    };
    image.pixels().chunks_exact(3).map(weigh).collect()
}

pub(super) fn hsv(p: &[u8]) -> [u8; 3] {
    let [r, g, b] = [i32::from(p[0]), i32::from(p[1]), i32::from(p[2])];
    let v = r.max(g).max(b);
    let diff = v - r.min(g).min(b);
    let divide = |scale: f64, n: i32| {
        if n == 0 {
            0
        } else {
            (scale / f64::from(n)).round_ties_even() as i32
        }
    };
    let s = (diff * divide(f64::from(255 << 12), v) + (1 << 11)) >> 12;
    let h = if v == r {
        g - b
    } else if v == g {
        b - r + 2 * diff
    } else {
        r - g + 4 * diff
    };
    let h = (h * divide(f64::from(180 << 12) / 6.0, diff) + (1 << 11)) >> 12;
    [(if h < 0 { h + 180 } else { h }) as u8, s as u8, v as u8]
}

fn reflect(i: isize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let last = n as isize - 1;
    let mut i = i;
    loop {
        if i < 0 {
            i = -i;
        } else if i > last {
            i = 2 * last - i;
        } else {
            return i as usize;
        }
    }
}

pub(super) fn blur(grey: &[u8], width: usize, height: usize) -> Vec<u8> {
    const KERNEL: [u32; 5] = [1, 4, 6, 4, 1];
    let mut out = vec![0; grey.len()];
    for y in 0..height {
        for x in 0..width {
            let mut sum = 128;
            for (j, kj) in KERNEL.iter().enumerate() {
                let row = reflect(y as isize + j as isize - 2, height) * width;
                for (i, ki) in KERNEL.iter().enumerate() {
                    sum += kj * ki * u32::from(grey[row + reflect(x as isize + i as isize - 2, width)]);
                }
            }
            out[y * width + x] = (sum >> 8) as u8;
        }
    }
    out
}

pub(super) fn canny(image: &[u8], width: usize, height: usize) -> Vec<u8> {
    let at = |x: isize, y: isize| {
        i32::from(
            image[y.clamp(0, height as isize - 1) as usize * width + x.clamp(0, width as isize - 1) as usize],
        )
    };
    let gradient = |x: usize, y: usize| {
        let (x, y) = (x as isize, y as isize);
        let dx = at(x + 1, y - 1) + 2 * at(x + 1, y) + at(x + 1, y + 1)
            - at(x - 1, y - 1)
            - 2 * at(x - 1, y)
            - at(x - 1, y + 1);
        let dy = at(x - 1, y + 1) + 2 * at(x, y + 1) + at(x + 1, y + 1)
            - at(x - 1, y - 1)
            - 2 * at(x, y - 1)
            - at(x + 1, y - 1);
        (dx, dy)
    };
    let stride = width + 2;
    let mut magnitude = vec![0; stride * (height + 2)];
    for y in 0..height {
        for x in 0..width {
            let (dx, dy) = gradient(x, y);
            magnitude[(y + 1) * stride + x + 1] = dx.abs() + dy.abs();
        }
    }
    let mut map = vec![0u8; image.len()];
    let mut stack = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let i = (y + 1) * stride + x + 1;
            let m = magnitude[i];
            if m <= 50 {
                continue;
            }
            let (dx, dy) = gradient(x, y);
            let (ax, ay) = (dx.abs() as i64, (dy.abs() as i64) << 15);
            let tg22 = ax * 13573;
            let peak = if ay < tg22 {
                m > magnitude[i - 1] && m >= magnitude[i + 1]
            } else if ay > tg22 + (ax << 16) {
                m > magnitude[i - stride] && m >= magnitude[i + stride]
            } else if (dx ^ dy) < 0 {
                m > magnitude[i - stride + 1] && m > magnitude[i + stride - 1]
            } else {
                m > magnitude[i - stride - 1] && m > magnitude[i + stride + 1]
            };
            if peak {
                map[y * width + x] = if m > 150 { 255 } else { 1 };
                if m > 150 {
                    stack.push((x, y));
                }
            }
        }
    }
    while let Some((x, y)) = stack.pop() {
        for v in y.saturating_sub(1)..(y + 2).min(height) {
            for u in x.saturating_sub(1)..(x + 2).min(width) {
                if map[v * width + u] == 1 {
                    map[v * width + u] = 255;
                    stack.push((u, v));
                }
            }
        }
    }
    for value in &mut map {
        *value &= 0u8.wrapping_sub(*value >> 7);
    }
    map
}

pub(super) fn dilate(edges: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut out = vec![0; edges.len()];
    for y in 0..height {
        for x in 0..width {
            if edges[y * width + x] != 0 {
                for v in y.saturating_sub(1)..(y + 2).min(height) {
                    out[v * width + x.saturating_sub(1)..v * width + (x + 2).min(width)].fill(255);
                }
            }
        }
    }
    out
}

/// `findContours` with RETR_EXTERNAL: 8-connected components that no other one encloses.
pub(super) fn external_contours(plane: &[u8], width: usize, height: usize) -> Vec<Contour> {
    const OUTSIDE: u8 = 1;
    const SEEN: u8 = 2;
    let (w, h) = (width + 2, height + 2);
    let mut map = vec![0u8; w * h];
    for y in 0..height {
        map[(y + 1) * w + 1..][..width].copy_from_slice(&plane[y * width..][..width]);
    }
    let mut stack = vec![0];
    map[0] = OUTSIDE;
    while let Some(i) = stack.pop() {
        let (x, y) = (i % w, i / w);
        let mut visit = |j: usize| {
            if map[j] == 0 {
                map[j] = OUTSIDE;
                stack.push(j);
            }
        };
        if x > 0 {
            visit(i - 1)
        }
        if x + 1 < w {
            visit(i + 1)
        }
        if y > 0 {
            visit(i - w)
        }
        if y + 1 < h {
            visit(i + w)
        }
    }
    let mut contours = Vec::new();
    for start in 0..map.len() {
        if map[start] != 255 {
            continue;
        }
        let external = map[start - 1] == OUTSIDE;
        if external {
            contours.push(trace(&map, w, start));
        }
        map[start] = SEEN;
        stack.push(start);
        while let Some(i) = stack.pop() {
            for j in [
                i - w - 1,
                i - w,
                i - w + 1,
                i - 1,
                i + 1,
                i + w - 1,
                i + w,
                i + w + 1,
            ] {
                if map[j] == 255 {
                    map[j] = SEEN;
                    stack.push(j);
                }
            }
        }
    }
    contours
}

/// Follows the outer border of the component whose first pixel in reading order is `start` (Suzuki and Abe 1985).
fn trace(map: &[u8], w: usize, start: usize) -> Contour {
    let w = w as isize;
    let step = [1, 1 - w, -w, -w - 1, -1, w - 1, w, w + 1];
    let inside = |i: isize| map[i as usize] >= 2;
    let start = start as isize;
    let (mut area, mut left, mut right, mut top, mut bottom) =
        (0i64, start % w, start % w, start / w, start / w);
    // Clockwise from the west, which is outside.
    let first = (1..8).map(|k| (4 + 8 - k) % 8).find(|&d| inside(start + step[d]));
    if let Some(first) = first {
        let last = start + step[first];
        let (mut at, mut direction) = (start, first);
        loop {
            // Counter-clockwise from where we came.
            let next = (1..9)
                .map(|k| (direction + k) % 8)
                .find(|&d| inside(at + step[d]))
                .unwrap_or(direction);
            let to = at + step[next];
            area += (at % w) as i64 * (to / w) as i64 - (to % w) as i64 * (at / w) as i64;
            (left, right) = (left.min(to % w), right.max(to % w));
            (top, bottom) = (top.min(to / w), bottom.max(to / w));
            if to == start && at == last {
                break;
            }
            direction = (next + 4) % 8;
            at = to;
        }
    }
    Contour {
        area: area.abs() as f64 / 2.0,
        bounds: [left - 1, top - 1, right - left + 1, bottom - top + 1].map(|v| v as usize),
    }
}
