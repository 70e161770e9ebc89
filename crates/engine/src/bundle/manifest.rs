//! `bundle.toml`, read and checked.

use serde::{Deserialize, Serialize};

use super::{Network, class_names};
use crate::config::Precision;

/// The value of [`Manifest::schema`].
pub const SCHEMA: &str = "pitchfleet.bundle/1";

/// What a `bundle.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// A short name.
    pub name: String,
    /// Version of the bundle, as its maker counts.
    pub version: String,
    /// The detector.
    pub detector: DetectorEntry,
    /// The classifier.
    pub classifier: ClassifierEntry,
}

/// The section `[detector]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorEntry {
    /// Such as `yolov8n`.
    pub architecture: String,
    /// SPDX identifier.
    pub licence: String,
    /// Names of the classes, in the order of the scores.
    pub classes: Vec<String>,
    /// Least score of a box, 0..=1.
    pub confidence_threshold: f32,
    /// Overlap above which the weaker box of two goes, 0..=1.
    pub iou_threshold: f32,
    /// The model with 32-bit floats.
    pub fp32: Option<ModelFile>,
    /// The model with 16-bit floats, for cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16: Option<ModelFile>,
    /// The model with 8-bit integers.
    pub int8: Option<ModelFile>,
}

/// The section `[classifier]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierEntry {
    /// `mobilenet_v2` or `resnet18`; for people, the program does not care.
    pub architecture: String,
    /// SPDX identifier.
    pub licence: String,
    /// The names of [`PitchClass::ALL`](pitch::analysis::PitchClass::ALL).
    pub classes: Vec<String>,
    /// The model with 32-bit floats.
    pub fp32: Option<ModelFile>,
    /// The model with 16-bit floats, for cards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16: Option<ModelFile>,
    /// The model with 8-bit integers.
    pub int8: Option<ModelFile>,
}

/// Where a model is, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Path in the bundle's folder.
    pub file: Option<String>,
    /// `file:` with such a path, or a place to fetch it from first (`hf:`, `s3:`).
    pub uri: Option<String>,
    /// SHA-256 of the file, 64 hexadecimal digits in lower case.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks the text of a `bundle.toml`.
    ///
    /// # Errors
    /// What is wrong, with the line where the fault has one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The entry of a model.
    pub fn model(&self, network: Network, precision: Precision) -> Option<&ModelFile> {
        match (network, precision) {
            (Network::Detector, Precision::Fp32) => self.detector.fp32.as_ref(),
            (Network::Detector, Precision::Fp16) => self.detector.fp16.as_ref(),
            (Network::Detector, Precision::Int8) => self.detector.int8.as_ref(),
            (Network::Classifier, Precision::Fp32) => self.classifier.fp32.as_ref(),
            (Network::Classifier, Precision::Fp16) => self.classifier.fp16.as_ref(),
            (Network::Classifier, Precision::Int8) => self.classifier.int8.as_ref(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "its schema is `{}`, this program reads `{SCHEMA}`",
                self.schema
            ));
        }
        for (name, threshold) in [
            ("confidence_threshold", self.detector.confidence_threshold),
            ("iou_threshold", self.detector.iou_threshold),
        ] {
            if !(0.0..=1.0).contains(&threshold) {
                return Err(format!("detector.{name} is {threshold}, not within 0 and 1"));
            }
        }
        if self.detector.classes.is_empty() {
            return Err("detector.classes is empty".to_owned());
        }
        if self.classifier.classes != class_names() {
            return Err(format!(
                "classifier.classes must be {:?} in this order",
                class_names()
            ));
        }
        for network in Network::ALL {
            let models = Precision::ALL.map(|precision| self.model(network, precision));
            // 16-bit floats alone would leave a machine without a card with nothing to run.
            if models[0].is_none() && models[2].is_none() {
                return Err(format!(
                    "[{0}] names no model for CPUs: give [{0}.fp32] or [{0}.int8]",
                    network.name()
                ));
            }
            for model in models.into_iter().flatten() {
                model
                    .check()
                    .map_err(|reason| format!("[{}]: {reason}", network.name()))?;
            }
        }
        Ok(())
    }
}

impl ModelFile {
    fn check(&self) -> Result<(), String> {
        if self.file.is_some() == self.uri.is_some() {
            return Err("a model needs either `file` or `uri`".to_owned());
        }
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(is_digit) {
            return Err(format!(
                "`{}` is no SHA-256: 64 hexadecimal digits in lower case are",
                self.sha256
            ));
        }
        Ok(())
    }
}
