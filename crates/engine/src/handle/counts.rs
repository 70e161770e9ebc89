//! What an engine knows of its processes, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers of one engine. Clones are the same numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Batches that were halved since the engine was made.
    pub(super) halvings: Arc<AtomicU64>,
    /// Bytes of the memory budget that photos hold now.
    pub(super) admitted: Arc<AtomicU64>,
    /// Photos that wait for memory now.
    pub(super) waiting: Arc<AtomicU64>,
}

/// An amount that counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Counted {
    of: Arc<AtomicU64>,
    amount: u64,
}

impl Counted {
    pub(super) fn new(of: &Arc<AtomicU64>, amount: u64) -> Self {
        // Wraps around, and back again: the amount is what another process says.
        of.fetch_add(amount, Ordering::Relaxed);
        Self {
            of: of.clone(),
            amount,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.fetch_sub(self.amount, Ordering::Relaxed);
    }
}
