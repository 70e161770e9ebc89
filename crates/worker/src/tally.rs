//! What a worker has in hand and what it has done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fleet::event::Done;
/// Counts for heartbeats and the farewell.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    in_hand: AtomicU64,
    requeued: AtomicU64,
    done: Mutex<Done>,
}

/// A photo in hand, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct InHand<'a>(&'a Tally);

impl Tally {
    /// A photo was taken.
    pub(crate) fn take(&self) -> InHand<'_> {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        InHand(self)
    }

    /// Photos in hand.
    pub(crate) fn in_hand(&self) -> u64 {
        self.in_hand.load(Ordering::Relaxed)
    }

    /// A photo was given back.
    pub(crate) fn requeue(&self) {
        self.requeued.fetch_add(1, Ordering::Relaxed);
    }

    /// Photos given back since the start.
    pub(crate) fn requeued(&self) -> u64 {
        self.requeued.load(Ordering::Relaxed)
    }

    /// Counts what became of a photo.
    pub(crate) fn count(&self, what: impl FnOnce(&mut Done)) {
        what(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What became of the photos since the start.
    pub(crate) fn done(&self) -> Done {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}
