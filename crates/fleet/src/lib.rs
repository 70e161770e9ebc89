//! What every role of pitchfleet agrees on: ids, manifest, messages, results, failure codes, the bucket's layout, and
//! the API's documents. Pure: no I/O, no runtime.

pub mod api;
pub mod batch;
pub mod canonical;
pub mod event;
pub mod failure;
pub mod ids;
pub mod job;
pub mod layout;
pub mod lifecycle;
pub mod manifest;
pub mod metrics;
pub mod result;
