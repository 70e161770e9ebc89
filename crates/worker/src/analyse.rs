//! One photo, from its job to its result in the bucket: [`analyse`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::failure::code;
use engine::{Admission, Analysed, EngineFacts, PhotoFailure, PhotoRequest, PhotoSource};
use fleet::failure::FailureCode;
use fleet::job::Job;
use fleet::manifest::Item;
use fleet::result::{Failure, PhotoResult, WorkerFacts};
use pitch::photo::PhotoError;
use queue::Lane;
use store::{Store, StoreError, StoreErrorKind};
use tokio::time::timeout;
use tracing::{Instrument, info_span};

use crate::context::Context;
use crate::engines::Choice;
use crate::follow;
use crate::record::{self, Stored};
use crate::reuse;
use crate::spool::{self, FetchError, Spooled};

/// How a job came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// By which lane.
    pub(crate) lane: Lane,
    /// Workers may have died over it: nothing else is to be with the engine meanwhile.
    pub(crate) suspect: bool,
    /// When it was taken.
    pub(crate) taken: Instant,
}

/// Why a job ended without an analysis.
#[derive(Debug)]
pub(crate) enum Stop {
    /// No try can help.
    Failed(Box<PhotoResult>),
    /// Another try may help.
    Transient(String),
    /// Another worker can do it.
    Elsewhere(String),
    /// Nobody wants it any more.
    Unwanted,
    /// The worker is going.
    Draining,
}

/// Takes a job to a stored result.
pub(crate) async fn analyse(context: &Context, job: &Job, arrival: Arrival) -> Result<Stored, Stop> {
    let choice = context
        .engines
        .choice(&job.digest, &job.options)
        .map_err(Stop::Elsewhere)?;
    if context
        .unwanted
        .contains(context.home(), &job.tenant, job.batch)
        .await
    {
        return Err(Stop::Unwanted);
    }
    if context.engines.last_facts(&choice).is_none() {
        loaded(context, &choice).await?;
    }
    let facts = context.engines.facts(&choice).await.map_err(not_loaded)?;
    let mut blank = blank(context, job, Some(&facts));

    let declared = job.item.sha256.as_deref().filter(|hash| is_sha256(hash));
    if let Some(hash) = declared
        && let Some(result) = reuse::find(context, job, &facts, hash, &blank)
            .instrument(info_span!("reuse"))
            .await
    {
        return record::reused(context, job, arrival, result)
            .instrument(info_span!("store"))
            .await;
    }

    let fetching = Instant::now();
    let photo = unless_draining(context, fetch(context, job, &blank))
        .instrument(info_span!("fetch"))
        .await?;
    blank.photo.sha256 = Some(photo.sha256.clone());
    blank.photo.bytes = Some(photo.bytes);
    blank.timing_ms.fetch = Some(milliseconds(fetching));

    if declared != Some(photo.sha256.as_str())
        && let Some(result) = reuse::find(context, job, &facts, &photo.sha256, &blank)
            .instrument(info_span!("reuse"))
            .await
    {
        return record::reused(context, job, arrival, result)
            .instrument(info_span!("store"))
            .await;
    }

    let analysed = in_engine(context, job, arrival, &choice, photo, &blank)
        .instrument(info_span!("engine"))
        .await?;
    if analysed.facts.bundle_digest != job.digest.bundle {
        return Err(Stop::Elsewhere(
            "the bundle's files were replaced in place".to_owned(),
        ));
    }
    record::analysed(context, job, arrival, blank, analysed)
        .instrument(info_span!("store"))
        .await
}

/// What is known of the photo before anything was done with it.
pub(crate) fn blank(context: &Context, job: &Job, facts: Option<&Arc<EngineFacts>>) -> PhotoResult {
    let worker = worker_facts(context, facts);
    let mut blank = PhotoResult::blank(job.batch.to_string(), &job.item, job.digest.clone(), worker);
    let published = UNIX_EPOCH + Duration::from_millis(job.published_ms);
    let queued = SystemTime::now().duration_since(published).unwrap_or_default();
    blank.timing_ms.queued = Some(round(queued));
    blank
}

pub(crate) fn worker_facts(context: &Context, facts: Option<&Arc<EngineFacts>>) -> WorkerFacts {
    let id = context.config.id.clone();
    facts.map_or_else(
        || WorkerFacts {
            id: id.clone(),
            ..WorkerFacts::default()
        },
        |facts| WorkerFacts {
            id: id.clone(),
            device: facts.device.clone(),
            execution_provider: facts.execution_provider.clone(),
            precision: facts.precision(),
        },
    )
}

