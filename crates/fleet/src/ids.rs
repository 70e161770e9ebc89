//! Who a batch belongs to and which one it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use ulid::Ulid;

/// Text that is no tenant or batch id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not a tenant.
    #[error("`{0}` is no tenant: 1 to 63 lower-case letters, digits and inner hyphens are")]
    Tenant(String),
    /// Not a batch id.
    #[error("`{0}` is no batch id: 26 characters of Crockford's base 32 are (a ULID)")]
    Batch(String),
}

/// Whose photos: a DNS label (RFC 1123), so that it can stand in a key, a URL and a metric's label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

impl Tenant {
    /// The tenant of a fleet that has no tokens.
    pub fn local() -> Self {
        Self("local".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self::local()
    }
}

impl FromStr for Tenant {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let label = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if label {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Tenant(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Tenant {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which batch: a ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId(Ulid);

impl BatchId {
    /// The batch of an `Idempotency-Key`: a submit that is sent again finds the batch that the first one made.
    pub fn of_key(tenant: &Tenant, idempotency_key: &str) -> Self {
        // The length in front keeps tenant and key apart whatever they contain.
        let text = format!("{}:{tenant}:{idempotency_key}", tenant.as_str().len());
        let digest = Sha256::digest(text);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(Ulid::from_bytes(bytes))
    }
}

impl From<Ulid> for BatchId {
    fn from(ulid: Ulid) -> Self {
        Self(ulid)
    }
}

impl FromStr for BatchId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = Ulid::from_string(text).map(Self);
        // One spelling each: what is read in lower case would be another key in the bucket.
        id.ok()
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| IdError::Batch(text.to_owned()))
    }
}

impl TryFrom<String> for BatchId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<BatchId> for String {
    fn from(id: BatchId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_dns_labels() {
        for good in ["a", "acme", "mcc-2", &"x".repeat(63)] {
            assert!(good.parse::<Tenant>().is_ok(), "{good}");
        }
        for bad in ["", "Acme", "a/b", "..", "-a", "a-", "a_b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn batch_ids_have_one_spelling() {
        let id = "01KB2Z3C9Q4T7V8W5X6Y0A1B2C";
        assert_eq!(id.parse::<BatchId>().unwrap().to_string(), id);
        for bad in [
            "",
            "01kb2z3c9q4t7v8w5x6y0a1b2c",
            "01KB2Z3C9Q4T7V8W5X6Y0A1B2",
            "../x",
        ] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_names_one_batch_of_one_tenant() {
        let (a, b): (Tenant, Tenant) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(BatchId::of_key(&a, "k"), BatchId::of_key(&a, "k"));
        assert_ne!(BatchId::of_key(&a, "k"), BatchId::of_key(&b, "k"));
        assert_ne!(BatchId::of_key(&a, "k"), BatchId::of_key(&a, "l"));
    }
}
