//! The parent's side of an engine process.

use crate::config::EngineConfig;
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure};
use crate::request::{Analysed, EngineFacts, EngineStats, PhotoRequest};
use std::sync::Arc;

/// An engine: a child process that is started when it is needed and ended when it is not.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Arc<EngineConfig>,
}

impl Engine {
    /// Makes an engine without starting its process.
    ///
    /// # Errors
    /// When the bundle or the library is not there.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Starts the process unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn load(&self) -> Result<Arc<EngineFacts>, EngineError> {
        Err(EngineError {
            kind: EngineErrorKind::StartFailed,
            message: format!("not built yet: {}", self.config.bundle.display()),
        })
    }

    /// Analyses one photo; starts the process if need be. Call it for many photos at once: what the lanes cannot take
    /// waits here.
    ///
    /// # Errors
    /// Why the photo has no analysis.
    pub async fn analyse(&self, _request: PhotoRequest) -> Result<Analysed, PhotoFailure> {
        self.load().await?;
        Err(PhotoFailure::new(
            crate::failure::code::ENGINE_UNAVAILABLE,
            false,
            "not built yet",
        ))
    }

    /// Photos analysed at the same time.
    pub fn lanes(&self) -> usize {
        1
    }

    /// Finishes what is in hand and ends the process; all its memory is back when this returns. The next photo starts
    /// it again.
    pub async fn stop(&self) {}

    /// Numbers so far.
    pub fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}
