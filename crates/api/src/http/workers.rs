//! Which workers there are, what they hold, and what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use fleet::api::{NewOrder, Ordered, Problem, WorkerAnswer, WorkerMemory, Workers};
use fleet::event::{Answer, WorkerState};
use fleet::job::Command;
use queue::{Destination, Fanout, Message};
use tokio::time::{Instant, timeout_at};
use ulid::Ulid;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::extract::{JsonBody, PathOf};
use super::gate::{Admin, Caller, Read};
use super::problem::{ApiError, Code};
use super::submission;
use crate::shared::Shared;

/// Seconds that an order waits for answers.
const WAIT: u32 = 30;
const LONGEST_WAIT: u32 = 300;

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(memory))
}

/// Those that may take longer than a request does.
pub(crate) fn slow_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(command))
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

/// A worker's memory over the last hour, and what its unloads gave back.
///
/// As far as this server heard of it; one that was started a minute ago knows a minute.
#[utoipa::path(
    get, path = "/v1/workers/{id}/memory", tag = "operation", operation_id = "worker_memory",
    params(("id" = String, Path, description = "The worker")),
    responses((status = 200, body = WorkerMemory),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn memory(
    State(app): AppState,
    _caller: Caller<Read>,
    PathOf(id): PathOf<String>,
) -> Result<Json<WorkerMemory>, ApiError> {
    let memory = app.shared.roster.memory(&id);
    memory.map(Json).ok_or_else(|| unknown(&id))
}

/// Tell one worker or all of them what to do with their models.
///
/// `warm` loads now (`hold_ms`: and stays loaded for so long), `unload` finishes what is in hand and unloads, `drain`
/// does so and takes no more until `warm`, `reload` takes the bundle that lies in its place now. The answer comes when
/// every worker that is meant has carried it out, or when the wait is over, and says who did not answer. An order that
/// was heard is carried out, even if that takes longer.
#[utoipa::path(
    post, path = "/v1/workers:command", tag = "operation", operation_id = "command_workers",
    request_body = NewOrder,
    responses((status = 200, body = Ordered),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"))
)]
async fn command(
    State(app): AppState,
    _caller: Caller<Admin>,
    JsonBody(new): JsonBody<NewOrder>,
) -> Result<Json<Ordered>, ApiError> {
    let shared = &app.shared;
    let mut answers: BTreeMap<String, WorkerAnswer> = alive(shared)
        .filter(|worker| new.worker.as_ref().is_none_or(|meant| meant == worker))
        .map(|worker| (worker.clone(), silent(worker)))
        .collect();
    if answers.is_empty() {
        return Err(match &new.worker {
            Some(worker) => unknown(worker),
            None => ApiError::new(
                Code::NoWorkers,
                "No worker was heard of. One that just started is in a few seconds; `GET /v1/workers` lists them.",
            ),
        });
    }
    let id = Ulid::generate().to_string();
    let mut heard = shared.orders.listen(&id);
    let command = Command::Models {
        id: id.clone(),
        worker: new.worker,
        order: new.order,
    };
    let message = Message::json(&command).map_err(|error| ApiError::internal(&error))?;
    submission::publish(shared, Destination::Fanout(Fanout::Fleet), message).await?;
    let wait = new.wait_seconds.unwrap_or(WAIT).min(LONGEST_WAIT);
    let until = Instant::now() + Duration::from_secs(wait.into());
    while answers
        .values()
        .any(|answer| answer.answer.is_none_or(|answer| answer == Answer::Heard))
    {
        let next = app.shutdown.run_until_cancelled(timeout_at(until, heard.next()));
        let Some(Ok(Some(said))) = next.await else {
            break;
        };
        // Also from one that nobody knew of.
        let known = answers
            .entry(said.worker.clone())
            .or_insert_with(|| silent(said.worker));
        known.answer = known.answer.max(Some(said.answer));
        known.detail = said.detail;
    }
    let workers = answers.into_values().collect();
    Ok(Json(Ordered { id, workers }))
}

/// Ids of the workers that are alive, as far as anybody knows.
fn alive(shared: &Shared) -> impl Iterator<Item = String> {
    let workers = shared.roster.workers_at(shared.clock.now_ms());
    workers
        .into_iter()
        .filter(|worker| !worker.vanished && worker.last.state != WorkerState::Gone)
        .map(|worker| worker.last.worker)
}

fn silent(worker: String) -> WorkerAnswer {
    WorkerAnswer {
        worker,
        answer: None,
        detail: String::new(),
    }
}

fn unknown(worker: &str) -> ApiError {
    ApiError::new(
        Code::UnknownWorker,
        format!(
            "There is no worker `{worker}`, or it is gone. `GET /v1/workers` lists those that there are."
        ),
    )
}
