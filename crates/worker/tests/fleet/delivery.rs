//! What becomes of messages.

use std::sync::Arc;

use bytes::Bytes;
use fleet::event::{Event, WorkerState};
use fleet::job::Command;
use fleet::result::Outcome;
use queue::memory::MemoryQueue;
use queue::{Destination, Fanout, Lane, Message};

use crate::harness::{Fleet, batch, demo_engine, obedient_engine, topology, until};

fn photo(name: &str) -> Bytes {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tests/fixtures/reference");
    std::fs::read(format!("{folder}/{name}")).unwrap().into()
}

/// Photos that take the engine `time` milliseconds each and are all different.
fn slow(time: u64, round: u8, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("slow {time} {round} {n}")).collect()
}

#[tokio::test]
async fn a_photo_becomes_a_result_and_an_event() {
    let fleet = Fleet::new(demo_engine());
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    fleet.put("acme/p.jpg", photo("landscape-640x480.jpg")).await;
    fleet.publish(Lane::Express, &[fleet.job(0, "acme/p.jpg")]).await;
    let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;

    let result = fleet.result(0).await.unwrap();
    assert_eq!((result.outcome, &result.failure), (Outcome::Ok, &None));
    assert_eq!((result.photo.width, result.photo.height), (Some(640), Some(480)));
    assert_eq!(
        result.photo.bytes,
        Some(photo("landscape-640x480.jpg").len() as u64)
    );
    assert_eq!(result.digest, fleet.job(0, "").digest);
    assert_eq!(
        (result.worker.id.as_str(), result.worker.device.as_str()),
        ("w", "cpu")
    );
    let timing = result.timing_ms;
    assert!(timing.fetch.is_some() && timing.decode.is_some() && timing.store.is_some());
    assert_eq!(
        (farewell.done.ok, farewell.requeued, farewell.in_time),
        (1, 0, true)
    );

    let mut photos = Vec::new();
    loop {
        let event = serde_json::from_slice(&events.next().await.unwrap()).unwrap();
        match event {
            Event::Photo {
                index,
                outcome,
                class,
                reused,
                ..
            } => photos.push((index, outcome, class, reused)),
            Event::Heartbeat(heartbeat) if heartbeat.state == WorkerState::Gone => {
                assert_eq!((heartbeat.done.ok, heartbeat.model.loads), (1, 1));
                assert!(!heartbeat.model.loaded && heartbeat.memory.worker_bytes > 0);
                break;
            }
            _ => {}
        }
    }
    let detected = result.detection.unwrap().detected;
    let class = result
        .classification
        .map(|c| c.corrected.class)
        .filter(|_| detected);
    assert_eq!(photos, [(0, Outcome::Ok, class, false)]);
}

