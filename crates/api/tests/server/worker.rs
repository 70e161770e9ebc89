//! A worker that looks at nothing: a photo that is there is analysed, one that is not has failed.

use std::sync::Arc;

use api::Shared;
use fleet::event::Event;
use fleet::failure::FailureCode;
use fleet::job::Job;
use fleet::layout::BatchKeys;
use fleet::result::{Outcome, PhotoRecord, PhotoResult, RESULT_SCHEMA, TimingMs, WorkerFacts};
use queue::{Destination, Fanout, Lane, Message};

/// Takes jobs from the express lane for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut consumer = shared
        .queue
        .consume(Lane::Express, 4.try_into().unwrap())
        .await
        .unwrap();
    while let Some(delivery) = consumer.next().await {
        handle(&shared, delivery.open().unwrap()).await;
        delivery.settle(queue::Outcome::Done).await.unwrap();
    }
}

async fn handle(shared: &Shared, job: Job) {
    let (home, keys) = (shared.buckets.home(), BatchKeys::new(&job.tenant, job.batch));
    let store = shared.buckets.of(job.item.bucket.as_deref()).unwrap();
    let found = store.head(&job.item.key).await.unwrap();
    let outcome = if found.is_some() {
        Outcome::Ok
    } else {
        Outcome::Failed
    };
    let failure = found
        .is_none()
        .then(|| FailureCode::NotFound.failure("There is no such photo."));
    if let Some(failure) = &failure {
        let marker = serde_json::to_vec(failure).unwrap();
        home.put(&keys.failure(job.item.index), marker.into(), "application/json")
            .await
            .unwrap();
    }
    let result = PhotoResult {
        schema: RESULT_SCHEMA.into(),
        batch: job.batch.to_string(),
        index: job.item.index,
        group: job.item.group,
        photo: PhotoRecord {
            key: job.item.key,
            bytes: found.map(|info| info.size),
            ..PhotoRecord::default()
        },
        outcome,
        failure,
        detection: None,
        surface: None,
        classification: None,
        advice: None,
        overlays: [].into(),
        digest: job.digest,
        worker: WorkerFacts::default(),
        timing_ms: TimingMs::default(),
    };
    let json = serde_json::to_vec(&result).unwrap();
    home.put(&keys.result(job.item.index), json.into(), "application/json")
        .await
        .unwrap();
    let event = Event::Photo {
        tenant: job.tenant,
        batch: job.batch,
        index: job.item.index,
        outcome,
        class: None,
        code: None,
        worker: "w".into(),
        total_ms: 1.0,
        reused: false,
    };
    let message = Message::json(&event).unwrap();
    shared
        .queue
        .publish(Destination::Fanout(Fanout::Events), &[message])
        .await
        .unwrap();
}
