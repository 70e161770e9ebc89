//! The dominant colour: centre of the largest of three k-means clusters (Lloyd 1982), seeded by k-means++ (Arthur and
//! Vassilvitskii 2007) from a fixed stream, so that the same crop always gives the same colour.
//!
//! It runs on a histogram of 16 levels a channel, of a sample of the pixels, rather than on every pixel: each bin carries
//! the exact mean of its pixels, so that only pixels near the border between two clusters can fall on the other side.

use crate::RgbImage;

const CLUSTERS: usize = 3;
const STARTS: usize = 10;
/// Rounds that every start gets; the best one then goes on for as long as it moves.
const FIRST_ROUNDS: usize = 4;
const ROUNDS: usize = 50;
/// Pixels that are looked at, about.
const SAMPLE: usize = 1 << 16;

/// Mean colour of a histogram bin and how many pixels it holds.
struct Bin {
    colour: [f64; 3],
    weight: f64,
}

struct Clustering {
    centres: [[f64; 3]; CLUSTERS],
    weights: [f64; CLUSTERS],
    /// Sum of squared distances to the nearest centre.
    inertia: f64,
}

/// R, G, B of the dominant colour; black for an image without pixels.
pub(super) fn dominant(image: &RgbImage) -> [u8; 3] {
    let bins = histogram(image);
    let mut random = SplitMix(0);
    let clusterings = (0..STARTS).map(|_| lloyd(&bins, seed(&bins, &mut random), FIRST_ROUNDS));
    let Some(best) = clusterings.min_by(|a, b| a.inertia.total_cmp(&b.inertia)) else {
        return [0; 3];
    };
    let best = lloyd(&bins, best.centres, ROUNDS);
    let mut largest = 0;
    for k in 1..CLUSTERS {
        if best.weights[k] > best.weights[largest] {
            largest = k;
        }
    }
    best.centres[largest].map(|c| c.round() as u8)
}

fn histogram(image: &RgbImage) -> Vec<Bin> {
    let mut sums = vec![[0u64; 4]; 1 << 12];
    // An odd step does not fall into step with rows.
    let step = (image.pixels().len() / 3 / SAMPLE) | 1;
    for p in image.pixels().chunks_exact(3).step_by(step) {
        let sum =
            &mut sums[usize::from(p[0] >> 4) << 8 | usize::from(p[1] >> 4) << 4 | usize::from(p[2] >> 4)];
        for (sum, &sample) in sum.iter_mut().zip(p) {
            *sum += u64::from(sample);
        }
        sum[3] += 1;
    }
    let filled = sums.iter().filter(|sum| sum[3] > 0);
    filled
        .map(|sum| Bin {
            colour: [0, 1, 2].map(|c| sum[c] as f64 / sum[3] as f64),
            weight: sum[3] as f64,
        })
        .collect()
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    (0..3).map(|c| (a[c] - b[c]).powi(2)).sum()
}

fn nearest(centres: &[[f64; 3]], colour: &[f64; 3]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (k, centre) in centres.iter().enumerate() {
        let d = distance(centre, colour);
        if d < best.1 {
            best = (k, d);
        }
    }
    best
}

/// Each further centre is drawn with a probability that grows with the squared distance from those before.
fn seed(bins: &[Bin], random: &mut SplitMix) -> [[f64; 3]; CLUSTERS] {
    let mut centres = [[0.0; 3]; CLUSTERS];
    for k in 0..CLUSTERS {
        let chance = |bin: &Bin| {
            bin.weight
                * if k == 0 {
                    1.0
                } else {
                    nearest(&centres[..k], &bin.colour).1
                }
        };
        let mut left = random.unit() * bins.iter().map(chance).sum::<f64>();
        let drawn = bins.iter().find(|bin| {
            left -= chance(bin);
            left <= 0.0
        });
        if let Some(bin) = drawn.or(bins.last()) {
            centres[k] = bin.colour;
        }
    }
    centres
}

fn lloyd(bins: &[Bin], mut centres: [[f64; 3]; CLUSTERS], rounds: usize) -> Clustering {
    let mut weights = [0.0; CLUSTERS];
    let mut inertia = 0.0;
    for _ in 0..rounds {
        let mut sums = [[0.0; 3]; CLUSTERS];
        weights = [0.0; CLUSTERS];
        inertia = 0.0;
        for bin in bins {
            let (k, d) = nearest(&centres, &bin.colour);
            weights[k] += bin.weight;
            inertia += d * bin.weight;
            for (sum, channel) in sums[k].iter_mut().zip(bin.colour) {
                *sum += channel * bin.weight;
            }
        }
        let mut moved: f64 = 0.0;
        for k in 0..CLUSTERS {
            if weights[k] > 0.0 {
                let centre = sums[k].map(|s| s / weights[k]);
                moved = moved.max(distance(&centre, &centres[k]));
                centres[k] = centre;
            }
        }
        // OpenCV's criterion in the reference: no centre moves by more than 0.2.
        if moved <= 0.2 * 0.2 {
            break;
        }
    }
    Clustering {
        centres,
        weights,
        inertia,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    /// Uniform in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
