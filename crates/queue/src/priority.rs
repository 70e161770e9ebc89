//! Express before bulk.

use std::num::NonZeroU16;

use crate::delivery::Delivery;
use crate::port::Consumer;

/// Two consumers read as one, the first of them first. Order between lanes is decided when a delivery is taken, not
/// when it was prefetched, so an express photo overtakes bulk photos that already wait in this process.
pub struct ExpressFirst {
    express: Box<dyn Consumer>,
    bulk: Box<dyn Consumer>,
}

impl ExpressFirst {
    /// Reads `express` before `bulk`.
    pub fn new(express: Box<dyn Consumer>, bulk: Box<dyn Consumer>) -> Self {
        Self { express, bulk }
    }

    /// The next delivery of express, else of bulk; waits for one. `None` when both have ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        tokio::select! {
            biased;
            Some(delivery) = self.express.next() => Some(delivery),
            Some(delivery) = self.bulk.next() => Some(delivery),
            else => None,
        }
    }

    /// [`Consumer::set_prefetch`] of both.
    pub async fn set_prefetch(&mut self, prefetch: NonZeroU16) {
        self.express.set_prefetch(prefetch).await;
        self.bulk.set_prefetch(prefetch).await;
    }

    /// [`Consumer::cancel`] of both, bulk first: what is given back there is the larger part.
    pub async fn cancel(&mut self) {
        self.bulk.cancel().await;
        self.express.cancel().await;
    }
}
