//! How much memory worker, engine and card hold: for heartbeats, the metrics page and the log.

use engine::{memory, quota};
use fleet::event::MemoryReport;

use crate::context::Context;
use crate::gpu;

/// What is held now.
pub(crate) fn report(context: &Context) -> MemoryReport {
    let stats = context.engines.stats();
    let own = std::process::id();
    let worker = memory::of_process(own);
    let engine = stats.pid.map(memory::of_process).unwrap_or_default();
    // Of a card that was used, also after the models went from it: that they did is what is to be seen.
    let last = || context.engines.last_facts(&context.engines.own_choice());
    let gpu = stats.facts.or_else(last).and_then(|facts| {
        let cards = context.cards.as_ref();
        gpu::memory(cards, &facts.device, stats.pid.unwrap_or(0))
    });
    let allowance = quota::allowance();
    MemoryReport {
        worker_bytes: worker.resident,
        engine_bytes: engine.resident,
        worker_private_bytes: worker.private,
        engine_private_bytes: engine.private,
        worker_peak_bytes: memory::peak(own),
        engine_peak_bytes: stats.pid.map_or(0, memory::peak),
        used_bytes: allowance.map_or(0, |allowance| allowance.used),
        limit_bytes: allowance.map_or(0, |allowance| allowance.limit),
        gpu,
        last_unload: context.receipts.last(),
    }
}

/// Writes what is held now to the log, with a label that says at what point that is.
pub(crate) fn note(context: &Context, label: &str) {
    let held = report(context);
    tracing::info!(
        label,
        worker_bytes = held.worker_bytes,
        worker_private_bytes = held.worker_private_bytes,
        worker_peak_bytes = held.worker_peak_bytes,
        engine_bytes = held.engine_bytes,
        engine_private_bytes = held.engine_private_bytes,
        engine_peak_bytes = held.engine_peak_bytes,
        tree_bytes = held.worker_bytes + held.engine_bytes,
        tree_private_bytes = held.worker_private_bytes + held.engine_private_bytes,
        gpu_bytes = held.gpu.map(|gpu| gpu.process_bytes),
        used_percent = percent(held.used_bytes, held.limit_bytes),
        "memory"
    );
}

/// `part` of `whole`, 0 to 100 with one decimal; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 1_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_percent() {
        assert_eq!(percent(1, 3), 33.3);
        assert_eq!(percent(220, 220), 100.0);
        assert_eq!(percent(1, 0), 0.0);
    }
}
