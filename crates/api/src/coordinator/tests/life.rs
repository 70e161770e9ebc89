//! What happens to a batch, with and without trouble.

use fleet::api::{NewUpload, NewUploads};
use fleet::batch::{Active, BatchState, Counts, Stage};
use fleet::job::{Control, Job};
use fleet::layout::active_key;
use fleet::manifest::Item;
use fleet::metrics::DeadLetter;
use fleet::result::PhotoResult;
use queue::{Destination, Lane, Message, Queue};

use super::*;
use crate::config::ApiConfig;
use crate::coordinator::{self, sweep};

const REPORT: [&str; 6] = [
    "coco.json",
    "report.html",
    "results.ndjson",
    "results.parquet",
    "summary.csv",
    "verdict.json",
];

#[tokio::test(start_paused = true)]
async fn a_prefix_becomes_results_and_documents() {
    let mut fleet = Fleet::new();
    fleet
        .photograph(&[
            "day-1/a.jpg",
            "day-1/north/b.png",
            "day-1/notes.txt",
            "day-2/c.jpg",
            "day-1/bad.jpg",
        ])
        .await;
    let _coordinator = fleet.coordinate(&fleet.shared());
    fleet.work();
    let (batch, keys) = fleet.submit("day-1/").await;
    let finished = fleet.finished(batch).await;
    assert_eq!(finished.state, BatchState::Completed);
    let expected = Counts {
        photos: 3,
        ok: 2,
        failed: 1,
    };
    assert_eq!(finished.counts, expected);
    assert_eq!(fleet.names(&keys.report("")).await, REPORT);
    let items = fleet
        .home
        .get(&keys.items())
        .await
        .unwrap()
        .into_bytes()
        .await
        .unwrap();
    let items: Vec<Item> = String::from_utf8(items)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen: Vec<_> = items
        .iter()
        .map(|i| (i.index, i.key.as_str(), i.group.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (0, "day-1/a.jpg", None),
            (1, "day-1/bad.jpg", None),
            (2, "day-1/north/b.png", Some("north")),
        ]
    );
    assert_eq!(fleet.analyses(batch), [1, 1, 1]);
}

