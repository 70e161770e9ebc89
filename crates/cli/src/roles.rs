//! The commands that run until they are told to stop: `up`, `api`, `worker`; and `token`, which makes keys for them.
//!
//! Each role is put together here, from the settings and the adapters that they name; nowhere else are adapters named.

mod allocator;
pub(crate) mod api;
mod log;
pub(crate) mod parts;
mod shutdown;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod worker;

use ::trace::Tracing;

use crate::exit::Fatal;
use crate::settings::{Loaded, SettingsArgs};

/// What every role does first: reads the settings, and begins to write its log and its traces, whose last spans are
/// sent when the second is dropped. `role` is what traces call it.
///
/// # Errors
/// When the settings cannot be used.
fn begin(args: &SettingsArgs, role: &'static str) -> Result<(Loaded, Tracing), Fatal> {
    allocator::keep_small();
    let loaded = args.load()?;
    let tracing = log::init(&loaded.settings, role)?;
    for doubt in &loaded.doubts {
        tracing::warn!("{doubt}");
    }
    Ok((loaded, tracing))
}
