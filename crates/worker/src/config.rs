//! How a worker is to run.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use queue::RetryPolicy;

use crate::schedule::WarmAt;

/// Everything a worker needs to know beside its ports. Start from the default and change what differs.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Its name in results and heartbeats, unique in the fleet: host name and process id.
    pub id: String,
    /// Version of the program, for its heartbeats.
    pub program: String,
    /// Folder for photos on their way to the engine. They have no name there, so that nothing stays when the worker is
    /// killed.
    pub spool: PathBuf,
    /// Photos in hand beyond those with the engine: being fetched or stored, so that no lane waits for either.
    pub ahead: usize,
    /// When a photo is tried again whose try failed through no fault of its own, and how often.
    pub retry: RetryPolicy,
    /// Load the models at the start instead of with the first photo.
    pub preload: bool,
    /// How long there must have been nothing to do before the models are unloaded; `None` is never.
    pub unload_grace: Option<Duration>,
    /// When the models are loaded ahead of the work.
    pub warm_at: Option<WarmAt>,
    /// How long they then stay for at least.
    pub warm_for: Duration,
    /// Unloads that leave too much ([`Receipt::is_over`](fleet::event::Receipt::is_over)) until the worker goes, with [`Farewell::recycle`] set, so that
    /// a new process takes its place; `None` is never.
    ///
    /// [`Farewell::recycle`]: crate::Farewell::recycle
    pub recycle_after: Option<NonZeroU64>,
    /// How often the worker says that it lives, and how it is.
    pub heartbeat: Duration,
    /// Longest time, once the worker was asked to go, for what is with the engine; what is not done then goes back to
    /// the queue. Ending the engine may take a few seconds more.
    pub drain_grace: Duration,
    /// Longest time for fetching one photo, and for storing one photo's results; after it the try has failed.
    pub transfer_deadline: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            id: format!("{}-{}", host.trim(), std::process::id()),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            spool: std::env::temp_dir(),
            // With 4 a tenth of two cores stood idle while photos waited; more cost memory (docs/benchmarks.md).
            ahead: 8,
            retry: RetryPolicy::default(),
            preload: false,
            unload_grace: Some(Duration::from_secs(30)),
            warm_at: None,
            warm_for: Duration::from_secs(3600),
            recycle_after: NonZeroU64::new(3),
            heartbeat: Duration::from_secs(5),
            drain_grace: Duration::from_secs(20),
            transfer_deadline: Duration::from_secs(120),
        }
    }
}
