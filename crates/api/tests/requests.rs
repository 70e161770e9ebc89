//! Every bad request gets a problem with a stable code; good ones do what they say.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod server;

use api::http::tokens::{Scope, TokenFile, Tokens, create_token};
use api::{ApiConfig, ImportRule};
use fleet::ids::BatchId;
use fleet::job::Control;
use queue::Lane;
use serde_json::{Value, json};
use server::{Server, config};

fn importing() -> ApiConfig {
    ApiConfig {
        imports: vec![ImportRule {
            bucket: "photos".into(),
            prefix: "open/".into(),
            tenants: Vec::new(),
        }],
        ..config()
    }
}

fn by_prefix() -> Value {
    json!({"name": "day 1", "source": {"kind": "prefix", "bucket": "photos", "prefix": "open/"}})
}

/// The next message on the control lane.
async fn next_control(server: &Server) -> Control {
    let mut consumer = server
        .shared
        .queue
        .consume(Lane::Control, 1.try_into().unwrap())
        .await
        .unwrap();
    let delivery = consumer.next().await.unwrap();
    let control = delivery.open().unwrap();
    delivery.settle(queue::Outcome::Done).await.unwrap();
    control
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_by_prefix_is_accepted_before_anything_is_listed() {
    let server = Server::start(importing()).await;
    let answer = server.create("k-1", &by_prefix()).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let batch = BatchId::of_key(&"local".parse().unwrap(), "k-1");
    assert_eq!(answer.header("location"), format!("/v1/batches/{batch}"));
    let status = answer.json();
    assert_eq!(status["id"], batch.to_string());
    assert_eq!(status["state"], "expanding");
    assert_eq!(status["name"], "day 1");
    let Control::Expand {
        tenant,
        batch: expanding,
        ..
    } = next_control(&server).await
    else {
        panic!("something else than expand was published");
    };
    assert_eq!((tenant.as_str(), expanding), ("local", batch));
    let root = server.folder.path().join("home/local");
    assert!(root.join(format!("batches/{batch}/manifest.json")).exists());
    assert_eq!(std::fs::read_dir(root.join("index")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_with_the_same_key_is_answered_the_same() {
    let server = Server::start(importing()).await;
    let first = server.create("k-1", &by_prefix()).await;
    // The same JSON, written otherwise.
    let text = "{ \"source\": {\"prefix\": \"open/\", \"bucket\": \"photos\", \"kind\": \"prefix\"},\n \"name\": \"day 1\"}";
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let second = server.send("POST", "/v1/batches", &headers, text).await;
    assert_eq!((second.status, second.json()), (first.status, first.json()));
    assert_eq!(second.header("idempotency-replayed"), "true");
    let mut other = by_prefix();
    other["name"] = "day 2".into();
    server
        .create("k-1", &other)
        .await
        .is_problem(422, "idempotency_key_reused");
    assert_ne!(
        server.create("k-2", &other).await.json()["id"],
        first.json()["id"]
    );
}

/// Method, path, headers, body; status and code of the answer.
type Request<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_has_a_code() {
    let mut config = importing();
    config.coordinator.max_photos = 3;
    config.limits.bytes_per_photo = 1000;
    config.limits.body_bytes = 10_000;
    config.webhook.hosts = vec!["hooks.example.org".into()];
    let server = Server::start(config).await;
    let keys = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| json!({"key": key})).collect();
        json!({"source": {"kind": "keys", "bucket": "photos", "keys": keys}})
    };
    let prefix = |bucket: &str, prefix: &str| json!({"source": {"kind": "prefix", "bucket": bucket, "prefix": prefix}});
    let with = |field: &str, value: Value| {
        let mut body = by_prefix();
        body[field] = value;
        body
    };
    let bodies: &[(Value, u16, &str, &str)] = &[
        (json!([]), 422, "invalid_body", ""),
        (json!({}), 422, "invalid_body", ""),
        (with("colour", "red".into()), 422, "invalid_body", "/colour"),
        (with("name", 5.into()), 422, "invalid_body", "/name"),
        (with("name", "x".repeat(201).into()), 422, "invalid_body", "/name"),
        (with("name", "a\u{7}".into()), 422, "invalid_body", "/name"),
        (
            json!({"source": {"kind": "ftp"}}),
            422,
            "invalid_body",
            "/source/kind",
        ),
        (
            with("options", json!({"precision": "fp64"})),
            422,
            "invalid_body",
            "/options/precision",
        ),
        (
            with("options", json!({"analysis": {"detection_threshold": 2.0}})),
            422,
            "invalid_body",
            "/options/analysis/detection_threshold",
        ),
        (
            with("webhook", "http://hooks.example.org/".into()),
            422,
            "invalid_body",
            "/webhook",
        ),
        (
            with("webhook", "nonsense".into()),
            422,
            "invalid_body",
            "/webhook",
        ),
        (
            with("webhook", "https://u:p@hooks.example.org/".into()),
            422,
            "invalid_body",
            "/webhook",
        ),
        (
            with("webhook", "https://evil.example/".into()),
            403,
            "forbidden_webhook",
            "/webhook",
        ),
        (prefix("elsewhere", "open/"), 403, "forbidden_source", ""),
        (prefix("photos", "closed/"), 403, "forbidden_source", ""),
        (
            prefix("photos", "open/../closed/"),
            422,
            "invalid_body",
            "/source/prefix",
        ),
        (keys(&[]), 422, "no_photos", "/source/keys"),
        (keys(&["open/a", ""]), 422, "invalid_body", "/source/keys/1"),
        (keys(&["open/a", "closed/b"]), 403, "forbidden_source", ""),
        (
            keys(&["open/a", "open/b", "open/c", "open/d"]),
            422,
            "too_many_photos",
            "",
        ),
        (with("name", "x".repeat(20_000).into()), 413, "body_too_large", ""),
    ];
    for (body, status, code, field) in bodies {
        let answer = server.create("bad", body).await;
        answer.is_problem(*status, code);
        if !field.is_empty() {
            assert_eq!(answer.problem().errors[0].field, *field, "{body}");
        }
    }
    let json = ("content-type", "application/json");
    let key = ("idempotency-key", "k");
    let long = "x".repeat(256);
    let unknown = "/v1/batches/01KB2Z3C9Q4T7V8W5X6Y0A1B2C";
    let results = format!("{unknown}/results");
    let requests: &[Request<'_>] = &[
        ("POST", "/v1/batches", &[json, key], "{", 400, "malformed_json"),
        ("POST", "/v1/batches", &[json, key], "", 400, "malformed_json"),
        ("POST", "/v1/batches", &[json, key], "{} {}", 422, "invalid_body"),
        ("POST", "/v1/batches", &[key], "{}", 415, "unsupported_media_type"),
        (
            "POST",
            "/v1/batches",
            &[("content-type", "text/plain"), key],
            "{}",
            415,
            "unsupported_media_type",
        ),
        (
            "POST",
            "/v1/batches",
            &[json],
            "{\"source\":{\"kind\":\"upload\"}}",
            400,
            "idempotency_key_missing",
        ),
        (
            "POST",
            "/v1/batches",
            &[json, ("idempotency-key", &long)],
            "{\"source\":{\"kind\":\"upload\"}}",
            400,
            "idempotency_key_invalid",
        ),
        ("GET", "/", &[], "", 404, "unknown_route"),
        ("GET", "/v1/nothing", &[], "", 404, "unknown_route"),
        ("PUT", "/v1/batches", &[], "", 405, "method_not_allowed"),
        ("GET", unknown, &[], "", 404, "unknown_batch"),
        ("GET", "/v1/batches/nonsense", &[], "", 404, "unknown_batch"),
        ("GET", "/v1/batches/..%2f..%2fetc", &[], "", 404, "unknown_batch"),
        ("DELETE", unknown, &[], "", 404, "unknown_batch"),
        ("GET", &results, &[], "", 404, "unknown_batch"),
        ("GET", &format!("{results}/0"), &[], "", 404, "unknown_batch"),
        ("GET", &format!("{results}/x"), &[], "", 400, "invalid_parameter"),
        (
            "GET",
            &format!("{results}?limit=0"),
            &[],
            "",
            400,
            "invalid_parameter",
        ),
        (
            "GET",
            &format!("{results}?limit=x"),
            &[],
            "",
            400,
            "invalid_parameter",
        ),
        (
            "GET",
            &format!("{results}?class=golf"),
            &[],
            "",
            400,
            "invalid_parameter",
        ),
        (
            "GET",
            &format!("{unknown}/overlays/0/grass"),
            &[],
            "",
            404,
            "unknown_batch",
        ),
        (
            "GET",
            &format!("{unknown}/overlays/0/nonsense"),
            &[],
            "",
            404,
            "unknown_overlay",
        ),
        ("GET", &format!("{unknown}/events"), &[], "", 404, "unknown_batch"),
        (
            "POST",
            &format!("{unknown}/submit"),
            &[],
            "",
            404,
            "unknown_batch",
        ),
        (
            "POST",
            &format!("{unknown}/cancel"),
            &[],
            "",
            404,
            "unknown_batch",
        ),
        ("POST", &format!("{unknown}/retry"), &[], "", 404, "unknown_batch"),
        (
            "POST",
            &format!("{unknown}/uploads"),
            &[json],
            "{\"photos\":[]}",
            404,
            "unknown_batch",
        ),
        ("GET", "/v1/batches?limit=101", &[], "", 400, "invalid_parameter"),
        ("GET", "/v1/batches?cursor=*", &[], "", 400, "invalid_parameter"),
        ("GET", "/v1/batches?colour=red", &[], "", 400, "invalid_parameter"),
        ("PUT", "/v1/uploads/nonsense", &[], "x", 403, "upload_forged"),
        (
            "GET",
            "/v1/batches",
            &[("sec-fetch-site", "cross-site")],
            "",
            403,
            "cross_site",
        ),
        (
            "GET",
            "/v1/batches",
            &[("host", "rebound.example")],
            "",
            403,
            "cross_site",
        ),
    ];
    for (method, path, headers, body, status, code) in requests {
        let answer = server.send(method, path, headers, *body).await;
        let problem = answer.problem();
        let got = (problem.status, problem.code.as_str());
        assert_eq!(got, (*status, *code), "{method} {path} {body}: {problem:?}");
    }
    let answer = server.send("PUT", "/v1/batches", &[], "").await;
    assert!(answer.header("allow").contains("GET"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_models_nothing_is_accepted() {
    let config = ApiConfig {
        bundle: None,
        ..importing()
    };
    let server = Server::start(config).await;
    let answer = server.create("k", &by_prefix()).await;
    answer.is_problem(503, "no_models_known");
    assert!(answer.problem().retryable && !answer.header("retry-after").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_their_tenant_s_batches_only_and_only_as_far_as_their_scopes_go() {
    let token = |id: &str, tenant: &str, scopes: &[Scope]| {
        create_token(id, tenant.parse().unwrap(), scopes.iter().copied().collect()).unwrap()
    };
    let (acme, acme_entry) = token("a", "acme", &[Scope::Submit, Scope::Read]);
    let (reader, reader_entry) = token("r", "acme", &[Scope::Read]);
    let (other, other_entry) = token("o", "other", &[Scope::Admin]);
    let tokens = TokenFile {
        tokens: vec![acme_entry, reader_entry, other_entry],
    };
    let server = Server::start(ApiConfig {
        tokens: Tokens::new(tokens).unwrap(),
        ..importing()
    })
    .await;
    let bearer = |token: &api::http::tokens::Secret| format!("Bearer {}", token.reveal());
    let (acme, reader, other) = (bearer(&acme), bearer(&reader), bearer(&other));
    let create = |auth: String| {
        let server = &server;
        async move {
            let headers = [
                ("authorization", auth.as_str()),
                ("content-type", "application/json"),
                ("idempotency-key", "k"),
            ];
            server
                .send("POST", "/v1/batches", &headers, by_prefix().to_string())
                .await
        }
    };
    let anonymous = server.get("/v1/batches").await;
    anonymous.is_problem(401, "unauthenticated");
    assert_eq!(anonymous.header("www-authenticate"), "Bearer");
    for wrong in ["Bearer pf_nonsense", "Basic dTpw", "nonsense"] {
        let answer = server
            .send("GET", "/v1/batches", &[("authorization", wrong)], [])
            .await;
        answer.is_problem(401, "unauthenticated");
    }
    create(reader.clone()).await.is_problem(403, "missing_scope");
    let mine = create(acme.clone()).await;
    assert_eq!(mine.status, 202);
    let path = format!("/v1/batches/{}", mine.json()["id"].as_str().unwrap());
    for (method, suffix) in [
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/results"),
        ("GET", "/results/0"),
        ("GET", "/overlays/0/grass"),
        ("GET", "/events"),
        ("POST", "/submit"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
    ] {
        let theirs = server
            .send(
                method,
                &format!("{path}{suffix}"),
                &[("authorization", &other)],
                [],
            )
            .await;
        theirs.is_problem(404, "unknown_batch");
    }
    // The same key of another tenant is another batch.
    let theirs = create(other.clone()).await;
    assert_eq!(theirs.status, 202);
    assert_ne!(theirs.json()["id"], mine.json()["id"]);
    let deletion = server
        .send("DELETE", &path, &[("authorization", &acme)], [])
        .await;
    deletion.is_problem(403, "missing_scope");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    let mut config = importing();
    config.limits.requests_per_second = 1;
    config.limits.burst = 2;
    let server = Server::start(config).await;
    for _ in 0..2 {
        assert_eq!(server.get("/v1/batches").await.status, 200);
    }
    let answer = server.get("/v1/batches").await;
    answer.is_problem(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_to_other_machines_without_tokens() {
    let server = Server::start(config()).await;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let api = api::Api::new(std::sync::Arc::clone(&server.shared)).unwrap();
    let served = api.serve(listener, server.shutdown.clone()).await;
    assert!(served.unwrap_err().to_string().contains("token create"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_s_absence_is_said_at_once() {
    let server = Server::start(importing()).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    server.shared.queue.close().await;
    let answer = server.create("k", &by_prefix()).await;
    answer.is_problem(503, "broker_unavailable");
    assert!(answer.problem().retryable && !answer.header("retry-after").is_empty());
    let ready = server.get("/readyz").await;
    assert_eq!(
        (ready.status, ready.json()["broker"].as_bool()),
        (503, Some(false))
    );
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_names_every_route_and_code() {
    let server = Server::start(config()).await;
    let document = server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    for (path, method) in [
        ("/v1/batches", "post"),
        ("/v1/batches", "get"),
        ("/v1/batches/{id}", "get"),
        ("/v1/batches/{id}", "delete"),
        ("/v1/batches/{id}/uploads", "post"),
        ("/v1/batches/{id}/submit", "post"),
        ("/v1/batches/{id}/cancel", "post"),
        ("/v1/batches/{id}/retry", "post"),
        ("/v1/batches/{id}/results", "get"),
        ("/v1/batches/{id}/results/{index}", "get"),
        ("/v1/batches/{id}/overlays/{index}/{kind}", "get"),
        ("/v1/batches/{id}/events", "get"),
        ("/v1/workers", "get"),
        ("/livez", "get"),
        ("/readyz", "get"),
    ] {
        assert!(paths[path].get(method).is_some(), "{method} {path}");
    }
    let page = server.get("/docs").await;
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(page.header("content-type").starts_with("text/html"));
    for code in api::http::Code::ALL {
        assert!(text.contains(&format!("id=\"{}\"", code.code())), "{code:?}");
    }
    assert!(
        text.contains("<code>next</code> of the page before"),
        "code spans are shown as such"
    );
    assert!(!text.contains('`'));
    for outside in ["<script", "src=", "http://", "https://"] {
        assert!(!text.contains(outside), "{outside}");
    }
}
