//! Which workers there are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use fleet::api::{Problem, Workers};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::gate::{Caller, Read};

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// List workers.
///
/// Every one that this server heard of in the last hour. One that missed three heartbeats without a goodbye has
/// vanished.
#[utoipa::path(
    get, path = "/v1/workers", tag = "operation", operation_id = "list_workers",
    responses((status = 200, body = Workers),
        (status = 401, body = Problem, content_type = "application/problem+json"))
)]
async fn list(State(app): AppState, _caller: Caller<Read>) -> Json<Workers> {
    let workers = app.shared.roster.workers_at(app.shared.clock.now_ms());
    Json(Workers { workers })
}
