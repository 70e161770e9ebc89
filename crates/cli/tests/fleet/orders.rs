//! What operators tell workers, and what they see of them.

use std::fs;

use serde_json::Value;
use testkit::http;

use crate::ground::{Ground, stderr};

#[test]
fn an_operator_warms_unloads_drains_and_sees_it() {
    let ground = Ground::with_photos(2);
    let mut up = ground.up_with(&[
        ("PITCHFLEET_WORKER_METRICS_LISTEN", "127.0.0.1:0"),
        ("PITCHFLEET_WORKER_NAME", "ground-3"),
    ]);
    let server = up.server.clone();
    testkit::wait_until("a worker in the list", || {
        ground.ask(&server, &["workers"]).contains("ground-3")
    });
    let line = up.process.wait_for_line("metrics on ");
    let metrics = line.rsplit("metrics on ").next().unwrap().trim().to_owned();
    let state = |state: &str| {
        let page = http::get(&metrics).unwrap();
        let sample = format!("pitchfleet_model_state{{state=\"{state}\"}} 1");
        page.body.lines().any(|line| line == sample)
    };
    assert!(state("cold"));

    let warmed = ground.ask(&server, &["fleet", "warm", "--hold", "1h", "--wait", "50s"]);
    assert!(warmed.contains("ground-3") && warmed.contains("done"), "{warmed}");
    assert!(state("warm"));
    testkit::wait_until("the workers' list to say so", || {
        ground.ask(&server, &["workers"]).contains("warm")
    });
    let reloaded = ground.ask(&server, &["fleet", "reload", "--wait", "50s"]);
    assert!(reloaded.contains("sha256:"), "{reloaded}");
    let unloaded = ground.ask(&server, &["fleet", "unload", "--worker", "ground-3", "--json"]);
    let answer: Value = serde_json::from_str(unloaded.trim()).unwrap();
    assert_eq!(
        (answer["worker"].as_str(), answer["answer"].as_str()),
        (Some("ground-3"), Some("done"))
    );
    assert!(state("cold"));

    // Who drains takes nothing, until it is warmed.
    ground.ask(&server, &["fleet", "drain"]);
    let batch = ground.submit(&server);
    testkit::wait_until("the jobs to wait", || up.status(&batch)["counts"]["photos"] == 2);
    assert!(state("cold"));
    assert_eq!(up.status(&batch)["counts"]["ok"], 0);
    ground.ask(&server, &["fleet", "warm", "--wait", "50s"]);
    assert_eq!(up.wait_final(&batch)["state"], "completed");

    let picture = ground.home().join("hour.svg");
    let report = ["memory-report", "--worker", "ground-3", "--json", "--picture"];
    let report = ground.ask(&server, &[&report[..], &[picture.to_str().unwrap()]].concat());
    let report: Value = serde_json::from_str(&report).unwrap();
    let reasons: Vec<_> = report["unloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unload| &unload["reason"])
        .collect();
    assert_eq!(reasons, ["swap", "manual"]);
    assert!(fs::read_to_string(picture).unwrap().contains("unloaded (manual)"));

    let nobody = ground.client(&server, &["fleet", "unload", "--worker", "nobody"]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    assert!(stderr(&nobody).contains("no worker `nobody`"), "{nobody:?}");
}
