//! Digests of JSON documents that do not depend on how the document was written.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// `sha256:…` over the canonical JSON of `value`; see [`canonical_json`].
pub fn canonical_digest(value: &impl Serialize) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(canonical_json(value)) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `value` as JSON without white space and with the keys of every object in byte order, the relevant part of
/// RFC 8785. Independent of the field order in a struct and of serde_json's `preserve_order`.
///
/// A value that JSON cannot express (a map with keys that are no strings) is `null`.
pub fn canonical_json(value: &impl Serialize) -> String {
    let mut out = String::new();
    write_value(&serde_json::to_value(value).unwrap_or(Value::Null), &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (place, (key, value)) in entries.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(key.as_str()));
                write_value(value, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_value(value, out);
            }
            out.push(']');
        }
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = json!({"b": [1, {"z": null, "a": "é\n"}], "a": 0.5});
        assert_eq!(
            canonical_json(&value),
            r#"{"a":0.5,"b":[1,{"a":"é\n","z":null}]}"#
        );
    }

    #[test]
    fn the_digest_is_that_of_the_canonical_text() {
        // printf '{"a":1}' | sha256sum
        assert_eq!(
            canonical_digest(&json!({"a": 1})),
            "sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
        );
    }
}
