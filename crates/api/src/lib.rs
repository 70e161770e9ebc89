//! The HTTP API, and the coordinator that works behind it. State lives in the bucket, work in the queue; what is kept
//! here in memory can be rebuilt from those two at any time, so that several of these processes may run.
//!
//! [`http`] answers requests, [`coordinator`] takes control messages and dead letters, [`progress`] knows how far
//! batches are, [`webhook`] tells others when they are finished, [`metrics`] has the page for Prometheus. The only home of `axum`.

mod census;
pub mod clock;
pub mod config;
pub mod coordinator;
pub mod http;
mod listener;
pub mod metrics;
mod objects;
pub mod orders;
pub mod progress;
pub mod roster;
mod shared;
pub mod webhook;

pub use config::{ApiConfig, ApiLimits, ConfigError, ImportRule};
pub use http::{Api, ServeError};
pub use objects::ObjectError;
pub use shared::Shared;
