//! How an engine is to run.

use std::ffi::OsString;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything an engine needs to know. Start from [`EngineConfig::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The executable that is run as the engine process; `None` is this process's own executable.
    pub program: Option<PathBuf>,
    /// Its arguments; they make it call [`child::run`](crate::child::run).
    pub arguments: Vec<OsString>,
    /// Folder of the model bundle.
    pub bundle: PathBuf,
    /// The ONNX Runtime library; `None` searches for it, see [`runtime::locate`](crate::runtime::locate).
    pub runtime_library: Option<PathBuf>,
    /// What runs the networks.
    pub device: Device,
    /// Whether a `cuda:N` that is not there may be replaced by the CPU. `auto` always may.
    pub allow_cpu_fallback: bool,
    /// Which of the bundle's model files is taken.
    pub precision: PrecisionChoice,
    /// How a card takes photos.
    pub card: CardConfig,
    /// Photos analysed at the same time; `None` takes one per core of the quota.
    pub lanes: Option<NonZeroUsize>,
    /// Bytes that decoded photos may hold at the same time; `None` derives it from the memory limit.
    pub memory_budget: Option<u64>,
    /// What a photo may cost at most.
    pub limits: pitch::photo::Limits,
    /// Longest time for one photo, from the moment a lane takes it. The process is ended when it passes.
    pub photo_deadline: Duration,
    /// Longest time from spawning to ready.
    pub load_deadline: Duration,
    /// Whether the process fences itself in (Landlock, seccomp, address-space limit) where the kernel can.
    pub isolate: bool,
}

impl EngineConfig {
    /// The defaults, with the models of the bundle in the folder `bundle`.
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self {
            program: None,
            arguments: vec!["engine".into()],
            bundle: bundle.into(),
            runtime_library: None,
            device: Device::Auto,
            allow_cpu_fallback: false,
            precision: PrecisionChoice::Auto,
            card: CardConfig::default(),
            lanes: None,
            memory_budget: None,
            limits: pitch::photo::Limits::default(),
            photo_deadline: Duration::from_secs(60),
            load_deadline: Duration::from_secs(60),
            isolate: true,
        }
    }
}

/// How a card takes photos. The CPU needs none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardConfig {
    /// Bytes of the card's memory that the networks may hold; `None` takes nine tenths of what is free when they are
    /// loaded.
    pub memory_limit: Option<u64>,
    /// Most photos in one batch; `None` derives it from that memory.
    pub largest_batch: Option<NonZeroUsize>,
    /// Longest time that a photo waits for others to share its batch. None waits when nobody else is on the way.
    pub linger: Duration,
}

impl Default for CardConfig {
    fn default() -> Self {
        Self {
            memory_limit: None,
            largest_batch: None,
            linger: Duration::from_millis(2),
        }
    }
}

/// What is asked to run the networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Device {
    /// A CUDA card if library, driver and card are there, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA card with this number.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(card) => write!(f, "cuda:{card}"),
        }
    }
}

/// Text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no device; auto, cpu, cuda and cuda:N are")]
pub struct UnknownDevice(String);

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| UnknownDevice(text.to_owned())),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownDevice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// The number format of a model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats (the file may store them as 16-bit ones).
    Fp32,
    /// 16-bit floats, also while it runs; inputs and outputs are 32-bit ones. For cards: a CPU gains nothing.
    Fp16,
    /// 8-bit integers, statically quantised.
    Int8,
}

impl Precision {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Fp32, Self::Fp16, Self::Int8];

    /// The name on the wire and in `bundle.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which precision is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// The fastest that this machine runs well.
    #[default]
    Auto,
    /// 32-bit floats, which every machine runs.
    Fp32,
    /// 8-bit integers.
    Int8,
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        })
    }
}

/// Text that names no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no precision; auto, fp32 and int8 are")]
pub struct UnknownPrecision(String);

impl FromStr for PrecisionChoice {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "fp32" => Ok(Self::Fp32),
            "int8" => Ok(Self::Int8),
            _ => Err(UnknownPrecision(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_alike() {
        for (text, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::Cpu),
            ("cuda:0", Device::Cuda(0)),
            ("cuda:12", Device::Cuda(12)),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        for text in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:99999999999",
            "CPU",
        ] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }

    #[test]
    fn precisions_are_read_and_written_alike() {
        for text in ["auto", "fp32", "int8"] {
            assert_eq!(text.parse::<PrecisionChoice>().unwrap().to_string(), text);
        }
        assert!("fp16".parse::<PrecisionChoice>().is_err());
    }
}
