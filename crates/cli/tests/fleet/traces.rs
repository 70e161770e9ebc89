//! One trace from a request to the stages of its photo, on both queues; and the lines in the logs that belong to it.

use std::fs;

use serde_json::Value;
use testkit::{Process, http};

use crate::collector::{Collector, Span};
use crate::ground::{Ground, Role};
use crate::servers::Servers;

/// A client's own trace: W3C Trace Context, section 3.2.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const REQUEST_ID: &str = "match-day.7/photo:12";

/// Nothing is sent before the end: what arrives then was flushed.
const PATIENT: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");

/// Has one photo analysed within the client's trace.
fn analyse(ground: &Ground, server: &str) {
    let photo = fs::read_dir(ground.photos()).unwrap().next().unwrap();
    let photo = fs::read(photo.unwrap().path()).unwrap();
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [
        ("content-type", "image/jpeg"),
        ("traceparent", parent.as_str()),
        ("x-request-id", REQUEST_ID),
    ];
    let url = format!("{server}/v1/analyze?overlays=report");
    let answer = http::request("POST", &url, &headers, &photo).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-request-id"), Some(REQUEST_ID));
}

/// The only span of this name in the client's trace.
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans
        .iter()
        .filter(|span| span.trace == TRACE && span.name == name);
    let span = found.next();
    assert!(span.is_some(), "there is no span {name} in {spans:#?}");
    assert!(found.next().is_none(), "two spans {name}");
    span.unwrap()
}

/// Looks at what the collector was sent of it.
fn assert_followed(spans: &[Span], api: &str, worker: &str) {
    let request = only(spans, "POST /v1/analyze");
    assert_eq!((request.service.as_str(), request.parent.as_str()), (api, CALLER));
    assert_eq!(request.attribute("request_id").as_deref(), Some(REQUEST_ID));
    assert_eq!(
        request.attribute("http.response.status_code").as_deref(),
        Some("200")
    );

    let expand = only(spans, "expand");
    assert_eq!((expand.service.as_str(), &expand.parent), (api, &request.id));
    let photo = only(spans, "photo");
    assert_eq!((photo.service.as_str(), &photo.parent), (worker, &expand.id));
    assert_eq!(photo.attribute("batch"), expand.attribute("batch"));
    assert_eq!(photo.attribute("index").as_deref(), Some("0"));
    assert_eq!(photo.attribute("outcome").as_deref(), Some("ok"));

    let engine = only(spans, "engine");
    for part in [only(spans, "fetch"), engine, only(spans, "store")] {
        assert_eq!(part.parent, photo.id, "{part:?}");
        assert!(
            photo.start <= part.start && part.end <= photo.end,
            "{part:?} of {photo:?}"
        );
    }
    let mut before = engine.start;
    for name in ["decode", "detect", "surface", "classify", "overlays"] {
        let stage = only(spans, name);
        assert_eq!(stage.parent, engine.id, "{stage:?}");
        assert!(
            before <= stage.start && stage.start < stage.end,
            "{name} takes time, after the stage before it"
        );
        before = stage.end;
    }
    assert!(before <= engine.end, "the stages are within the engine's time");

    // What follows the results belongs to the request, too.
    let finalise: Vec<_> = spans
        .iter()
        .filter(|span| span.trace == TRACE && span.name == "finalise")
        .collect();
    assert!(!finalise.is_empty());
    assert!(finalise.iter().all(|span| span.parent == request.id));
    let probes = spans.iter().filter(|span| span.name.contains("livez"));
    assert_eq!(probes.count(), 0, "nobody wants to look at probes");
}

/// A line of a JSON log that is about the photo.
fn assert_in_log(log: &str, expected: &[(&str, Value)]) {
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let found = lines.iter().any(|line| {
        expected
            .iter()
            .all(|(name, value)| line["spans"][*name] == *value)
    });
    assert!(found, "no line with {expected:?} in {log}");
}

#[test]
fn a_trace_goes_through_the_broker() {
    let (servers, collector, ground) = (Servers::shared(), Collector::start(), Ground::with_photos(1));
    let traced = |arguments: &[&str]| {
        let mut command = servers.role(&ground, arguments);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).envs([
            PATIENT,
            ("PITCHFLEET_LOG_FORMAT", "json"),
            ("PITCHFLEET_LOG", "warn,pitchfleet=info,api=debug,worker=debug"),
            ("PITCHFLEET_WORKER_NAME", "ground-3"),
        ]);
        command
    };
    let mut api = Role::api(&mut traced(&["api", "--listen", "127.0.0.1:0"]));
    let mut worker = Process::spawn(&mut traced(&["worker"]));
    api.process.wait_ready(&format!("{}/readyz", api.server));
    analyse(&ground, &api.server);
    testkit::wait_until("the end of the batch", || {
        api.process.output().contains("batch finished")
    });
    assert_eq!(collector.spans().len(), 0, "the last spans are sent at the end");

    worker.terminate();
    assert!(worker.wait().success(), "{}", worker.output());
    api.process.terminate();
    assert!(api.process.wait().success(), "{}", api.process.output());
    let spans = collector.spans();
    assert_followed(&spans, "pitchfleet-api", "pitchfleet-worker");

    let batch: Value = only(&spans, "photo").attribute("batch").unwrap().into();
    let trace = Value::from(TRACE);
    assert_in_log(
        &worker.output(),
        &[
            ("trace_id", trace.clone()),
            ("batch", batch),
            ("index", 0.into()),
            ("worker", "ground-3".into()),
        ],
    );
    assert_in_log(
        &api.process.output(),
        &[("trace_id", trace), ("request_id", REQUEST_ID.into())],
    );
}

#[test]
fn a_trace_goes_through_the_queue_inside() {
    let (collector, ground) = (Collector::start(), Ground::with_photos(1));
    let mut up = ground.up_with(&[("PITCHFLEET_TRACE_ENDPOINT", &collector.url), PATIENT]);
    analyse(&ground, &up.server);
    testkit::wait_until("the end of the batch", || {
        up.process.output().contains("batch finished")
    });
    up.process.terminate();
    assert!(up.process.wait().success(), "{}", up.process.output());
    assert_followed(&collector.spans(), "pitchfleet-up", "pitchfleet-up");
}

#[test]
fn an_id_that_may_not_stand_in_logs_is_replaced() {
    let ground = Ground::new();
    let up = ground.up();
    let url = format!("{}/v1/batches/none", up.server);
    let answer = http::request("GET", &url, &[("x-request-id", "a \"quoted\" one")], b"").unwrap();
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(id.len(), 26, "a ULID of ours: {id}");
    assert_eq!(answer.json()["request_id"], id);
}
