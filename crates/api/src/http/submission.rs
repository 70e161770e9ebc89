//! How a batch begins: what is written, in which order, and what a crash in between leaves.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use fleet::api::{BatchStatus, NewBatch, NewKey, NewSource};
use fleet::batch::{BatchState, Counts, Stage};
use fleet::canonical::canonical_digest;
use fleet::ids::{BatchId, Tenant};
use fleet::layout::{BatchKeys, index_key};
use fleet::manifest::{BundleRef, Item, MANIFEST_SCHEMA, Manifest, Source};
use fleet::metrics::Submission;
use futures_util::stream;
use jiff::Timestamp;
use queue::{Destination, Message};
use sha2::{Digest as _, Sha256};
use store::ByteStream;

use super::problem::{ApiError, broker_unavailable};
use crate::clock::rfc3339;
use crate::shared::Shared;
use crate::{coordinator, objects};

/// How long a request waits for a confirm of the broker.
const CONFIRM_TIME: Duration = Duration::from_secs(10);
/// Bytes of a piece of `items.ndjson`.
const PIECE: usize = 64 * 1024;

/// `sha256:…` of a request, independent of how its JSON was written. A list of keys goes in by its own hash: it may be
/// long, and the canonical form of a document is held in memory.
pub(crate) fn request_digest(new: &NewBatch) -> String {
    let keys = match &new.source {
        NewSource::Keys { keys, .. } => {
            let mut hash = Sha256::new();
            for NewKey { key, group } in keys {
                // Lengths in front keep neighbours apart whatever they contain.
                hash.update((key.len() as u64).to_be_bytes());
                hash.update(key);
                hash.update(group.as_ref().map_or(u64::MAX, |g| g.len() as u64).to_be_bytes());
                hash.update(group.as_deref().unwrap_or_default());
            }
            hash.finalize().to_vec()
        }
        NewSource::Prefix { .. } | NewSource::Upload => Vec::new(),
    };
    let source = match &new.source {
        NewSource::Keys { bucket, .. } => Source::Keys {
            bucket: bucket.clone(),
        },
        NewSource::Prefix { bucket, prefix } => Source::Prefix {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
        },
        NewSource::Upload => Source::Upload,
    };
    let options = new.options.clone().normalised();
    canonical_digest(&(&new.name, source, keys, options, &new.webhook))
}

/// The manifest of a new batch.
pub(crate) fn manifest(
    tenant: &Tenant,
    batch: BatchId,
    new: &NewBatch,
    bundle: BundleRef,
    now_ms: u64,
) -> Manifest {
    let options = new.options.clone().normalised();
    Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        id: batch.to_string(),
        tenant: tenant.clone(),
        name: new.name.clone(),
        created_at: rfc3339(now_ms),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        digest: options.result_digest(&bundle.digest),
        options,
        bundle,
        source: match &new.source {
            NewSource::Prefix { bucket, prefix } => Source::Prefix {
                bucket: bucket.clone(),
                prefix: prefix.clone(),
            },
            NewSource::Keys { bucket, .. } => Source::Keys {
                bucket: bucket.clone(),
            },
            NewSource::Upload => Source::Upload,
        },
        webhook: new.webhook.clone(),
        request_digest: Some(request_digest(new)),
    }
}

/// What the first answer says of a batch, and every replay of it.
pub(crate) fn first_status(manifest: &Manifest, batch: BatchId) -> BatchStatus {
    BatchStatus {
        id: batch,
        tenant: manifest.tenant.clone(),
        name: manifest.name.clone(),
        state: match manifest.source {
            Source::Upload => BatchState::Uploading,
            _ => BatchState::Expanding,
        },
        created_at: manifest.created_at.clone(),
        finished_at: None,
        counts: Counts::default(),
        rate: None,
        eta_seconds: None,
        reason: None,
        options: manifest.options.clone(),
        bundle: manifest.bundle.clone(),
        digest: manifest.digest.clone(),
        exports: Vec::new(),
    }
}

/// Milliseconds of Unix time at which the batch was made.
pub(crate) fn created_ms(created_at: &str) -> u64 {
    let at = created_at.parse::<Timestamp>().map(Timestamp::as_millisecond);
    at.ok().and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
}

/// `items.ndjson` of a list of keys, a piece at a time.
pub(crate) fn item_lines(bucket: String, keys: Vec<NewKey>) -> ByteStream {
    let items = keys.into_iter().zip(0..);
    let pieces = stream::try_unfold((bucket, items), |(bucket, mut items)| async move {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE
            && let Some((NewKey { key, group }, index)) = items.next()
        {
            let item = Item {
                index,
                key,
                bucket: Some(bucket.clone()),
                size: None,
                etag: None,
                group,
                sha256: None,
                archive: None,
            };
            serde_json::to_writer(&mut piece, &item)?;
            piece.push(b'\n');
        }
        Ok::<_, io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), (bucket, items))))
    });
    Box::pin(pieces)
}

