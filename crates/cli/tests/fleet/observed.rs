//! A fleet at work, asked by a real Prometheus: every expression of every dashboard and rule returns something.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use fleet::metrics::WorkerMetrics;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use testkit::{Process, http, wait_until};

use crate::dashboards::{CARD, deploy, queries, selectors};
use crate::ground::{Ground, Role, stdout};
use crate::servers::Servers;

/// What a role says before the address of its page.
const METRICS: &str = "metrics on http://";

/// Where the page of a role is.
fn page_of(process: &mut Process) -> String {
    let line = process.wait_for_line(METRICS);
    let address = line.rsplit(METRICS).next().unwrap();
    address.split('/').next().unwrap().to_owned()
}

/// The page of a worker with a card, which the machine that tests this may not have.
fn with_a_card() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let metrics = WorkerMetrics::new("1");
    metrics.set_card(Some(CARD));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Whoever goes away in the middle asks again.
            let _ = show(&stream, &metrics);
        }
    });
    address
}

fn show(mut stream: &TcpStream, metrics: &WorkerMetrics) -> std::io::Result<()> {
    for line in BufReader::new(stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let page = metrics.page(None).map_err(std::io::Error::other)?;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
        page.content_type,
        page.body.len(),
        page.body
    )
}

/// A Prometheus on a free port, with the rules of the repository.
struct Prometheus {
    _process: Process,
    url: String,
}

impl Prometheus {
    fn start(folder: &Path, targets: &[(&str, &str)]) -> Self {
        let jobs: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(number, (job, target))| {
                json!({
                    "job_name": format!("{job}-{number}"),
                    "static_configs": [{"targets": [target]}],
                })
            })
            .collect();
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [deploy().join("prometheus/rules.yml").canonicalize().unwrap()],
            "scrape_configs": jobs,
        });
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut process = Process::spawn(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
                .args([
                    "--web.listen-address=127.0.0.1:0",
                    "--storage.tsdb.retention.time=1h",
                ]),
        );
        let line = process.wait_for_line("msg=\"Listening on\"");
        let address = line.rsplit("address=").next().unwrap().trim();
        let url = format!("http://{address}");
        process.wait_ready(&format!("{url}/-/ready"));
        Self {
            _process: process,
            url,
        }
    }

    fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let url = format!("{}/api/v1/{path}", self.url);
        let answer = http::request("POST", &url, &headers, fields.join("&").as_bytes()).unwrap();
        let answer = answer.json();
        assert_eq!(answer["status"], "success", "{fields:?}: {answer}");
        answer["data"].clone()
    }

    /// The first value of `query` now, if there is one that is a number.
    fn value(&self, query: &str) -> Option<f64> {
        let data = self.ask("query", &[("query", query)]);
        let value: f64 = data["result"][0]["value"][1].as_str()?.parse().ok()?;
        (!value.is_nan()).then_some(value)
    }

    /// Whether `query` had a value that is a number at any time of the last five minutes.
    fn returned(&self, query: &str) -> bool {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let (start, end) = ((now - 300.0).to_string(), now.to_string());
        let fields = [
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", "0.5"),
        ];
        let data = self.ask("query_range", &fields);
        let series = data["result"].as_array().unwrap().iter();
        let mut values = series.flat_map(|series| series["values"].as_array().unwrap());
        values.any(|value| value[1] != "NaN")
    }

    /// Every rule.
    fn rules(&self) -> Vec<Value> {
        let answer = http::get(&format!("{}/api/v1/rules", self.url)).unwrap().json();
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap().clone())
            .collect()
    }
}

/// As Grafana fills it in, with everything chosen.
fn filled_in(query: &str) -> String {
    let filled = query
        .replace("$__rate_interval", "10s")
        .replace("$__range", "5m")
        .replace("$worker", ".*")
        .replace("$queue", ".*")
        .replace("$device", ".*");
    assert!(!filled.contains('$'), "{filled}");
    filled
}

