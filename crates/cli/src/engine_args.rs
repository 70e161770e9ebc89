//! The arguments of every command that runs an engine.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Device, Engine, EngineConfig, EngineError, PrecisionChoice};
use fleet::manifest::Precision;

use crate::exit::Fatal;

/// Models and what runs them.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Models")]
pub(crate) struct EngineArgs {
    /// Model bundle: a folder, or a name that `pitchfleet models list` knows [default: demo]
    #[arg(
        long,
        value_name = "BUNDLE",
        env = "PITCHFLEET_BUNDLE",
        hide_env_values = true
    )]
    pub(crate) bundle: Option<PathBuf>,
    /// What runs them: auto, cpu or cuda:N
    #[arg(long, default_value_t = Device::Auto, value_name = "DEVICE")]
    pub(crate) device: Device,
    /// Their number format: auto, fp32 or int8
    #[arg(long, default_value_t = PrecisionChoice::Auto, value_name = "FORMAT")]
    pub(crate) precision: PrecisionChoice,
    /// Photos analysed at the same time [default: one per core]
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Longest time for one photo, in seconds
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) photo_deadline: u64,
}

impl EngineArgs {
    /// An engine with the models in the folder `bundle`, not loaded yet.
    ///
    /// # Errors
    /// When bundle or library are missing.
    pub(crate) fn engine(&self, bundle: &Path) -> Result<Engine, Fatal> {
        Ok(Engine::new(self.config(bundle))?)
    }

    /// How the engine is to run with the models in the folder `bundle`.
    pub(crate) fn config(&self, bundle: &Path) -> EngineConfig {
        let mut config = EngineConfig::new(bundle);
        config.device = self.device;
        config.precision = self.precision;
        config.lanes = self.jobs;
        config.photo_deadline = Duration::from_secs(self.photo_deadline);
        config
    }

    /// The choice as a batch records it.
    pub(crate) fn batch_precision(&self) -> Precision {
        match self.precision {
            PrecisionChoice::Auto => Precision::Auto,
            PrecisionChoice::Fp32 => Precision::Fp32,
            PrecisionChoice::Int8 => Precision::Int8,
        }
    }
}

impl From<EngineError> for Fatal {
    fn from(error: EngineError) -> Self {
        Self::set_up(error.message)
    }
}
