//! Webhooks against a receiver on this machine, which checks them with the reference library.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::webhook::{Notifier, Outcome, Payload, Try, WebhookConfig};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use fleet::batch::{BatchState, Counts, Finished};
use fleet::manifest::{BatchOptions, BundleRef, MANIFEST_SCHEMA, Manifest, Source};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

const ID: &str = "01KB2Z3C9Q4T7V8W5X6Y0A1B2C";
const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Somebody who is told, and answers as the test wants.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    answer: (StatusCode, HeaderMap, String),
    heard: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn answering(status: u16, headers: &[(&'static str, &str)], body: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let headers = headers.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            answer: (
                StatusCode::from_u16(status).unwrap(),
                headers.collect(),
                body.to_owned(),
            ),
            heard: Arc::default(),
        };
        let router = Router::new().fallback(hear).with_state(receiver.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        receiver
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn heard(&self) -> Vec<(HeaderMap, Bytes)> {
        self.heard.lock().unwrap().clone()
    }
}

async fn hear(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    receiver.heard.lock().unwrap().push((headers, body));
    receiver.answer
}

fn config() -> WebhookConfig {
    let hosts = ["127.0.0.1", "localhost", "[::1]"];
    serde_json::from_value(serde_json::json!({
        "hosts": hosts,
        "secrets": hosts.map(|host| (host, [NEW, OLD])).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "allow_loopback": true,
    }))
    .unwrap()
}

fn payload() -> Payload {
    let options = BatchOptions::default();
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.into(),
        id: ID.into(),
        tenant: "acme".parse().unwrap(),
        name: Some("Day 1, “north” end".into()),
        created_at: "2026-06-14T10:00:00.000Z".into(),
        program: "0.1.0".into(),
        digest: options.result_digest("sha256:1"),
        options,
        bundle: BundleRef {
            name: "demo".into(),
            digest: "sha256:1".into(),
        },
        source: Source::Upload,
        webhook: None,
        request_digest: None,
    };
    let finished = Finished {
        state: BatchState::Completed,
        at: "2026-06-14T10:32:11.000Z".into(),
        counts: Counts {
            photos: 20,
            ok: 18,
            failed: 2,
        },
        reason: None,
    };
    Payload::finished(ID.parse().unwrap(), &manifest, &finished, None)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

async fn deliver(config: WebhookConfig, url: &str, tries: u32) -> Outcome {
    let notifier = Notifier::new(config).unwrap();
    let payload = payload();
    let attempt = Try {
        url,
        id: "msg_1",
        payload: &payload,
        tries,
        now_ms: now_ms(),
    };
    notifier.deliver(attempt).await
}

fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::Retry { reason, .. } | Outcome::GaveUp { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_reference_library_accepts_what_is_sent_with_either_secret_and_nothing_else() {
    let receiver = Receiver::answering(204, &[], "").await;
    assert_eq!(deliver(config(), &receiver.url(), 0).await, Outcome::Delivered);
    let heard = receiver.heard();
    let [(headers, body)] = &heard[..] else {
        panic!("{heard:?}")
    };
    for secret in [OLD, NEW] {
        let reference = Webhook::new(secret).unwrap();
        reference.verify(body, headers).unwrap();
        let mut forged = body.to_vec();
        forged[20] ^= 1;
        assert!(reference.verify(&forged, headers).is_err());
        let mut replayed = headers.clone();
        replayed.insert("webhook-id", "msg_2".parse().unwrap());
        assert!(reference.verify(body, &replayed).is_err());
    }
    let stranger = Webhook::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    assert!(stranger.verify(body, headers).is_err());

    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["webhook-id"], "msg_1");
    assert_eq!(body[..], serde_json::to_vec(&payload()).unwrap());
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_was_tried_enough() {
    // What the receiver writes may be anybody's secret: it is repeated nowhere.
    let receiver = Receiver::answering(500, &[], "a secret").await;
    let Outcome::Retry { after, reason: why } = deliver(config(), &receiver.url(), 0).await else {
        panic!("no retry")
    };
    assert!((5_000..=5_500).contains(&after.as_millis()), "{after:?}");
    assert_eq!(why, "`127.0.0.1` answered 500");
    let Outcome::GaveUp { reason: why } = deliver(config(), &receiver.url(), 9).await else {
        panic!("tried again")
    };
    assert!(!why.contains("secret"), "{why}");
    assert_eq!(receiver.heard().len(), 2);
}

#[tokio::test]
async fn a_receiver_may_ask_for_time() {
    let receiver = Receiver::answering(429, &[("retry-after", "600")], "").await;
    let outcome = deliver(config(), &receiver.url(), 0).await;
    assert!(
        matches!(outcome, Outcome::Retry { after, .. } if after == Duration::from_secs(600)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn gone_is_the_end() {
    let receiver = Receiver::answering(410, &[], "").await;
    assert_eq!(deliver(config(), &receiver.url(), 0).await, Outcome::Disabled);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::answering(200, &[], "").await;
    for status in [301, 302, 303, 307, 308] {
        let receiver = Receiver::answering(status, &[("location", &elsewhere.url())], "").await;
        let why = reason(deliver(config(), &receiver.url(), 0).await);
        assert_eq!(why, format!("`127.0.0.1` answered {status}"));
    }
    assert!(elsewhere.heard().is_empty());
}

#[tokio::test]
async fn who_does_not_answer_or_is_not_there_is_tried_again() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let hasty = WebhookConfig {
        timeout_seconds: 1,
        ..config()
    };
    let why = reason(deliver(hasty, &url, 0).await);
    assert!(why.contains("timeout"), "{why}");
    drop(silent);
    reason(deliver(config(), &url, 0).await);
}

#[tokio::test]
async fn names_and_numbers_of_private_places_are_not_dialled() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
        "0.0.0.0",
        "0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ];
    let mut closed = config();
    closed.allow_loopback = false;
    closed.hosts = hosts.map(str::to_owned).into();
    let secrets = closed.secrets["127.0.0.1"].clone();
    closed.secrets = hosts.map(|host| (host.to_owned(), secrets.clone())).into();
    for host in hosts {
        let outcome = deliver(closed.clone(), &format!("https://{host}:{port}/"), 0).await;
        assert!(
            matches!(&outcome, Outcome::Refused { reason } if reason.contains("not an address of the Internet")),
            "{host}: {outcome:?}"
        );
    }
    // Not even a connection was made: the first one is this.
    let probe = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, probe.local_addr().unwrap());

    // Without TLS nothing but this machine is told, trials or not.
    let mut trial = closed;
    trial.allow_loopback = true;
    let outcome = deliver(trial.clone(), "http://10.0.0.1/", 0).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    trial.hosts = vec!["1.1.1.1".into()];
    trial.secrets = [("1.1.1.1".to_owned(), secrets)].into();
    let outcome = deliver(trial, "http://1.1.1.1/", 0).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

#[tokio::test]
async fn hosts_that_nobody_allowed_are_refused() {
    let outcome = deliver(WebhookConfig::default(), "https://hooks.example.org/", 0).await;
    let Outcome::Refused { reason } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains("`hooks.example.org`"), "{reason}");
}
