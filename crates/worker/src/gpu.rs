//! Memory of a card, as its driver tells it (NVML). Where there is no driver, nothing is told.

use std::fmt;
use std::sync::OnceLock;

use fleet::event::GpuMemory;
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;

/// Who tells how much memory of a card is used.
pub(crate) trait Cards: fmt::Debug + Send + Sync {
    /// Of the card with this number, and of the process on it; `None` when it cannot be told.
    fn read(&self, card: u32, process: u32) -> Option<GpuMemory>;

    /// Share of the driver's last sampling period, a sixth of a second to a second, in which the card ran anything, 0 to
    /// 1; `None` when it cannot be told.
    fn busy(&self, card: u32) -> Option<f64>;
}

/// The driver. Its library is loaded when it is first asked, which is when a card is used.
#[derive(Debug, Default)]
pub(crate) struct Driver(OnceLock<Option<Nvml>>);

impl Driver {
    fn nvml(&self) -> Option<&Nvml> {
        let nvml = self.0.get_or_init(|| {
            Nvml::init()
                .inspect_err(|error| tracing::debug!(%error, "nothing of cards is told"))
                .ok()
        });
        nvml.as_ref()
    }
}

impl Cards for Driver {
    fn read(&self, card: u32, process: u32) -> Option<GpuMemory> {
        let device = self.nvml()?.device_by_index(card).ok()?;
        let memory = device.memory_info().ok()?;
        let processes = device.running_compute_processes().unwrap_or_default();
        // In a container the driver may tell other ids than the container's own.
        let ours = processes.iter().find(|known| known.pid == process);
        let process_bytes = ours.and_then(|ours| match ours.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        });
        Some(GpuMemory {
            card,
            process_bytes: process_bytes.unwrap_or(0),
            used_bytes: memory.used,
            total_bytes: memory.total,
        })
    }

    fn busy(&self, card: u32) -> Option<f64> {
        let device = self.nvml()?.device_by_index(card).ok()?;
        let percent = device.utilization_rates().ok()?.gpu;
        Some(f64::from(percent.min(100)) / 100.0)
    }
}

/// Of the card `device`, and of the engine process on it, 0 when there is none; `None` when it is no card, or when that
/// cannot be told.
pub(crate) fn memory(cards: &dyn Cards, device: &str, engine: u32) -> Option<GpuMemory> {
    cards.read(card(device)?, engine)
}

/// The number in `cuda:N`.
fn card(device: &str) -> Option<u32> {
    device.strip_prefix("cuda:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_cards_have_numbers() {
        for (device, number) in [
            ("cuda:0", Some(0)),
            ("cuda:12", Some(12)),
            ("cpu", None),
            ("cuda:", None),
        ] {
            assert_eq!(card(device), number, "{device}");
        }
    }

    /// Two cards, of which an engine uses the second.
    #[derive(Debug)]
    struct Two;

    impl Cards for Two {
        fn read(&self, card: u32, process: u32) -> Option<GpuMemory> {
            (card < 2).then_some(GpuMemory {
                card,
                process_bytes: if (card, process) == (1, 77) { 900 << 20 } else { 0 },
                used_bytes: 1 << 30,
                total_bytes: 8 << 30,
            })
        }

        fn busy(&self, _card: u32) -> Option<f64> {
            None
        }
    }

    #[test]
    fn the_card_that_the_engine_runs_on_is_asked() {
        let of = |device| memory(&Two, device, 77).map(|memory| (memory.card, memory.process_bytes));
        assert_eq!(of("cuda:1"), Some((1, 900 << 20)));
        assert_eq!(of("cuda:0"), Some((0, 0)));
        assert_eq!(of("cuda:2"), None);
        let left = memory(&Two, "cuda:1", 0).map(|memory| (memory.card, memory.process_bytes));
        assert_eq!(left, Some((1, 0)), "no engine, and the card is there still");
        assert_eq!(of("cpu"), None);
    }

    #[test]
    fn a_machine_without_a_driver_tells_nothing() {
        let driver = Driver::default();
        if !std::path::Path::new("/proc/driver/nvidia/version").exists() {
            assert_eq!(driver.read(0, 1), None);
            assert_eq!(driver.read(0, 1), None, "nor the second time");
            assert_eq!(driver.busy(0), None);
        }
    }
}