/// Puts the batch into the list of its tenant. Writing it again changes nothing.
pub(crate) async fn put_index(shared: &Shared, manifest: &Manifest, batch: BatchId) -> Result<(), ApiError> {
    let key = index_key(&manifest.tenant, created_ms(&manifest.created_at), batch);
    Ok(shared
        .buckets
        .home()
        .put(&key, Bytes::new(), "text/plain")
        .await?)
}

/// Writes the manifest: from now on the batch exists.
pub(crate) async fn put_manifest(
    shared: &Shared,
    manifest: &Manifest,
    batch: BatchId,
) -> Result<(), ApiError> {
    let keys = BatchKeys::new(&manifest.tenant, batch);
    Ok(objects::write(shared.buckets.home(), &keys.manifest(), manifest).await?)
}

/// Starts the batch's chain of control messages at `stage`, with confirm; a broker that is away is a 503, not a wait.
/// What an older chain had in flight ends by itself.
pub(crate) async fn start_chain(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
    stage: Stage,
) -> Result<(), ApiError> {
    let begun = coordinator::begin(shared, tenant, batch, stage);
    let confirmed = tokio::time::timeout(CONFIRM_TIME, begun).await;
    shared.progress.invalidate(tenant, batch);
    confirmed.map_err(|_| broker_unavailable())??;
    match stage {
        Stage::Expand => shared.metrics.submitted(Submission::New),
        Stage::Retry => shared.metrics.submitted(Submission::Retry),
        Stage::Finalise => {}
    }
    Ok(())
}

/// Has the batch looked at now, whether somebody is responsible for it or not.
pub(crate) async fn look_now(shared: &Shared, tenant: &Tenant, batch: BatchId) -> Result<(), ApiError> {
    let hastened = coordinator::hasten(shared, tenant, batch);
    let hastened = tokio::time::timeout(CONFIRM_TIME, hastened).await;
    if hastened.map_err(|_| broker_unavailable())?? {
        return Ok(());
    }
    start_chain(shared, tenant, batch, Stage::Finalise).await
}

/// Publishes one message with confirm; a broker that is away is a 503, not a wait.
pub(crate) async fn publish(shared: &Shared, to: Destination, message: Message) -> Result<(), ApiError> {
    let messages = [message];
    let confirmed = shared.queue.publish(to, &messages);
    match tokio::time::timeout(CONFIRM_TIME, confirmed).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(broker_unavailable()),
    }
}

/// Refuses early, before anything is written, when the broker is known to be away.
pub(crate) fn broker_is_there(shared: &Shared) -> Result<(), ApiError> {
    if shared.queue.connection().borrow().is_ready() {
        Ok(())
    } else {
        Err(broker_unavailable())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    fn new(source: NewSource) -> NewBatch {
        NewBatch {
            name: None,
            source,
            options: fleet::manifest::BatchOptions::default(),
            webhook: None,
        }
    }

    fn keys(of: &[(&str, Option<&str>)]) -> NewBatch {
        new(NewSource::Keys {
            bucket: "b".into(),
            keys: of
                .iter()
                .map(|&(key, group)| NewKey {
                    key: key.into(),
                    group: group.map(str::to_owned),
                })
                .collect(),
        })
    }

    #[test]
    fn the_digest_tells_requests_apart() {
        let requests = [
            new(NewSource::Upload),
            NewBatch {
                name: Some("x".into()),
                ..new(NewSource::Upload)
            },
            keys(&[("a", None), ("b", None)]),
            keys(&[("ab", None)]),
            keys(&[("a", Some("b"))]),
            keys(&[("b", None), ("a", None)]),
            keys(&[("a", Some("")), ("b", None)]),
        ];
        let digests: std::collections::BTreeSet<_> = requests.iter().map(request_digest).collect();
        assert_eq!(digests.len(), requests.len());
        assert_eq!(request_digest(&requests[2]), request_digest(&requests[2].clone()));
    }

    #[test]
    fn creation_is_read_back_to_the_millisecond() {
        assert_eq!(created_ms(&rfc3339(1_700_000_000_123)), 1_700_000_000_123);
        assert_eq!(created_ms("yesterday"), 0);
    }

    #[tokio::test]
    async fn items_come_in_pieces_and_in_order() {
        let many: Vec<_> = (0..5_000)
            .map(|n| NewKey {
                key: format!("day/{n}.jpg"),
                group: None,
            })
            .collect();
        let pieces: Vec<_> = item_lines("b".into(), many).try_collect().await.unwrap();
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() < PIECE + 1024));
        let text = String::from_utf8(pieces.concat()).unwrap();
        let items: Vec<Item> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(items.len(), 5_000);
        assert!(
            items
                .iter()
                .zip(0..)
                .all(|(item, n)| item.index == n && item.key == format!("day/{n}.jpg"))
        );
    }
}
