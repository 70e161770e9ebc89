//! When the models come and go, and what the worker shows of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet::event::{Answer, Event, Heartbeat, Receipt, WorkerState};
use fleet::job::Command;
use fleet::lifecycle::{Order, State, UnloadReason};
use fleet::result::Outcome;
use queue::{Fanout, Subscription};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;
use worker::Worker;

use crate::harness::{BUDGET, Fleet, batch, demo, obedient_engine, obedient_engine_with, until};

/// The next heartbeat.
async fn heartbeat(events: &mut Box<dyn Subscription>) -> Box<Heartbeat> {
    loop {
        if let Ok(Event::Heartbeat(heartbeat)) = serde_json::from_slice(&events.next().await.unwrap()) {
            return heartbeat;
        }
    }
}

async fn receipt(events: &mut Box<dyn Subscription>) -> Receipt {
    loop {
        if let Ok(Event::Unload { worker, receipt }) = serde_json::from_slice(&events.next().await.unwrap()) {
            assert_eq!(worker, "w");
            return receipt;
        }
    }
}

/// Has `worker` show its pages: where, for as long as the handle is kept.
async fn pages(worker: &Worker) -> (SocketAddr, AbortOnDropHandle<Infallible>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(worker.pages().serve(listener));
    (address, AbortOnDropHandle::new(serving))
}

