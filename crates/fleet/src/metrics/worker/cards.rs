//! What is told of cards, as long as a driver tells it.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::metrics::{add, add_in, whole};

/// By the number that NVML gives a card.
type PerCard<G> = Family<[(&'static str, u32); 1], G>;

/// How a card is at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Card {
    /// The number that NVML gives it.
    pub number: u32,
    /// Bytes of its memory that the engine process holds.
    pub process: u64,
    /// Bytes that are in use, whoever uses them.
    pub used: u64,
    /// Bytes that there are.
    pub total: u64,
    /// How much of its time it ran anything just now, 0 to 1; `None` when that cannot be told, as of a part of a card.
    pub busy: Option<f64>,
}

#[derive(Debug)]
pub(super) struct Cards {
    process: PerCard<Gauge>,
    used: PerCard<Gauge>,
    total: PerCard<Gauge>,
    busy: PerCard<Gauge<f64, AtomicU64>>,
}

impl Cards {
    pub(super) fn new(r: &mut Registry) -> Self {
        Self {
            process: add_in(
                r,
                "vram_process",
                Unit::Bytes,
                "GPU memory that the engine process holds; absent before the first load on a card",
                Family::default(),
            ),
            used: add_in(
                r,
                "vram_device_used",
                Unit::Bytes,
                "GPU memory of the card that is in use, whoever uses it; absent before the first load on a card",
                Family::default(),
            ),
            total: add_in(
                r,
                "vram_device_total",
                Unit::Bytes,
                "GPU memory of the card; absent before the first load on a card",
                Family::default(),
            ),
            busy: add(
                r,
                "gpu_busy_ratio",
                "Share of the driver's last sampling period, up to a second, in which the card ran anything, whoever's; \
                 absent where it does not tell",
                Family::default(),
            ),
        }
    }

    /// What is not known is absent: the last value would be taken for the present one.
    pub(super) fn set(&self, card: Option<Card>) {
        let Some(card) = card else {
            self.process.clear();
            self.used.clear();
            self.total.clear();
            self.busy.clear();
            return;
        };
        let labels = [("gpu", card.number)];
        self.process.get_or_create(&labels).set(whole(card.process));
        self.used.get_or_create(&labels).set(whole(card.used));
        self.total.get_or_create(&labels).set(whole(card.total));
        match card.busy {
            Some(ratio) => {
                self.busy.get_or_create(&labels).set(ratio);
            }
            None => self.busy.clear(),
        }
    }
}
