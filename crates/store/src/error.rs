//! One error for every adapter: a kind to match on, a source to print.

use std::error::Error;

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No object has this key.
    NotFound,
    /// The credentials do not allow it, or there are none.
    Denied,
    /// The key is empty, too long, or would leave the folder.
    InvalidKey,
    /// The adapter cannot do this at all, such as presigning for a folder.
    Unsupported,
    /// No space is left. Trying again without making room is pointless.
    Full,
    /// Network, server or disk trouble that may pass: try again later.
    Unavailable,
}

/// A store operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{key}`: {}", self.reason())]
pub struct StoreError {
    /// What a caller can act on.
    pub kind: StoreErrorKind,
    /// The verb: `read`, `write`, `list`, …
    pub operation: &'static str,
    /// The key or prefix.
    pub key: String,
    /// What the adapter said.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, operation: &'static str, key: &str) -> Self {
        Self {
            kind,
            operation,
            key: key.to_owned(),
            source: None,
        }
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the same call may succeed later without anyone acting.
    pub fn is_transient(&self) -> bool {
        self.kind == StoreErrorKind::Unavailable
    }

    fn reason(&self) -> &'static str {
        match self.kind {
            StoreErrorKind::NotFound => "there is no such object",
            StoreErrorKind::Denied => "the credentials do not allow it",
            StoreErrorKind::InvalidKey => "the key is not valid",
            StoreErrorKind::Unsupported => "this store cannot do that",
            StoreErrorKind::Full => "no space is left",
            StoreErrorKind::Unavailable => "the store does not answer as it should",
        }
    }
}
