//! Dead letters: a job that nobody could do becomes a failed result, so that its batch finishes.

use fleet::event::Event;
use fleet::failure::FailureCode;
use fleet::job::{Control, Job};
use fleet::layout::BatchKeys;
use fleet::metrics::DeadLetter;
use fleet::result::{Outcome as PhotoOutcome, PhotoResult, WorkerFacts};
use queue::{Delivery, Outcome};

use super::trouble::Trouble;
use super::{announce, insist};
use crate::objects;
use crate::shared::Shared;

/// Who made the results that are made here.
const COORDINATOR: &str = "coordinator";

/// What becomes of a dead letter.
pub(super) async fn handle(shared: &Shared, delivery: &Delivery) -> Outcome {
    let death = delivery.death();
    let reason = death.map_or("no reason was given", |death| death.reason.as_str());
    let foreign = match delivery.open::<Job>() {
        Ok(job) => {
            let span = tracing::Span::current();
            span.record("tenant", tracing::field::display(&job.tenant));
            span.record("batch", tracing::field::display(job.batch));
            span.record("index", job.item.index);
            return match bury(shared, &job, reason).await {
                Ok(()) => {
                    shared.metrics.dead_letter(DeadLetter::Photo);
                    Outcome::Done
                }
                Err(trouble) => insist(delivery, &trouble),
            };
        }
        Err(foreign) => foreign,
    };
    if let Ok(control) = delivery.open::<Control>() {
        // The batch's marker is not touched any more: the sweeper starts it again.
        shared.metrics.dead_letter(DeadLetter::Control);
        tracing::error!(
            ?control,
            reason,
            "a control message died; the sweeper starts its batch again"
        );
        return Outcome::Done;
    }
    shared.metrics.dead_letter(DeadLetter::Foreign);
    tracing::error!(
        queue = death.map_or("", |death| death.queue.as_str()),
        reason,
        bytes = delivery.body().len(),
        "a message that is not ours is parked"
    );
    Outcome::Reject {
        reason: format!("{foreign}; it was rejected with: {reason}"),
    }
}

async fn bury(shared: &Shared, job: &Job, reason: &str) -> Result<(), Trouble> {
    let home = shared.buckets.home();
    let keys = BatchKeys::new(&job.tenant, job.batch);
    let index = job.item.index;
    let exists = async |key: &str| home.head(key).await.map(|found| found.is_some());
    // A batch that was deleted stays so; a result that a worker wrote before its message died is the better one.
    if !exists(&keys.manifest()).await? || exists(&keys.result(index)).await? {
        return Ok(());
    }
    tracing::warn!(reason, "nobody could analyse a photo");
    let result = given_up(job, reason);
    if let Some(failure) = &result.failure {
        objects::write(home, &keys.failure(index), failure).await?;
    }
    objects::write(home, &keys.result(index), &result).await?;
    let event = Event::Photo {
        tenant: job.tenant.clone(),
        batch: job.batch,
        index,
        outcome: PhotoOutcome::Failed,
        class: None,
        code: Some(FailureCode::GaveUp.code().to_owned()),
        worker: COORDINATOR.to_owned(),
        total_ms: 0.0,
        reused: false,
    };
    announce(shared, &event).await;
    Ok(())
}

fn given_up(job: &Job, reason: &str) -> PhotoResult {
    let message = format!("`{}` was given up: {reason}. Retry the batch.", job.item.key);
    let worker = WorkerFacts {
        id: COORDINATOR.to_owned(),
        ..WorkerFacts::default()
    };
    PhotoResult {
        failure: Some(FailureCode::GaveUp.failure(message)),
        ..PhotoResult::blank(job.batch.to_string(), &job.item, job.digest.clone(), worker)
    }
}
