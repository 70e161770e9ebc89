//! Model bundles: a folder with a `bundle.toml` that names a detector and a classifier, each in one or two precisions,
//! by file and SHA-256.

mod describe;
mod error;
mod manifest;
pub(crate) mod onnx;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use pitch::analysis::PitchClass;
use sha2::{Digest, Sha256};

pub use self::describe::{ModelFacts, describe};
pub use self::error::BundleError;
pub use self::manifest::{ClassifierEntry, DetectorEntry, Manifest, ModelFile, SCHEMA};
use crate::config::Precision;

/// The file that makes a folder a bundle.
pub const BUNDLE_FILE: &str = "bundle.toml";

/// Models are a few megabytes; what is larger than this is not read into memory.
const MAX_MODEL_BYTES: u64 = 2 << 30;

/// One of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// Finds the pitch.
    Detector,
    /// Names its class.
    Classifier,
}

impl Network {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Detector, Self::Classifier];

    /// The name of its section in `bundle.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Classifier => "classifier",
        }
    }
}

/// A bundle whose `bundle.toml` has been read and found sound. Model files are checked when they are read.
#[derive(Clone, Debug)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
}

impl Bundle {
    /// Reads and checks the `bundle.toml` in `folder`.
    ///
    /// # Errors
    /// When there is none, or it says something that cannot be.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(BUNDLE_FILE);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BundleError::Missing {
                folder: folder.to_owned(),
            },
            _ => BundleError::Unreadable {
                path: path.clone(),
                source,
            },
        })?;
        let manifest = Manifest::parse(&text).map_err(|reason| BundleError::Invalid { path, reason })?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
        })
    }

    /// Where the bundle lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its `bundle.toml` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The precisions that `network` comes in.
    pub fn precisions(&self, network: Network) -> Vec<Precision> {
        Precision::ALL
            .into_iter()
            .filter(|&precision| self.manifest.model(network, precision).is_some())
            .collect()
    }

    /// SHA-256 over everything in the bundle that can change a result: the content of the model files, thresholds,
    /// classes, architectures. Its name, version and file names are not in it. `sha256:` and 64 hexadecimal digits.
    ///
    /// It covers every precision: which of them ran is said beside it, in
    /// [`EngineFacts`](crate::request::EngineFacts).
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut line = |words: &[&str]| {
            hash.update(words.join("\t"));
            hash.update("\n");
        };
        let Manifest {
            detector, classifier, ..
        } = &self.manifest;
        line(&[SCHEMA]);
        line(&["detector", &detector.architecture]);
        line(&["confidence", &detector.confidence_threshold.to_string()]);
        line(&["iou", &detector.iou_threshold.to_string()]);
        for class in &detector.classes {
            line(&["class", class]);
        }
        line(&["classifier", &classifier.architecture]);
        for class in &classifier.classes {
            line(&["class", class]);
        }
        for network in Network::ALL {
            for precision in self.precisions(network) {
                if let Some(model) = self.manifest.model(network, precision) {
                    line(&[network.name(), precision.name(), &model.sha256]);
                }
            }
        }
        format!("sha256:{}", hex(&hash.finalize()))
    }

    /// The file of a model. It lies in the bundle's folder, symbolic links followed.
    ///
    /// # Errors
    /// When the bundle has no such model, the file is missing, or its path leads out of the folder.
    pub fn model_path(&self, network: Network, precision: Precision) -> Result<PathBuf, BundleError> {
        let model = self
            .manifest
            .model(network, precision)
            .ok_or_else(|| BundleError::PrecisionMissing {
                folder: self.folder.clone(),
                network: network.name(),
                precision,
            })?;
        let name = match (&model.file, &model.uri) {
            (Some(file), _) => file.as_str(),
            (None, Some(uri)) => uri.strip_prefix("file:").ok_or_else(|| BundleError::NotPulled {
                folder: self.folder.clone(),
                uri: uri.clone(),
            })?,
            (None, None) => "",
        };
        self.inside(name)
    }

    fn inside(&self, name: &str) -> Result<PathBuf, BundleError> {
        let escapes = || BundleError::Escapes {
            folder: self.folder.clone(),
            file: name.to_owned(),
        };
        let relative = Path::new(name);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if name.is_empty() || !relative.components().all(plain) {
            return Err(escapes());
        }
        let path = self.folder.join(relative);
        let resolved = path.canonicalize().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                BundleError::ModelMissing { path: path.clone() }
            }
            _ => BundleError::Unreadable {
                path: path.clone(),
                source,
            },
        })?;
        let folder = self
            .folder
            .canonicalize()
            .map_err(|source| BundleError::Unreadable {
                path: self.folder.clone(),
                source,
            })?;
        if !resolved.starts_with(&folder) {
            return Err(escapes());
        }
        Ok(resolved)
    }

    /// The bytes of a model: exactly those that the bundle names by SHA-256, and all of it in one file.
    ///
    /// # Errors
    /// As [`model_path`](Self::model_path); when the hash differs; when the model keeps weights in other files.
    pub fn read_model(&self, network: Network, precision: Precision) -> Result<Vec<u8>, BundleError> {
        let path = self.model_path(network, precision)?;
        let unreadable = |source| BundleError::Unreadable {
            path: path.clone(),
            source,
        };
        let size = fs::metadata(&path).map_err(unreadable)?.len();
        if size > MAX_MODEL_BYTES {
            return Err(BundleError::TooLarge { path, size });
        }
        let bytes = fs::read(&path).map_err(unreadable)?;
        let actual = hex(&Sha256::digest(&bytes));
        let expected = self
            .manifest
            .model(network, precision)
            .map(|model| model.sha256.as_str());
        if expected != Some(actual.as_str()) {
            return Err(BundleError::Corrupt {
                path,
                expected: expected.unwrap_or_default().to_owned(),
                actual,
            });
        }
        match onnx::external_data(&bytes) {
            Ok(None) => Ok(bytes),
            Ok(Some(tensor)) => Err(BundleError::ExternalData { path, tensor }),
            Err(reason) => Err(BundleError::NotOnnx { path, reason }),
        }
    }

    /// Checks every model file of the bundle.
    ///
    /// # Errors
    /// The first fault found.
    pub fn verify(&self) -> Result<(), BundleError> {
        for network in Network::ALL {
            for precision in self.precisions(network) {
                self.read_model(network, precision)?;
            }
        }
        Ok(())
    }
}

/// The names that a classifier's classes must have, in this order.
fn class_names() -> Vec<&'static str> {
    PitchClass::ALL.iter().map(|class| class.name()).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests;
