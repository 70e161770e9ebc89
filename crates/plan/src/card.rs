//! Whether a card pays. It takes the networks off the cores, and nothing else: decoding stays.
//!
//! No card was measured. What a card takes for a photo is the caller's assumption; the cores' side is measured.

use serde::Serialize;

use crate::work::Work;

/// A card and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Card {
    /// Milliseconds that it takes for detector and classifier of one photo, in batches. An assumption.
    pub photo_ms: f64,
    /// Price of an hour, cores not included.
    pub hour: f64,
}

/// A worker with a card against workers without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Core milliseconds of a photo where the networks run on cores, too.
    pub cores_only_ms: f64,
    /// Core milliseconds of a photo beside a card.
    pub beside_ms: f64,
    /// Cores that keep the card busy; with fewer it waits for photos to be decoded.
    pub cores_to_fill: f64,
    /// Photos a second of the card with the cores that were asked about.
    pub rate: f64,
    /// Cores without a card that do as much.
    pub cores_replaced: f64,
    /// Part of the time that the card is busy.
    pub busy: f64,
    /// The price of a card's hour below which it pays with these cores beside it.
    pub pays_below: f64,
    /// The least number of cores beside it with which it pays at its price; `None` when no number does.
    pub cores_to_pay: Option<f64>,
}

/// Megabytes that a CUDA context holds before anything is loaded, as others found (onnxruntime issues 17142, 20548).
const CONTEXT_MB: f64 = 300.0;
/// Bytes of activations for each byte of the detector's input: the engine's estimate, from 12 on the CPU.
const ACTIVATIONS: f64 = 16.0;

/// Megabytes of a card's memory that batches of `photos` photos take by the engine's estimate: three quarters are the
/// detector's, the rest the classifier's. An estimate, no card was measured.
pub fn memory_mb(detector_side: f64, photos: f64) -> f64 {
    let image = detector_side * detector_side * 3.0 * 4.0 * ACTIVATIONS / 1e6;
    CONTEXT_MB + photos * image / 0.75
}

/// Compares `card` with `cores` cores beside it, at `core_hour` for an hour of a core.
pub fn compare(work: &Work, card: &Card, cores: f64, core_hour: f64) -> Comparison {
    let (alone, beside) = (work.worker_ms(), work.worker_beside_ms());
    let cores_to_fill = beside / card.photo_ms;
    let rate = (cores / beside).min(1.0 / card.photo_ms) * 1e3;
    let cores_replaced = rate * alone / 1e3;
    let pays_below = (cores_replaced - cores) * core_hour;
    // Each core beside it, until it is full, replaces alone / beside cores.
    let gain = (alone / beside - 1.0) * core_hour;
    let cores_to_pay = card.hour / gain;
    Comparison {
        cores_only_ms: alone,
        beside_ms: beside,
        cores_to_fill,
        rate,
        cores_replaced,
        busy: rate * card.photo_ms / 1e3,
        pays_below,
        cores_to_pay: (cores_to_pay <= cores_to_fill).then_some(cores_to_pay),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Precision;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-3, "{value} is not {expected}");
    }

    fn work(megapixels: f64, precision: Precision) -> Work {
        Work {
            megapixels,
            detector_side: 640.0,
            precision,
            core_speed: 1.0,
        }
    }

    const CARD: Card = Card {
        photo_ms: 3.0,
        hour: 0.45,
    };

    #[test]
    fn for_large_photos_the_card_waits_for_cores() {
        // Beside: (9 + 6 × 24) × 1.06 = 162.18 ms; alone: (153 + 25.6) × 1.06 = 189.316 ms.
        let large = compare(&work(24.0, Precision::Int8), &CARD, 8.0, 0.05);
        near(large.cores_to_fill, 54.06);
        near(large.rate, 8_000.0 / 162.18);
        near(large.cores_replaced, 8.0 * 189.316 / 162.18);
        near(large.busy, 8.0 / 54.06);
        // It replaces 1.34 cores.
        near(large.pays_below, 8.0 * (189.316 / 162.18 - 1.0) * 0.05);
        // 0.45 / (0.1673 × 0.05) = 53.8 of the 54.06 that fill it.
        near(large.cores_to_pay.unwrap(), 53.79);
    }

    #[test]
    fn for_small_photos_and_fp32_it_pays_early() {
        // Beside: (9 + 12) × 1.06 = 22.26 ms; alone: (21 + 68.5) × 1.06 = 94.87 ms.
        let small = compare(&work(2.0, Precision::Fp32), &CARD, 8.0, 0.05);
        near(small.cores_to_fill, 7.42);
        near(small.busy, 1.0);
        near(small.rate, 333.33);
        near(small.cores_replaced, 31.62);
        near(small.cores_to_pay.unwrap(), 0.45 / (94.87 / 22.26 - 1.0) / 0.05);
    }

    #[test]
    fn a_card_s_memory_is_that_of_its_batch() {
        // The engine puts 18 images of 640 px into 0.9 of 2 GiB, not 19 (`card_memory.rs`).
        let networks = |photos| memory_mb(640.0, photos) - CONTEXT_MB;
        let free = 0.9 * 2.0 * 1_073.741_824;
        assert!(networks(18.0) <= free && free < networks(19.0));
    }

    #[test]
    fn a_dear_card_never_pays() {
        let dear = Card { hour: 4.0, ..CARD };
        assert_eq!(
            compare(&work(24.0, Precision::Int8), &dear, 64.0, 0.05).cores_to_pay,
            None
        );
    }
}
