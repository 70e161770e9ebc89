//! The worker's metrics page: what is measured is looked up when somebody reads it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use fleet::metrics::{Budget, Card, Held, Page, Process};

use crate::context::Context;
use crate::monitor;
use crate::tell;

/// The page as it is now, in the format that an `Accept` header asks for.
pub(crate) fn page(context: &Context, accept: Option<&str>) -> Result<Page, fmt::Error> {
    let metrics = &context.metrics;
    metrics.set_in_hand(context.tally.in_hand());
    metrics.set_worker_state(tell::doing(context));
    metrics.set_model_state(context.models.state());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let deadline = context.models.unload_in().map(|left| now.as_secs_f64() + left);
    metrics.set_unload_deadline(deadline);
    let stats = context.engines.stats();
    metrics.set_restarts(stats.restarts);
    metrics.set_batch_halvings(stats.batch_halvings);
    metrics.set_budget(Budget {
        total: stats.memory_budget,
        admitted: stats.memory_admitted,
        waiting: stats.waiting_for_memory,
    });
    if let Some(facts) = &stats.facts {
        metrics.set_provider(&facts.execution_provider_requested, &facts.execution_provider);
    }
    let memory = monitor::report(context);
    let worker = Held {
        resident: memory.worker_bytes,
        private: memory.worker_private_bytes,
        peak: memory.worker_peak_bytes,
    };
    let engine = Held {
        resident: memory.engine_bytes,
        private: memory.engine_private_bytes,
        peak: memory.engine_peak_bytes,
    };
    metrics.set_memory(Process::Worker, worker);
    metrics.set_memory(Process::Engine, engine);
    metrics.set_limit(memory.used_bytes, memory.limit_bytes);
    metrics.set_card(memory.gpu.map(|gpu| Card {
        number: gpu.card,
        process: gpu.process_bytes,
        used: gpu.used_bytes,
        total: gpu.total_bytes,
        busy: context.cards.busy(gpu.card),
    }));
    if let Some(receipt) = memory.last_unload {
        metrics.set_receipt(receipt, context.receipts.over());
    }
    let connected = context.queue.connection().borrow().is_ready();
    metrics.set_broker(connected, context.queue.counters().reconnects);
    metrics.page(accept)
}
