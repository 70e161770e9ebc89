//! What the API knows of workers, and what it tells them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod server;

use std::time::Duration;

use fleet::event::{Answer, Done, Event, Heartbeat, MemoryReport, ModelReport, WorkerState};
use fleet::job::Command;
use fleet::lifecycle::{Order, UnloadReason};
use queue::{Destination, Fanout, Message, Subscription};
use serde_json::json;
use server::{Server, config};

async fn say(server: &Server, event: &Event) {
    let message = Message::json(event).unwrap();
    let to = Destination::Fanout(Fanout::Events);
    server.shared.queue.publish(to, &[message]).await.unwrap();
}

/// Worker `id` says how it is, until the server has heard it.
async fn appear(server: &Server, id: &str, state: WorkerState) {
    let heartbeat = Heartbeat {
        worker: id.into(),
        program: "0".into(),
        at_ms: 0,
        started_ms: 0,
        period_ms: 60_000,
        state,
        model: ModelReport::default(),
        in_hand: 0,
        done: Done::default(),
        rate: 0.0,
        memory: MemoryReport {
            worker_bytes: 20,
            engine_bytes: 130,
            ..MemoryReport::default()
        },
    };
    loop {
        say(server, &Event::Heartbeat(Box::new(heartbeat.clone()))).await;
        if server.shared.roster.memory(id).is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Answers orders as `a` does, which carries them out, and as `b`, which only hears them, unless they are for `a`.
async fn obey(server: &Server, commands: &mut Box<dyn Subscription>) -> Order {
    let body = commands.next().await.unwrap();
    let Ok(Command::Models { id, worker, order }) = serde_json::from_slice(&body) else {
        panic!("{body:?}");
    };
    let answer = |worker: &str, answer, detail: &str| Event::Answer {
        order: id.clone(),
        worker: worker.into(),
        answer,
        detail: detail.into(),
    };
    say(server, &answer("a", Answer::Heard, "")).await;
    if worker.is_none() {
        say(server, &answer("b", Answer::Heard, "")).await;
    }
    say(server, &answer("a", Answer::Done, "cpu")).await;
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_to_all_and_says_who_did_not_answer() {
    let server = Server::start(config()).await;
    let order = json!({"order": "warm", "hold_ms": 1000, "wait_seconds": 1});
    server
        .post("/v1/workers:command", &order)
        .await
        .is_problem(503, "no_workers");
    for (id, state) in [
        ("a", WorkerState::Idle),
        ("b", WorkerState::Busy),
        ("c", WorkerState::Idle),
        ("d", WorkerState::Gone),
    ] {
        appear(&server, id, state).await;
    }
    let mut commands = server.shared.queue.subscribe(Fanout::Fleet).await.unwrap();
    let (answer, heard) = tokio::join!(
        server.post("/v1/workers:command", &order),
        obey(&server, &mut commands)
    );
    assert_eq!(heard, Order::Warm { hold_ms: 1_000 });
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!([
        {"worker": "a", "answer": "done", "detail": "cpu"},
        {"worker": "b", "answer": "heard", "detail": ""},
        {"worker": "c", "answer": null, "detail": ""},
    ]);
    assert_eq!(answer.json()["workers"], expected);

    // Of one alone nobody waits longer than for its answer.
    let order = json!({"order": "unload", "worker": "a", "wait_seconds": 50});
    let (answer, heard) = tokio::join!(
        server.post("/v1/workers:command", &order),
        obey(&server, &mut commands)
    );
    assert_eq!((answer.status, heard), (200, Order::Unload), "{answer:?}");
    assert_eq!(answer.json()["workers"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_cannot_be_given_are_refused() {
    let server = Server::start(config()).await;
    appear(&server, "a", WorkerState::Idle).await;
    let order = async |order: serde_json::Value| server.post("/v1/workers:command", &order).await;
    let unknown = order(json!({"order": "drain", "worker": "nobody"})).await;
    unknown.is_problem(404, "unknown_worker");
    order(json!({"order": "explode"}))
        .await
        .is_problem(422, "invalid_body");
    order(json!({})).await.is_problem(422, "invalid_body");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_memory_is_there_with_its_receipts() {
    let server = Server::start(config()).await;
    server
        .get("/v1/workers/a/memory")
        .await
        .is_problem(404, "unknown_worker");
    appear(&server, "a", WorkerState::Idle).await;
    let receipt = fleet::event::Receipt {
        at_ms: 7,
        reason: UnloadReason::Drained,
        before_bytes: 150,
        after_bytes: 20,
        floor_bytes: 20,
        residue_bytes: 0,
        gpu_before_bytes: None,
        gpu_after_bytes: None,
    };
    let unload = Event::Unload {
        worker: "a".into(),
        receipt,
    };
    say(&server, &unload).await;
    let memory = loop {
        let memory = server.get("/v1/workers/a/memory").await.json();
        if memory["unloads"][0].is_object() {
            break memory;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(memory["unloads"][0]["before_bytes"], 150);
    assert_eq!(memory["samples"][0]["engine_bytes"], 130);
}
