//! From results to a finished batch: counting, the documents, the final state.

use std::time::Duration;

use fleet::batch::{BatchState, Counts, Finished, Reason, Stage};
use fleet::ids::{BatchId, Tenant};
use fleet::job::Control;
use fleet::manifest::Manifest;
use fleet::metrics::BatchEnd;
use queue::{Destination, Lane, Message};

use super::chain::{Lease, traced};
use super::expand::{open, recall};
use super::publish::Jobs;
use super::trouble::Trouble;
use super::{documents, tell};
use crate::census::Census;
use crate::clock::rfc3339;
use crate::objects;

/// A batch whose results stand still for so long may have lost jobs.
const STALLED_MS: u64 = 60_000;
/// Longer than any delay of the broker: what waits there by then is not this batch's.
const STALLED_LONG_MS: u64 = 11 * 60_000;

/// Finishes the batch if it is complete or cancelled; else publishes what was lost, and comes back later.
pub(super) async fn finalise(lease: Lease<'_>) -> Result<(), Trouble> {
    let Some((mut lease, manifest)) = open(lease).await? else {
        return Ok(());
    };
    let shared = lease.shared;
    let home = shared.buckets.home();
    let cancelled = home.head(&lease.keys.cancelled()).await?.is_some();
    let expanded = recall(&lease).await?;
    let photos = expanded.as_ref().map_or(0, |expanded| expanded.photos);
    let Some(expanded) = expanded.or_else(|| cancelled.then(Default::default)) else {
        return lease.arm(Stage::Expand, None).await;
    };
    let keys = lease.keys.clone();
    let census = lease
        .keep(async { Ok::<_, Trouble>(Census::take(home, &keys).await?) })
        .await?;
    shared.progress.seed(&lease.tenant, lease.batch, photos, &census);
    if cancelled || census.done.len() >= photos {
        let state = if cancelled {
            BatchState::Cancelled
        } else {
            BatchState::Completed
        };
        return complete(lease, &manifest, state, photos, &census).await;
    }
    note_progress(&mut lease, &census);
    if has_lost_jobs(&lease).await? {
        let mut jobs = Jobs::new(&lease, &manifest, &expanded);
        let published = lease.keep(jobs.publish(&keys, &census.done)).await?;
        tracing::warn!(published, "jobs were lost and are published again");
        lease.marker.since_ms = shared.clock.now_ms();
    }
    let delay = backoff(lease.step());
    look_again(lease, delay).await
}

fn note_progress(lease: &mut Lease<'_>, census: &Census) {
    if lease.marker.done != census.done.len() || lease.marker.since_ms == 0 {
        lease.marker.done = census.done.len();
        lease.marker.since_ms = lease.shared.clock.now_ms();
    }
}

/// Whether results stand still although nothing waits: a worker that still has a job in hand after a minute does it
/// twice then, which is harmless.
async fn has_lost_jobs(lease: &Lease<'_>) -> Result<bool, Trouble> {
    let shared = lease.shared;
    let still_ms = shared.clock.now_ms().saturating_sub(lease.marker.since_ms);
    if still_ms < STALLED_MS {
        return Ok(false);
    }
    let depths = shared.queue.depths().await?;
    if depths.ready(Lane::Bulk) + depths.ready(Lane::Express) > 0 {
        return Ok(false);
    }
    // Of whatever batch: photos that wait for their next try are not told apart.
    let delayed: u64 = depths.delayed.values().sum();
    Ok(still_ms >= STALLED_LONG_MS || delayed == 0)
}

/// Looks often at first, so that a small batch whose last event was missed is not kept waiting, and seldom later.
fn backoff(step: u64) -> Duration {
    Duration::from_secs(match step {
        0..=4 => 1,
        5..=12 => 5,
        _ => 30,
    })
}

/// Arms finalise after `delay`, or at once when the last result came meanwhile. Until then this process watches for
/// the last result, and has the batch finished at once.
pub(super) async fn look_again(mut lease: Lease<'_>, delay: Duration) -> Result<(), Trouble> {
    let progress = &lease.shared.progress;
    let until = lease.shared.clock.now_ms() + u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let complete = progress.is_complete(&lease.tenant, lease.batch);
    lease.arm(Stage::Finalise, (!complete).then_some(delay)).await?;
    if !complete {
        progress.report_completion(&lease.tenant, lease.batch, until);
    }
    Ok(())
}

async fn complete(
    mut lease: Lease<'_>,
    manifest: &Manifest,
    state: BatchState,
    photos: u64,
    census: &Census,
) -> Result<(), Trouble> {
    tell(&lease, BatchState::Finalising).await;
    let (shared, keys) = (lease.shared, lease.keys.clone());
    let counts = lease
        .keep(documents::write(shared, &keys, manifest, census))
        .await?;
    let finished = Finished {
        state,
        at: rfc3339(shared.clock.now_ms()),
        counts: Counts { photos, ..counts },
        reason: None,
    };
    objects::write(shared.buckets.home(), &keys.finished(), &finished).await?;
    close(lease, Some(manifest), &finished).await
}

/// Ends a batch that has no photos to analyse.
pub(super) async fn fail(
    lease: Lease<'_>,
    manifest: Option<&Manifest>,
    reason: Reason,
) -> Result<(), Trouble> {
    let shared = lease.shared;
    tracing::info!(code = %reason.code, "batch failed");
    let finished = Finished {
        state: BatchState::Failed,
        at: rfc3339(shared.clock.now_ms()),
        counts: Counts::default(),
        reason: Some(reason),
    };
    objects::write(shared.buckets.home(), &lease.keys.finished(), &finished).await?;
    close(lease, manifest, &finished).await
}

/// What follows `finished.json`. The chain ends last: a coordinator that is stopped before says everything once more.
pub(super) async fn close(
    lease: Lease<'_>,
    manifest: Option<&Manifest>,
    finished: &Finished,
) -> Result<(), Trouble> {
    if manifest.is_some_and(|manifest| manifest.webhook.is_some()) {
        let notify = notification(&lease.tenant, lease.batch, finished);
        publish_control(&lease, &notify).await?;
    }
    tell(&lease, finished.state).await;
    let (shared, tenant, batch) = (lease.shared, lease.tenant.clone(), lease.batch);
    let begun_ms = lease.marker.begun_ms;
    shared.progress.invalidate(&tenant, batch);
    lease.end().await?;
    let took = (begun_ms > 0).then(|| shared.clock.now_ms().saturating_sub(begun_ms) as f64 / 1e3);
    let end = match finished.state {
        BatchState::Cancelled => BatchEnd::Cancelled,
        BatchState::Failed => BatchEnd::Failed,
        _ => BatchEnd::Completed,
    };
    shared.metrics.finished(end, finished.counts, took);
    tracing::info!(state = finished.state.name(), "batch finished");
    Ok(())
}

/// The same every time that the same end of a batch is told, so that who is told twice can see it.
fn notification(tenant: &Tenant, batch: BatchId, finished: &Finished) -> Control {
    let at: String = finished.at.chars().filter(char::is_ascii_digit).collect();
    Control::Notify {
        tenant: tenant.clone(),
        batch,
        id: format!("msg_{batch}_{at}"),
        tries: 0,
        due_ms: 0,
    }
}

async fn publish_control(lease: &Lease<'_>, control: &Control) -> Result<(), Trouble> {
    let message = traced(Message::json(control)?, lease.marker.traceparent.as_deref());
    lease
        .shared
        .queue
        .publish(Destination::Lane(Lane::Control), &[message])
        .await?;
    Ok(())
}
