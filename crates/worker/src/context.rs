//! What everything that a worker does has in common.

use std::sync::Arc;

use engine::Engine;
use fleet::lifecycle::Policy;
use fleet::metrics::WorkerMetrics;
use queue::Queue;
use store::{Buckets, Store};
use tokio_util::sync::CancellationToken;

use crate::config::WorkerConfig;
use crate::engines::Engines;
use crate::gpu::{Cards, Driver};
use crate::models::{Actions, Models};
use crate::neighbours::Neighbours;
use crate::places::Places;
use crate::pressure::Pressure;
use crate::receipts::Receipts;
use crate::tally::Tally;
use crate::tell::Events;
use crate::unwanted::UnwantedBatches;

/// Ports, engine, and what the worker knows.
pub(crate) struct Context {
    pub(crate) config: WorkerConfig,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) buckets: Buckets,
    pub(crate) engines: Engines,
    pub(crate) models: Models,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) cards: Box<dyn Cards>,
    pub(crate) receipts: Receipts,
    pub(crate) neighbours: Neighbours,
    pub(crate) places: Places,
    pub(crate) unwanted: UnwantedBatches,
    pub(crate) pressure: Pressure,
    pub(crate) tally: Tally,
    pub(crate) events: Events,
    /// The worker was asked to go: what is not with the engine yet goes back to the queue.
    pub(crate) draining: CancellationToken,
    /// Memory does not come back: the worker is to begin anew when it is idle.
    pub(crate) spent: CancellationToken,
    /// The time for going is over: what is with the engine goes back, too.
    pub(crate) overdue: CancellationToken,
}

impl Context {
    pub(crate) fn new(
        config: WorkerConfig,
        queue: Arc<dyn Queue>,
        buckets: Buckets,
        engine: Engine,
        events: Events,
    ) -> (Self, Actions) {
        let metrics = WorkerMetrics::new(&config.program);
        let (models, actions) = Models::new(Policy::new(config.preload, config.unload_grace));
        let context = Self {
            config,
            queue,
            buckets,
            places: Places::new(engine.places()),
            engines: Engines::new(engine),
            models,
            metrics,
            cards: Box::new(Driver::default()),
            receipts: Receipts::default(),
            neighbours: Neighbours::default(),
            unwanted: UnwantedBatches::default(),
            pressure: Pressure::default(),
            tally: Tally::default(),
            events,
            draining: CancellationToken::new(),
            spent: CancellationToken::new(),
            overdue: CancellationToken::new(),
        };
        (context, actions)
    }

    /// The fleet's own store.
    pub(crate) fn home(&self) -> &dyn Store {
        self.buckets.home().as_ref()
    }
}
