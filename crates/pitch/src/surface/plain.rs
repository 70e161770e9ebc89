//! Plain, one step after the other.

use super::dominant::dominant;
use crate::RgbImage;
use crate::analysis::{
    Brightness, BrightnessLevel, Colour, ColourType, CrackSeverity, Cracks, Grass, GrassLevel, Moisture,
    MoistureLevel, Surface, Texture, TextureType,
};

/// Per-pixel planes that the pictures need, one byte a pixel.
pub struct Maps {
    /// Grey.
    pub grey: Vec<u8>,
    /// 255 on grass, else 0.
    pub grass: Vec<u8>,
    /// 255 on a Canny edge, else 0.
    pub edges: Vec<u8>,
}

fn grey(image: &RgbImage) -> Vec<u8> {
    let weigh = |p: &[u8]| {
        ((u32::from(p[0]) * 9798 + u32::from(p[1]) * 19235 + u32::from(p[2]) * 3735 + (1 << 14)) >> 15) as u8
    };
    image.pixels().chunks_exact(3).map(weigh).collect()
}

fn hsv(p: &[u8]) -> [u8; 3] {
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

fn blur(grey: &[u8], width: usize, height: usize) -> Vec<u8> {
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

fn canny(image: &[u8], width: usize, height: usize) -> Vec<u8> {
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

fn dilate(edges: &[u8], width: usize, height: usize) -> Vec<u8> {
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

struct Contour {
    area: f64,
    /// x, y, width, height.
    bounds: [usize; 4],
}

/// `findContours` with RETR_EXTERNAL: 8-connected components that no other one encloses.
fn external_contours(plane: &[u8], width: usize, height: usize) -> Vec<Contour> {
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

fn is_crack(contour: &Contour) -> bool {
    let [_, _, w, h] = contour.bounds;
    contour.area > 50.0 && w.max(h) as f64 / w.min(h) as f64 > 3.0
}

fn laplacian_variance(grey: &[u8], width: usize, height: usize) -> f64 {
    let (mut sum, mut squares) = (0i64, 0i64);
    for y in 0..height {
        let (up, down) = (
            reflect(y as isize - 1, height) * width,
            reflect(y as isize + 1, height) * width,
        );
        for x in 0..width {
            let (l, r) = (reflect(x as isize - 1, width), reflect(x as isize + 1, width));
            let sample = |i: usize| i64::from(grey[i]);
            let value = sample(up + x) + sample(down + x) + sample(y * width + l) + sample(y * width + r)
                - 4 * sample(y * width + x);
            sum += value;
            squares += value * value;
        }
    }
    let n = grey.len() as f64;
    squares as f64 / n - (sum as f64 / n).powi(2)
}

fn round2(value: f64) -> f64 {
    (value * 100.0).round_ties_even() / 100.0
}

/// Reads the surface of a crop that has at least one pixel.
pub fn measure(image: &RgbImage) -> (Surface, Maps) {
    let (width, height) = (image.width(), image.height());
    let n = (width * height).max(1) as f64;
    let grey = grey(image);
    let hsv: Vec<[u8; 3]> = image.pixels().chunks_exact(3).map(hsv).collect();
    let is_grass = |[h, s, v]: &[u8; 3]| (25..=85).contains(h) && *s >= 40 && *v >= 40;
    let grass: Vec<u8> = hsv.iter().map(|p| if is_grass(p) { 255 } else { 0 }).collect();
    let edges = canny(&blur(&grey, width, height), width, height);
    let contours = external_contours(&dilate(&edges, width, height), width, height);
    let count = contours.iter().filter(|c| is_crack(c)).count();

    let percent = |plane: &[u8]| 100.0 * plane.iter().filter(|v| **v != 0).count() as f64 / n;
    let cover = percent(&grass);
    let density = percent(&edges);
    let mean = grey.iter().map(|v| u64::from(*v)).sum::<u64>() as f64 / n;
    let squares = grey.iter().map(|v| u64::from(*v).pow(2)).sum::<u64>() as f64 / n;
    let dark = 100.0 * grey.iter().filter(|v| **v < 100).count() as f64 / n;
    let score = ((100.0 - mean / 255.0 * 100.0) + dark) / 2.0;
    let channel = |c: usize| {
        image
            .pixels()
            .iter()
            .skip(c)
            .step_by(3)
            .map(|v| u64::from(*v))
            .sum::<u64>() as f64
            / n
    };
    let [r, g, b] = [channel(0), channel(1), channel(2)];
    let variance = laplacian_variance(&grey, width, height);

    let surface = Surface {
        grass: Grass {
            percent: round2(cover),
            level: match cover {
                p if p > 60.0 => GrassLevel::High,
                p if p > 30.0 => GrassLevel::Medium,
                p if p > 10.0 => GrassLevel::Low,
                _ => GrassLevel::Minimal,
            },
        },
        cracks: Cracks {
            density_percent: round2(density),
            count,
            severity: match () {
                () if density > 5.0 || count > 20 => CrackSeverity::High,
                () if density > 2.0 || count > 10 => CrackSeverity::Medium,
                () if density > 0.5 || count > 3 => CrackSeverity::Low,
                () => CrackSeverity::None,
            },
        },
        moisture: Moisture {
            score: round2(score),
            level: match score {
                s if s > 60.0 => MoistureLevel::Wet,
                s if s > 40.0 => MoistureLevel::Damp,
                s if s > 25.0 => MoistureLevel::SlightlyDamp,
                _ => MoistureLevel::Dry,
            },
            dark_percent: round2(dark),
            mean_saturation: round2(hsv.iter().map(|p| u64::from(p[1])).sum::<u64>() as f64 / n),
        },
        colour: Colour {
            mean_rgb: [r, g, b].map(round2),
            dominant_rgb: dominant(image),
            kind: match () {
                () if g > r && g > b && g > 100.0 => ColourType::Green,
                () if r > 150.0 && g > 120.0 && b < 100.0 => ColourType::BrownRed,
                () if r > 180.0 && g > 180.0 && b > 150.0 => ColourType::LightPale,
                () => ColourType::Mixed,
            },
        },
        texture: Texture {
            laplacian_variance: round2(variance),
            std_dev: round2((squares - mean * mean).max(0.0).sqrt()),
            kind: match variance {
                v if v > 1000.0 => TextureType::VeryRough,
                v if v > 500.0 => TextureType::Rough,
                v if v > 200.0 => TextureType::Moderate,
                _ => TextureType::Smooth,
            },
        },
        brightness: Brightness {
            mean: round2(mean),
            level: match mean {
                m if m > 180.0 => BrightnessLevel::VeryBright,
                m if m > 140.0 => BrightnessLevel::Bright,
                m if m > 100.0 => BrightnessLevel::Moderate,
                m if m > 60.0 => BrightnessLevel::Dark,
                _ => BrightnessLevel::VeryDark,
            },
        },
    };
    (surface, Maps { grey, grass, edges })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn sha(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn golden() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/surface");
        for i in 0..26 {
            let expected: serde_json::Value =
                serde_json::from_slice(&std::fs::read(format!("{folder}/{i:02}.json")).unwrap()).unwrap();
            let decoder = png::Decoder::new(std::io::BufReader::new(
                std::fs::File::open(format!("{folder}/{i:02}.png")).unwrap(),
            ));
            let mut reader = decoder.read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            let (w, h) = (info.width as usize, info.height as usize);
            let image = RgbImage::from_pixels(w, h, pixels).unwrap();
            let hashes = &expected["intermediate_sha256"];
            let g = grey(&image);
            assert_eq!(sha(&g), hashes["gray"], "{i} gray");
            let hsv: Vec<u8> = image.pixels().chunks_exact(3).flat_map(hsv).collect();
            assert_eq!(sha(&hsv), hashes["hsv"], "{i} hsv");
            let (surface, maps) = measure(&image);
            assert_eq!(sha(&maps.grass), hashes["grass_mask"], "{i} mask");
            let b = blur(&g, w, h);
            assert_eq!(sha(&b), hashes["blurred"], "{i} blurred");
            assert_eq!(sha(&maps.edges), hashes["edges"], "{i} edges");
            let d = dilate(&maps.edges, w, h);
            assert_eq!(sha(&d), hashes["dilated"], "{i} dilated");
            let contours = external_contours(&d, w, h);
            assert_eq!(contours.len() as u64, expected["contours"], "{i} contours");
            let mut cracks: Vec<_> = contours
                .iter()
                .filter(|c| is_crack(c))
                .map(|c| (c.bounds, c.area))
                .collect();
            cracks.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let theirs: Vec<_> = expected["cracks"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| {
                    let b: Vec<usize> = c["bbox_xywh"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|v| v.as_u64().unwrap() as usize)
                        .collect();
                    ([b[0], b[1], b[2], b[3]], c["area"].as_f64().unwrap())
                })
                .collect();
            assert_eq!(cracks, theirs, "{i} cracks");
            assert_eq!(
                surface.texture.laplacian_variance,
                round2(expected["laplacian_variance"].as_f64().unwrap()),
                "{i}"
            );
            assert_eq!(
                surface.moisture.score,
                round2(expected["moisture_score"].as_f64().unwrap()),
                "{i}"
            );
            if let Some(theirs) = expected["dominant_rgb"].as_array() {
                for (ours, theirs) in surface.colour.dominant_rgb.iter().zip(theirs) {
                    assert!(
                        (f64::from(*ours) - theirs.as_f64().unwrap()).abs() <= 12.0,
                        "{i} dominant"
                    );
                }
            }
        }
    }
}
