//! The life of a batch as the bucket tells it. No counter is kept anywhere: photos are counted by listing results.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a batch is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Photos are being uploaded; nothing is analysed before it is submitted.
    Uploading,
    /// Its photos are being listed and put into the queue.
    Expanding,
    /// Photos are being analysed.
    Running,
    /// Every photo has a result; the documents are being written.
    Finalising,
    /// Every photo has a result and the documents are there.
    Completed,
    /// Somebody ended it early. What was analysed until then has documents.
    Cancelled,
    /// Its photos could not be listed; see the reason.
    Failed,
}

impl BatchState {
    /// Whether nothing more happens by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Expanding => "expanding",
            Self::Running => "running",
            Self::Finalising => "finalising",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// `expanded.json`: `items.ndjson` is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expanded {
    /// Lines of `items.ndjson`.
    pub photos: u64,
    /// Their bytes, as far as known.
    pub bytes: u64,
    /// Whether its jobs go to the express lane.
    pub express: bool,
}

/// `finished.json`: the batch is in its final state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// A final one.
    pub state: BatchState,
    /// RFC 3339, UTC.
    pub at: String,
    /// What became of its photos.
    pub counts: Counts,
    /// Why, of a failed one: code and text.
    pub reason: Option<Reason>,
}

/// Why a batch failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// Stable code to match on, such as `no_photos`.
    pub code: String,
    /// What happened and what to do about it.
    pub message: String,
}

/// What became of the photos of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// All of them; 0 until the batch is expanded.
    pub photos: u64,
    /// With an analysis.
    pub ok: u64,
    /// With a failure.
    pub failed: u64,
}

impl Counts {
    /// With a result of either kind.
    pub const fn done(self) -> u64 {
        self.ok + self.failed
    }
}

/// `active/<tenant>/<batch>`: somebody still has to do something for the batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The one sequence of control messages that counts. Each re-arms itself; when one was lost, the sweeper writes a
    /// new chain here and starts it, and whatever is left of an older chain ends itself when it is next taken.
    pub chain: String,
    /// When a message of the chain was last handled, milliseconds of Unix time.
    pub touched_ms: u64,
    /// What the chain has to do next, so that a new chain goes on where a lost one was.
    #[serde(default)]
    pub stage: Stage,
    /// Photos with a result when they were last counted.
    #[serde(default)]
    pub done: u64,
    /// Since when there were that many, milliseconds of Unix time: a batch that does not move may have lost jobs.
    #[serde(default)]
    pub since_ms: u64,
    /// W3C `traceparent` of whoever started the chain, so that all that follows is in one trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When it was submitted, or its retry was ordered, milliseconds of Unix time; 0 when nobody wrote it down.
    #[serde(default)]
    pub begun_ms: u64,
}

/// What a batch that is not finished is waiting for a coordinator to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// List the photos and publish the jobs of those that have no result.
    #[default]
    Expand,
    /// Count results until every photo has one, and write the documents.
    Finalise,
    /// Take up the failed photos once more.
    Retry,
}
