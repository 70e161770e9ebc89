//! ONNX sessions, model bundles and the engine process.
//!
//! A worker holds an [`Engine`](handle::Engine). It starts a child process that loads the [`bundle`] and analyses photos
//! in lanes; ending the child gives all memory back, and whatever a photo does to it, the worker lives on.

mod admission;
mod batcher;
pub mod bundle;
mod card_memory;
pub mod child;
pub mod config;
mod descriptors;
mod device;
pub mod failure;
mod frames;
mod graph;
pub mod handle;
pub mod memory;
mod precision;
pub mod quota;
pub mod request;
pub mod runtime;
mod sessions;
mod suspects;

pub use bundle::Bundle;
pub use config::{CardConfig, Device, EngineConfig, Precision, PrecisionChoice};
pub use failure::{EngineError, EngineErrorKind, PhotoFailure};
pub use handle::Engine;
pub use request::{
    Admission, Analysed, EngineFacts, EngineStats, OpenPhoto, PhotoReader, PhotoRequest, PhotoSource,
};
