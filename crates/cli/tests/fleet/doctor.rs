//! `pitchfleet doctor` beside real servers, and beside ones that are broken in every way that it knows of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::ground::{Ground, demo_bundle, stderr, stdout};
use crate::servers::Servers;

/// What it found, as JSON, and its exit code.
struct Seen {
    report: Value,
    code: Option<i32>,
    said: String,
}

impl Seen {
    fn by(command: &mut Command) -> Self {
        let output = command.arg("--json").output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        let report = serde_json::from_slice(&output.stdout).unwrap();
        Self {
            report,
            code: output.status.code(),
            said,
        }
    }

    /// Level, text and remedy of each finding about `what`.
    fn about(&self, what: &str) -> Vec<(String, String, String)> {
        let findings = self.report["findings"].as_array().unwrap();
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        findings
            .iter()
            .filter(|finding| finding["what"] == what)
            .map(|finding| {
                (
                    text(finding, "level"),
                    text(finding, "found"),
                    text(finding, "remedy"),
                )
            })
            .collect()
    }

    /// `what` failed, saying `found`, and says what to do with `remedy`; so did the whole.
    fn failed(&self, what: &str, found: &str, remedy: &str) {
        let about = self.about(what);
        let is_so = |(level, text, todo): &(String, String, String)| {
            level == "fail" && text.contains(found) && todo.contains(remedy)
        };
        assert!(about.iter().any(is_so), "{what}: {about:?}");
        assert_eq!(
            (self.report["level"].as_str(), self.code),
            (Some("fail"), Some(1))
        );
    }

    fn is_ok(&self, what: &str) {
        let about = self.about(what);
        assert!(
            !about.is_empty() && about.iter().all(|(level, _, _)| level == "ok"),
            "{what}: {about:?}"
        );
    }
}

fn copy_of_the_demo(to: &Path) -> PathBuf {
    let folder = to.join("bundle");
    fs::create_dir(&folder).unwrap();
    for entry in demo_bundle().read_dir().unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    folder
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn with_everything_in_place_nothing_fails() {
    let (servers, ground) = (Servers::shared(), Ground::new());
    let arguments = ["doctor", "--keda-cooldown", "5m", "--stop-timeout", "60s"];
    let seen = Seen::by(&mut servers.role(&ground, &arguments));
    assert_eq!(seen.code, Some(0), "{}", seen.said);
    for what in [
        "settings",
        "timers",
        "broker",
        "queues",
        "consumer timeout",
        "store",
        "uploads",
        "clock",
        "api",
        "bundle",
        "runtime",
        "engine",
        "device",
        "spool",
    ] {
        seen.is_ok(what);
    }
    let broker = &seen.about("broker")[0].1;
    assert!(
        broker.contains("RabbitMQ 3.") || broker.contains("RabbitMQ 4."),
        "{broker}"
    );
    assert!(
        seen.about("runtime")[0].1.contains("ONNX Runtime 1."),
        "{}",
        seen.said
    );
    assert!(
        seen.about("queues")[0].1.contains("not there yet"),
        "{}",
        seen.said
    );
    assert!(servers.vhost.queues().is_empty(), "it only looks");

    // In words, for people.
    let shown = run(&mut servers.role(&ground, &["doctor"]));
    assert!(
        stdout(&shown).contains("what to do") && stdout(&shown).contains("0 failed"),
        "{shown:?}"
    );

    let password = servers.vhost.url().split(['@', ':']).nth(2).unwrap();
    let bucket = &servers.bucket;
    for said in [&seen.said, &stdout(&shown), &stderr(&shown)] {
        for secret in [&format!(":{password}@"), &bucket.secret_key, &bucket.access_key] {
            assert!(!said.contains(secret.as_str()), "{said}");
        }
    }
}

#[test]
fn queues_that_others_made_otherwise_fail() {
    let (servers, ground) = (Servers::shared(), Ground::new());
    let path = format!("queues/{}/pitchfleet.jobs", vhost_of(servers.vhost.url()));
    // As the management API makes it: classic, without arguments.
    let made = servers.vhost.ask("PUT", &path);
    assert!(matches!(made.status, 201 | 204), "{made:?}");
    let seen = Seen::by(&mut servers.role(&ground, &["doctor", "--role", "worker"]));
    seen.failed("queues", "pitchfleet.jobs", "delete");
    seen.is_ok("broker");
}

fn vhost_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[test]
fn a_broker_that_is_not_there_or_does_not_know_us_fails() {
    let (servers, ground) = (Servers::shared(), Ground::new());
    let asked = |url: &str| {
        let mut command = servers.role(&ground, &["doctor", "--role", "api", "--limit", "10s"]);
        Seen::by(command.env("PITCHFLEET_BROKER_URL", url))
    };
    // Port 1 of the loopback: nothing listens there.
    asked("amqp://fleet:hunter2@127.0.0.1:1").failed("broker", "127.0.0.1:1", "start RabbitMQ");
    let (_, address) = servers.vhost.url().split_once('@').unwrap();
    let seen = asked(&format!("amqp://fleet:hunter2@{address}"));
    seen.failed("broker", "refuses", "broker.password");
    assert!(!seen.said.contains("hunter2"), "{}", seen.said);
    // What answers is a bucket.
    let store = servers.bucket.endpoint.trim_start_matches("http://");
    asked(&format!("amqp://{store}")).failed("broker", "does not speak AMQP", "port");
    asked("http://h").failed("broker", "broker.url", "[broker]");
}

#[test]
fn a_bucket_that_is_not_there_or_not_ours_fails() {
    let (servers, ground) = (Servers::shared(), Ground::new());
    let with = |name: &str, value: &str| {
        let mut command = servers.role(&ground, &["doctor", "--role", "api", "--limit", "10s"]);
        Seen::by(command.env(name, value))
    };
    with("PITCHFLEET_STORE_BUCKET", "no-such-bucket").failed("store", "no-such-bucket", "make the bucket");
    let wrong = "0".repeat(64);
    let seen = with("PITCHFLEET_STORE_SECRET_KEY", &wrong);
    seen.failed("store", "credentials", "store.secret_key");
    assert!(!seen.said.contains(&wrong), "{}", seen.said);
    with("PITCHFLEET_STORE_ENDPOINT", "http://127.0.0.1:1").failed("store", "127.0.0.1:1", "store.endpoint");
    let sources = "[{ bucket = \"no-such-source\" }]";
    with("PITCHFLEET_SOURCES", sources).failed("sources", "no-such-source", "[[sources]]");
    let seen = with("PITCHFLEET_API_PUBLIC_URL", "https://pitch.example.org");
    assert_eq!(
        seen.about("cors")[0].0,
        "warn",
        "this bucket has no CORS rule: {}",
        seen.said
    );
}

#[test]
fn models_that_were_changed_or_are_missing_fail() {
    let ground = Ground::new();
    let bundle = copy_of_the_demo(ground.home());
    let model = bundle
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .unwrap();
    let mut content = fs::read(&model).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&model, content).unwrap();
    let asked = |bundle: &Path| Seen::by(ground.pitchfleet().arg("doctor").env("PITCHFLEET_BUNDLE", bundle));
    asked(&bundle).failed(
        "bundle",
        model.file_name().unwrap().to_str().unwrap(),
        "models pull",
    );
    fs::remove_file(&model).unwrap();
    asked(&bundle).failed(
        "bundle",
        model.file_name().unwrap().to_str().unwrap(),
        "models pull",
    );
    asked(&ground.home().join("nowhere")).failed("bundle", "nowhere", "models pull");
}

