//! Connections: from the listener to the router, and to their end.

use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves what connects to `listener` until `shutdown`; returns when the requests then in flight are answered.
///
/// A connection on which the head of a request, the first or the next, takes longer than `head_time` is closed: whoever
/// sends a byte now and then would hold it for ever.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    head_time: Duration,
    shutdown: &CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_time);
    let service = TowerToHyperService::new(router);
    let open = GracefulShutdown::new();
    // The listener waits by itself when the system has no more files.
    while let Some((stream, _)) = shutdown
        .run_until_cancelled(Listener::accept(&mut listener))
        .await
    {
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}
