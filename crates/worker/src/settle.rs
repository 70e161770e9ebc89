//! What becomes of a message: the only place that settles one.

use std::time::{Duration, Instant};

use fleet::event::Event;
use fleet::failure::FailureCode;
use fleet::job::Job;
use fleet::metrics::{DeliveryResult, PhotoOutcome as PhotoEnd, PhotoQueue};
use fleet::result::{Outcome as PhotoOutcome, PhotoResult};
use queue::{Delivery, Lane, Outcome, Undecodable};

use crate::analyse::{self, Stop};
use crate::context::Context;
use crate::record::{self, Stored};
use crate::tell;

/// How long after it was published a photo that only another worker can analyse waits for one, and is then tried as
/// often as any other.
const ELSEWHERE_FOR: Duration = Duration::from_secs(600);
/// When it is offered to others again.
const ELSEWHERE_AFTER: Duration = Duration::from_secs(5);

/// Settles a job with what came of it.
pub(crate) async fn settle(
    context: &Context,
    delivery: Delivery,
    job: &Job,
    taken: Instant,
    came: Result<Stored, Stop>,
) {
    let outcome = match came {
        Ok(Stored { result, reused }) => {
            context.pressure.relieve();
            context.tally.count(|done| match reused {
                true => done.reused += 1,
                false => done.ok += 1,
            });
            let outcome = if reused { PhotoEnd::Reused } else { PhotoEnd::Ok };
            context.metrics.photo(queue(&delivery), outcome);
            if !reused {
                context.metrics.timing(queue(&delivery), &result.timing_ms);
            }
            tell(context, job, taken, &result, reused);
            Outcome::Done
        }
        Err(Stop::Failed(result)) => match fail(context, &delivery, job, taken, &result).await {
            Ok(()) => Outcome::Done,
            Err(reason) => {
                context.pressure.add();
                retry_or_give_up(context, &delivery, job, taken, reason).await
            }
        },
        Err(Stop::Transient(reason)) => {
            context.pressure.add();
            retry_or_give_up(context, &delivery, job, taken, reason).await
        }
        // A batch keeps the bundle that it pinned: while a new one comes to the fleet, a worker that still has the old
        // one may be busy, or on its way.
        Err(Stop::Elsewhere(reason)) if age(job) < ELSEWHERE_FOR => {
            tracing::debug!(batch = %job.batch, index = job.item.index, %reason, "a photo is left to another worker");
            Outcome::Snooze {
                after: ELSEWHERE_AFTER,
            }
        }
        Err(Stop::Elsewhere(reason)) => retry_or_give_up(context, &delivery, job, taken, reason).await,
        Err(Stop::Unwanted) => {
            context.metrics.photo(queue(&delivery), PhotoEnd::Cancelled);
            Outcome::Done
        }
        Err(Stop::Draining) => {
            context.tally.requeue();
            Outcome::Requeue
        }
    };
    carry_out(context, delivery, outcome).await;
}

/// How long ago it was published.
fn age(job: &Job) -> Duration {
    Duration::from_millis(tell::unix_ms().saturating_sub(job.published_ms))
}

/// Settles a message that is no job.
pub(crate) async fn refuse(context: &Context, delivery: Delivery, why: &Undecodable) {
    tracing::warn!(%why, "a message that is no job goes to the dead letters");
    let reason = why.to_string();
    carry_out(context, delivery, Outcome::Reject { reason }).await;
}

async fn carry_out(context: &Context, delivery: Delivery, outcome: Outcome) {
    let result = match &outcome {
        Outcome::Done => DeliveryResult::Done,
        Outcome::Retry { .. } | Outcome::Snooze { .. } => DeliveryResult::Retried,
        Outcome::Requeue => DeliveryResult::Requeued,
        Outcome::Reject { .. } => DeliveryResult::Rejected,
    };
    context.metrics.delivery(queue(&delivery), result);
    if let Err(error) = delivery.settle(outcome).await {
        // It is back in its queue, and whoever gets it does the same again.
        tracing::warn!(%error, "a message is not settled");
    }
}

fn queue(delivery: &Delivery) -> PhotoQueue {
    match delivery.lane() {
        Lane::Express => PhotoQueue::Express,
        _ => PhotoQueue::Bulk,
    }
}

/// Another try while there are any left; then the photo has failed.
async fn retry_or_give_up(
    context: &Context,
    delivery: &Delivery,
    job: &Job,
    taken: Instant,
    reason: String,
) -> Outcome {
    let outcome = context.config.retry.outcome(delivery.attempt(), reason);
    match outcome {
        Outcome::Reject { reason } => {
            let choice = context.engines.choice(&job.digest, &job.options);
            let facts = choice.ok().and_then(|choice| context.engines.last_facts(&choice));
            let blank = analyse::blank(context, job, facts.as_ref());
            let result = analyse::failed_result(blank, FailureCode::GaveUp.failure(&reason));
            match fail(context, delivery, job, taken, &result).await {
                Ok(()) => Outcome::Done,
                // A coordinator finds it among the dead letters and writes the same.
                Err(_) => Outcome::Reject { reason },
            }
        }
        Outcome::Retry { after, reason } => {
            context.tally.count(|done| done.retried += 1);
            tracing::warn!(%reason, ?after, "a photo is tried again");
            Outcome::Retry { after, reason }
        }
        other => other,
    }
}

async fn fail(
    context: &Context,
    delivery: &Delivery,
    job: &Job,
    taken: Instant,
    result: &PhotoResult,
) -> Result<(), String> {
    match record::failed(context, job, result).await {
        Ok(true) => {
            context.tally.count(|done| done.failed += 1);
            context.metrics.photo(queue(delivery), PhotoEnd::Failed);
            if let Some(failure) = &result.failure {
                context.metrics.failure(&failure.code);
            }
            tell(context, job, taken, result, false);
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(Stop::Transient(reason)) => Err(reason),
        Err(_) => Err("the failure cannot be stored".to_owned()),
    }
}

fn tell(context: &Context, job: &Job, taken: Instant, result: &PhotoResult, reused: bool) {
    let pitch = result.outcome == PhotoOutcome::Ok
        && (job.options.analysis.full_frame || result.detection.as_ref().is_some_and(|d| d.detected));
    let class = result.classification.as_ref().filter(|_| pitch);
    context.events.tell(Event::Photo {
        tenant: job.tenant.clone(),
        batch: job.batch,
        index: job.item.index,
        outcome: result.outcome,
        class: class.map(|classification| classification.corrected.class),
        code: result.failure.as_ref().map(|failure| failure.code.clone()),
        worker: context.config.id.clone(),
        total_ms: analyse::milliseconds(taken),
        reused,
    });
}
