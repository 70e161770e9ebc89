//! The metrics page of a fleet that did something.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod server;

use std::sync::Arc;

use serde_json::json;
use server::{Answer, Server, config};
use tokio::net::TcpListener;

/// Serves the metrics page of `server` until it ends; the page's URL.
async fn metrics(server: &Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let (shared, shutdown) = (Arc::clone(&server.shared), server.shutdown.clone());
    tokio::spawn(api::metrics::serve(shared, listener, shutdown));
    url
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8(answer.body.clone()).unwrap()
}

#[track_caller]
fn shows(page: &str, samples: &[&str]) {
    for sample in samples {
        assert!(
            page.lines().any(|line| line == *sample),
            "no `{sample}` in\n{page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_and_done_is_counted_under_the_names_of_routes() {
    let server = Server::with_fleet(config()).await;
    let url = metrics(&server).await;
    let batch = server.create("k", &json!({"source": {"kind": "upload"}})).await;
    let path = batch.header("location").to_owned();
    let photos = json!({"photos": [
        {"index": 0, "name": "a.jpg", "size": 3}, {"index": 1, "name": "never.jpg", "size": 5}
    ]});
    let tickets = server.post(&format!("{path}/uploads"), &photos).await.json();
    let ticket = tickets["uploads"][0]["url"].as_str().unwrap();
    assert_eq!(server.send("PUT", ticket, &[], "abc").await.status, 204);
    let submitted = server.send("POST", &format!("{path}/submit"), &[], []).await;
    assert_eq!(submitted.status, 202, "{submitted:?}");
    server.follow(&path).await;
    server.get("/nowhere/at-all").await;

    let page = text(&server.get(&url).await);
    shows(
        &page,
        &[
            r#"pitchfleet_batches_submitted_total{kind="new"} 1"#,
            r#"pitchfleet_batches_total{outcome="completed"} 1"#,
            r#"pitchfleet_batch_photos_total{outcome="ok"} 1"#,
            r#"pitchfleet_batch_photos_total{outcome="failed"} 1"#,
            "pitchfleet_batch_duration_seconds_count 1",
            r#"pitchfleet_http_requests_total{route="/v1/batches",method="POST",status="2xx"} 1"#,
            r#"pitchfleet_http_requests_total{route="/v1/batches/{id}/submit",method="POST",status="2xx"} 1"#,
            r#"pitchfleet_http_requests_total{route="unmatched",method="GET",status="4xx"} 1"#,
            r#"pitchfleet_http_requests_total{route="/v1/batches/{id}/cancel",method="POST",status="5xx"} 0"#,
            "pitchfleet_event_stream_clients 0",
            "pitchfleet_broker_connected 1",
            r#"pitchfleet_backlog_photos{queue="express"} 0.0"#,
        ],
    );
    // Tickets are secrets, and neither they nor batches may grow the page.
    let ticket = ticket.rsplit('/').next().unwrap();
    assert!(!page.contains(ticket) && !page.contains("at-all"), "{page}");
    assert!(!page.contains(path.rsplit('/').next().unwrap()), "{page}");
    let resident = page
        .lines()
        .find_map(|line| line.strip_prefix(r#"pitchfleet_rss_bytes{process="api"} "#))
        .unwrap();
    assert!(resident.parse::<u64>().unwrap() > 1 << 20, "{resident}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_a_port_of_its_own_and_speaks_open_metrics() {
    let server = Server::start(config()).await;
    let url = metrics(&server).await;
    server.get("/metrics").await.is_problem(404, "unknown_route");
    let accept = [(
        "accept",
        "application/openmetrics-text; version=1.0.0, text/plain;q=0.5",
    )];
    let open = server.send("GET", &url, &accept, []).await;
    assert!(
        open.header("content-type")
            .starts_with("application/openmetrics-text"),
        "{open:?}"
    );
    assert!(text(&open).ends_with("# EOF\n"));
    let plain = server.get(&url).await;
    assert_eq!(
        plain.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert_eq!(server.send("POST", &url, &[], []).await.status, 405);
}
