//! How far batches are: counted from the bucket, kept fresh by events, so that asking costs no listing.

use std::sync::Arc;

use fleet::api::BatchStatus;
use fleet::event::Event;
use fleet::ids::{BatchId, Tenant};
use store::{Buckets, StoreError};
use tokio::sync::watch;

use crate::clock::Clock;

/// What is known of the batches that somebody asked about.
#[derive(Debug)]
pub struct Progress {
    #[expect(dead_code, reason = "to come")]
    buckets: Buckets,
    #[expect(dead_code, reason = "to come")]
    clock: Arc<dyn Clock>,
    never: watch::Sender<u64>,
}

impl Progress {
    /// Of nothing yet.
    pub fn new(buckets: Buckets, clock: Arc<dyn Clock>) -> Self {
        Self {
            buckets,
            clock,
            never: watch::Sender::new(0),
        }
    }

    /// The batch as it stands; `None` when there is no such batch.
    ///
    /// # Errors
    /// When the store does not answer.
    #[expect(clippy::unused_async, reason = "to come")]
    pub async fn status(&self, _tenant: &Tenant, _batch: BatchId) -> Result<Option<BatchStatus>, StoreError> {
        Ok(None)
    }

    /// Changes whenever [`status`](Self::status) may answer differently than before.
    pub fn changes(&self, _tenant: &Tenant, _batch: BatchId) -> watch::Receiver<u64> {
        self.never.subscribe()
    }

    /// Takes in what was said on the events fanout.
    pub fn record(&self, _event: &Event) {}

    /// Forgets what was remembered: the batch was changed from this process (submitted, cancelled, retried, deleted).
    pub fn invalidate(&self, _tenant: &Tenant, _batch: BatchId) {}
}
