//! How much of a card's memory the networks may hold, and how many photos that makes a batch.

use std::num::NonZeroUsize;

use nvml_wrapper::Nvml;
use pitch::networks::DetectorShape;

use crate::config::CardConfig;

/// Most images in one batch: beyond it a card gains nothing, and the first photo waits for the last.
const LARGEST_BATCH: usize = 32;
/// Images in one batch when nobody knows the card's memory.
const BATCH_OF_UNKNOWN: usize = 8;
/// Bytes that the detector's activations take for each byte of its input. On the CPU a batch of eight 640-pixel images
/// took 57 MB an image, 12 times its 4.9 MB; cuDNN's workspaces come on top.
const DETECTOR_COST: u64 = 16;

/// Memory for the networks on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CardMemory {
    limit: Option<u64>,
}

impl CardMemory {
    /// What is set, else nine tenths of what the driver says is free; unknown where neither tells.
    pub(crate) fn probe(card: u32, config: &CardConfig) -> Self {
        Self::new(config, || free(card))
    }

    fn new(config: &CardConfig, free: impl FnOnce() -> Option<u64>) -> Self {
        let of_free = || free().map(|free| free / 10 * 9);
        Self {
            limit: config.memory_limit.or_else(of_free),
        }
    }

    /// Bytes for the detector's arena.
    pub(crate) fn for_detector(self) -> Option<u64> {
        self.limit.map(|limit| limit / 4 * 3)
    }

    /// Bytes for the classifier's arena, whose inputs are an eighth of the detector's.
    pub(crate) fn for_classifier(self) -> Option<u64> {
        self.limit.map(|limit| limit / 4)
    }

    /// Most photos in one batch: what is set, else as many as the detector has memory for.
    pub(crate) fn largest_batch(self, config: &CardConfig, shape: &DetectorShape) -> NonZeroUsize {
        let by_memory = || {
            let side = shape.image_size as u64;
            let image = side.saturating_mul(side).saturating_mul(3 * 4 * DETECTOR_COST);
            let count = match self.for_detector() {
                Some(bytes) => usize::try_from(bytes / image.max(1)).unwrap_or(usize::MAX),
                None => BATCH_OF_UNKNOWN,
            };
            NonZeroUsize::new(count.min(LARGEST_BATCH)).unwrap_or(NonZeroUsize::MIN)
        };
        config.largest_batch.unwrap_or_else(by_memory)
    }
}

/// Free bytes of a card, by its driver (NVML).
fn free(card: u32) -> Option<u64> {
    let nvml = Nvml::init().ok()?;
    let memory = nvml.device_by_index(card).ok()?.memory_info().ok()?;
    Some(memory.free)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(image_size: usize) -> DetectorShape {
        DetectorShape {
            image_size,
            stride: 32,
            fixed_square: false,
            classes: Vec::new(),
        }
    }

    fn batch(free: Option<u64>, image_size: usize) -> usize {
        let config = CardConfig::default();
        let memory = CardMemory::new(&config, || free);
        memory.largest_batch(&config, &shape(image_size)).get()
    }

    #[test]
    fn a_batch_is_what_the_card_has_memory_for() {
        // 640 x 640 x 3 floats are 4.9 MB, their activations 78.6 MB by our estimate.
        for (free, side, images) in [
            (Some(80_u64 << 30), 640, 32),
            (Some(2 << 30), 640, 18),
            (Some(1 << 30), 640, 9),
            (Some(1 << 30), 1280, 2),
            (Some(64 << 20), 640, 1),
            (None, 640, 8),
        ] {
            assert_eq!(batch(free, side), images, "{free:?} bytes, {side} px");
        }
    }

    #[test]
    fn what_is_set_holds() {
        let config = CardConfig {
            memory_limit: Some(4 << 30),
            largest_batch: NonZeroUsize::new(5),
            ..CardConfig::default()
        };
        let memory = CardMemory::new(&config, || unreachable!("nobody need ask"));
        assert_eq!(memory.for_detector(), Some(3 << 30));
        assert_eq!(memory.for_classifier(), Some(1 << 30));
        assert_eq!(memory.largest_batch(&config, &shape(640)).get(), 5);
    }

    #[test]
    fn a_machine_without_a_driver_has_no_free_card() {
        if !crate::device::has_driver() {
            assert_eq!(free(0), None);
        }
    }
}
