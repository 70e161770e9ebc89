//! Requests and answers.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::ConfigError;
use crate::listener;
use crate::shared::Shared;

/// The API, ready to be served.
#[derive(Debug)]
pub struct Api {
    shared: Arc<Shared>,
}

impl Api {
    /// Over `shared`.
    ///
    /// # Errors
    /// When the configuration cannot be served.
    pub fn new(shared: Arc<Shared>) -> Result<Self, ConfigError> {
        Ok(Self { shared })
    }

    /// Serves `listener` until `shutdown`, then lets requests in flight finish.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> io::Result<()> {
        let router = Router::new().route("/livez", get(|| async { "ok\n" }));
        let (shared, stop) = (Arc::clone(&self.shared), shutdown.clone());
        let listening = tokio::spawn(async move { listener::run(&shared, &stop).await });
        axum::serve(listener, router)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await?;
        listening.abort();
        Ok(())
    }
}
