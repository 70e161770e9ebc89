//! Batches from the first request to the last, with a coordinator and a worker that looks at nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod server;

use api::{ApiConfig, ImportRule};
use serde_json::{Value, json};
use server::{Server, config};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Makes a batch for upload; its path.
async fn upload_batch(server: &Server, key: &str) -> String {
    let answer = server.create(key, &json!({"source": {"kind": "upload"}})).await;
    assert_eq!(
        (answer.status, answer.json()["state"].as_str()),
        (202, Some("uploading")),
        "{answer:?}"
    );
    format!("/v1/batches/{}", answer.json()["id"].as_str().unwrap())
}

fn declaration(photos: &[(u64, &str, usize)]) -> Value {
    let photos: Vec<_> = photos
        .iter()
        .map(|(index, name, size)| json!({"index": index, "name": name, "size": size, "group": "day-1"}))
        .collect();
    json!({"photos": photos})
}

#[tokio::test(flavor = "multi_thread")]
async fn uploaded_photos_become_results_and_documents() {
    let server = Server::with_fleet(config()).await;
    let path = upload_batch(&server, "k").await;
    server
        .send("POST", &format!("{path}/submit"), &[], [])
        .await
        .is_problem(422, "no_photos");
    let photos = declaration(&[(0, "a.jpg", 3), (1, "b.jpg", 4), (2, "never.jpg", 5)]);
    let tickets = server.post(&format!("{path}/uploads"), &photos).await;
    assert_eq!(tickets.status, 200, "{tickets:?}");
    let tickets = tickets.json();
    for (index, body) in [(0, "abc"), (1, "abcd")] {
        let ticket = &tickets["uploads"][index];
        assert_eq!(ticket["index"], index);
        assert_eq!(ticket["headers"]["content-length"], body.len().to_string());
        let put = server
            .send("PUT", ticket["url"].as_str().unwrap(), &[], body)
            .await;
        assert_eq!(put.status, 204, "{put:?}");
    }
    let submitted = server.send("POST", &format!("{path}/submit"), &[], []).await;
    assert_eq!(submitted.status, 202, "{submitted:?}");
    server
        .post(&format!("{path}/uploads"), &photos)
        .await
        .is_problem(409, "wrong_state");

    let status = server.follow(&path).await;
    assert_eq!(status["state"], "completed");
    assert_eq!(status["counts"], json!({"photos": 3, "ok": 2, "failed": 1}));
    assert_eq!(server.get(&path).await.json()["counts"], status["counts"]);
    let again = server.send("POST", &format!("{path}/submit"), &[], []).await;
    assert_eq!(again.json()["state"], "completed");

    let results = server.get(&format!("{path}/results?limit=2")).await.json();
    let indices = |page: &Value| {
        let results = page["results"].as_array().unwrap().iter();
        results
            .map(|result| result["index"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(indices(&results), [0, 1]);
    let cursor = results["next"].as_str().unwrap();
    let rest = server
        .get(&format!("{path}/results?limit=2&cursor={cursor}"))
        .await
        .json();
    assert_eq!((indices(&rest), &rest["next"]), (vec![2], &Value::Null));
    for (filter, found) in [
        ("failed=true", vec![2]),
        ("failed=false", vec![0, 1]),
        ("group=day-1", vec![0, 1, 2]),
        ("group=day-2", vec![]),
        ("class=spin_friendly", vec![]),
        ("moisture=Slightly%20Damp", vec![]),
    ] {
        let page = server.get(&format!("{path}/results?{filter}")).await.json();
        assert_eq!(indices(&page), found, "{filter}");
    }
    let one = server.get(&format!("{path}/results/2")).await;
    assert_eq!(one.json()["failure"]["code"], "not_found");
    let known = [("if-none-match", one.header("etag"))];
    assert_eq!(
        server
            .send("GET", &format!("{path}/results/2"), &known, [])
            .await
            .status,
        304
    );
    server
        .get(&format!("{path}/results/3"))
        .await
        .is_problem(404, "unknown_result");
    server
        .get(&format!("{path}/overlays/0/grass"))
        .await
        .is_problem(404, "unknown_overlay");

    for name in status["exports"].as_array().unwrap() {
        let document = server
            .get(&format!("{path}/export/{}", name.as_str().unwrap()))
            .await;
        assert_eq!(
            (document.status, document.header("pitchfleet-partial")),
            (200, ""),
            "{name}"
        );
    }
    let lines = server.get(&format!("{path}/export/ndjson")).await.body;
    assert_eq!(String::from_utf8(lines).unwrap().lines().count(), 3);
    server
        .get(&format!("{path}/export/pdf"))
        .await
        .is_problem(404, "unknown_format");
    let list = server.get("/v1/batches").await.json();
    assert_eq!(list["batches"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_retried_and_the_batch_ends_again() {
    let server = Server::with_fleet(config()).await;
    let path = upload_batch(&server, "k").await;
    let photos = declaration(&[(0, "a.jpg", 3), (1, "late.jpg", 3)]);
    let tickets = server.post(&format!("{path}/uploads"), &photos).await.json();
    let url = |index: usize| tickets["uploads"][index]["url"].as_str().unwrap().to_owned();
    server.send("PUT", &url(0), &[], "abc").await;
    server.send("POST", &format!("{path}/submit"), &[], []).await;
    assert_eq!(
        server.follow(&path).await["counts"],
        json!({"photos": 2, "ok": 1, "failed": 1})
    );
    server.send("PUT", &url(1), &[], "abc").await;
    let retried = server.send("POST", &format!("{path}/retry"), &[], []).await;
    assert_eq!((retried.status, retried.json()), (202, json!({"photos": 1})));
    let status = server.follow(&path).await;
    assert_eq!(
        (&status["state"], &status["counts"]["ok"]),
        (&"completed".into(), &2.into())
    );
    let nothing = server.send("POST", &format!("{path}/retry"), &[], []).await;
    assert_eq!((nothing.status, nothing.json()), (202, json!({"photos": 0})));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_what_was_declared_or_nothing() {
    let mut config = config();
    config.limits.bytes_per_photo = 1000;
    config.coordinator.max_photos = 10;
    let server = Server::start(config).await;
    let path = upload_batch(&server, "k").await;
    let uploads = format!("{path}/uploads");
    for (photos, status, code) in [
        (json!({"photos": []}), 422, "invalid_body"),
        (declaration(&[(0, "", 1)]), 422, "invalid_body"),
        (declaration(&[(0, "a", 1), (0, "b", 1)]), 422, "invalid_body"),
        (declaration(&[(10, "a", 1)]), 422, "too_many_photos"),
        (declaration(&[(0, "a", 1001)]), 413, "photo_too_large"),
        (
            json!({"photos": [{"index": 0, "name": "a", "size": 1, "sha256": "x"}]}),
            422,
            "invalid_body",
        ),
        (
            json!({"photos": [{"index": -1, "name": "a", "size": 1}]}),
            422,
            "invalid_body",
        ),
    ] {
        server.post(&uploads, &photos).await.is_problem(status, code);
    }
    let tickets = server
        .post(&uploads, &declaration(&[(0, "a.jpg", 3)]))
        .await
        .json();
    let url = tickets["uploads"][0]["url"].as_str().unwrap();
    server
        .send("PUT", url, &[], "abcd")
        .await
        .is_problem(400, "upload_size_mismatch");
    server
        .send("PUT", url, &[], "ab")
        .await
        .is_problem(400, "upload_size_mismatch");
    server
        .send("PUT", &format!("{url}x"), &[], "abc")
        .await
        .is_problem(403, "upload_forged");
    let photos = server
        .folder
        .path()
        .join("home")
        .join(path[4..].replace("batches", "local/batches"));
    assert!(!photos.join("photos").exists());
    assert_eq!(server.send("PUT", url, &[], "abc").await.status, 204);
    assert_eq!(
        std::fs::read(photos.join("photos/00000000-a.jpg")).unwrap(),
        b"abc"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_batch_ends_and_can_be_deleted() {
    let server = Server::with_fleet(config()).await;
    let path = upload_batch(&server, "k").await;
    server
        .send("DELETE", &path, &[], [])
        .await
        .is_problem(409, "wrong_state");
    let cancelled = server.send("POST", &format!("{path}/cancel"), &[], []).await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    assert_eq!(server.follow(&path).await["state"], "cancelled");
    server
        .send("POST", &format!("{path}/submit"), &[], [])
        .await
        .is_problem(409, "wrong_state");
    server
        .send("POST", &format!("{path}/retry"), &[], [])
        .await
        .is_problem(409, "wrong_state");
    assert_eq!(server.send("DELETE", &path, &[], []).await.status, 204);
    server.get(&path).await.is_problem(404, "unknown_batch");
    assert_eq!(server.get("/v1/batches").await.json()["batches"], json!([]));
    // The key is free again.
    upload_batch(&server, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_listed_newest_first_a_page_at_a_time() {
    let server = Server::start(config()).await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(upload_batch(&server, &n.to_string()).await);
        // Two batches of one millisecond are in the order of their ids.
        let now = server.shared.clock.now_ms();
        while server.shared.clock.now_ms() == now {
            tokio::task::yield_now().await;
        }
    }
    let mut listed = Vec::new();
    let mut query = "?limit=2".to_owned();
    loop {
        let page = server.get(&format!("/v1/batches{query}")).await.json();
        for batch in page["batches"].as_array().unwrap() {
            listed.push(format!("/v1/batches/{}", batch["id"].as_str().unwrap()));
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={next}");
    }
    made.reverse();
    assert_eq!(listed, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_keys_is_analysed_in_its_order() {
    let config = ApiConfig {
        imports: vec![ImportRule {
            bucket: "photos".into(),
            prefix: String::new(),
            tenants: Vec::new(),
        }],
        ..config()
    };
    let server = Server::with_fleet(config).await;
    let photos = server.shared.buckets.of(Some("photos")).unwrap();
    photos
        .put("z.jpg", bytes::Bytes::from_static(b"z"), "image/jpeg")
        .await
        .unwrap();
    let keys = json!([{"key": "z.jpg", "group": "east"}, {"key": "a.jpg"}]);
    let answer = server
        .create(
            "k",
            &json!({"source": {"kind": "keys", "bucket": "photos", "keys": keys}}),
        )
        .await;
    let path = answer.header("location").to_owned();
    assert_eq!(
        server.follow(&path).await["counts"],
        json!({"photos": 2, "ok": 1, "failed": 1})
    );
    let first = server.get(&format!("{path}/results/0")).await.json();
    assert_eq!(
        (&first["photo"]["key"], &first["group"]),
        (&"z.jpg".into(), &"east".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_photo_is_analysed_while_the_client_waits() {
    let server = Server::with_fleet(config()).await;
    let jpeg = ("content-type", "image/jpeg");
    let answer = server
        .send(
            "POST",
            "/v1/analyze?name=a.jpg&overlays=grass,crop",
            &[jpeg],
            "photo",
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (&answer.json()["outcome"], &answer.json()["photo"]["bytes"]),
        (&"ok".into(), &5.into())
    );
    assert_eq!(server.get(answer.header("location")).await.json(), answer.json());
    for (query, header, status, code) in [
        ("?overlays=golf", jpeg, 400, "invalid_parameter"),
        ("?colour=red", jpeg, 400, "invalid_parameter"),
        ("?detection_threshold=2", jpeg, 422, "invalid_body"),
        ("", JSON, 415, "unsupported_media_type"),
    ] {
        let answer = server
            .send("POST", &format!("/v1/analyze{query}"), &[header], "photo")
            .await;
        answer.is_problem(status, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_that_takes_longer_than_the_wait_is_found_later() {
    let config = ApiConfig {
        analyze_seconds: 0,
        ..config()
    };
    let server = Server::start(config).await;
    let answer = server.send("POST", "/v1/analyze", &[], "photo").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    server
        .get(answer.header("location"))
        .await
        .is_problem(404, "unknown_result");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_a_running_batch_hold_the_results_so_far() {
    let server = Server::start(config()).await;
    let path = upload_batch(&server, "k").await;
    for format in [
        "results.ndjson",
        "summary.csv",
        "results.parquet",
        "coco.json",
        "verdict.json",
        "report.html",
    ] {
        let document = server.get(&format!("{path}/export/{format}")).await;
        assert_eq!(
            (document.status, document.header("pitchfleet-partial")),
            (200, "true"),
            "{format}"
        );
        assert!(
            format == "results.ndjson" || !document.body.is_empty(),
            "{format}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_event_streams_and_the_server() {
    let mut server = Server::start(config()).await;
    let path = upload_batch(&server, "k").await;
    let (shutdown, url) = (server.shutdown.clone(), format!("{}{path}/events", server.url));
    let rest = tokio::task::spawn_blocking(move || {
        let mut stream = ureq::get(url).call().unwrap().into_body().into_reader();
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut stream, &mut first).unwrap();
        shutdown.cancel();
        std::io::read_to_string(stream).unwrap()
    });
    assert!(rest.await.unwrap().contains("uploading"));
    (&mut server.task).await.unwrap();
}
