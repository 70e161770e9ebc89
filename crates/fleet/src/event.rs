//! What is told on the events fanout, to whoever watches. Nothing depends on its arrival.

use pitch::analysis::PitchClass;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::batch::BatchState;
use crate::ids::{BatchId, Tenant};
use crate::lifecycle::{State, UnloadReason};
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
    /// A worker's models went.
    Unload {
        /// Whose.
        worker: String,
        /// What that gave back.
        receipt: Receipt,
    },
    /// A worker answers an order: that it heard it, later what became of it.
    Answer {
        /// Which order.
        order: String,
        /// Who.
        worker: String,
        /// What.
        answer: Answer,
        /// In words, for people; may be empty.
        #[serde(default)]
        detail: String,
    },
    /// A worker lives.
    Heartbeat(Box<Heartbeat>),
}

/// What becomes of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was heard, and is being carried out.
    Heard,
    /// It is carried out.
    Done,
    /// It cannot be.
    Failed,
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
    /// It takes no more: it is going, or an operator told it so.
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
    /// Where they are in their life.
    #[serde(default)]
    pub state: State,
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

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Resident, of the worker process.
    pub worker_bytes: u64,
    /// Resident, of its engine process; 0 while there is none.
    pub engine_bytes: u64,
    /// Of the worker process, what it shares with nobody.
    #[serde(default)]
    pub worker_private_bytes: u64,
    /// Of its engine process, what it shares with nobody.
    #[serde(default)]
    pub engine_private_bytes: u64,
    /// The most that was ever resident, of the worker process.
    #[serde(default)]
    pub worker_peak_bytes: u64,
    /// The most that was ever resident, of the engine process that runs; 0 while there is none.
    #[serde(default)]
    pub engine_peak_bytes: u64,
    /// What counts against `limit_bytes`: of the cgroup without page cache that is not in use, else of the machine.
    #[serde(default)]
    pub used_bytes: u64,
    /// What both may use: the smaller of the cgroup's limit and the machine's memory; 0 when neither is told.
    #[serde(default)]
    pub limit_bytes: u64,
    /// Of the card that the engine runs on, or ran on last; absent without one.
    #[serde(default)]
    pub gpu: Option<GpuMemory>,
    /// What the last unload gave back.
    #[serde(default)]
    pub last_unload: Option<Receipt>,
}

/// Bytes of a card's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuMemory {
    /// The card's number.
    pub card: u32,
    /// Of the engine process; 0 where the driver does not know it, as in some containers.
    pub process_bytes: u64,
    /// In use, whoever uses it.
    pub used_bytes: u64,
    /// What there is.
    pub total_bytes: u64,
}

/// What an unload gave back: bytes of memory that worker and engine have written and share with nobody. Clean pages of
/// program files are not in it: they are private or shared by who else happens to run the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// When it was written, milliseconds of Unix time.
    pub at_ms: u64,
    /// Why the models went.
    pub reason: UnloadReason,
    /// With the models.
    pub before_bytes: u64,
    /// Without them.
    pub after_bytes: u64,
    /// What the worker holds for itself: the most after any of its first three unloads.
    pub floor_bytes: u64,
    /// What stayed above the floor.
    pub residue_bytes: u64,
    /// Of the card's memory, what was in use with the models; absent without a card.
    #[serde(default)]
    pub gpu_before_bytes: Option<u64>,
    /// And without them: the engine process has ended, so what is left is other programs'.
    #[serde(default)]
    pub gpu_after_bytes: Option<u64>,
}

impl Receipt {
    /// What measuring varies by, in bytes: buffers that happen to be in use.
    pub const NOISE: u64 = 2 << 20;

    /// Whether more stayed than a tenth of the floor, and more than [`NOISE`](Self::NOISE).
    pub const fn is_over(self) -> bool {
        self.residue_bytes > self.floor_bytes / 10 && self.residue_bytes > Self::NOISE
    }
}
