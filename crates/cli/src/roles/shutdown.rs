//! How a role ends: the first signal asks it to, the second ends the process where it is.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::interrupt::Interrupt;

/// A token that the first SIGTERM or Ctrl-C cancels. Inside a runtime only.
///
/// # Errors
/// When the kernel refuses to hand over signals.
pub(super) fn on_signal() -> anyhow::Result<CancellationToken> {
    // The second signal must work however busy the runtime is, so it is handled where it arrives.
    Interrupt::install().context("signals cannot be taken over")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop: what is in hand is finished; a second signal ends at once");
        asked.cancel();
    });
    Ok(token)
}
