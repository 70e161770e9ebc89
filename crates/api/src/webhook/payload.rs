//! What is told: that a batch is finished, how it went, and where to read more. Thin, because results are many and the
//! receiver may have the right to fewer of them than the message's reader.

use std::collections::BTreeMap;

use fleet::batch::{BatchState, Counts, Finished, Reason};
use fleet::ids::{BatchId, Tenant};
use fleet::manifest::Manifest;
use report::ExportFormat;
use serde::Serialize;

/// Bytes that a body stays below.
pub const LONGEST_BODY: usize = 20_000;
/// Characters that are told of a text of strangers.
const LONGEST_TEXT: usize = 1_000;

/// The body of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Payload {
    /// `batch.completed`, `batch.cancelled` or `batch.failed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it happened, RFC 3339, UTC.
    pub timestamp: String,
    /// What happened.
    pub data: BatchFinished,
}

/// A finished batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchFinished {
    /// Its id.
    pub batch: BatchId,
    /// Whose it is.
    pub tenant: Tenant,
    /// For people.
    pub name: Option<String>,
    /// The state that it ended in.
    pub state: BatchState,
    /// What became of its photos.
    pub counts: Counts,
    /// Why it failed.
    pub reason: Option<Reason>,
    /// Where to read more, with a token.
    pub links: Links,
}

/// URLs, or paths when the API does not know how it is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Links {
    /// The batch.
    pub batch: String,
    /// Its results, a page at a time.
    pub results: String,
    /// Its documents by format.
    pub exports: BTreeMap<&'static str, String>,
}

impl Payload {
    /// The same for the same end of a batch, whatever was tried before. `public_url` is what clients reach the API by.
    pub fn finished(
        batch: BatchId,
        manifest: &Manifest,
        finished: &Finished,
        public_url: Option<&str>,
    ) -> Self {
        let base = public_url.unwrap_or_default().trim_end_matches('/');
        let root = format!("{base}/v1/batches/{batch}");
        let exports = match finished.state {
            BatchState::Failed => BTreeMap::new(),
            _ => ExportFormat::ALL
                .into_iter()
                .map(|format| (format.name(), format!("{root}/export/{format}")))
                .collect(),
        };
        Self {
            kind: format!("batch.{}", finished.state.name()),
            timestamp: finished.at.clone(),
            data: BatchFinished {
                batch,
                tenant: manifest.tenant.clone(),
                name: manifest.name.as_deref().map(clipped),
                state: finished.state,
                counts: finished.counts,
                reason: finished.reason.as_ref().map(|reason| Reason {
                    code: clipped(&reason.code),
                    message: clipped(&reason.message),
                }),
                links: Links {
                    results: format!("{root}/results"),
                    batch: root,
                    exports,
                },
            },
        }
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use fleet::manifest::{BatchOptions, BundleRef, MANIFEST_SCHEMA, Source};
    use serde_json::json;

    use super::*;

    const ID: &str = "01KB2Z3C9Q4T7V8W5X6Y0A1B2C";

    fn manifest() -> Manifest {
        let options = BatchOptions::default();
        Manifest {
            schema: MANIFEST_SCHEMA.into(),
            id: ID.into(),
            tenant: "acme".parse().unwrap(),
            name: Some("Day 1".into()),
            created_at: "2026-06-14T10:00:00.000Z".into(),
            program: "0.1.0".into(),
            digest: options.result_digest("sha256:1"),
            options,
            bundle: BundleRef {
                name: "demo".into(),
                digest: "sha256:1".into(),
            },
            source: Source::Upload,
            webhook: Some("https://hooks.example.org/".into()),
            request_digest: None,
        }
    }

    fn finished(state: BatchState, reason: Option<Reason>) -> Finished {
        Finished {
            state,
            at: "2026-06-14T10:32:11.000Z".into(),
            counts: Counts {
                photos: 20,
                ok: 18,
                failed: 2,
            },
            reason,
        }
    }

    #[test]
    fn a_completed_batch() {
        let payload = Payload::finished(
            ID.parse().unwrap(),
            &manifest(),
            &finished(BatchState::Completed, None),
            Some("https://pitch.example.org/"),
        );
        let root = format!("https://pitch.example.org/v1/batches/{ID}");
        assert_eq!(
            serde_json::to_value(payload).unwrap(),
            json!({
                "type": "batch.completed",
                "timestamp": "2026-06-14T10:32:11.000Z",
                "data": {
                    "batch": ID,
                    "tenant": "acme",
                    "name": "Day 1",
                    "state": "completed",
                    "counts": {"photos": 20, "ok": 18, "failed": 2},
                    "reason": null,
                    "links": {
                        "batch": root,
                        "results": format!("{root}/results"),
                        "exports": {
                            "ndjson": format!("{root}/export/ndjson"),
                            "csv": format!("{root}/export/csv"),
                            "parquet": format!("{root}/export/parquet"),
                            "coco": format!("{root}/export/coco"),
                            "verdict": format!("{root}/export/verdict"),
                            "html": format!("{root}/export/html"),
                        },
                    },
                },
            })
        );
    }

    #[test]
    fn a_body_stays_small_whatever_went_wrong() {
        let long = "🏏".repeat(1_000_000);
        let reason = Reason {
            code: "unreachable".into(),
            message: long.clone(),
        };
        let mut manifest = manifest();
        manifest.name = Some(long);
        let end = finished(BatchState::Failed, Some(reason));
        let payload = Payload::finished(ID.parse().unwrap(), &manifest, &end, None);
        let text = serde_json::to_string(&payload).unwrap();
        assert!(text.len() < LONGEST_BODY, "{}", text.len());
        assert!(text.contains(r#""batch":"/v1/batches/01K"#) && text.contains(r#""exports":{}"#));
    }
}
