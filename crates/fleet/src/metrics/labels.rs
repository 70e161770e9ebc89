//! The words that stand in labels.

use crate::api::WorkerStatus;
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

/// What a photo waits for once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// A lane of the engine.
    Lane,
    /// Its share of the memory budget.
    Memory,
}

/// How a batch came to be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// For the first time.
    New,
    /// Its failed photos are taken up again.
    Retry,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// Every photo has a result.
    Completed,
    /// Somebody ended it early.
    Cancelled,
    /// There was nothing to analyse.
    Failed,
}

/// What became of a photo when its batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhotoEnd {
    /// Analysed.
    Ok,
    /// Failed for good.
    Failed,
    /// The batch was cancelled before its turn.
    Skipped,
}

/// What a dead letter was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetter {
    /// A photo: it is given up, with a failed result.
    Photo,
    /// The coordinator's own: the sweeper starts its batch again.
    Control,
    /// Not ours: it is parked.
    Foreign,
}

/// What became of a try to tell a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookEnd {
    /// The receiver took it.
    Delivered,
    /// It failed, and is tried again.
    Retried,
    /// The receiver wants to hear no more.
    Disabled,
    /// The address must not be told.
    Refused,
    /// It failed for the last time.
    GaveUp,
}

/// What a worker does, as the API heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Idle,
    Busy,
    Draining,
    /// It missed three heartbeats.
    Vanished,
}

impl Standing {
    /// `None` of one that said goodbye.
    pub(super) fn of(worker: &WorkerStatus) -> Option<Self> {
        match worker.last.state {
            WorkerState::Gone => None,
            _ if worker.vanished => Some(Self::Vanished),
            WorkerState::Idle => Some(Self::Idle),
            WorkerState::Busy => Some(Self::Busy),
            WorkerState::Draining => Some(Self::Draining),
        }
    }
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
words!(Resource: Lane = "lane", Memory = "memory");
words!(Submission: New = "new", Retry = "retry");
words!(BatchEnd: Completed = "completed", Cancelled = "cancelled", Failed = "failed");
words!(PhotoEnd: Ok = "ok", Failed = "failed", Skipped = "skipped");
words!(DeadLetter: Photo = "photo", Control = "control", Foreign = "foreign");
words!(WebhookEnd: Delivered = "delivered", Retried = "retried", Disabled = "disabled", Refused = "refused",
    GaveUp = "gave_up");
words!(Standing: Idle = "idle", Busy = "busy", Draining = "draining", Vanished = "vanished");
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
