//! The fences of `docs/ARCHITECTURE.md`: which crate may depend on what. A breach fails here, not in review.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// External crates with one home each.
const HOMES: &[(&str, &[&str])] = &[
    ("image", &["pitch"]),
    ("mozjpeg-sys", &["pitch"]),
    ("ort", &["engine"]),
    ("landlock", &["engine"]),
    ("lapin", &["queue"]),
    ("aws-sdk-s3", &["store"]),
    ("aws-config", &["store"]),
    ("parquet", &["report"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("anyhow", &["cli"]),
    ("axum", &["api"]),
    ("opentelemetry", &["trace"]),
    ("opentelemetry_sdk", &["trace"]),
    ("opentelemetry-otlp", &["trace"]),
    ("tracing-opentelemetry", &["trace"]),
    ("prometheus-client", &["fleet"]),
    ("nvml-wrapper", &["engine", "worker"]),
    ("croner", &["worker"]),
    // The worker's three pages, and the API's connections; what people ask is answered through axum.
    ("hyper", &["api", "worker"]),
];

/// What each crate of the workspace may use of the others. Data flows one way: photo in, analysis out.
const LAYERS: &[(&str, &[&str])] = &[
    ("pitch", &[]),
    ("fleet", &["pitch"]),
    ("engine", &["pitch"]),
    ("queue", &[]),
    ("store", &[]),
    ("trace", &[]),
    ("plan", &[]),
    ("testkit", &[]), // and nobody's but as a dev-dependency
    ("report", &["pitch", "fleet"]),
    ("api", &["pitch", "fleet", "queue", "store", "report", "trace"]),
    ("worker", &["pitch", "fleet", "engine", "queue", "store", "trace"]),
    (
        "cli",
        &[
            "pitch", "plan", "fleet", "engine", "report", "queue", "store", "trace", "worker", "api",
        ],
    ),
];

/// Crates that stay free of runtimes, so that they can be tested without one.
const PURE: &[&str] = &["pitch", "fleet", "plan", "report"];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let names = package
                .dependencies
                .iter()
                .filter(|d| d.kind != DependencyKind::Development)
                .map(|d| d.name.clone())
                .collect();
            (package.name.to_string(), names)
        })
        .collect()
}

#[test]
fn every_fenced_crate_stays_in_its_home() {
    for (package, names) in dependencies() {
        for (fenced, homes) in HOMES {
            assert!(
                !names.contains(*fenced) || homes.contains(&package.as_str()),
                "`{package}` depends on `{fenced}`, whose only home is {homes:?}"
            );
        }
    }
}

#[test]
fn crates_use_only_the_layers_below_them() {
    let packages = dependencies();
    let members: BTreeSet<_> = packages.keys().cloned().collect();
    for (package, names) in packages {
        let allowed = LAYERS
            .iter()
            .find(|(name, _)| *name == package)
            .map(|(_, below)| *below);
        let allowed = allowed.unwrap_or_else(|| panic!("`{package}` has no place in LAYERS: give it one"));
        for used in names.intersection(&members) {
            assert!(
                allowed.contains(&used.as_str()),
                "`{package}` must not use `{used}`"
            );
        }
    }
}

#[test]
fn pure_crates_have_no_runtime() {
    let packages = dependencies();
    for package in PURE {
        assert!(
            !packages[*package].contains("tokio"),
            "`{package}` must not depend on tokio"
        );
    }
}
