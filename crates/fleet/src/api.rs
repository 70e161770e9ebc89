//! What clients of the HTTP API send and get, the same types on both sides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::batch::{BatchState, Counts, Reason};
use crate::event::{Answer, Heartbeat, Receipt};
use crate::ids::{BatchId, Tenant};
use crate::lifecycle::Order;
use crate::manifest::{BatchOptions, BundleRef};
use crate::result::{Digest, PhotoResult};

/// Body of `POST /v1/batches`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBatch {
    /// For people: a match, a ground, a day. At most 200 characters.
    #[serde(default)]
    pub name: Option<String>,
    /// Where the photos come from.
    pub source: NewSource,
    /// What is to be done with each photo.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub options: BatchOptions,
    /// URL that is told when the batch is finished; its host must be among those that the operator allows.
    #[serde(default)]
    pub webhook: Option<String>,
}

/// Where the photos of a new batch come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NewSource {
    /// Every photo below a prefix of a bucket that the operator allows.
    Prefix {
        /// The bucket.
        bucket: String,
        /// What the keys begin with; folders below it are groups.
        prefix: String,
    },
    /// Photos by key.
    Keys {
        /// The bucket.
        bucket: String,
        /// The photos, in the order of their indices.
        keys: Vec<NewKey>,
    },
    /// Photos that are uploaded next: `POST /v1/batches/{id}/uploads`, the PUTs, then `POST …/submit`.
    Upload,
}

/// A photo by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// The key.
    pub key: String,
    /// Pitch, end or session of play.
    #[serde(default)]
    pub group: Option<String>,
}

/// Body of `POST /v1/batches/{id}/uploads`: photos to come, at most 1,000 at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUploads {
    /// The photos.
    pub photos: Vec<NewUpload>,
}

/// A photo to come. Declaring the same index again replaces the declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUpload {
    /// Its place in the batch, from 0, chosen by the client, so that an interrupted upload continues.
    pub index: u64,
    /// Its file name.
    pub name: String,
    /// Its exact size in bytes; the upload is refused when it differs.
    pub size: u64,
    /// Pitch, end or session of play.
    #[serde(default)]
    pub group: Option<String>,
    /// SHA-256 of its bytes, hexadecimal, where the client knows it: a photo that was analysed before is not even read.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// Answer to [`NewUploads`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Uploads {
    /// One for each photo, in the same order.
    pub uploads: Vec<UploadTicket>,
}

/// A PUT that may be sent until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UploadTicket {
    /// The photo's index.
    pub index: u64,
    /// Where to PUT the photo's bytes.
    pub url: String,
    /// Headers that must be sent exactly so.
    pub headers: BTreeMap<String, String>,
    /// RFC 3339, UTC. After that ask for another.
    pub expires_at: String,
}

/// A batch as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchStatus {
    /// Its id.
    #[schema(value_type = String)]
    pub id: BatchId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub tenant: Tenant,
    /// For people.
    pub name: Option<String>,
    /// Where it is in its life.
    pub state: BatchState,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC, of one in a final state.
    pub finished_at: Option<String>,
    /// What became of its photos so far.
    pub counts: Counts,
    /// Photos a second over the last minute, while it runs.
    pub rate: Option<f64>,
    /// Seconds until the last photo, at that rate.
    pub eta_seconds: Option<f64>,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// What is done with each photo.
    #[schema(value_type = Object)]
    pub options: BatchOptions,
    /// The models that it pinned.
    #[schema(value_type = Object)]
    pub bundle: BundleRef,
    /// What its results carry.
    #[schema(value_type = Object)]
    pub digest: Digest,
    /// Documents that can be fetched from `…/export/{format}`: partial ones while it runs.
    pub exports: Vec<String>,
}

/// A page of `GET /v1/batches`, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchPage {
    /// The batches.
    pub batches: Vec<BatchStatus>,
    /// Give it as `cursor` for the next page; absent at the end.
    pub next: Option<String>,
}

/// A page of `GET /v1/batches/{id}/results`, by index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResultPage {
    /// The results, schema `pitchfleet.result/1`.
    #[schema(value_type = Vec<Object>)]
    pub results: Vec<PhotoResult>,
    /// Give it as `cursor` for the next page; absent at the end.
    pub next: Option<String>,
}

/// Answer to `POST /v1/batches/{id}/retry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Retried {
    /// Failed photos that are taken up again.
    pub photos: u64,
}

/// Answer to `GET /v1/workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// Every worker that was heard of in the last hour, by id.
    pub workers: Vec<WorkerStatus>,
}

/// A worker as it was last heard of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// Three heartbeats were missed, and it did not say goodbye.
    pub vanished: bool,
    /// Milliseconds since it was last heard of.
    pub silent_ms: u64,
    /// What it said.
    #[schema(value_type = Object)]
    pub last: Heartbeat,
}

/// Body of `POST /v1/workers:command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewOrder {
    /// `warm` (with `hold_ms`: the models stay for at least so long), `unload`, `drain` or `reload`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub order: Order,
    /// The worker that is meant; absent: all.
    #[serde(default)]
    pub worker: Option<String>,
    /// Seconds to wait for answers, 30 if absent, at most 300.
    #[serde(default)]
    pub wait_seconds: Option<u32>,
}

/// Answer to [`NewOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ordered {
    /// The order's id, which is in the workers' logs, too.
    pub id: String,
    /// By worker: of each that was meant and is alive.
    pub workers: Vec<WorkerAnswer>,
}

/// What a worker makes of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerAnswer {
    /// Who.
    pub worker: String,
    /// `heard`: it was not carried out within the wait, and still is to be. Absent: no answer came.
    pub answer: Option<Answer>,
    /// In words, for people; may be empty.
    pub detail: String,
}

/// Answer to `GET /v1/workers/{id}/memory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerMemory {
    /// The last hour, a sample every ten seconds or so, the oldest first.
    pub samples: Vec<MemorySample>,
    /// What the last unloads gave back, the oldest first.
    #[schema(value_type = Vec<Object>)]
    pub unloads: Vec<Receipt>,
}

/// Memory of a worker at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemorySample {
    /// When, milliseconds of Unix time.
    pub at_ms: u64,
    /// Resident, of the worker process.
    pub worker_bytes: u64,
    /// Resident, of its engine process; 0 while there is none.
    pub engine_bytes: u64,
    /// What both share with no other process.
    pub private_bytes: u64,
    /// Of a card, what the engine process holds; 0 without one.
    pub gpu_bytes: u64,
}

/// `application/problem+json`, RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// URI of the kind of problem: a section of the API's documentation.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// This problem in words, and what to do about it.
    pub detail: String,
    /// Stable code to match on, such as `unknown_batch`.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What is wrong with which field, for problems with several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Id of the request, to find it in logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to it, or the name of the parameter or header.
    pub field: String,
    /// What is wrong.
    pub message: String,
}