/// By the paused clock: the documents follow the last result, not the next look.
#[tokio::test(start_paused = true)]
async fn a_small_batch_is_finished_as_soon_as_its_last_result_is_heard_of() {
    let mut fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg", "p/b.jpg"]).await;
    let _coordinator = fleet.coordinate(&fleet.shared());
    fleet.work();
    let began = tokio::time::Instant::now();
    let (batch, _) = fleet.submit("p/").await;
    fleet.finished(batch).await;
    assert!(
        began.elapsed() < std::time::Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn sources_that_give_no_photos_fail_the_batch_with_a_reason() {
    let fleet = Fleet::new();
    fleet
        .photograph(&["many/a.jpg", "many/b.jpg", "many/c.jpg", "texts/a.txt"])
        .await;
    let mut config = ApiConfig::default();
    config.coordinator.max_photos = 2;
    let shared = fleet.shared_over(Arc::clone(&fleet.home), fleet.queue.clone(), config);
    let _coordinator = fleet.coordinate(&shared);
    let prefix = |bucket: &str, prefix: &str| Source::Prefix {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    };
    let keys = |bucket: &str| Source::Keys {
        bucket: bucket.to_owned(),
    };
    for (source, code) in [
        (prefix("photos", "none/"), "no_photos"),
        (prefix("photos", "texts/"), "no_photos"),
        (prefix("photos", "many/"), "too_many_photos"),
        (prefix("secrets", "many/"), "forbidden_bucket"),
        (keys("secrets"), "forbidden_bucket"),
        (keys("photos"), "no_photos"),
        (Source::Upload, "no_photos"),
    ] {
        let (batch, keys) = fleet.declare(source.clone()).await;
        fleet.begin(batch, Stage::Expand).await;
        let finished = fleet.finished(batch).await;
        assert_eq!(finished.state, BatchState::Failed, "{source:?}");
        assert_eq!(finished.reason.unwrap().code, code, "{source:?}");
        assert!(
            fleet.home.head(&keys.items()).await.unwrap().is_none(),
            "{source:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_are_what_was_declared_last_whether_it_arrived_or_not() {
    let mut fleet = Fleet::new();
    let (batch, keys) = fleet.declare(Source::Upload).await;
    let upload = |index, name: &str, group: Option<&str>| NewUpload {
        index,
        name: name.to_owned(),
        size: 4,
        group: group.map(str::to_owned),
        sha256: None,
    };
    let first = [upload(0, "a.jpg", None), upload(5, "old.jpg", None)];
    let second = [upload(5, "new.jpg", Some("north")), upload(7, "late.jpg", None)];
    for (name, photos) in [("1.json", first), ("2.json", second)] {
        let photos = NewUploads {
            photos: photos.into(),
        };
        fleet.put(&format!("{}{name}", keys.uploads()), &photos).await;
    }
    for key in [
        keys.photo(0, "a.jpg"),
        keys.photo(5, "old.jpg"),
        keys.photo(5, "new.jpg"),
        keys.photo(9, "x.jpg"),
    ] {
        fleet.home.put(&key, "jpeg".into(), "image/jpeg").await.unwrap();
    }
    let _coordinator = fleet.coordinate(&fleet.shared());
    fleet.work();
    fleet.begin(batch, Stage::Expand).await;
    assert_eq!(fleet.finished(batch).await.counts.photos, 3);
    let key = |result: PhotoResult| (result.photo.key, result.group);
    for (index, name, group) in [
        (0, "a.jpg", None),
        (5, "new.jpg", Some("north")),
        (7, "late.jpg", None),
    ] {
        let result: PhotoResult = fleet.get(&keys.result(index)).await.unwrap();
        assert_eq!(key(result), (keys.photo(index, name), group.map(str::to_owned)));
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_the_submission_are_published_as_they_are() {
    let mut fleet = Fleet::new();
    let source = Source::Keys {
        bucket: "photos".to_owned(),
    };
    let (batch, keys) = fleet.declare(source).await;
    let lines: String = (0..60)
        .map(|index| {
            format!("{{\"index\":{index},\"key\":\"k/{index}.jpg\",\"bucket\":\"photos\",\"size\":null,\"etag\":null,\"group\":null}}\n")
        })
        .collect();
    fleet.home.put(&keys.items(), lines.into(), "").await.unwrap();
    fleet.begin(batch, Stage::Expand).await;
    let coordinator = fleet.coordinate(&fleet.shared());
    let published = async {
        while fleet.queue.depths().await.unwrap().ready(Lane::Bulk) < 60 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, published)
        .await
        .expect("more than fifty are bulk");
    fleet.work();
    assert_eq!(fleet.finished(batch).await.counts.ok, 60);
    drop(coordinator);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_ends_with_what_is_there() {
    let fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg", "p/b.jpg"]).await;
    let shared = fleet.shared();
    let _coordinator = fleet.coordinate(&shared);
    let (batch, keys) = fleet.submit("p/").await;
    while fleet.home.head(&keys.expanded()).await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    fleet.home.put(&keys.cancelled(), "".into(), "").await.unwrap();
    assert!(coordinator::hasten(&shared, &fleet.tenant, batch).await.unwrap());
    let finished = fleet.finished(batch).await;
    assert_eq!(finished.state, BatchState::Cancelled);
    assert_eq!((finished.counts.photos, finished.counts.done()), (2, 0));
    assert_eq!(fleet.names(&keys.report("")).await, REPORT);
    assert!(!coordinator::hasten(&shared, &fleet.tenant, batch).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_retry_does_failed_photos_again_and_no_others() {
    let mut fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg", "p/bad-1.jpg", "p/bad-2.jpg"]).await;
    let _coordinator = fleet.coordinate(&fleet.shared());
    fleet.work();
    let (batch, keys) = fleet.submit("p/").await;
    assert_eq!(fleet.finished(batch).await.counts.failed, 2);
    // They fail again, and at once: a marker that was removed too late would make good ones of them.
    fleet.begin(batch, Stage::Retry).await;
    assert_eq!(fleet.finished(batch).await.counts.failed, 2);
    assert_eq!(fleet.analyses(batch), [1, 2, 2]);
    *fleet.bad.lock().unwrap() = None;
    fleet.begin(batch, Stage::Retry).await;
    let counts = fleet.finished(batch).await.counts;
    assert_eq!((counts.ok, counts.failed), (3, 0));
    assert_eq!(fleet.analyses(batch), [1, 3, 3]);
    assert_eq!(fleet.names(&keys.failures()).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_control_message_is_found_by_the_sweeper() {
    for stage in [Stage::Expand, Stage::Finalise] {
        let mut fleet = Fleet::new();
        fleet.photograph(&["p/a.jpg", "p/b.jpg"]).await;
        let source = Source::Prefix {
            bucket: "photos".to_owned(),
            prefix: "p/".to_owned(),
        };
        let (batch, _) = fleet.declare(source).await;
        let marker = Active {
            chain: "lost".to_owned(),
            touched_ms: fleet.shared().clock.now_ms(),
            stage,
            done: 0,
            since_ms: 0,
            traceparent: None,
            begun_ms: 0,
        };
        fleet.put(&active_key(&fleet.tenant, batch), &marker).await;
        fleet.work();
        let _coordinator = fleet.coordinate(&fleet.shared());
        let finished = fleet.finished(batch).await;
        assert_eq!((finished.state, finished.counts.ok), (BatchState::Completed, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_notes_the_active_batches_and_the_oldest_of_them() {
    let fleet = Fleet::new();
    let shared = fleet.shared();
    let active = async || {
        sweep::sweep(&shared, false).await.unwrap();
        let active = shared.coordinator.active().unwrap();
        (active.batches, active.oldest_ms)
    };
    assert_eq!(shared.coordinator.active(), None, "nobody looked");
    assert_eq!(active().await, (0, None));
    let begun_ms = shared.clock.now_ms();
    fleet.photograph(&["p/a.jpg"]).await;
    let (first, _) = fleet.submit("p/").await;
    tokio::time::advance(std::time::Duration::from_secs(300)).await;
    let (_, _) = fleet.submit("p/").await;
    // Nobody works on the first any more: it is started again, and is no younger for that.
    assert_eq!(active().await, (2, Some(begun_ms)));
    assert_eq!(active().await, (2, Some(begun_ms)));
    fleet
        .home
        .delete(&active_key(&fleet.tenant, first))
        .await
        .unwrap();
    assert_eq!(active().await, (1, Some(begun_ms + 300_000)));
}

#[tokio::test(start_paused = true)]
async fn lost_jobs_are_published_again() {
    let mut fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg", "p/b.jpg", "p/c.jpg"]).await;
    let _coordinator = fleet.coordinate(&fleet.shared());
    let (batch, _) = fleet.submit("p/").await;
    let mut thief = fleet
        .queue
        .consume(Lane::Express, std::num::NonZeroU16::MIN)
        .await
        .unwrap();
    for _ in 0..3 {
        thief
            .next()
            .await
            .unwrap()
            .settle(queue::Outcome::Done)
            .await
            .unwrap();
    }
    drop(thief);
    fleet.work();
    assert_eq!(fleet.finished(batch).await.counts.ok, 3);
    assert_eq!(fleet.analyses(batch), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_does_not_outlive_its_process_is_filled_again_at_the_start() {
    let mut fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg", "p/b.jpg"]).await;
    let coordinator = fleet.coordinate(&fleet.shared());
    let (batch, keys) = fleet.submit("p/").await;
    while fleet.home.head(&keys.expanded()).await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    coordinator.kill().await;
    fleet.queue.close().await;
    fleet.queue = Arc::new(MemoryQueue::new(Topology::default()));
    fleet.work();
    let mut config = ApiConfig::default();
    config.coordinator.volatile_queue = true;
    let shared = fleet.shared_over(Arc::clone(&fleet.home), fleet.queue.clone(), config);
    let began = tokio::time::Instant::now();
    let _coordinator = fleet.coordinate(&shared);
    assert_eq!(fleet.finished(batch).await.counts.ok, 2);
    assert!(began.elapsed() < sweep::STALE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn every_message_may_come_twice() {
    let mut fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg", "p/b.jpg", "p/bad.jpg"]).await;
    let _coordinators = [
        fleet.coordinate(&fleet.shared()),
        fleet.coordinate(&fleet.shared()),
    ];
    fleet.work();
    let (batch, _) = fleet.submit("p/").await;
    let marker: Active = fleet.get(&active_key(&fleet.tenant, batch)).await.unwrap();
    let (tenant, chain) = (fleet.tenant.clone(), marker.chain);
    let twice = [
        Control::Expand {
            tenant: tenant.clone(),
            batch,
            chain: chain.clone(),
        },
        Control::Finalise {
            tenant: tenant.clone(),
            batch,
            chain: chain.clone(),
        },
        Control::Expand {
            tenant,
            batch,
            chain: "late".to_owned(),
        },
    ];
    for control in twice.iter().cycle().take(9) {
        let message = Message::json(control).unwrap();
        fleet
            .queue
            .publish(Destination::Lane(Lane::Control), &[message])
            .await
            .unwrap();
    }
    assert_eq!(fleet.finished(batch).await.counts.done(), 3);
    assert_eq!(fleet.analyses(batch).len(), 3);
    drained(&fleet).await;
}

/// Nothing re-arms itself for ever.
async fn drained(fleet: &Fleet) {
    let empty = async {
        loop {
            let depths = fleet.queue.depths().await.unwrap();
            if depths.waiting() + depths.ready(Lane::Control) == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty)
        .await
        .expect("no message is left");
}

#[tokio::test(start_paused = true)]
async fn a_dead_job_becomes_a_failed_result_and_a_stranger_is_parked() {
    let fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg"]).await;
    let shared = fleet.shared();
    let _coordinator = fleet.coordinate(&shared);
    let (batch, keys) = fleet.submit("p/").await;
    let mut consumer = fleet
        .queue
        .consume(Lane::Express, std::num::NonZeroU16::MIN)
        .await
        .unwrap();
    fleet.queue.inject_foreign(Lane::Control, "who are you");
    let delivery = consumer.next().await.unwrap();
    let job: Job = delivery.open().unwrap();
    let reason = "gave up after 6 attempts: s3".to_owned();
    delivery.settle(queue::Outcome::Reject { reason }).await.unwrap();
    let finished = fleet.finished(batch).await;
    assert_eq!((finished.counts.ok, finished.counts.failed), (0, 1));
    let result: PhotoResult = fleet.get(&keys.result(0)).await.unwrap();
    let failure = result.failure.unwrap();
    assert_eq!(failure.code, "gave_up");
    assert!(failure.message.contains("6 attempts"), "{}", failure.message);
    assert_eq!(result.digest, job.digest);
    let parked = async {
        while fleet.queue.depths().await.unwrap().ready(Lane::Parked) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, parked)
        .await
        .expect("the stranger is parked");
    assert_eq!(shared.metrics.dead_letters(DeadLetter::Foreign), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_batch_stays_deleted() {
    let fleet = Fleet::new();
    let _coordinator = fleet.coordinate(&fleet.shared());
    fleet.photograph(&["p/a.jpg"]).await;
    let (batch, keys) = fleet.submit("p/").await;
    let mut consumer = fleet
        .queue
        .consume(Lane::Express, std::num::NonZeroU16::MIN)
        .await
        .unwrap();
    let delivery = consumer.next().await.unwrap();
    fleet.home.delete_below(keys.root()).await.unwrap();
    let reason = "s3".to_owned();
    delivery.settle(queue::Outcome::Reject { reason }).await.unwrap();
    let gone = async {
        while fleet
            .home
            .head(&active_key(&fleet.tenant, batch))
            .await
            .unwrap()
            .is_some()
        {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone)
        .await
        .expect("the chain ends");
    drained(&fleet).await;
    assert_eq!(fleet.names(keys.root()).await, [""; 0]);
}
