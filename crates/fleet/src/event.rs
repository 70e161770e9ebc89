//! What is told on the events fanout, to whoever watches. Nothing depends on its arrival.

use pitch::analysis::PitchClass;
use serde::{Deserialize, Serialize};

use crate::batch::BatchState;
use crate::ids::{BatchId, Tenant};
use crate::result::Outcome;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A photo has its result.
    Photo {
        /// Whose.
        tenant: Tenant,
        /// Of which batch.
        batch: BatchId,
        /// Which photo.
        index: u64,
        /// Analysed or failed.
        outcome: Outcome,
        /// The corrected class, of an analysed one in which there is a pitch.
        class: Option<PitchClass>,
        /// The failure's code, of a failed one.
        code: Option<String>,
        /// Who did it.
        worker: String,
        /// Milliseconds from taking to stored.
        total_ms: f64,
        /// The result was taken from an earlier analysis of the same photo.
        reused: bool,
    },
    /// A batch reached another state.
    Batch {
        /// Whose.
        tenant: Tenant,
        /// Which.
        batch: BatchId,
        /// The state that it reached.
        state: BatchState,
    },
    /// A worker lives.
    Heartbeat(Box<Heartbeat>),
}

/// What a worker says of itself every few seconds, and once more when it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Its id.
    pub worker: String,
    /// Version of the program.
    pub program: String,
    /// When this was said, milliseconds of Unix time.
    pub at_ms: u64,
    /// When the worker started, milliseconds of Unix time.
    pub started_ms: u64,
    /// Milliseconds until the next one; three missed mean that it is gone.
    pub period_ms: u64,
    /// What it is doing.
    pub state: WorkerState,
    /// Its models.
    pub model: ModelReport,
    /// Photos in hand: taken from the queue and not settled.
    pub in_hand: u64,
    /// Photos settled since it started, by outcome.
    pub done: Done,
    /// Photos a second over the last minute or so.
    pub rate: f64,
    /// Resident memory.
    pub memory: MemoryReport,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// No photo in hand.
    Idle,
    /// At least one.
    Busy,
    /// It takes no more, and goes when what is in hand is done.
    Draining,
    /// It said goodbye.
    Gone,
}

/// A worker's models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// The bundle's name and version.
    pub bundle: String,
    /// The bundle's digest, `sha256:…`.
    pub digest: String,
    /// Whether its engine runs.
    pub loaded: bool,
    /// Loads since the worker started.
    pub loads: u64,
    /// Ends of the engine that nobody asked for.
    pub restarts: u64,
    /// `cpu` or `cuda:N`; empty before the first load.
    pub device: String,
    /// ONNX Runtime's name of what was asked for.
    pub execution_provider_requested: String,
    /// ONNX Runtime's name of what runs.
    pub execution_provider: String,
    /// `fp32`, `int8`, or both by network.
    pub precision: String,
    /// Photos analysed at the same time.
    pub lanes: u64,
}

/// Photos settled, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Analysed.
    pub ok: u64,
    /// Taken from an earlier analysis.
    pub reused: u64,
    /// Failed for good.
    pub failed: u64,
    /// Sent to a retry queue.
    pub retried: u64,
}

/// Resident bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Of the worker process.
    pub worker_bytes: u64,
    /// Of its engine process; 0 while there is none.
    pub engine_bytes: u64,
}
