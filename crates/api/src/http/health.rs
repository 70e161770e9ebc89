//! Whether this process lives, and whether it can do anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
}

/// Whether the process answers.
#[utoipa::path(
    get, path = "/livez", tag = "operation", operation_id = "livez", security(()),
    responses((status = 200, body = String))
)]
async fn livez() -> &'static str {
    "ok\n"
}

/// What a request needs, and whether it is there.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// Everything is.
    ready: bool,
    /// The broker takes messages.
    broker: bool,
    /// The object store answers.
    store: bool,
}

/// Whether broker and bucket can be reached.
#[utoipa::path(
    get, path = "/readyz", tag = "operation", operation_id = "readyz", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness))
)]
async fn readyz(State(app): AppState) -> (StatusCode, Json<Readiness>) {
    let shared = &app.shared;
    let broker = shared.queue.connection().borrow().is_ready();
    let store = shared.buckets.home().head("readyz").await.is_ok();
    let ready = broker && store && !app.shutdown.is_cancelled();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, broker, store }))
}
