//! Results of the same photo under the same digest, from an earlier batch of the same tenant.

use engine::EngineFacts;
use fleet::job::Job;
use fleet::layout::{self, BatchKeys};
use fleet::result::{Outcome, PhotoResult, RESULT_SCHEMA};
use store::{Store, StoreError, StoreErrorKind};

use crate::analyse::told;
use crate::context::Context;
use crate::record::{self, JPEG};

/// Larger than any result; what is larger is none of ours.
const LARGEST: u64 = 4 << 20;

/// The result that the tenant has of the photo with this hash, made that of this job, its pictures in place. Whatever
/// stands in the way makes it a miss: then the photo is analysed, which is always right.
pub(crate) async fn find(
    context: &Context,
    job: &Job,
    facts: &EngineFacts,
    sha256: &str,
    blank: &PhotoResult,
) -> Option<PhotoResult> {
    let key = layout::cache_key(&job.tenant, &job.digest.cache(&facts.precision()), sha256);
    let found = async {
        let Some(cached) = read(context.home(), &key).await? else {
            return Ok(None);
        };
        let ours = cached.schema == RESULT_SCHEMA
            && cached.outcome == Outcome::Ok
            && cached.digest == job.digest
            && cached.photo.sha256.as_deref() == Some(sha256);
        if !ours {
            return Ok(None);
        }
        copy_overlays(context.home(), job, &cached)
            .await
            .map(|copied| copied.then_some(cached))
    };
    match found.await {
        Ok(cached) => cached.map(|cached| adopt(job, cached, blank)),
        Err(error) => {
            tracing::debug!(%key, error = told(&error), "an earlier result cannot be used");
            None
        }
    }
}

/// Keeps `result` for the next photo with the same content. Nothing depends on it, so a failure is only told.
pub(crate) async fn keep(context: &Context, job: &Job, result: &PhotoResult, body: bytes::Bytes) {
    let Some(sha256) = &result.photo.sha256 else {
        return;
    };
    let digest = job.digest.cache(&result.worker.precision);
    let key = layout::cache_key(&job.tenant, &digest, sha256);
    if let Err(error) = context.home().put(&key, body, record::JSON).await {
        tracing::warn!(%key, error = told(&error), "a result cannot be kept for reuse");
    }
}

/// The result under `key`, if there is one that can be read.
pub(crate) async fn read(home: &dyn Store, key: &str) -> Result<Option<PhotoResult>, StoreError> {
    let object = match home.get(key).await {
        Ok(object) if object.info.size <= LARGEST => object,
        Ok(_) => return Ok(None),
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let body = object.into_bytes().await.ok();
    Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
}

/// Copies the pictures from the batch that they were made for; `false` when one is gone.
async fn copy_overlays(home: &dyn Store, job: &Job, cached: &PhotoResult) -> Result<bool, StoreError> {
    if cached.overlays.is_empty() {
        return Ok(true);
    }
    let Ok(batch) = cached.batch.parse() else {
        return Ok(false);
    };
    let (there, here) = (
        BatchKeys::new(&job.tenant, batch),
        BatchKeys::new(&job.tenant, job.batch),
    );
    for (kind, key) in &cached.overlays {
        let (from, to) = (
            there.at(key),
            here.at(&layout::overlay_named(job.item.index, kind)),
        );
        let object = match home.get(&from).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(false),
            object => object?,
        };
        if from == to {
            continue;
        }
        let Ok(picture) = object.into_bytes().await else {
            return Ok(false);
        };
        home.put(&to, picture.into(), JPEG).await?;
    }
    Ok(true)
}

/// The analysis of `cached` as the result of `job`.
fn adopt(job: &Job, cached: PhotoResult, blank: &PhotoResult) -> PhotoResult {
    let mut photo = cached.photo;
    photo.key = job.item.key.clone();
    let overlays = cached.overlays.into_keys().map(|kind| {
        let key = layout::overlay_named(job.item.index, &kind);
        (kind, key)
    });
    PhotoResult {
        batch: job.batch.to_string(),
        index: job.item.index,
        group: job.item.group.clone(),
        photo,
        overlays: overlays.collect(),
        timing_ms: blank.timing_ms,
        ..cached
    }
}
