//! What a whole fleet says at `debug`, searched for every secret that it was given or has made.

use std::fs;

use serde_json::{Value, json};
use testkit::{Process, http};

use crate::collector::Collector;
use crate::ground::{Ground, Role, stderr, stdout};
use crate::servers::Servers;
use crate::tokens::create;

const BROKER_PASSWORD: &str = "brokerPassword5u8Kq2";
const WRONG_PASSWORD: &str = "wrongPassword7Tz1Lm";
const WRONG_KEY: &str = "wrongSecretKey0Xc4Vb";
const SOURCE_KEY: &str = "sourceSecretKey2Yb6Hd";
const WEBHOOK_SECRET: &str = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const WEBHOOK_PATH: &str = "webhookPath9Rw3Nj";
const COLLECTOR_KEY: &str = "collectorKey6Pd8Hs";

/// What must not be in logs, with what it is.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    /// Looks through what somebody said.
    fn assert_absent(&self, who: &str, said: &str) {
        for (what, secret) in &self.0 {
            let line = said.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "{what} is in the {who}'s log: {line:?}");
        }
        // Of requests that were signed without our knowing the signature.
        let signatures = said.split("Signature=").skip(1);
        let shown = signatures
            .filter(|rest| rest.len() >= 64 && rest.bytes().take(64).all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(shown.count(), 0, "a signature is in the {who}'s log: {said}");
    }
}

/// What `server` answers when it takes `body`, for a client who calls the batch `key`.
fn post(server: &str, token: &str, key: &str, path: &str, body: &Value) -> Value {
    let headers = [
        ("content-type", "application/json"),
        ("authorization", &*format!("Bearer {token}")),
        ("idempotency-key", key),
    ];
    let url = format!("{server}{path}");
    let answer = http::request("POST", &url, &headers, body.to_string().as_bytes()).unwrap();
    assert!(answer.status < 300, "{path}: {answer:?}");
    answer.json()
}

/// Submits what lies in `bucket`.
fn import(server: &str, token: &str, bucket: &str) {
    let source = json!({"source": {"kind": "prefix", "bucket": bucket, "prefix": "x/"}});
    let batch = post(server, token, "import", "/v1/batches", &source);
    let submit = format!("/v1/batches/{}/submit", batch["id"].as_str().unwrap());
    post(server, token, "import", &submit, &json!({}));
}

