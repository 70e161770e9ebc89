//! The metrics page of this process, on a port of its own: what has to be looked up is looked up when somebody reads
//! it, except what the broker is asked, which is asked at a steady pace however many read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use fleet::metrics::{Backlog, Page, QueueDepth};
use queue::{Depths, Lane};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::connections;
use crate::shared::Shared;

/// Between two looks at the queues.
const PERIOD: Duration = Duration::from_secs(10);
/// Longest wait for the broker's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves `/metrics` to whoever reaches `listener`, until `shutdown`.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, shutdown: CancellationToken) {
    let head_time = shared.config.request_time();
    let router = Router::new()
        .route("/metrics", get(read))
        .with_state(Arc::clone(&shared));
    // Nobody waits for a reader's connection at the end.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = connections::serve(listener, router, head_time, &shutdown) => {}
        () = look(shared) => {}
    }
}

async fn read(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match page(&shared, accept) {
        Ok(page) => {
            let headers = [(CONTENT_TYPE, page.content_type), (CACHE_CONTROL, "no-store")];
            (headers, page.body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The page as it is now, in the format that an `Accept` header asks for.
fn page(shared: &Shared, accept: Option<&str>) -> Result<Page, fmt::Error> {
    let (metrics, now_ms) = (&shared.metrics, shared.clock.now_ms());
    let active = shared.coordinator.active();
    let age = |begun_ms: u64| now_ms.saturating_sub(begun_ms) as f64 / 1e3;
    metrics.set_active(
        active.map(|active| active.batches),
        active.and_then(|active| active.oldest_ms).map(age),
    );
    metrics.set_workers(&shared.roster.workers_at(now_ms));
    metrics.set_resident(resident().unwrap_or_default());
    let connected = shared.queue.connection().borrow().is_ready();
    metrics.set_broker(connected, shared.queue.counters().reconnects);
    metrics.page(accept)
}

/// Keeps an eye on the queues. Never returns.
async fn look(shared: Arc<Shared>) {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let seen = match timeout(PATIENCE, shared.queue.depths()).await {
            Ok(Ok(depths)) => Some(backlog(&depths)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the broker does not tell what waits");
                None
            }
            Err(_) => None,
        };
        shared.metrics.set_backlog(seen);
    }
}

fn backlog(depths: &Depths) -> Backlog {
    let queue = |lane| {
        let depth = depths.lanes.get(&lane).copied().unwrap_or_default();
        QueueDepth {
            ready: depth.ready,
            consumers: depth.consumers,
        }
    };
    Backlog {
        bulk: queue(Lane::Bulk),
        express: queue(Lane::Express),
        delayed: depths.waiting(),
        parked: depths.ready(Lane::Parked),
    }
}

/// Bytes of `VmRSS` (proc(5)); `None` where there is no such file.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
