//! One trace across processes, from the HTTP request that submits a batch to the stages of each photo.
//!
//! Everybody else uses `tracing` spans and the few functions here; only this crate knows OpenTelemetry. Ids are always
//! made, so that the log lines of all processes can be put together; spans are kept and sent only where a collector
//! is configured ([`Tracing::start`]).

mod client;
mod context;
mod export;
mod stages;

pub use context::{begin, rename, traceparent, unsampled};
pub use export::{Collector, SetUpError, Tracing, UNTRACED, is_ours};
pub use stages::{Stage, finished};