/// `GET path` of whoever serves `address`: status line and header, and body.
async fn get(address: SocketAddr, path: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: w\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn five_hundred_photos_are_one_load_and_one_unload() {
    const PHOTOS: u64 = 500;
    let mut fleet = Fleet::new(obedient_engine(2));
    fleet.config.unload_grace = Some(Duration::from_millis(700));
    let commands: Vec<_> = (0..PHOTOS).map(|n| format!("ok {n}")).collect();
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    fleet.tell(&commands).await;
    let done = async {
        let receipt = receipt(&mut events).await;
        assert_eq!(receipt.reason, UnloadReason::Drained);
        assert_eq!(receipt.residue_bytes, 0);
    };
    let farewell = fleet.run_until(done).await;
    assert_eq!((farewell.done.ok, farewell.recycle), (PHOTOS, false));
    let stats = fleet.engine.stats();
    assert_eq!((stats.loads, stats.pid, stats.restarts), (1, None, 0));
}

#[tokio::test]
async fn nothing_is_loaded_while_there_is_nothing_to_do() {
    let fleet = Fleet::new(obedient_engine(1));
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    let done = async {
        for _ in 0..5 {
            let said = heartbeat(&mut events).await;
            assert_eq!((said.state, said.model.state), (WorkerState::Idle, State::Cold));
            assert_eq!((said.model.loads, said.memory.engine_bytes), (0, 0));
        }
    };
    fleet.run_until(done).await;
    assert_eq!(fleet.engine.stats().loads, 0);
}

/// Tests that leak for a while take turns: their workers are one process.
static LEAKING: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn who_does_not_give_its_memory_back_makes_room_for_a_new_process() {
    let _turn = LEAKING.lock().await;
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.config.unload_grace = Some(Duration::ZERO);
    fleet.config.recycle_after = NonZeroU64::new(2);
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    let leaking = async {
        let mut kept = Vec::new();
        for round in 0..5 {
            fleet.tell(&[format!("ok {round}")]).await;
            let receipt = receipt(&mut events).await;
            assert_eq!(receipt.is_over(), round >= 3, "{round}: {receipt:?}");
            if round >= 2 {
                // More than whatever the tests beside this one hold for a moment.
                kept.push(vec![1u8; 128 << 20]);
            }
            fleet.home.delete(&fleet.keys().result(0)).await.unwrap();
        }
        kept
    };
    let running = fleet.worker().run(std::future::pending());
    let (farewell, kept) = tokio::join!(running, leaking);
    drop(kept);
    let farewell = farewell.unwrap();
    assert!(farewell.recycle && farewell.in_time, "{farewell:?}");
    assert_eq!(fleet.engine.stats().pid, None);
}

/// Has every worker of `fleet` do something.
async fn order(fleet: &Fleet, order: Order) {
    let command = Command::Models {
        id: "o".into(),
        worker: None,
        order,
    };
    fleet.broadcast(&command).await;
}

#[tokio::test]
async fn who_was_told_to_take_no_more_does_not_forget_it_by_beginning_anew() {
    let _turn = LEAKING.lock().await;
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.config.unload_grace = None;
    fleet.config.recycle_after = NonZeroU64::new(1);
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    let leaking = async {
        for round in 0..3 {
            fleet.tell(&[format!("ok {round}")]).await;
            fleet.results(1).await;
            order(&fleet, Order::Unload).await;
            assert!(!receipt(&mut events).await.is_over());
            fleet.home.delete(&fleet.keys().result(0)).await.unwrap();
        }
        fleet.tell(&["ok 3"]).await;
        fleet.results(1).await;
        let kept = vec![1u8; 128 << 20];
        order(&fleet, Order::Drain).await;
        assert!(receipt(&mut events).await.is_over());
        for _ in 0..3 {
            assert_eq!(heartbeat(&mut events).await.state, WorkerState::Draining);
        }
        order(&fleet, Order::Warm { hold_ms: 0 }).await;
        while heartbeat(&mut events).await.model.state != State::Warm {}
        order(&fleet, Order::Unload).await;
        kept
    };
    let running = fleet.worker().run(std::future::pending());
    let (farewell, kept) = tokio::join!(running, leaking);
    drop(kept);
    assert!(farewell.unwrap().recycle);
}

#[tokio::test]
async fn the_models_are_there_when_the_clock_says_so_and_stay() {
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.config.unload_grace = Some(Duration::ZERO);
    // Six fields: the first is for seconds.
    fleet.config.warm_at = Some("* * * * * *".parse().unwrap());
    let mut events = fleet.queue.subscribe(Fanout::Events).await.unwrap();
    let done = async {
        while heartbeat(&mut events).await.model.state != State::Warm {}
        // Far longer than the grace.
        for _ in 0..5 {
            let said = heartbeat(&mut events).await;
            assert_eq!((said.state, said.model.state), (WorkerState::Idle, State::Warm));
        }
    };
    fleet.run_until(done).await;
    assert_eq!(fleet.engine.stats().loads, 1);
}

#[tokio::test]
async fn the_pages_say_how_it_is() {
    let fleet = Fleet::new(obedient_engine(1));
    let worker = fleet.worker();
    let (address, _pages) = pages(&worker).await;
    let done = async {
        let (head, _) = get(address, "/readyz", "*/*").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        fleet.tell(&["ok"]).await;
        fleet.results(1).await;
        until(async || {
            let (_, page) = get(address, "/metrics", "*/*").await;
            page.contains("pitchfleet_photos_total{queue=\"bulk\",outcome=\"ok\"} 1\n")
        })
        .await;
        let (head, page) = get(address, "/metrics", "application/openmetrics-text;version=1.0.0").await;
        assert!(
            head.contains("content-type: application/openmetrics-text"),
            "{head}"
        );
        assert!(page.ends_with("# EOF\n"));
        for sample in [
            "pitchfleet_model_state{state=\"warm\"} 1",
            "pitchfleet_model_loads_total{outcome=\"ok\"} 1",
            "pitchfleet_broker_connected 1",
            "pitchfleet_admission_wait_seconds_count{resource=\"lane\"} 1",
            "pitchfleet_admission_wait_seconds_count{resource=\"memory\"} 1",
            "pitchfleet_admission_wait_seconds_sum{resource=\"memory\"} 0.0",
            "pitchfleet_memory_budget_bytes 536870912",
            "pitchfleet_memory_admitted_bytes 0",
            "pitchfleet_memory_waiting_photos 0",
            "pitchfleet_execution_provider_info{requested=\"CPUExecutionProvider\",actual=\"CPUExecutionProvider\"} 1",
        ] {
            assert!(
                page.lines().any(|line| line == sample),
                "no `{sample}` in\n{page}"
            );
        }
        let (head, _) = get(address, "/livez", "*/*").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let (head, _) = get(address, "/", "*/*").await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
    };
    crate::harness::run_until(worker, done).await.unwrap();
    let (head, why) = get(address, "/readyz", "*/*").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(why, "the worker is going\n");
}

#[tokio::test]
async fn who_waits_for_memory_and_how_long_is_counted() {
    let fleet = Fleet::new(obedient_engine(2));
    let worker = fleet.worker();
    let (address, _pages) = pages(&worker).await;
    let gate = fleet.folder.path().join("gate");
    let command = format!("until {}", gate.display());
    let page_with = async |samples: &[&str]| {
        until(async || {
            let (_, page) = get(address, "/metrics", "*/*").await;
            samples
                .iter()
                .all(|sample| page.lines().any(|line| line == *sample))
        })
        .await;
    };
    let done = async {
        fleet.tell(&[&command, &command]).await;
        let taken = BUDGET + command.len() as u64;
        page_with(&[
            &format!("pitchfleet_memory_admitted_bytes {taken}"),
            "pitchfleet_memory_waiting_photos 1",
        ])
        .await;
        std::fs::write(&gate, "").unwrap();
        fleet.results(2).await;
        page_with(&[
            "pitchfleet_memory_admitted_bytes 0",
            "pitchfleet_memory_waiting_photos 0",
            "pitchfleet_admission_wait_seconds_count{resource=\"memory\"} 2",
            "pitchfleet_admission_wait_seconds_count{resource=\"lane\"} 2",
        ])
        .await;
        let (_, page) = get(address, "/metrics", "*/*").await;
        let sum = page.lines().find_map(|line| {
            line.strip_prefix("pitchfleet_admission_wait_seconds_sum{resource=\"memory\"} ")
        });
        assert!(sum.unwrap().parse::<f64>().unwrap() > 0.0, "{page}");
    };
    crate::harness::run_until(worker, done).await.unwrap();
}

/// A bundle in `folder` with another digest for each `threshold`.
fn bundle(folder: &Path, threshold: &str) {
    let text = std::fs::read_to_string(demo().join("bundle.toml")).unwrap();
    let changed = text.replace("iou_threshold = ", &format!("iou_threshold = {threshold} # "));
    assert_ne!(changed, text);
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("bundle.toml"), changed).unwrap();
}

