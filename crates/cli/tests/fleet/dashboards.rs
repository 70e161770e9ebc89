//! Dashboards, rules and runbook as they lie in the repository: they name what the code exports, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fleet::metrics::{ApiMetrics, Card, WorkerMetrics};
use serde_json::Value;

/// Of a card, which the machine that tests this may not have.
pub(crate) const CARD: Card = Card {
    number: 0,
    process: 1 << 30,
    used: 2 << 30,
    total: 80 << 30,
    busy: Some(0.35),
};

pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let text = fs::read_to_string(path);
    assert!(text.is_ok(), "{}: {text:?}", path.display());
    text.unwrap()
}

/// Every dashboard by its file's name.
fn dashboards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(deploy().join("grafana/dashboards")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&read(path)).unwrap())
        })
        .collect()
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    let list = value.pointer(path).and_then(Value::as_array);
    list.into_iter().flatten()
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A panel that shows something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "/panels").filter(|panel| panel["type"] != "row")
}

/// Every PromQL expression of every dashboard, with where it stands.
pub(crate) fn queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in list(panel, "/targets") {
                let place = format!("{file}, {}", text(panel, "/title"));
                found.push((place, text(target, "/expr").to_owned()));
            }
        }
        for annotation in list(&dashboard, "/annotations/list") {
            let place = format!("{file}, annotation {}", text(annotation, "/name"));
            found.push((place, text(annotation, "/expr").to_owned()));
        }
        for variable in list(&dashboard, "/templating/list").filter(|variable| variable["type"] == "query") {
            let query = text(variable, "/query/query");
            let arguments = query.strip_prefix("label_values(").unwrap().strip_suffix(')');
            let (metric, label) = arguments.unwrap().rsplit_once(", ").unwrap();
            let place = format!("{file}, variable {}", text(variable, "/name"));
            found.push((place, format!("count by ({label}) ({metric}{{{label}!=\"\"}})")));
        }
    }
    found
}

/// Every name of ours in `text`, exported or recorded, each with the `{…}` behind it.
pub(crate) fn selectors(text: &str) -> Vec<(&str, &str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("pitchfleet") {
        let is_whole = !rest[..start].ends_with(is_name);
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let labels = match after.find('}') {
            Some(close) if after.starts_with('{') => &after[..=close],
            _ => "",
        };
        if is_whole && (name.starts_with("pitchfleet_") || name.starts_with("pitchfleet:")) {
            found.push((name, labels));
        }
        rest = after;
    }
    found
}

fn pages() -> [String; 2] {
    let worker = WorkerMetrics::new("1");
    // What is only there with a card, and after a load.
    worker.set_card(Some(CARD));
    worker.set_provider("CPUExecutionProvider", "CPUExecutionProvider");
    [
        worker.page(None).unwrap().body,
        ApiMetrics::new("1").page(None).unwrap().body,
    ]
}

/// Names of everything that the code exports.
fn exported() -> BTreeSet<String> {
    let pages = pages().concat();
    let samples = pages.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|sample| sample.split(['{', ' ']).next().unwrap().to_owned())
        .collect()
}

/// What stands behind `key` at the beginning of lines of the rules.
fn rules(key: &str) -> Vec<String> {
    let rules = read(deploy().join("prometheus/rules.yml"));
    let lines = rules.lines().map(str::trim);
    lines
        .filter_map(|line| line.strip_prefix(key).map(|rest| rest.trim().to_owned()))
        .collect()
}

#[test]
fn dashboards_and_rules_name_what_the_code_exports() {
    let mut known = exported();
    assert!(known.len() > 50, "{known:?}");
    known.extend(rules("- record:"));
    let mut places = queries();
    places.push(("rules.yml".into(), read(deploy().join("prometheus/rules.yml"))));
    for file in fs::read_dir(deploy().join("prometheus/tests")).unwrap() {
        let path = file.unwrap().path();
        places.push((path.display().to_string(), read(&path)));
    }
    for (place, query) in places {
        for (name, _) in selectors(&query) {
            assert!(known.contains(name), "{place}: nothing exports `{name}`");
        }
    }
}

