//! A batch as it was submitted: `manifest.json` and the lines of `items.ndjson`.

use pitch::analysis::{ALGORITHM_VERSION, Options};
use serde::{Deserialize, Serialize};

use crate::canonical::canonical_digest;
use crate::ids::Tenant;
use crate::result::Digest;

/// The value of [`Manifest::schema`].
pub const MANIFEST_SCHEMA: &str = "pitchfleet.batch/1";

/// Who, when, with what: everything about a batch that is decided at submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// Id of the batch, a ULID.
    pub id: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: Tenant,
    /// For people: a match, a ground, a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was submitted, RFC 3339, UTC.
    pub created_at: String,
    /// Version of the program that wrote it.
    pub program: String,
    /// What was chosen.
    pub options: BatchOptions,
    /// The models.
    pub bundle: BundleRef,
    /// What a result must carry to belong to the batch.
    pub digest: Digest,
    /// Where the photos come from.
    pub source: Source,
    /// URL that is told when the batch is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// `sha256:…` over the canonical JSON of the request that made it, so that a request with the same
    /// `Idempotency-Key` and another body is told apart from one that is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
}

/// What a batch chooses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// The analysis of each photo.
    pub analysis: Options,
    /// The models' number format. `auto` lets each worker take its best; results say which ran.
    pub precision: Precision,
}

impl BatchOptions {
    /// The same choice written in one way: the order and repetition of overlays mean nothing.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        self.analysis.overlays.sort_unstable();
        self.analysis.overlays.dedup();
        self
    }

    /// `sha256:…` over the canonical JSON of the normalised options.
    pub fn digest(&self) -> String {
        canonical_digest(&self.clone().normalised())
    }

    /// What a result of these options under the bundle with digest `bundle` carries.
    pub fn result_digest(&self, bundle: &str) -> Digest {
        Digest {
            bundle: bundle.to_owned(),
            options: self.digest(),
            algorithm: ALGORITHM_VERSION,
        }
    }
}

/// The models' number format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The best of the device: int8 on a CPU with VNNI, else floating point.
    #[default]
    Auto,
    /// 32-bit floating point, which every device runs.
    Fp32,
    /// 8-bit integers.
    Int8,
}

/// The models of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleRef {
    /// Its name, such as `demo`.
    pub name: String,
    /// `sha256:…` over all of it.
    pub digest: String,
}

/// Where the photos of a batch come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Files, folders, globs and archives on the machine that made the batch.
    Paths {
        /// The folder that relative paths start from.
        folder: String,
        /// As they were given, bytes that are not UTF-8 percent-encoded.
        paths: Vec<String>,
    },
    /// Every photo below a prefix of a bucket.
    Prefix {
        /// The bucket.
        bucket: String,
        /// What the keys begin with.
        prefix: String,
    },
    /// Photos by key; `items.ndjson` is written at submission.
    Keys {
        /// The bucket.
        bucket: String,
    },
    /// Photos that clients uploaded below the batch.
    Upload,
}

impl Source {
    /// The source in words, as a heading.
    pub fn title(&self) -> String {
        match self {
            Self::Paths { paths, .. } => paths.join(" "),
            Self::Prefix { bucket, prefix } => format!("{bucket}/{prefix}"),
            Self::Keys { bucket } => bucket.clone(),
            Self::Upload => "uploaded photos".to_owned(),
        }
    }
}

/// One photo of a batch: a line of `items.ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its place in the batch; never given to another photo, even when photos are added later.
    pub index: u64,
    /// Key in the bucket or path.
    pub key: String,
    /// The bucket, of a photo that is not in the fleet's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Size of the file in bytes; absent when it could not be asked for.
    pub size: Option<u64>,
    /// Changes when the content does: an ETag, or a file's time of modification.
    pub etag: Option<String>,
    /// Pitch, end or session of play.
    pub group: Option<String>,
    /// SHA-256 of its bytes, hexadecimal, where the client said so: enough to look for an earlier result, not to
    /// trust it for anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The photo lies inside an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveEntry>,
}

/// Where in an archive a photo lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveEntry {
    /// The archive's key or path; the photo's key begins with it.
    pub key: String,
    /// Place in the archive's directory, from 0.
    pub entry: u64,
}

#[cfg(test)]
mod tests {
    use pitch::analysis::OverlayKind;

    use super::*;

    #[test]
    fn the_order_of_overlays_does_not_change_the_digest() {
        let with = |overlays: &[OverlayKind]| {
            let mut options = BatchOptions::default();
            options.analysis.overlays = overlays.to_vec();
            options.digest()
        };
        assert_eq!(
            with(&[OverlayKind::Crop, OverlayKind::Grass]),
            with(&[OverlayKind::Grass, OverlayKind::Crop, OverlayKind::Grass])
        );
        assert_ne!(with(&[OverlayKind::Crop]), with(&[OverlayKind::Grass]));
    }

    #[test]
    fn every_choice_changes_the_digest() {
        let base = BatchOptions::default();
        let mut seen = vec![base.digest()];
        let changes: [fn(&mut BatchOptions); 4] = [
            |o| o.analysis.detection_threshold = Some(0.25),
            |o| o.analysis.full_frame = true,
            |o| o.analysis.analysis_max_side = 0,
            |o| o.precision = Precision::Fp32,
        ];
        for change in changes {
            let mut options = base.clone();
            change(&mut options);
            seen.push(options.digest());
        }
        let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len());
    }

    #[test]
    fn an_unknown_option_is_an_error() {
        assert!(serde_json::from_str::<BatchOptions>(r#"{"precison":"fp32"}"#).is_err());
    }

    #[test]
    fn an_item_outside_an_archive_has_no_archive_field() {
        let item = Item {
            index: 3,
            key: "day-1/a.jpg".into(),
            bucket: None,
            sha256: None,
            size: Some(5),
            etag: Some("x".into()),
            group: None,
            archive: None,
        };
        let line = serde_json::to_string(&item).unwrap();
        assert_eq!(
            line,
            r#"{"index":3,"key":"day-1/a.jpg","size":5,"etag":"x","group":null}"#
        );
        assert_eq!(serde_json::from_str::<Item>(&line).unwrap(), item);
    }
}