#[tokio::test]
async fn a_batch_keeps_the_bundle_that_it_pinned_and_the_next_one_has_the_new() {
    let place = tempfile::tempdir().unwrap();
    let [old, new, current] = ["old", "new", "current"].map(|name| place.path().join(name));
    bundle(&old, "0.11");
    bundle(&new, "0.22");
    std::os::unix::fs::symlink(&old, &current).unwrap();
    let mut fleet = Fleet::new(obedient_engine_with(&current));
    let queue = Arc::clone(&fleet.queue);
    let mut events = queue.subscribe(Fanout::Events).await.unwrap();
    let slow: Vec<_> = (0..10).map(|n| format!("slow 60 {n}")).collect();
    fleet.tell(&slow).await;
    let (first, worker, before) = (fleet.batch, fleet.worker(), fleet.engine.clone());
    let swap = async {
        until(async || before.stats().in_flight > 0).await;
        // As a deployment does it: in one step.
        let next = place.path().join("next");
        std::os::unix::fs::symlink(&new, &next).unwrap();
        std::fs::rename(&next, &current).unwrap();
        order(&fleet, Order::Reload).await;
        fleet.engine = obedient_engine_with(&current);
        fleet.batch = batch(2);
        fleet.tell(&slow).await;
        fleet.results(10).await;
        fleet.batch = first;
        fleet.results(10).await;
    };
    let farewell = crate::harness::run_until(worker, swap).await.unwrap();
    assert_eq!((farewell.done.ok, farewell.done.retried), (20, 0), "{farewell:?}");
    let digests = [old, new].map(|folder| obedient_engine_with(&folder).bundle().digest());
    for (number, digest) in [first, batch(2)].into_iter().zip(&digests) {
        fleet.batch = number;
        for result in fleet.results(10).await {
            assert_eq!((result.outcome, &result.digest.bundle), (Outcome::Ok, digest));
        }
    }
    let mut answers = Vec::new();
    while answers.len() < 2 {
        if let Ok(Event::Answer {
            order,
            worker,
            answer,
            detail,
        }) = serde_json::from_slice(&events.next().await.unwrap())
        {
            assert_eq!((order.as_str(), worker.as_str()), ("o", "w"));
            answers.push((answer, detail));
        }
    }
    assert_eq!(
        answers,
        [(Answer::Heard, String::new()), (Answer::Done, digests[1].clone())]
    );
}
