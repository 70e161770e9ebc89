//! What can go wrong, as values that travel between the processes.

use serde::{Deserialize, Serialize};

/// The engine does not start, or not as it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct EngineError {
    /// What kind of fault it is.
    pub kind: EngineErrorKind,
    /// What happened and what to do about it.
    pub message: String,
}

impl EngineError {
    pub(crate) fn new(kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Why an engine does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineErrorKind {
    /// No bundle in that folder.
    BundleMissing,
    /// Its `bundle.toml` is wrong.
    BundleInvalid,
    /// A model file that it names is not there.
    ModelMissing,
    /// A model file is not the one that the bundle names, or ONNX Runtime cannot read it.
    ModelCorrupt,
    /// The bundle has no model of the precision that was asked for.
    PrecisionMissing,
    /// No ONNX Runtime library.
    RuntimeMissing,
    /// The ONNX Runtime library cannot be used.
    RuntimeUnusable,
    /// The device is not there, and falling back to the CPU is not allowed.
    DeviceUnavailable,
    /// The process could not be started, or ended before it was ready.
    StartFailed,
    /// It took longer than the load deadline.
    StartTimeout,
}

impl EngineErrorKind {
    /// The stable code, the same as the serialised name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BundleMissing => "bundle_missing",
            Self::BundleInvalid => "bundle_invalid",
            Self::ModelMissing => "model_missing",
            Self::ModelCorrupt => "model_corrupt",
            Self::PrecisionMissing => "precision_missing",
            Self::RuntimeMissing => "runtime_missing",
            Self::RuntimeUnusable => "runtime_unusable",
            Self::DeviceUnavailable => "device_unavailable",
            Self::StartFailed => "start_failed",
            Self::StartTimeout => "start_timeout",
        }
    }
}

/// A photo has no analysis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct PhotoFailure {
    /// Stable code: one of the decoder's, or of [`code`].
    pub code: String,
    /// What happened and what to do about it.
    pub message: String,
    /// Whether trying again cannot help: the fault is the photo's.
    pub permanent: bool,
    /// SHA-256 of the photo, hexadecimal, if its bytes arrived.
    pub sha256: Option<String>,
}

impl PhotoFailure {
    pub(crate) fn new(code: &str, permanent: bool, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            permanent,
            sha256: None,
        }
    }

    /// The bytes cannot be read from where they are. Whether another try helps depends on where that is; whoever reads
    /// from a network tries again.
    pub(crate) fn unreadable(error: &std::io::Error) -> Self {
        let message = format!("the photo cannot be read: {error}");
        Self::new(code::UNREADABLE, true, message)
    }
}

impl From<EngineError> for PhotoFailure {
    fn from(error: EngineError) -> Self {
        Self::new(code::ENGINE_UNAVAILABLE, false, error.message)
    }
}

/// Codes of [`PhotoFailure`]s that the engine adds to the decoder's.
pub mod code {
    /// The photo's bytes could not be read from where they are.
    pub const UNREADABLE: &str = "unreadable";
    /// The engine process ended abnormally on this photo, alone.
    pub const ENGINE_CRASHED: &str = "engine_crashed";
    /// The engine process ran out of memory on this photo, alone.
    pub const ENGINE_OUT_OF_MEMORY: &str = "engine_out_of_memory";
    /// This photo, alone, took longer than the photo deadline.
    pub const ENGINE_TIMEOUT: &str = "engine_timeout";
    /// The analysis panicked; the process lived on.
    pub const ENGINE_PANICKED: &str = "engine_panicked";
    /// ONNX Runtime reported an error.
    pub const INFERENCE_FAILED: &str = "inference_failed";
    /// The engine does not start; not the photo's fault.
    pub const ENGINE_UNAVAILABLE: &str = "engine_unavailable";
    /// The engine was stopped while this photo was in hand; not the photo's fault.
    pub const ENGINE_STOPPED: &str = "engine_stopped";
}
