//! `memory-report`, `bench` and `models` with the real engine and the demo bundle.
//!
//! Needs the ONNX Runtime library, as `make test` provides it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const MB: u64 = 1 << 20;

fn photos() -> [PathBuf; 2] {
    ["base420.jpg", "large420.jpg"].map(|name| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../pitch/tests/photos")
            .join(name)
    })
}

fn demo_bundle() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo")
}

fn pitchfleet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pitchfleet"));
    command.args(arguments).env("PITCHFLEET_BUNDLE", demo_bundle());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The JSON that a measuring command wrote; a missed target (code 1) is not this test's matter.
fn measured(output: &Output) -> Value {
    let ended = output.status.code();
    assert!(
        matches!(ended, Some(0 | 1)),
        "{ended:?} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn all_memory_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("memory.svg");
    let output = pitchfleet(&[
        "memory-report",
        "--json",
        "--cycles",
        "4",
        "--busy",
        "6",
        "--jobs",
        "1",
    ])
    .arg("--picture")
    .arg(&picture)
    .args(photos())
    .output()
    .unwrap();
    let report = measured(&output);
    let resident = |name: &str| {
        let stages = report["stages"].as_array().unwrap();
        let stage = stages.iter().find(|stage| stage["name"] == name).unwrap();
        stage["memory"]["resident"].as_u64().unwrap()
    };
    // The aim of 20 MB is the release build's. Unoptimised code is some times as large, and its pages count.
    let limit = if cfg!(debug_assertions) { 40 * MB } else { 20 * MB };
    for cold in [
        "engine made, not loaded",
        "unloaded",
        "unloaded, after the cycles",
    ] {
        assert!(resident(cold) <= limit, "{cold}: {}", resident(cold));
    }
    assert!(resident("busy, at most") > 40 * MB, "the engine is not counted");
    assert!(report["cycles"]["difference"].as_i64().unwrap() <= MB.cast_signed());
    assert_eq!(report["device"], "cpu");
    assert_eq!(report["load_ms"].as_array().unwrap().len(), 5);
    assert!(fs::read_to_string(picture).unwrap().contains("unloaded"));
}

#[test]
fn the_cost_of_analyze_is_measured_against_its_parts() {
    let output = pitchfleet(&["bench", "--json", "--rounds", "1", "--count", "6"])
        .args(photos())
        .output()
        .unwrap();
    let report = measured(&output);
    let round = &report["rounds"][0];
    for figure in ["decode", "detect", "surface", "classify", "parts", "whole"] {
        assert!(round[figure].as_f64().unwrap() > 0.0, "{figure}: {round}");
    }
}

#[test]
fn a_bundle_is_listed_looked_into_and_verified() {
    let output = pitchfleet(&["models", "list"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        stdout(&output).contains("demo") && stdout(&output).contains("fp32, int8"),
        "{}",
        stdout(&output)
    );

    let output = pitchfleet(&["models", "inspect"]).output().unwrap();
    assert!(output.status.success());
    for part in [
        "AGPL-3.0",
        "images float32[batch, 3,",
        "spin_friendly",
        "stride: 32",
        "sha256:",
    ] {
        assert!(
            stdout(&output).contains(part),
            "{part} is missing in {}",
            stdout(&output)
        );
    }

    let output = pitchfleet(&["models", "verify"]).output().unwrap();
    assert!(output.status.success(), "{}", stdout(&output));
    assert_eq!(stdout(&output).matches("hash is right").count(), 4);
    assert_eq!(stdout(&output).matches("loads with ONNX Runtime").count(), 2);
}

#[test]
fn a_damaged_model_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(demo_bundle()).unwrap().flatten() {
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let model = dir.path().join("classifier.int8.onnx");
    let mut bytes = fs::read(&model).unwrap();
    bytes[1000] ^= 1;
    fs::write(&model, bytes).unwrap();
    let output = pitchfleet(&["models", "verify"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert_eq!(stdout(&output).matches("hash is right").count(), 3);
}
