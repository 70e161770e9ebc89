//! The server's life: start, serve, drain.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::app::{App, InFlight};
use super::connections;
use super::gate::Gate;
use super::router;
use super::tickets::Tickets;
use crate::config::ConfigError;
use crate::listener;
use crate::shared::Shared;

/// The API, ready to be served.
#[derive(Debug)]
pub struct Api {
    shared: Arc<Shared>,
    gate: Gate,
    tickets: Tickets,
}

/// Why serving ended badly or did not begin.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration and the listener do not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listener failed.
    #[error("the HTTP listener failed: {0}")]
    Io(#[from] io::Error),
}

impl Api {
    /// Over `shared`.
    ///
    /// # Errors
    /// When the configuration cannot be served.
    pub fn new(shared: Arc<Shared>) -> Result<Self, ConfigError> {
        Ok(Self {
            gate: Gate::new(shared.config.tokens.clone(), &shared.config.limits)?,
            tickets: Tickets::new()?,
            shared,
        })
    }

    /// Serves `listener` until `shutdown`; then takes no more connections, ends event streams, and gives requests in
    /// flight the configured time to finish.
    ///
    /// # Errors
    /// When there are no tokens and other machines could connect; when the listener fails.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        if self.gate.is_open() && !address.ip().is_loopback() {
            return Err(ConfigError::OpenToAll { address }.into());
        }
        let shared = Arc::clone(&self.shared);
        let drain = Duration::from_secs(shared.config.drain_seconds.into());
        let app = Arc::new(App {
            shared: self.shared,
            gate: self.gate,
            tickets: self.tickets,
            in_flight: InFlight::default(),
            shutdown: shutdown.clone(),
        });
        let head_time = shared.config.request_time();
        let serving = connections::serve(listener, router::router(app), head_time, &shutdown);
        let drained = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        let listening = async {
            if let Err(error) = listener::run(&shared, &shutdown).await {
                tracing::warn!(%error, "events are no longer heard");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serving => {}
            () = drained => tracing::warn!("requests were still in flight when the time to drain had passed"),
            () = listening => {}
        }
        Ok(())
    }
}