#[test]
fn a_library_that_is_missing_or_none_fails() {
    let ground = Ground::new();
    let asked = |library: &Path| {
        let mut command = ground.pitchfleet();
        Seen::by(
            command
                .arg("doctor")
                .env("PITCHFLEET_MODELS_RUNTIME_LIBRARY", library),
        )
    };
    let absent = ground.home().join("absent.so");
    asked(&absent).failed("runtime", "absent.so", "scripts/onnxruntime.sh");
    let none = ground.home().join("libnone.so");
    fs::write(&none, "no library").unwrap();
    let seen = asked(&none);
    seen.failed("runtime", "libnone.so", "scripts/onnxruntime.sh");
    seen.is_ok("bundle");
}

#[test]
fn a_card_that_is_not_there_fails_or_is_replaced_when_that_is_allowed() {
    let ground = Ground::new();
    let asked = |fallback: &str| {
        let mut command = ground.pitchfleet();
        // No machine has so many.
        command.arg("doctor").env("PITCHFLEET_WORKER_DEVICE", "cuda:99");
        Seen::by(command.env("PITCHFLEET_WORKER_ALLOW_CPU_FALLBACK", fallback))
    };
    asked("false").failed("device", "cuda:99", "nvidia-smi");
    let seen = asked("true");
    assert_eq!(
        (seen.about("device")[0].0.as_str(), seen.code),
        ("warn", Some(0)),
        "{}",
        seen.said
    );
}

#[test]
fn warnings_are_failures_to_those_who_are_strict() {
    let ground = Ground::new();
    let mut command = ground.pitchfleet();
    command.arg("doctor").env("PITCHFLEET_WORKER_UNLOAD_GRACE", "0s");
    assert_eq!(run(&mut command).status.code(), Some(0));
    assert_eq!(run(command.arg("--strict")).status.code(), Some(1));
}

#[test]
fn settings_that_are_not_understood_are_the_only_line() {
    let ground = Ground::new();
    fs::write(ground.home().join("pitchfleet.toml"), "[broker]\nulr = \"x\"\n").unwrap();
    let seen = Seen::by(ground.pitchfleet().arg("doctor"));
    seen.failed("settings", "did you mean `broker.url`?", "correct that first");
    assert_eq!(seen.report["findings"].as_array().unwrap().len(), 1);
}
