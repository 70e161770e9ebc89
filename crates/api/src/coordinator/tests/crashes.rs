//! A coordinator that is stopped, or fails, at every single call to the bucket and the broker.

use std::sync::Arc;

use fleet::batch::{BatchState, Stage};
use fleet::result::PhotoResult;

use super::Fleet;
use super::faults::{Fault, Faults, FaultyQueue, FaultyStore};
use crate::config::ApiConfig;

const PHOTOS: [&str; 3] = ["p/a.jpg", "p/bad.jpg", "p/c/d.jpg"];

/// Runs a batch, and with `retry` its retry, on a coordinator with a fault at call `at`; when that stops it, another
/// one goes on. Tells how many calls the first one made.
async fn survives(fault: Fault, at: u64, retry: bool) -> u64 {
    let mut fleet = Fleet::new();
    fleet.photograph(&PHOTOS).await;
    fleet.work();
    if retry {
        let healthy = fleet.coordinate(&fleet.shared());
        let (batch, _) = fleet.submit("p/").await;
        fleet.finished(batch).await;
        drop(healthy);
        return runs(&fleet, fault, at, Some(batch)).await;
    }
    runs(&fleet, fault, at, None).await
}

async fn runs(fleet: &Fleet, fault: Fault, at: u64, retry: Option<fleet::ids::BatchId>) -> u64 {
    let faults = Faults::new(fault, at);
    let home = Arc::new(FaultyStore {
        store: Arc::clone(&fleet.home),
        faults: Arc::clone(&faults),
    });
    let queue = Arc::new(FaultyQueue {
        queue: fleet.queue.clone(),
        faults: Arc::clone(&faults),
    });
    let faulty = fleet.coordinate(&fleet.shared_over(home, queue, ApiConfig::default()));
    let batch = match retry {
        None => fleet.submit("p/").await.0,
        Some(batch) => {
            fleet.begin(batch, Stage::Retry).await;
            batch
        }
    };
    let mut faulty = Some(faulty);
    let mut replacement = None;
    let finished = tokio::select! {
        finished = fleet.finished(batch) => finished,
        () = faults.stopped.notified() => {
            if let Some(faulty) = faulty.take() {
                faulty.kill().await;
            }
            replacement = Some(fleet.coordinate(&fleet.shared()));
            fleet.finished(batch).await
        }
    };
    let counts = finished.counts;
    assert_eq!(finished.state, BatchState::Completed, "{fault:?} at {at}");
    assert_eq!(
        (counts.photos, counts.ok, counts.failed),
        (3, 2, 1),
        "{fault:?} at {at}"
    );
    let keys = fleet::layout::BatchKeys::new(&fleet.tenant, batch);
    assert_eq!(fleet.names(&keys.results()).await.len(), 3, "{fault:?} at {at}");
    assert_eq!(
        fleet.names(&keys.failures()).await,
        ["00000001.json"],
        "{fault:?} at {at}"
    );
    assert_eq!(fleet.names(&keys.report("")).await.len(), 6, "{fault:?} at {at}");
    let lines = fleet
        .home
        .get(&keys.report("results.ndjson"))
        .await
        .unwrap()
        .into_bytes()
        .await
        .unwrap();
    let indices: Vec<u64> = String::from_utf8(lines)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<PhotoResult>(line).unwrap().index)
        .collect();
    assert_eq!(indices, [0, 1, 2], "{fault:?} at {at}");
    drop((faulty, replacement));
    faults.calls()
}

async fn everywhere(fault: Fault, retry: bool) {
    let mut at = 1;
    // A fault beyond the last call never comes.
    while survives(fault, at, retry).await >= at {
        at += 1;
    }
    assert!(at > 20, "only {at} calls");
}

#[tokio::test(start_paused = true)]
async fn stopped_before_any_call() {
    everywhere(Fault::StopBefore, false).await;
}

#[tokio::test(start_paused = true)]
async fn stopped_after_any_call() {
    everywhere(Fault::StopAfter, false).await;
}

#[tokio::test(start_paused = true)]
async fn any_call_fails() {
    everywhere(Fault::Fail, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_stopped_before_any_call() {
    everywhere(Fault::StopBefore, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_stopped_after_any_call() {
    everywhere(Fault::StopAfter, true).await;
}
