//! What is written into the bucket about a photo. The result comes last: one that exists is complete.

use std::time::Instant;

use bytes::Bytes;
use engine::Analysed;
use fleet::job::Job;
use fleet::layout::{self, BatchKeys};
use fleet::result::{Outcome, PhotoResult};
use futures_util::future::try_join_all;
use store::StoreError;
use tokio::time::timeout;

use crate::analyse::{Arrival, Stop, milliseconds, told, worker_facts};
use crate::context::Context;
use crate::reuse;

/// Content type of results.
pub(crate) const JSON: &str = "application/json";
/// Content type of pictures.
pub(crate) const JPEG: &str = "image/jpeg";

/// A result that is in the bucket.
#[derive(Debug)]
pub(crate) struct Stored {
    /// It.
    pub(crate) result: PhotoResult,
    /// It was made earlier.
    pub(crate) reused: bool,
}

/// Stores the pictures and the result of an analysis, and keeps it for reuse.
pub(crate) async fn analysed(
    context: &Context,
    job: &Job,
    arrival: Arrival,
    blank: PhotoResult,
    analysed: Analysed,
) -> Result<Stored, Stop> {
    let Analysed {
        analysis,
        pictures,
        facts,
        ..
    } = analysed;
    let mut result = blank;
    result.worker = worker_facts(context, Some(&facts));
    result.fill(analysis);
    let storing = Instant::now();
    let keys = BatchKeys::new(&job.tenant, job.batch);
    for picture in &pictures {
        let key = layout::overlay_key(job.item.index, picture.kind);
        result.overlays.insert(picture.kind.name().to_owned(), key);
    }
    let home = context.home();
    let puts = pictures.into_iter().map(|picture| {
        let key = keys.overlay(job.item.index, picture.kind);
        async move { home.put(&key, picture.jpeg.into(), JPEG).await }
    });
    in_time(context, try_join_all(puts)).await?;
    result.timing_ms.store = Some(milliseconds(storing));
    result.timing_ms.total = Some(milliseconds(arrival.taken));
    let body = json(&result)?;
    // The kept one is as complete, so that neither need wait for the other. If only that comes through, the next try finds it.
    let kept = reuse::keep(context, job, &result, body.clone());
    let (stored, ()) = tokio::join!(put_result(context, job, body), kept);
    stored?;
    Ok(Stored {
        result,
        reused: false,
    })
}

/// Stores a result that was made earlier.
pub(crate) async fn reused(
    context: &Context,
    job: &Job,
    arrival: Arrival,
    mut result: PhotoResult,
) -> Result<Stored, Stop> {
    result.timing_ms.total = Some(milliseconds(arrival.taken));
    put_result(context, job, json(&result)?).await?;
    Ok(Stored { result, reused: true })
}

/// Stores a failure: its marker, then the result. Whether it was stored: an analysis that is there already, of the same
/// job that came twice, is the better one and stays.
///
/// # Errors
/// [`Stop::Transient`], when the bucket does not take it.
pub(crate) async fn failed(context: &Context, job: &Job, result: &PhotoResult) -> Result<bool, Stop> {
    if in_time(context, is_analysed(context, job)).await? {
        return Ok(false);
    }
    let marker = BatchKeys::new(&job.tenant, job.batch).failure(job.item.index);
    let body = json(&result.failure)?;
    in_time(context, context.home().put(&marker, body, JSON)).await?;
    put_result(context, job, json(result)?).await?;
    Ok(true)
}

async fn is_analysed(context: &Context, job: &Job) -> Result<bool, StoreError> {
    let key = BatchKeys::new(&job.tenant, job.batch).result(job.item.index);
    let stored = reuse::read(context.home(), &key).await?;
    Ok(stored.is_some_and(|result| result.outcome == Outcome::Ok))
}

async fn put_result(context: &Context, job: &Job, body: Bytes) -> Result<(), Stop> {
    let key = BatchKeys::new(&job.tenant, job.batch).result(job.item.index);
    in_time(context, context.home().put(&key, body, JSON)).await
}

fn json(value: &impl serde::Serialize) -> Result<Bytes, Stop> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| Stop::Transient(format!("the result cannot be written as JSON: {error}")))
}

/// What cannot be written may be written later, or by another worker: nothing here is the photo's fault.
async fn in_time<T>(
    context: &Context,
    writing: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, Stop> {
    let deadline = context.config.transfer_deadline;
    match timeout(deadline, writing).await {
        Ok(written) => written.map_err(|error| Stop::Transient(told(&error))),
        Err(_) => Err(Stop::Transient(format!(
            "the result was not stored in {} s",
            deadline.as_secs_f64()
        ))),
    }
}
