use std::io;
use std::path::PathBuf;

use crate::config::Precision;
use crate::failure::{EngineError, EngineErrorKind};

/// A bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No `bundle.toml` there.
    #[error("there is no model bundle in {}: it holds no bundle.toml", folder.display())]
    Missing {
        /// The folder that was given.
        folder: PathBuf,
    },
    /// A file is there and cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The `bundle.toml` is wrong.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        reason: String,
    },
    /// The bundle has no model of this precision.
    #[error("the bundle in {} has no {precision} {network}", folder.display())]
    PrecisionMissing {
        /// The bundle.
        folder: PathBuf,
        /// `detector` or `classifier`.
        network: &'static str,
        /// What was asked for.
        precision: Precision,
    },
    /// The model is elsewhere.
    #[error("the model {uri} of the bundle in {} is not on this machine: fetch the bundle with `pitchfleet models pull {}`", folder.display(), folder.display())]
    NotPulled {
        /// The bundle.
        folder: PathBuf,
        /// Where the model is.
        uri: String,
    },
    /// The model file is not there.
    #[error("the model file {} is missing: fetch the bundle again", path.display())]
    ModelMissing {
        /// The file.
        path: PathBuf,
    },
    /// The path of a model file leads out of the bundle.
    #[error("`{file}` leads out of the bundle in {}: model files lie in the bundle's folder", folder.display())]
    Escapes {
        /// The bundle.
        folder: PathBuf,
        /// As the bundle names it.
        file: String,
    },
    /// The model file is another one, or damaged.
    #[error("the model file {} is not the one that the bundle names, or was damaged: its SHA-256 is {actual}, the bundle says {expected}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SHA-256 in `bundle.toml`.
        expected: String,
        /// SHA-256 of the file.
        actual: String,
    },
    /// The model file is larger than any model that is meant here.
    #[error("the model file {} has {size} bytes, too many for a model", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The model reads other files, which no hash covers.
    #[error("the model file {} keeps the weights `{tensor}` in another file: export it with its weights inside", path.display())]
    ExternalData {
        /// The file.
        path: PathBuf,
        /// The first tensor of that kind.
        tensor: String,
    },
    /// The file has the right hash and is no ONNX model.
    #[error("the model file {} is no ONNX model: {reason}", path.display())]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

impl From<BundleError> for EngineError {
    fn from(error: BundleError) -> Self {
        let kind = match error {
            BundleError::Missing { .. } => EngineErrorKind::BundleMissing,
            BundleError::Unreadable { .. } | BundleError::Invalid { .. } | BundleError::Escapes { .. } => {
                EngineErrorKind::BundleInvalid
            }
            BundleError::PrecisionMissing { .. } => EngineErrorKind::PrecisionMissing,
            BundleError::NotPulled { .. } | BundleError::ModelMissing { .. } => EngineErrorKind::ModelMissing,
            BundleError::Corrupt { .. }
            | BundleError::TooLarge { .. }
            | BundleError::ExternalData { .. }
            | BundleError::NotOnnx { .. } => EngineErrorKind::ModelCorrupt,
        };
        Self::new(kind, error.to_string())
    }
}