#[test]
fn selectors_are_found_with_their_labels() {
    let text = r#"rate(pitchfleet_a_total{x="1"}[5m]) / pitchfleet:b + my_pitchfleet_c + "docs#pitchfleetd""#;
    assert_eq!(
        selectors(text),
        [("pitchfleet_a_total", r#"{x="1"}"#), ("pitchfleet:b", "")]
    );
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let dashboards = dashboards();
    assert_eq!(dashboards.len(), 2);
    for (file, dashboard) in dashboards {
        assert!(!text(&dashboard, "/uid").is_empty() && !text(&dashboard, "/description").is_empty());
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "/title");
            assert!(titles.insert(title), "{file}: two panels are called {title}");
            assert!(
                text(panel, "/description").len() > 10,
                "{file}: {title} has no description"
            );
            let unit = text(panel, "/fieldConfig/defaults/unit");
            assert!(!unit.is_empty(), "{file}: {title} has no unit");
            assert!(
                list(panel, "/targets").count() > 0,
                "{file}: {title} asks nothing"
            );
        }
        let variables: Vec<_> = list(&dashboard, "/templating/list")
            .map(|variable| text(variable, "/name"))
            .collect();
        assert_eq!(variables, ["datasource", "worker", "queue", "device"], "{file}");
    }
}

#[test]
fn dashboards_are_those_of_their_source() {
    let mut command = Command::new("python3");
    command.arg(deploy().join("grafana/dashboards.py")).arg("--check");
    succeeds(&mut command, "");
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_every_section_its_alert() {
    let runbook = read(deploy().join("../docs/runbook.md"));
    let sections: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let alerts = rules("- alert:");
    assert!(alerts.len() > 12, "{alerts:?}");
    let (mut sorted, mut names) = (sections.clone(), alerts.clone());
    sorted.sort_unstable();
    names.sort_unstable();
    assert_eq!(sorted, names);
    for (key, count) in [("summary:", 1), ("description:", 1), ("severity:", 1)] {
        assert_eq!(rules(key).len(), alerts.len() * count, "{key}");
    }
    for (alert, url) in alerts.iter().zip(rules("runbook_url:")) {
        assert_eq!(url, format!("docs/runbook.md#{}", alert.to_lowercase()));
    }
    for section in runbook.split("\n## ").skip(1) {
        for part in ["**Means.**", "**See.**", "**Do.**"] {
            assert!(section.contains(part), "{section}");
        }
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let mut cases: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for file in fs::read_dir(deploy().join("prometheus/tests")).unwrap() {
        let file = read(file.unwrap().path());
        let mut alert = String::new();
        for line in file.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("- alertname: ") {
                name.clone_into(&mut alert);
            }
            if let Some(expected) = line.strip_prefix("exp_alerts:") {
                let is_quiet = expected.trim() == "[]";
                cases.entry(alert.clone()).or_default()[usize::from(is_quiet)] += 1;
            }
        }
    }
    for alert in rules("- alert:") {
        let [fires, quiet] = cases.get(&alert).copied().unwrap_or_default();
        assert!(
            fires > 0 && quiet > 0,
            "{alert}: {fires} cases fire, {quiet} do not"
        );
    }
}

#[test]
fn promtool_finds_nothing_wrong() {
    let folder = deploy().join("prometheus");
    let promtool = || {
        let mut command = Command::new("promtool");
        command.current_dir(&folder);
        command
    };
    succeeds(promtool().args(["check", "config", "prometheus.yml"]), "");
    let tests = fs::read_dir(folder.join("tests")).unwrap();
    succeeds(
        promtool()
            .args(["test", "rules"])
            .args(tests.map(|file| file.unwrap().path())),
        "",
    );
    for page in pages() {
        succeeds(promtool().args(["check", "metrics"]), &page);
    }
}

#[track_caller]
fn succeeds(command: &mut Command, input: &str) {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn();
    assert!(child.is_ok(), "{command:?}: {child:?}; `make test` installs it");
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output: Output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
