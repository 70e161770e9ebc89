//! The words that stand in labels.

use crate::event::WorkerState;
use crate::lifecycle::{State, UnloadReason};

/// From which queue a photo came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhotoQueue {
    /// Big sets.
    Bulk,
    /// Small sets and single photos.
    Express,
}

/// What became of a photo, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhotoOutcome {
    /// Analysed.
    Ok,
    /// Taken from an earlier analysis.
    Reused,
    /// Failed for good.
    Failed,
    /// Nobody wants it any more.
    Cancelled,
}

/// How a delivery was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    /// Acknowledged: the photo has its result, or needs none.
    Done,
    /// Sent to a retry queue.
    Retried,
    /// Given back to its queue, because the worker goes.
    Requeued,
    /// Sent to the dead letters.
    Rejected,
}

/// Whose memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The worker itself.
    Worker,
    /// Its engine process.
    Engine,
}

/// A set of words for a label.
pub(super) trait Word: Copy + 'static {
    const ALL: &'static [Self];
    fn word(self) -> &'static str;
}

macro_rules! words {
    ($kind:ident: $($value:ident = $word:literal),+) => {
        impl Word for $kind {
            const ALL: &'static [Self] = &[$(Self::$value),+];
            fn word(self) -> &'static str {
                match self { $(Self::$value => $word),+ }
            }
        }
    };
}

words!(PhotoQueue: Bulk = "bulk", Express = "express");
words!(PhotoOutcome: Ok = "ok", Reused = "reused", Failed = "failed", Cancelled = "cancelled");
words!(DeliveryResult: Done = "done", Retried = "retried", Requeued = "requeued", Rejected = "rejected");
words!(Process: Worker = "worker", Engine = "engine");
words!(WorkerState: Idle = "idle", Busy = "busy", Draining = "draining", Gone = "gone");

impl Word for State {
    const ALL: &'static [Self] = &State::ALL;
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for UnloadReason {
    const ALL: &'static [Self] = &UnloadReason::ALL;
    fn word(self) -> &'static str {
        self.name()
    }
}