/// Brings the photo here.
async fn fetch(context: &Context, job: &Job, blank: &PhotoResult) -> Result<Spooled, Stop> {
    let Item {
        key, bucket, archive, ..
    } = &job.item;
    let failed = |code: FailureCode, message: String| Err(failed(blank, code.failure(message)));
    if archive.is_some() {
        let message =
            "it lies in an archive, which is read on the command line only: upload the photo itself";
        return failed(FailureCode::Unreadable, message.to_owned());
    }
    let Some(store) = context.buckets.of(bucket.as_deref()) else {
        let bucket = bucket.as_deref().unwrap_or_default();
        let message =
            format!("this worker may not read from bucket `{bucket}`: allow it in its configuration");
        return failed(FailureCode::AccessDenied, message);
    };
    let limit = context.engines.own().config().limits.max_bytes;
    let error = match fetch_in_time(context, store.as_ref(), key, limit).await? {
        Ok(photo) => return Ok(photo),
        Err(error) => error,
    };
    match error {
        FetchError::TooLarge { bytes } => {
            let error = PhotoError::TooManyBytes { bytes, limit };
            let failure = Failure {
                code: error.kind().code().to_owned(),
                message: error.to_string(),
            };
            Err(self::failed(blank, failure))
        }
        FetchError::Store(error) => match error.kind {
            StoreErrorKind::NotFound | StoreErrorKind::InvalidKey => {
                let message = format!("there is no object `{key}`: it was not uploaded, or removed since");
                failed(FailureCode::NotFound, message)
            }
            StoreErrorKind::Denied => {
                let message =
                    format!("`{key}` is not handed out: look at the permissions of the worker's key");
                failed(FailureCode::AccessDenied, message)
            }
            _ => Err(Stop::Transient(told(&error))),
        },
        error @ (FetchError::Broken(_) | FetchError::Spool { .. }) => Err(Stop::Transient(error.to_string())),
    }
}

async fn fetch_in_time(
    context: &Context,
    store: &dyn Store,
    key: &str,
    limit: u64,
) -> Result<Result<Spooled, FetchError>, Stop> {
    let folder: &Path = &context.config.spool;
    let deadline = context.config.transfer_deadline;
    timeout(deadline, spool::fetch(store, key, folder, limit))
        .await
        .map_err(|_| {
            Stop::Transient(format!(
                "the photo was not fetched in {} s",
                deadline.as_secs_f64()
            ))
        })
}

/// Has the engine analyse the photo when it is its turn.
async fn in_engine(
    context: &Context,
    job: &Job,
    arrival: Arrival,
    choice: &Choice,
    photo: Spooled,
    blank: &PhotoResult,
) -> Result<Analysed, Stop> {
    let asked = Instant::now();
    let enter = async { Ok(context.places.enter(arrival.lane, arrival.suspect).await) };
    let _place = unless_draining(context, enter).await?;
    loaded(context, choice).await?;
    let present = context.engines.present(choice).await;
    let turn = asked.elapsed();
    let request = PhotoRequest {
        source: PhotoSource::Opened(photo.file),
        options: job.options.analysis.clone(),
    };
    match present.engine.analyse(request).await {
        Ok(analysed) => {
            follow::analysed(&analysed);
            let Admission {
                lane_wait,
                memory_wait,
                ..
            } = analysed.admission;
            // Times that another process tells.
            context
                .metrics
                .admission(turn.saturating_add(lane_wait), memory_wait);
            context.engines.remember(choice, &analysed.facts);
            Ok(analysed)
        }
        Err(failure) => Err(not_analysed(failure, blank)),
    }
}

/// Waits until the engine runs.
async fn loaded(context: &Context, choice: &Choice) -> Result<(), Stop> {
    context.engines.want(choice.clone());
    let needed = async { context.models.needed().await.map_err(not_loaded) };
    unless_draining(context, needed).await
}

fn not_analysed(failure: PhotoFailure, blank: &PhotoResult) -> Stop {
    match failure.code.as_str() {
        code::ENGINE_STOPPED => Stop::Draining,
        // From the spool: this machine's trouble.
        code::UNREADABLE => Stop::Transient(failure.message),
        _ if !failure.permanent => Stop::Transient(failure.message),
        _ => failed(
            blank,
            Failure {
                code: failure.code,
                message: failure.message,
            },
        ),
    }
}

fn not_loaded(error: engine::EngineError) -> Stop {
    Stop::Transient(format!("the engine does not start: {error}"))
}

/// `work`, unless the worker is asked to go before it is done.
async fn unless_draining<T>(
    context: &Context,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    tokio::select! {
        biased;
        () = context.draining.cancelled() => Err(Stop::Draining),
        done = work => done,
    }
}

fn failed(blank: &PhotoResult, failure: Failure) -> Stop {
    Stop::Failed(Box::new(failed_result(blank.clone(), failure)))
}

/// What was known of a photo, and why that is all; the message begins with the photo's name.
pub(crate) fn failed_result(blank: PhotoResult, failure: Failure) -> PhotoResult {
    let key = &blank.photo.key;
    let name = key.rsplit('/').next().unwrap_or(key);
    let message = format!("{name}: {}", failure.message);
    PhotoResult {
        failure: Some(Failure { message, ..failure }),
        ..blank
    }
}

/// An error with what the adapter said.
pub(crate) fn told(error: &StoreError) -> String {
    match &error.source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether it can stand in a key.
fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    round(since.elapsed())
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hashes_become_keys() {
        assert!(is_sha256(&"0a".repeat(32)));
        for bad in ["", "0A", &"0A".repeat(32), &"../".repeat(21), &"0a".repeat(33)] {
            assert!(!is_sha256(bad), "{bad}");
        }
    }
}