#[test]
fn every_expression_of_dashboards_and_rules_returns_something() {
    let servers = Servers::shared();
    let ground = Ground::with_photos(8).with_a_broken_photo("broken.jpg");
    let mut api = Role::api(
        servers
            .role(&ground, &["api", "--listen", "127.0.0.1:0"])
            .env("PITCHFLEET_API_METRICS_LISTEN", "127.0.0.1:0"),
    );
    let mut worker = Process::spawn(servers.role(&ground, &["worker"]).envs([
        ("PITCHFLEET_WORKER_METRICS_LISTEN", "127.0.0.1:0"),
        ("PITCHFLEET_WORKER_UNLOAD_GRACE", "4s"),
    ]));
    let (api_page, worker_page) = (page_of(&mut api.process), page_of(&mut worker));
    let prometheus = Prometheus::start(
        ground.home(),
        &[
            ("pitchfleet-api", &api_page),
            ("pitchfleet-worker", &worker_page),
            ("pitchfleet-worker", &with_a_card()),
        ],
    );
    wait_until("answers from all three", || {
        prometheus.value("sum(up)") == Some(3.0)
    });
    // Counted from zero, so that the first load is seen to happen.
    wait_until("a look at the worker", || {
        prometheus.value("sum(count_over_time(pitchfleet_model_loads_total[1h]))") >= Some(8.0)
    });

    let photos = ground.photos();
    let submitted = ground.client(&api.server, &["submit", photos.to_str().unwrap()]);
    assert!(submitted.status.success(), "{submitted:?}");
    assert!(
        stdout(&submitted).contains("8 analysed, 1 failed"),
        "{submitted:?}"
    );
    wait_until("an unload", || {
        prometheus.value(r#"sum(pitchfleet_model_unloads_total{reason="drained"})"#) == Some(1.0)
            && prometheus.value("max(pitchfleet_memory_floor_bytes)") > Some(0.0)
    });
    wait_until("a look at the active batches", || {
        prometheus.value("pitchfleet_active_batches").is_some()
    });
    wait_until("rules", || {
        prometheus.value("pitchfleet:worker_cold_bytes").is_some()
            && prometheus.value("pitchfleet:backlog_drain_seconds").is_some()
    });

    // The sums are those of what was done.
    for (query, expected) in [
        (r#"sum(pitchfleet_photos_total{outcome="ok"})"#, 8.0),
        (r#"sum(pitchfleet_photos_total{outcome="failed"})"#, 1.0),
        ("sum(pitchfleet_photo_failures_total)", 1.0),
        ("sum(pitchfleet_photo_duration_seconds_count)", 8.0),
        (r#"sum(pitchfleet_batch_photos_total{outcome="ok"})"#, 8.0),
        (r#"sum(pitchfleet_model_loads_total{outcome="ok"})"#, 1.0),
    ] {
        assert_eq!(prometheus.value(query), Some(expected), "{query}");
    }

    let mut empty = Vec::new();
    for (place, query) in queries() {
        let query = filled_in(&query);
        if !prometheus.returned(&query) {
            empty.push(format!("{place}: {query}"));
        }
    }
    let rules = prometheus.rules();
    assert!(rules.len() > 20, "{rules:?}");
    for rule in rules {
        let (name, query) = (&rule["name"], rule["query"].as_str().unwrap());
        assert_eq!(rule["health"], "ok", "{rule}");
        // What an alert compares is there; that the comparison does not hold is as it should be.
        let parts: Vec<_> = match rule["type"].as_str() {
            Some("recording") => vec![query.to_owned()],
            _ => selectors(query)
                .into_iter()
                .map(|(name, labels)| format!("{name}{labels}"))
                .collect(),
        };
        for part in parts {
            if !prometheus.returned(&part) {
                empty.push(format!("{name}: {part}"));
            }
        }
    }
    assert!(empty.is_empty(), "these return nothing:\n{}", empty.join("\n"));
}
