//! A batch as it goes on, as server-sent events (WHATWG HTML, 9.2).
//!
//! Every event is the whole status, so that whoever missed some has missed nothing. Ids are milliseconds of Unix time
//! that never go back, whichever process sends them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use fleet::api::{BatchStatus, Problem};
use fleet::ids::{BatchId, Tenant};
use fleet::metrics;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::batches::{batch_id, status_of};
use super::extract::PathOf;
use super::gate::{Caller, Read};
use super::problem::ApiError;
use super::submission::created_ms;

/// At most four events a second.
const PACE: Duration = Duration::from_millis(250);
/// Without a sign of change the status is looked at this often: events of workers may be lost.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A comment after so long a silence keeps the connection open through proxies.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What the browser waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// Follow a batch.
///
/// Server-sent events named `status`, each a whole `BatchStatus`, at most four a second; ends after the final one.
/// Reconnect with `Last-Event-ID`; 204 says that the final one was sent before that id.
#[utoipa::path(
    get, path = "/v1/batches/{id}/events", tag = "batches", operation_id = "follow_batch",
    params(("id" = String, Path, description = "The batch"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last id that was seen")),
    responses((status = 200, body = String, content_type = "text/event-stream"),
        (status = 204, description = "The final event was seen already"),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn follow(
    State(app): AppState,
    caller: Caller<Read>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (tenant, batch) = (caller.tenant().clone(), batch_id(&id)?);
    let changes = app.shared.progress.changes(&tenant, batch);
    let status = status_of(&app.shared, &tenant, batch).await?;
    let last_id = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let last_id = last_id.unwrap_or(0);
    if finished_ms(&status).is_some_and(|finished| last_id >= finished) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let follower = Follower {
        _counted: app.shared.metrics.follower(),
        app,
        tenant,
        batch,
        changes,
        last_id,
        sent: None,
        next_at: Instant::now(),
        first: Some(status),
        ended: false,
    };
    let keep_alive = KeepAlive::new().interval(HEARTBEAT).text("");
    let mut response = Sse::new(follower.into_events())
        .keep_alive(keep_alive)
        .into_response();
    // nginx would hold events back.
    let name = HeaderName::from_static("x-accel-buffering");
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static("no"));
    Ok(response)
}

/// When a batch in a final state reached it.
fn finished_ms(status: &BatchStatus) -> Option<u64> {
    status
        .state
        .is_final()
        .then(|| status.finished_at.as_deref().map_or(0, created_ms))
}

struct Follower {
    _counted: metrics::Follower,
    app: Arc<App>,
    tenant: Tenant,
    batch: BatchId,
    changes: watch::Receiver<u64>,
    last_id: u64,
    sent: Option<BatchStatus>,
    /// No event before.
    next_at: Instant,
    /// The status that was read before the stream began.
    first: Option<BatchStatus>,
    ended: bool,
}

impl Follower {
    fn into_events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let status = match self.first.take() {
            Some(status) => status,
            None => self.changed().await?,
        };
        self.next_at = Instant::now() + PACE;
        self.ended = status.state.is_final();
        let finished = finished_ms(&status).unwrap_or(0);
        self.last_id = self.app.shared.clock.now_ms().max(self.last_id + 1).max(finished);
        let json = serde_json::to_string(&status).ok()?;
        let event = Event::default()
            .event("status")
            .id(self.last_id.to_string())
            .data(json);
        let is_first = self.sent.replace(status).is_none();
        Some(if is_first { event.retry(RECONNECT) } else { event })
    }

    /// The next status that differs; `None` at shutdown, and when the batch was deleted.
    async fn changed(&mut self) -> Option<BatchStatus> {
        let shutdown = self.app.shutdown.clone();
        let look = async {
            loop {
                tokio::time::sleep_until(self.next_at).await;
                // The sender lives as long as the progress tracker.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.changes.changed()).await;
                self.next_at = Instant::now() + PACE;
                match self.app.shared.progress.status(&self.tenant, self.batch).await {
                    Ok(status) if status.is_some() && status == self.sent => {}
                    Ok(status) => return status,
                    Err(error) => tracing::debug!(%error, "the status of a batch that is followed"),
                }
            }
        };
        shutdown.run_until_cancelled(look).await.flatten()
    }
}
