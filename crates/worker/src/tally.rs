//! What a worker has in hand and what it has done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use fleet::event::Done;
use tokio::sync::Notify;

/// Counts for heartbeats, the life cycle and the farewell.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    in_hand: AtomicU64,
    taken: AtomicU64,
    requeued: AtomicU64,
    done: Mutex<Done>,
    /// Told when nothing is in hand any more.
    pub(crate) idle: Notify,
}

/// A photo in hand, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct InHand<'a>(&'a Tally);

impl Tally {
    /// A photo was taken.
    pub(crate) fn take(&self) -> InHand<'_> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        InHand(self)
    }

    /// Photos in hand.
    pub(crate) fn in_hand(&self) -> u64 {
        self.in_hand.load(Ordering::Relaxed)
    }

    /// Photos taken since the start.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
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
        if self.0.in_hand.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_one();
        }
    }
}