/// Sends what a client's program would, with a webhook whose path nobody is to know; the upload's signed URL.
fn send(server: &str, token: &str) -> String {
    let post = |path: &str, body: &Value| post(server, token, "upload", path, body);
    let webhook = format!("https://hooks.invalid/{WEBHOOK_PATH}");
    let batch = post(
        "/v1/batches",
        &json!({"source": {"kind": "upload"}, "webhook": webhook}),
    );
    let batch = batch["id"].as_str().unwrap().to_owned();
    let photo = b"no photo";
    let photos = json!({"photos": [{"index": 0, "name": "photo.jpg", "size": photo.len()}]});
    let tickets = post(&format!("/v1/batches/{batch}/uploads"), &photos);
    let ticket = &tickets["uploads"][0];
    let headers: Vec<(&str, &str)> = ticket["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let url = ticket["url"].as_str().unwrap();
    let put = http::request("PUT", url, &headers, photo).unwrap();
    assert!(put.status < 300, "{put:?}");
    post(&format!("/v1/batches/{batch}/submit"), &json!({}));
    url.to_owned()
}

#[test]
fn no_secret_is_in_what_a_fleet_says() {
    let (servers, collector) = (Servers::shared(), Collector::start());
    let ground = Ground::with_photos(2).with_a_broken_photo("broken.jpg");
    let broker = servers.vhost.url_with(BROKER_PASSWORD);
    let token = create(&ground, &["--tenant", "mcc", "--scope", "submit,read,admin"]);
    let file = ground.home().join("tokens.toml");
    let webhooks = format!("[{{ host = \"hooks.invalid\", secrets = [\"whsec_{WEBHOOK_SECRET}\"] }}]");
    // A bucket that others own, with a key that they took back.
    let sources = format!(
        "[{{ bucket = \"{}\", access_key = \"GK31c2f218a2e44f485b94239e\", secret_key = \"{SOURCE_KEY}\" }}]",
        servers.bucket.name
    );
    let role = |arguments: &[&str], format: &str| {
        let mut command = servers.role(&ground, arguments);
        command.envs([
            ("PITCHFLEET_LOG", "debug"),
            ("PITCHFLEET_LOG_FORMAT", format),
            ("PITCHFLEET_BROKER_URL", &broker),
            ("PITCHFLEET_API_TOKENS", file.to_str().unwrap()),
            ("PITCHFLEET_WEBHOOKS", &webhooks),
            ("PITCHFLEET_SOURCES", &sources),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", &format!("api-key={COLLECTOR_KEY}")),
        ]);
        command
    };
    let mut api = Role::api(&mut role(&["api", "--listen", "127.0.0.1:0"], "human"));
    let mut worker = Process::spawn(&mut role(&["worker"], "json"));
    api.process.wait_ready(&format!("{}/readyz", api.server));

    let photos = ground.photos();
    let mut client = ground.client_command(&api.server, &["submit", photos.to_str().unwrap()]);
    let submitted = client.env("PITCHFLEET_TOKEN", &token).output().unwrap();
    assert!(submitted.status.success(), "{submitted:?}");
    let signed = send(&api.server, &token);
    let signature = signed.split("X-Amz-Signature=").nth(1).unwrap();
    let signature = signature.split('&').next().unwrap();
    assert_eq!(signature.len(), 64, "{signed}");
    api.process.wait_for_line("webhook tried again later");

    // And what goes wrong: secrets are nowhere as near to being told as in an error.
    import(&api.server, &token, &servers.bucket.name);
    api.process.wait_for_line("batch failed");
    let refused = ground.client(&api.server, &["batches"]);
    assert!(!refused.status.success());
    let mut command = role(&["worker"], "human");
    command.env(
        "PITCHFLEET_BROKER_URL",
        broker.replace(BROKER_PASSWORD, WRONG_PASSWORD),
    );
    let mut locked_out = Process::spawn(&mut command);
    locked_out.wait_for_line("cannot reach the broker");
    let mut command = role(&["api", "--listen", "127.0.0.1:0"], "json");
    command.env("PITCHFLEET_STORE_SECRET_KEY", WRONG_KEY);
    let mut keyless = Role::api(&mut command);
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let listed = http::request("GET", &format!("{}/v1/batches", keyless.server), &headers, b"").unwrap();
    assert_eq!(listed.status, 503, "{listed:?}");

    for process in [
        &mut worker,
        &mut api.process,
        &mut locked_out,
        &mut keyless.process,
    ] {
        process.terminate();
        process.wait();
    }
    assert!(!collector.spans().is_empty(), "the collector's key was used");
    let secrets = Secrets(vec![
        ("the broker's password", BROKER_PASSWORD.to_owned()),
        ("a wrong password", WRONG_PASSWORD.to_owned()),
        ("the bucket's secret key", servers.bucket.secret_key.clone()),
        ("a wrong secret key", WRONG_KEY.to_owned()),
        ("a source's secret key", SOURCE_KEY.to_owned()),
        ("the webhook's secret", WEBHOOK_SECRET.to_owned()),
        ("the webhook's path", WEBHOOK_PATH.to_owned()),
        ("the token", token.trim_start_matches("pf_").to_owned()),
        ("the collector's key", COLLECTOR_KEY.to_owned()),
        ("the upload's signature", signature.to_owned()),
    ]);
    secrets.assert_absent("api", &api.process.output());
    secrets.assert_absent("worker", &worker.output());
    secrets.assert_absent("locked-out worker", &locked_out.output());
    secrets.assert_absent("api without its bucket", &keyless.process.output());
    for (who, output) in [("client", &submitted), ("refused client", &refused)] {
        secrets.assert_absent(who, &stdout(output));
        secrets.assert_absent(who, &stderr(output));
    }
}

#[test]
fn no_upload_ticket_of_the_fleet_itself_is_in_its_log() {
    let ground = Ground::with_photos(1);
    let token = create(&ground, &["--tenant", "mcc", "--scope", "submit,read"]);
    let file = ground.home().join("tokens.toml");
    let webhooks = format!("[{{ host = \"hooks.invalid\", secrets = [\"whsec_{WEBHOOK_SECRET}\"] }}]");
    let mut up = ground.up_with(&[
        ("PITCHFLEET_LOG", "debug"),
        ("PITCHFLEET_API_TOKENS", file.to_str().unwrap()),
        ("PITCHFLEET_WEBHOOKS", &webhooks),
    ]);
    let url = send(&up.server, &token);
    let ticket = url.rsplit("/v1/uploads/").next().unwrap().to_owned();
    assert!(ticket.len() > 20, "{url}");
    up.process.wait_for_line("batch finished");
    up.process.terminate();
    up.process.wait();
    let secrets = Secrets(vec![
        ("the ticket", ticket),
        ("the token", token.trim_start_matches("pf_").to_owned()),
        ("the webhook's secret", WEBHOOK_SECRET.to_owned()),
        ("the webhook's path", WEBHOOK_PATH.to_owned()),
    ]);
    assert!(fs::metadata(&file).is_ok());
    secrets.assert_absent("fleet", &up.process.output());
}
