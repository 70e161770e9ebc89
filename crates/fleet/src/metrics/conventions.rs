//! What every page must keep to.

use std::collections::BTreeMap;

/// The rules of `promtool check metrics`, and Prometheus's own (prometheus.io/docs/practices/naming), on a page in its
/// text format.
#[track_caller]
pub(super) fn check(page: &str) {
    let (types, helps, samples) = read(page);
    assert!(types.len() > 15, "{types:?}");
    for (name, kind) in &types {
        assert!(name.starts_with("pitchfleet_"), "{name}");
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        let help = helps.get(name).unwrap_or_else(|| panic!("{name} has no help"));
        assert!(
            help.chars()
                .next()
                .is_some_and(|c| c.is_uppercase() || c.is_ascii_digit()),
            "{name}: {help}"
        );
        for part in name.split('_') {
            let forbidden = [
                "milliseconds",
                "ms",
                "us",
                "kb",
                "mb",
                "minutes",
                "percent",
                "gauge",
                "counter",
            ];
            assert!(!forbidden.contains(&part), "{name}");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
    for sample in samples {
        let name = sample.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|family| types.contains_key(*family));
        assert!(types.contains_key(family.unwrap_or(name)), "{sample}");
    }
}

/// `# TYPE` and `# HELP` lines, and the lines of samples.
fn read(page: &str) -> (BTreeMap<String, String>, BTreeMap<String, String>, Vec<String>) {
    let (mut types, mut helps, mut samples) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                assert!(
                    types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "{name} twice"
                );
            }
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                drop(helps.insert(name.to_owned(), help.to_owned()))
            }
            _ => samples.push(line.to_owned()),
        }
    }
    (types, helps, samples)
}
