use super::*;
use crate::event::{Done, Heartbeat, MemoryReport, ModelReport, WorkerState};
use crate::metrics::conventions;

fn page(metrics: &ApiMetrics) -> String {
    metrics.page(None).unwrap().body
}

#[track_caller]
fn shows(metrics: &ApiMetrics, samples: &[&str]) {
    let page = page(metrics);
    for sample in samples {
        assert!(
            page.lines().any(|line| line == *sample),
            "no `{sample}` in\n{page}"
        );
    }
}

fn worker(state: WorkerState, vanished: bool, in_hand: u64) -> WorkerStatus {
    WorkerStatus {
        vanished,
        silent_ms: 0,
        last: Heartbeat {
            worker: "w".into(),
            program: "1".into(),
            at_ms: 0,
            started_ms: 0,
            period_ms: 5_000,
            state,
            model: ModelReport::default(),
            in_hand,
            done: Done::default(),
            rate: 0.0,
            memory: MemoryReport::default(),
        },
    }
}

#[test]
fn names_follow_the_conventions() {
    conventions::check(&page(&ApiMetrics::new("1.2.3")));
}

#[test]
fn what_has_not_happened_is_zero_and_what_nobody_looked_at_is_no_number() {
    shows(
        &ApiMetrics::new("1"),
        &[
            r#"pitchfleet_batches_submitted_total{kind="retry"} 0"#,
            r#"pitchfleet_batches_total{outcome="failed"} 0"#,
            r#"pitchfleet_batch_photos_total{outcome="skipped"} 0"#,
            "pitchfleet_batch_duration_seconds_count 0",
            r#"pitchfleet_dead_letters_total{kind="foreign"} 0"#,
            r#"pitchfleet_webhook_deliveries_total{outcome="gave_up"} 0"#,
            r#"pitchfleet_workers{state="vanished"} 0"#,
            r#"pitchfleet_http_requests_total{route="unmatched",method="GET",status="4xx"} 0"#,
            "pitchfleet_event_stream_clients 0",
            r#"pitchfleet_backlog_photos{queue="bulk"} NaN"#,
            "pitchfleet_active_batches NaN",
            "pitchfleet_backlog_oldest_age_seconds NaN",
        ],
    );
}

#[test]
fn the_backlog_is_what_the_broker_says_until_it_says_nothing() {
    let metrics = ApiMetrics::new("1");
    let depth = |ready, consumers| QueueDepth { ready, consumers };
    metrics.set_backlog(Some(Backlog {
        bulk: depth(7, 2),
        express: depth(0, 3),
        delayed: 4,
        parked: 1,
    }));
    shows(
        &metrics,
        &[
            r#"pitchfleet_backlog_photos{queue="bulk"} 7.0"#,
            r#"pitchfleet_backlog_photos{queue="express"} 0.0"#,
            r#"pitchfleet_queue_consumers{queue="express"} 3.0"#,
            "pitchfleet_delayed_messages 4.0",
            "pitchfleet_parked_messages 1.0",
        ],
    );
    metrics.set_backlog(None);
    shows(&metrics, &[r#"pitchfleet_queue_consumers{queue="bulk"} NaN"#]);
    metrics.set_active(Some(0), None);
    shows(
        &metrics,
        &[
            "pitchfleet_active_batches 0.0",
            "pitchfleet_backlog_oldest_age_seconds 0.0",
        ],
    );
}

#[test]
fn photos_of_a_finished_batch_add_up() {
    let metrics = ApiMetrics::new("1");
    let counts = |photos, ok, failed| Counts { photos, ok, failed };
    metrics.finished(BatchEnd::Completed, counts(10, 8, 2), Some(20.0));
    metrics.finished(BatchEnd::Cancelled, counts(100, 30, 1), Some(5.0));
    metrics.finished(BatchEnd::Completed, counts(1, 1, 0), None);
    shows(
        &metrics,
        &[
            r#"pitchfleet_batches_total{outcome="completed"} 2"#,
            r#"pitchfleet_batch_photos_total{outcome="ok"} 39"#,
            r#"pitchfleet_batch_photos_total{outcome="failed"} 3"#,
            r#"pitchfleet_batch_photos_total{outcome="skipped"} 69"#,
            "pitchfleet_batch_duration_seconds_sum 20.0",
            "pitchfleet_batch_duration_seconds_count 1",
        ],
    );
}

#[test]
fn workers_are_counted_once_each_and_those_that_said_goodbye_are_not() {
    let metrics = ApiMetrics::new("1");
    metrics.set_workers(&[
        worker(WorkerState::Busy, false, 3),
        worker(WorkerState::Busy, true, 5),
        worker(WorkerState::Idle, false, 0),
        worker(WorkerState::Draining, false, 1),
        worker(WorkerState::Gone, false, 9),
    ]);
    shows(
        &metrics,
        &[
            r#"pitchfleet_workers{state="busy"} 1"#,
            r#"pitchfleet_workers{state="idle"} 1"#,
            r#"pitchfleet_workers{state="draining"} 1"#,
            r#"pitchfleet_workers{state="vanished"} 1"#,
            "pitchfleet_workers_inflight_photos 4",
        ],
    );
}

#[test]
fn a_follower_counts_while_it_lives() {
    let metrics = ApiMetrics::new("1");
    let first = metrics.follower();
    let second = metrics.follower();
    shows(&metrics, &["pitchfleet_event_stream_clients 2"]);
    drop((first, second));
    shows(&metrics, &["pitchfleet_event_stream_clients 0"]);
}

#[test]
fn requests_do_not_add_labels_of_their_own() {
    let metrics = ApiMetrics::new("1");
    metrics.request(None, "GET", 404, 0.01);
    metrics.request(None, "BREW", 405, 0.01);
    let before = page(&metrics).lines().count();
    for n in 0..1_000 {
        metrics.request(None, &format!("M{n}"), 405, 0.01);
    }
    assert_eq!(page(&metrics).lines().count(), before);
    metrics.request(Some("/v1/batches/{id}"), "GET", 200, 0.2);
    shows(
        &metrics,
        &[
            r#"pitchfleet_http_requests_total{route="/v1/batches/{id}",method="GET",status="2xx"} 1"#,
            r#"pitchfleet_http_requests_total{route="unmatched",method="other",status="4xx"} 1001"#,
            r#"pitchfleet_http_request_duration_seconds_bucket{route="/v1/batches/{id}",method="GET",le="0.25"} 1"#,
        ],
    );
}
