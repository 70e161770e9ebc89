//! The result of one photo on the wire and in the bucket, schema `pitchfleet.result/1`.

use std::collections::BTreeMap;

use pitch::analysis::{Advice, Analysis, Classification, Detection, PhotoFormat, Surface};
use serde::{Deserialize, Serialize};

use crate::canonical::canonical_digest;
use crate::manifest::Item;

/// The value of [`PhotoResult::schema`].
pub const RESULT_SCHEMA: &str = "pitchfleet.result/1";

/// Everything that is known of one photo of a batch after it was handled, well or badly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoResult {
    /// Always [`RESULT_SCHEMA`].
    pub schema: String,
    /// Id of the batch (a ULID, or derived from the Idempotency-Key).
    pub batch: String,
    /// Place of the photo in the batch, from 0.
    pub index: u64,
    /// Pitch, end or session of play; from the key's folder or from the submission.
    pub group: Option<String>,
    /// The file.
    pub photo: PhotoRecord,
    /// Whether there is an analysis or a failure.
    pub outcome: Outcome,
    /// Why there is no analysis.
    pub failure: Option<Failure>,
    /// Where the pitch is.
    pub detection: Option<Detection>,
    /// What its surface is like.
    pub surface: Option<Surface>,
    /// What it favours.
    pub classification: Option<Classification>,
    /// What follows for a captain.
    pub advice: Option<Advice>,
    /// Keys of the pictures by kind, relative to the batch.
    pub overlays: BTreeMap<String, String>,
    /// What made this result.
    pub digest: Digest,
    /// Who made it.
    pub worker: WorkerFacts,
    /// Where the time went.
    pub timing_ms: TimingMs,
}

impl PhotoResult {
    /// A failed result without its failure: what is known of a photo before anything was done with it.
    pub fn blank(batch: impl Into<String>, item: &Item, digest: Digest, worker: WorkerFacts) -> Self {
        Self {
            schema: RESULT_SCHEMA.to_owned(),
            batch: batch.into(),
            index: item.index,
            group: item.group.clone(),
            photo: PhotoRecord {
                key: item.key.clone(),
                bytes: item.size,
                ..PhotoRecord::default()
            },
            outcome: Outcome::Failed,
            failure: None,
            detection: None,
            surface: None,
            classification: None,
            advice: None,
            overlays: BTreeMap::new(),
            digest,
            worker,
            timing_ms: TimingMs::default(),
        }
    }

    /// Puts the parts of `analysis` in their places and marks the photo as analysed.
    pub fn fill(&mut self, analysis: Analysis) {
        let Analysis {
            photo,
            detection,
            surface,
            classification,
            advice,
            timing,
        } = analysis;
        self.photo.format = Some(photo.format);
        self.photo.width = Some(photo.width);
        self.photo.height = Some(photo.height);
        self.photo.orientation = Some(photo.orientation);
        self.photo.taken_at = photo.taken_at;
        self.outcome = Outcome::Ok;
        self.failure = None;
        self.detection = Some(detection);
        self.surface = Some(surface);
        self.classification = Some(classification);
        self.advice = Some(advice);
        // A worker that fetches the photo itself has said how long that took.
        self.timing_ms.fetch.get_or_insert(timing.fetch);
        self.timing_ms.decode = Some(timing.decode);
        self.timing_ms.detect = Some(timing.detect);
        self.timing_ms.surface = Some(timing.surface);
        self.timing_ms.classify = Some(timing.classify);
        self.timing_ms.overlays = Some(timing.overlays);
    }
}

/// The file behind a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotoRecord {
    /// Key in the bucket, or path as it was given.
    pub key: String,
    /// SHA-256 of the bytes, hexadecimal; absent when they could not be read.
    pub sha256: Option<String>,
    /// Size of the file.
    pub bytes: Option<u64>,
    /// Container format.
    pub format: Option<PhotoFormat>,
    /// Columns after orientation.
    pub width: Option<usize>,
    /// Rows after orientation.
    pub height: Option<usize>,
    /// EXIF orientation, 1..=8.
    pub orientation: Option<u8>,
    /// Local time of the shot, ISO 8601.
    pub taken_at: Option<String>,
}

/// Whether there is an analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Analysed.
    Ok,
    /// Not analysed, for good; see the failure.
    Failed,
}

/// Why a photo has no analysis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code to match on, such as `truncated` or `engine_crashed`.
    pub code: String,
    /// What happened, with the photo's name and the remedy.
    pub message: String,
}

/// What made a result. The same photo under the same digest is not analysed twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Of the model bundle, `sha256:…`.
    pub bundle: String,
    /// Of the options, `sha256:…`.
    pub options: String,
    /// [`ALGORITHM_VERSION`](pitch::analysis::ALGORITHM_VERSION).
    pub algorithm: u32,
}

impl Digest {
    /// 64 hexadecimal digits over everything beside the photo that decides its analysis: this, and the precision that
    /// ran (as in [`WorkerFacts::precision`]).
    pub fn cache(&self, precision: &str) -> String {
        let digest = canonical_digest(&(self, precision));
        digest.trim_start_matches("sha256:").to_owned()
    }
}

/// Who made a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFacts {
    /// Its id.
    pub id: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// ONNX Runtime's name of what really ran, such as `CPUExecutionProvider`.
    pub execution_provider: String,
    /// `fp32` or `int8`, per network if they differ.
    pub precision: String,
}

/// Milliseconds per stage; absent when the stage was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TimingMs {
    /// From publishing to taking.
    pub queued: Option<f64>,
    /// Reading the file or object.
    pub fetch: Option<f64>,
    /// Decoding.
    pub decode: Option<f64>,
    /// Detection.
    pub detect: Option<f64>,
    /// Surface features.
    pub surface: Option<f64>,
    /// Classification, rules and advice.
    pub classify: Option<f64>,
    /// Pictures.
    pub overlays: Option<f64>,
    /// Writing the result and pictures.
    pub store: Option<f64>,
    /// From taking to stored.
    pub total: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_a_result_decides_its_place_in_the_cache() {
        let digest = Digest {
            bundle: "sha256:b".into(),
            options: "sha256:o".into(),
            algorithm: 1,
        };
        // printf '[{"algorithm":1,"bundle":"sha256:b","options":"sha256:o"},"int8"]' | sha256sum
        assert_eq!(
            digest.cache("int8"),
            "66f188f68116f79ad48eba972679825f7e06e89a8ec80ea8ab2d59cbfbebe93e"
        );
        assert_ne!(digest.cache("int8"), digest.cache("fp32"));
    }
}