#[tokio::test]
async fn what_is_not_ours_goes_to_the_dead_letters_and_stops_nothing() {
    let mut fleet = Fleet::new(obedient_engine(1));
    let queue = Arc::new(MemoryQueue::new(topology()));
    queue.inject_foreign(Lane::Bulk, "{}");
    fleet.queue = queue;
    let odd = Message::new(r#"{"tenant":"../x"}"#);
    fleet
        .queue
        .publish(Destination::Lane(Lane::Bulk), &[odd])
        .await
        .unwrap();
    fleet.tell(&["ok"]).await;
    fleet.run_until(async { drop(fleet.results(1).await) }).await;
    let mut dead = fleet
        .queue
        .consume(Lane::Dead, std::num::NonZeroU16::MAX)
        .await
        .unwrap();
    let reasons = [
        dead.next().await.unwrap().death().unwrap().reason.clone(),
        dead.next().await.unwrap().death().unwrap().reason.clone(),
    ];
    assert!(reasons[0].contains("not a message of this fleet"), "{reasons:?}");
    assert!(reasons[1].contains("body is not readable"), "{reasons:?}");
}

#[tokio::test]
async fn express_goes_before_bulk() {
    let fleet = Fleet::new(obedient_engine(1));
    let mut jobs = fleet.jobs(&slow(30, 0, 12)).await;
    let express = jobs.split_off(10);
    fleet.publish(Lane::Bulk, &jobs).await;
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    let mut order = Vec::new();
    let watch = async {
        while order.len() < 12 {
            if let Ok(Event::Photo { index, .. }) = serde_json::from_slice(&events.next().await.unwrap()) {
                order.push(index);
                if order.len() == 1 {
                    fleet.publish(Lane::Express, &express).await;
                }
            }
        }
    };
    fleet.run_until(watch).await;
    let place = |index| order.iter().position(|&i| i == index).unwrap();
    // Before it: what was told of in one go with the first, what is in the lane, and one more of bulk.
    assert!(place(9) > place(10) && place(9) > place(11), "{order:?}");
}

#[tokio::test]
async fn who_goes_finishes_what_the_engine_has_and_gives_the_rest_back() {
    let fleet = Fleet::new(obedient_engine(1));
    fleet.tell(&slow(300, 0, 12)).await;
    let farewell = fleet
        .run_until(until(async || fleet.engine.stats().in_flight > 0))
        .await;
    assert!(farewell.in_time && farewell.done.ok >= 1, "{farewell:?}");
    assert!(farewell.requeued >= 1, "{farewell:?}");
    assert_eq!(fleet.ready(Lane::Bulk).await, 12 - farewell.done.ok);
    assert_eq!(fleet.engine.stats().pid, None);
    // Nothing was lost, and nothing costs an attempt.
    let mut bulk = fleet
        .queue
        .consume(Lane::Bulk, std::num::NonZeroU16::MAX)
        .await
        .unwrap();
    let mut given_back = Vec::new();
    for _ in farewell.done.ok..12 {
        given_back.push(bulk.next().await.unwrap());
    }
    for delivery in &given_back {
        assert_eq!((delivery.attempt(), delivery.redeliveries()), (1, 0));
    }
}

#[tokio::test]
async fn who_has_to_go_before_it_is_done_gives_everything_back() {
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.config.drain_grace = std::time::Duration::from_millis(50);
    fleet.tell(&["hang"]).await;
    let farewell = fleet
        .run_until(until(async || fleet.engine.stats().in_flight > 0))
        .await;
    assert_eq!((farewell.in_time, farewell.requeued), (false, 1));
    assert_eq!(fleet.ready(Lane::Bulk).await, 1);
    assert_eq!(fleet.engine.stats().pid, None);
}

#[tokio::test]
async fn photos_of_a_cancelled_batch_are_dropped() {
    let mut fleet = Fleet::new(obedient_engine(1));
    let marked = fleet.jobs(&["ok", "ok"]).await;
    fleet.put(&fleet.keys().cancelled(), "").await;
    fleet.publish(Lane::Bulk, &marked).await;
    fleet.batch = batch(2);
    let told = fleet.jobs(&["ok"]).await;
    let done = async {
        until(async || fleet.ready(Lane::Bulk).await == 0).await;
        let command = Command::Cancel {
            tenant: fleet.tenant.clone(),
            batch: fleet.batch,
        };
        fleet.broadcast(&command).await;
        fleet.publish(Lane::Bulk, &told).await;
        until(async || fleet.ready(Lane::Bulk).await == 0).await;
    };
    let farewell = fleet.run_until(done).await;
    assert_eq!((farewell.done, farewell.requeued), (Default::default(), 0));
    assert!(fleet.result(0).await.is_none());
    assert_eq!(fleet.engine.stats().loads, 0);
}

#[tokio::test]
async fn the_same_job_twice_writes_the_same() {
    let fleet = Fleet::new(obedient_engine(2));
    let jobs = fleet.jobs(&["ok"]).await;
    fleet
        .publish(Lane::Bulk, &[jobs[0].clone(), jobs[0].clone(), jobs[0].clone()])
        .await;
    let mut count = 0;
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    let all = async {
        while count < 3 {
            if let Ok(Event::Photo { .. }) = serde_json::from_slice(&events.next().await.unwrap()) {
                count += 1;
            }
        }
    };
    let farewell = fleet.run_until(all).await;
    assert_eq!(farewell.done.ok + farewell.done.reused, 3);
    assert!(fleet.result(0).await.unwrap().outcome == Outcome::Ok);
    let page = fleet.home.list(&fleet.keys().results(), None, 10).await.unwrap();
    assert_eq!(page.objects.len(), 1);
}

#[tokio::test]
async fn a_killed_engine_costs_no_photo_and_no_attempt() {
    let mut fleet = Fleet::new(obedient_engine(2));
    for round in 1..=2 {
        fleet.batch = batch(round.into());
        fleet.tell(&slow(150, round, 8)).await;
        let done = async {
            let mut pid = None;
            until(async || {
                let stats = fleet.engine.stats();
                pid = stats.pid.filter(|_| stats.in_flight > 1);
                pid.is_some()
            })
            .await;
            let pid = i32::try_from(pid.unwrap()).unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            fleet.results(8).await;
        };
        let farewell = fleet.run_until(done).await;
        let results = fleet.results(8).await;
        assert!(
            results.iter().all(|result| result.outcome == Outcome::Ok),
            "{results:?}"
        );
        assert_eq!((farewell.done.ok, farewell.done.retried), (8, 0));
        assert_eq!(fleet.engine.stats().restarts, u64::from(round));
    }
}

#[tokio::test]
async fn the_models_go_when_there_is_nothing_to_do_and_come_back() {
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.config.unload_grace = Some(std::time::Duration::ZERO);
    fleet.tell(&["ok"]).await;
    let done = async {
        fleet.results(1).await;
        until(async || fleet.engine.stats().pid.is_none()).await;
        let key = fleet.keys().result(0);
        fleet.home.delete(&key).await.unwrap();
        fleet.tell(&["another"]).await;
        fleet.results(1).await;
        until(async || fleet.engine.stats().pid.is_none()).await;
    };
    let farewell = fleet.run_until(done).await;
    assert_eq!((farewell.done.ok, fleet.engine.stats().loads), (2, 2));
}
