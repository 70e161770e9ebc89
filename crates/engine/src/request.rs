//! What goes into an engine and what comes out.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pitch::analysis::{Analysis, Options, Picture};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;

use crate::config::Precision;

/// One photo to analyse.
#[derive(Clone, Debug)]
pub struct PhotoRequest {
    /// Where its bytes are.
    pub source: PhotoSource,
    /// What is to be done with it.
    pub options: Options,
}

/// Where the bytes of a photo are. They are read again when the photo has to be tried again.
#[derive(Clone)]
pub enum PhotoSource {
    /// In memory; streamed.
    Bytes(Arc<[u8]>),
    /// In a file, which the engine process is handed open, and reads itself.
    File(PathBuf),
    /// In an open file, which the engine process is handed, too: it should be open for reading only. Where it is read does
    /// not matter, and is not changed.
    Opened(Arc<File>),
    /// Elsewhere; streamed.
    Open(Arc<dyn OpenPhoto>),
}

impl fmt::Debug for PhotoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Opened(file) => write!(f, "Opened({file:?})"),
            Self::Open(_) => f.write_str("Open(..)"),
        }
    }
}

/// A stream of a photo's bytes.
pub type PhotoReader = Pin<Box<dyn AsyncRead + Send>>;

/// A photo that can be read, again if need be.
pub trait OpenPhoto: Send + Sync {
    /// Begins reading at the first byte.
    ///
    /// # Errors
    /// When the photo is not there or not readable; it then fails with [`code::UNREADABLE`](crate::failure::code).
    fn open(&self) -> Pin<Box<dyn Future<Output = io::Result<PhotoReader>> + Send + '_>>;
}

/// A photo's analysis.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysed {
    /// What was found.
    pub analysis: Analysis,
    /// The pictures that were asked for, in that order.
    pub pictures: Vec<Picture>,
    /// SHA-256 of the photo's bytes, hexadecimal.
    pub sha256: String,
    /// Number of its bytes.
    pub bytes: u64,
    /// What it waited for.
    pub admission: Admission,
    /// What ran.
    pub facts: Arc<EngineFacts>,
}

/// How a photo came to a lane, and to its share of the memory budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Bytes of the budget that it takes: what it holds decoded, at its peak, and what it came as.
    pub bytes: u64,
    /// From its last byte's arrival in the process to the moment when a lane took it.
    pub lane_wait: Duration,
    /// From then on, how long its memory was not free; exactly zero for one that need not wait.
    pub memory_wait: Duration,
}

/// What an engine turned out to be once it was ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineFacts {
    /// The bundle's name and version.
    pub bundle: String,
    /// Digest of the bundle and the precisions that run, `sha256:…`.
    pub bundle_digest: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// ONNX Runtime's name of what was asked for, such as `CUDAExecutionProvider`.
    pub execution_provider_requested: String,
    /// ONNX Runtime's name of what runs, such as `CPUExecutionProvider`.
    pub execution_provider: String,
    /// Why that device: empty when it is the one that was asked for by name.
    pub device_reason: String,
    /// Precision of the detector.
    pub detector_precision: Precision,
    /// Precision of the classifier.
    pub classifier_precision: Precision,
    /// Why that precision.
    pub precision_reason: String,
    /// Photos analysed at the same time.
    pub lanes: usize,
    /// Version of the ONNX Runtime library.
    pub runtime_version: String,
    /// How the process fenced itself in, such as `landlock, seccomp, address space`.
    pub isolation: String,
}

impl EngineFacts {
    /// The precisions as a result states them: one word, or `detector int8, classifier fp32`.
    pub fn precision(&self) -> String {
        precision_text(self.detector_precision, self.classifier_precision)
    }
}

pub(crate) fn precision_text(detector: Precision, classifier: Precision) -> String {
    if detector == classifier {
        detector.to_string()
    } else {
        format!("detector {detector}, classifier {classifier}")
    }
}

/// Numbers about an engine since it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStats {
    /// What runs; `None` while nothing is loaded.
    pub facts: Option<Arc<EngineFacts>>,
    /// Process id of the engine while it is loaded.
    pub pid: Option<u32>,
    /// Times that an engine process became ready.
    pub loads: u64,
    /// Milliseconds from spawning to ready, of the last load.
    pub last_load_ms: Option<f64>,
    /// Times that it ended by itself: crashes, out of memory, deadlines.
    pub restarts: u64,
    /// Times that a card's memory did not suffice for a batch, which was run in halves.
    pub batch_halvings: u64,
    /// Photos given to the engine and not yet answered.
    pub in_flight: usize,
    /// Bytes that decoded photos may hold at the same time.
    pub memory_budget: u64,
    /// Bytes of the budget that are taken now. More than the budget when a photo is larger than all of it: such a one is
    /// analysed alone.
    pub memory_admitted: u64,
    /// Photos that lanes have taken and that now wait for others to give their memory back.
    pub waiting_for_memory: u64,
}
