//! What travels: an opaque body and an envelope that the fleet itself reads.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Reasons are for people: longer ones are cut here, so that an error text cannot outgrow a broker's frame.
pub const REASON_LIMIT: usize = 1024;

/// The part of a message that the fleet reads without opening the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Which try this is, from 1. Counted by us in a header: a broker's own count also rises when a worker is
    /// killed with this message in its prefetch.
    pub attempt: u32,
    /// W3C Trace Context of whoever sent it (`traceparent`).
    pub traceparent: Option<String>,
    /// Why the try before this one failed.
    pub last_failure: Option<String>,
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            attempt: 1,
            traceparent: None,
            last_failure: None,
        }
    }
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the reader gets, usually JSON of a few hundred bytes; never pictures.
    pub body: Bytes,
    /// Attempt, trace and the failure before; the default is a first try.
    pub envelope: Envelope,
}

impl Message {
    /// A first try of `body`.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            envelope: Envelope::default(),
        }
    }

    /// A first try of `value` as JSON.
    ///
    /// # Errors
    /// What `serde_json` reports: a map with keys that are not strings, or a failing `Serialize`.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(Self::new)
    }

    /// The same message with the sender's `traceparent`.
    #[must_use]
    pub fn traced(mut self, traceparent: impl Into<String>) -> Self {
        self.envelope.traceparent = Some(traceparent.into());
        self
    }
}

/// A message that is not ours, or that says something we cannot read: reject it, so that it is seen and stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Undecodable {
    /// Nothing says that a pitchfleet sent it.
    #[error("not a message of this fleet (its app-id is {app_id:?})")]
    Foreign {
        /// The sender's `app-id`, if it set one.
        app_id: Option<String>,
    },
    /// One of our headers has a value that we never write.
    #[error("header `{name}` is not readable")]
    Header {
        /// The header's name.
        name: &'static str,
    },
    /// The body is not the JSON that the reader expects.
    #[error("body is not readable: {0}")]
    Body(String),
}

/// Why a message is in the dead lane, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The reason given at rejection, or the broker's (`delivery_limit`).
    pub reason: String,
    /// Name of the queue it was rejected from.
    pub queue: String,
}

/// Reads a body as JSON.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(body).map_err(|error| Undecodable::Body(error.to_string()))
}

/// `reason` cut to [`REASON_LIMIT`] bytes, at a character.
pub(crate) fn shorten(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        let reason = "é".repeat(REASON_LIMIT);
        assert_eq!(shorten(&reason).len(), REASON_LIMIT);
        let odd = format!("x{reason}");
        assert_eq!(shorten(&odd).len(), REASON_LIMIT - 1);
        assert_eq!(shorten("short"), "short");
    }

    #[test]
    fn a_body_of_another_shape_is_undecodable() {
        assert!(matches!(parse::<Vec<u32>>(b"{}"), Err(Undecodable::Body(_))));
        assert_eq!(parse::<Vec<u32>>(b"[1, 2]"), Ok(vec![1, 2]));
    }
}
