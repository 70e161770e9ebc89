//! What requests, the coordinator and the progress tracker have in common.

use std::sync::Arc;

use fleet::metrics::ApiMetrics;
use queue::Queue;
use store::Buckets;

use crate::clock::{Clock, SystemClock};
use crate::config::ApiConfig;
use crate::coordinator;
use crate::orders::Orders;
use crate::progress::Progress;
use crate::roster::Roster;

/// The ports and the parts that all of this role uses. Cheap to share: always behind an [`Arc`].
#[derive(Debug)]
pub struct Shared {
    /// The fleet's bucket, and those that photos may be imported from.
    pub buckets: Buckets,
    /// The broker.
    pub queue: Arc<dyn Queue>,
    /// What the operator chose.
    pub config: ApiConfig,
    /// What the coordinator of this process keeps in memory.
    pub coordinator: coordinator::State,
    /// How far batches are.
    pub progress: Progress,
    /// Which workers there are.
    pub roster: Roster,
    /// Orders to workers that wait for answers.
    pub orders: Orders,
    /// What is counted on the way.
    pub metrics: ApiMetrics,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl Shared {
    /// With the machine's clock.
    pub fn new(buckets: Buckets, queue: Arc<dyn Queue>, config: ApiConfig) -> Arc<Self> {
        Self::with_clock(buckets, queue, config, Arc::new(SystemClock))
    }

    /// With another clock.
    pub fn with_clock(
        buckets: Buckets,
        queue: Arc<dyn Queue>,
        config: ApiConfig,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let progress = Progress::new(buckets.clone(), Arc::clone(&clock));
        Arc::new(Self {
            buckets,
            queue,
            config,
            coordinator: coordinator::State::default(),
            progress,
            roster: Roster::default(),
            orders: Orders::default(),
            metrics: ApiMetrics::new(env!("CARGO_PKG_VERSION")),
            clock,
        })
    }
}
