//! What the life cycle's driver works with: the engine, the queue, and the memory that comes and goes.

use engine::{EngineError, EngineStats, memory};
use fleet::event::Event;
use fleet::lifecycle::{UnloadReason, Waiting};
use queue::Lane;

use crate::context::Context;
use crate::gpu;
use crate::models::Hands;
use crate::monitor;
use crate::receipts::Bytes;
use crate::tell;

impl Hands for Context {
    async fn load(&self) -> Result<(), EngineError> {
        let loaded = self.engines.load().await;
        let seconds = self.engines.stats().last_load_ms.map(|ms| ms / 1e3);
        self.metrics
            .load(loaded.is_ok().then(|| seconds.unwrap_or_default()));
        monitor::note(self, "loaded");
        loaded
    }

    async fn unload(&self, reason: UnloadReason) {
        let EngineStats {
            pid: engine, facts, ..
        } = self.engines.stats();
        let held = || {
            let processes = [Some(std::process::id()), engine].into_iter().flatten();
            let host = processes.map(|pid| memory::of_process(pid).written).sum();
            let gpu = facts.as_ref().zip(engine).and_then(|(facts, engine)| {
                let memory = gpu::memory(self.cards.as_ref(), &facts.device, engine)?;
                Some(memory.used_bytes)
            });
            Bytes { host, gpu }
        };
        monitor::note(self, "unloading");
        let before = held();
        self.engines.stop().await;
        memory::trim();
        let receipt = self.receipts.write(tell::unix_ms(), reason, before, held());
        self.metrics.unload(reason);
        self.events.tell(Event::Unload {
            worker: self.config.id.clone(),
            receipt,
        });
        tracing::info!(
            reason = reason.name(),
            before_bytes = receipt.before_bytes,
            after_bytes = receipt.after_bytes,
            floor_bytes = receipt.floor_bytes,
            residue_bytes = receipt.residue_bytes,
            "the models are unloaded"
        );
        monitor::note(self, "unloaded");
        if !receipt.is_over() {
            return;
        }
        let times = self.receipts.over();
        tracing::warn!(
            floor_bytes = receipt.floor_bytes,
            residue_bytes = receipt.residue_bytes,
            times,
            "an unload left too much above the worker's own memory"
        );
        if self.config.recycle_after.is_some_and(|most| times >= most.get()) {
            tracing::warn!(
                "this process ends when it is idle, so that what it does not give back comes back"
            );
            self.spent.cancel();
        }
    }

    async fn reopen(&self) -> Result<(), EngineError> {
        match self.engines.reopen() {
            Ok(is_another) => {
                let digest = self.engines.bundle_digest();
                tracing::info!(digest, is_another, "the bundle is opened again");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "the bundle cannot be opened again: the one before stays");
                Err(error)
            }
        }
    }

    fn is_gone(&self) -> bool {
        let pid = self.engines.stats().pid;
        pid.is_none_or(|pid| memory::resident(pid) == 0)
    }

    async fn waiting(&self) -> Option<Waiting> {
        let depths = self.queue.depths().await.ok()?;
        let grace = self.config.unload_grace.unwrap_or_default();
        Some(Waiting {
            ready: depths.ready(Lane::Express) + depths.ready(Lane::Bulk),
            due: depths.delayed_within(grace),
            elsewhere: self.neighbours.in_hand(tokio::time::Instant::now()),
        })
    }
}
