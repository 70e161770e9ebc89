//! Batches: make, list, look at, submit, cancel, retry, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fleet::api::{BatchPage, BatchStatus, NewBatch, NewSource, Problem, Retried};
use fleet::batch::{BatchState, Stage};
use fleet::ids::{BatchId, Tenant};
use fleet::job::Command;
use fleet::layout::{BatchKeys, active_key, index_batch, index_key, index_prefix};
use fleet::manifest::{BundleRef, Manifest, Source};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use queue::{Destination, Fanout, Message};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::cursor::Cursor;
use super::extract::{JsonBody, PathOf, QueryOf};
use super::gate::{Admin, Caller, Read, Submit};
use super::problem::{ApiError, Code};
use super::{submission, validate};
use crate::objects;
use crate::shared::Shared;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LONGEST_IDEMPOTENCY_KEY: usize = 255;
/// Batches whose status is read at the same time for a page.
const READ_AT_A_TIME: usize = 16;

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(submit))
        .routes(routes!(cancel))
        .routes(routes!(retry))
}

/// Deletion takes as long as there are objects.
pub(crate) fn slow_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(delete))
}

/// The id in a path; text that is none names no batch.
pub(crate) fn batch_id(text: &str) -> Result<BatchId, ApiError> {
    text.parse().map_err(|_| ApiError::unknown_batch(text))
}

/// The batch as it stands, or 404.
pub(crate) async fn status_of(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
) -> Result<BatchStatus, ApiError> {
    let status = shared.progress.status(tenant, batch).await?;
    status.ok_or_else(|| ApiError::unknown_batch(&batch.to_string()))
}

/// Whether the batch exists, without asking how far it is; else 404.
pub(crate) async fn manifest_of(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
) -> Result<Manifest, ApiError> {
    let key = BatchKeys::new(tenant, batch).manifest();
    let manifest = objects::read(shared.buckets.home(), &key).await?;
    manifest.ok_or_else(|| ApiError::unknown_batch(&batch.to_string()))
}

fn wrong_state(status: &BatchStatus, what: &str) -> ApiError {
    let state = status.state.name();
    ApiError::new(Code::WrongState, format!("The batch is {state}; {what}."))
}

fn accepted(status: &BatchStatus, replayed: bool) -> Response {
    let mut response = (StatusCode::ACCEPTED, Json(status)).into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/batches/{}", status.id)) {
        headers.insert(LOCATION, location);
    }
    if replayed {
        let name = HeaderName::from_static("idempotency-replayed");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    response
}

fn idempotency_key(headers: &HeaderMap) -> Result<&str, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Err(ApiError::field(
            Code::IdempotencyKeyMissing,
            "Idempotency-Key",
            "send a key of your own, such as a UUID, and the same one when you send this request again",
        ));
    };
    let key = value.to_str().unwrap_or_default();
    if (1..=LONGEST_IDEMPOTENCY_KEY).contains(&key.len()) {
        return Ok(key);
    }
    let message = format!("must be 1 to {LONGEST_IDEMPOTENCY_KEY} printable ASCII characters");
    Err(ApiError::field(
        Code::IdempotencyKeyInvalid,
        "Idempotency-Key",
        message,
    ))
}

/// Make a batch.
///
/// Photos come from a prefix of an allowed bucket, from a list of keys, or are uploaded next. Nothing is listed before
/// the answer. The same request with the same key finds the same batch.
#[utoipa::path(
    post, path = "/v1/batches", tag = "batches", operation_id = "create_batch",
    params(("Idempotency-Key" = String, Header, description = "Yours, at most 255 characters")),
    request_body = NewBatch,
    responses(
        (status = 202, body = BatchStatus, description = "Accepted; `Location` is where it is",
            headers(("Location" = String))),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(app): AppState,
    caller: Caller<Submit>,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewBatch>,
) -> Result<Response, ApiError> {
    let (shared, tenant) = (&app.shared, caller.tenant());
    let batch = BatchId::of_key(tenant, idempotency_key(&headers)?);
    let Some(_in_flight) = app.in_flight.enter(tenant, batch) else {
        return Err(ApiError::new(
            Code::IdempotencyKeyInFlight,
            "The first request with this Idempotency-Key is not answered yet. Wait, then send it again.",
        ));
    };
    let key = BatchKeys::new(tenant, batch).manifest();
    if let Some(manifest) = objects::read::<Manifest>(shared.buckets.home(), &key).await? {
        if manifest.request_digest != Some(submission::request_digest(&new)) {
            return Err(ApiError::new(
                Code::IdempotencyKeyReused,
                format!("This Idempotency-Key made the batch {batch} from another body. Take a new key."),
            ));
        }
        heal(shared, &manifest, batch).await?;
        return Ok(accepted(&submission::first_status(&manifest, batch), true));
    }
    validate::batch(&shared.config, tenant, &new)?;
    let manifest = begin(shared, tenant, batch, new).await?;
    Ok(accepted(&submission::first_status(&manifest, batch), false))
}

async fn begin(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
    new: NewBatch,
) -> Result<Manifest, ApiError> {
    let bundle = bundle(shared)?;
    if new.source != NewSource::Upload {
        submission::broker_is_there(shared)?;
    }
    let manifest = submission::manifest(tenant, batch, &new, bundle, shared.clock.now_ms());
    if let NewSource::Keys { bucket, keys } = new.source {
        let key = BatchKeys::new(tenant, batch).items();
        let lines = submission::item_lines(bucket, keys);
        shared
            .buckets
            .home()
            .put_stream(&key, lines, "application/x-ndjson")
            .await?;
    }
    futures_util::try_join!(
        submission::put_index(shared, &manifest, batch),
        submission::put_manifest(shared, &manifest, batch),
    )?;
    shared.progress.invalidate(tenant, batch);
    if manifest.source != Source::Upload {
        submission::start_chain(shared, tenant, batch, Stage::Expand).await?;
    }
    Ok(manifest)
}

/// The models of a new batch.
pub(crate) fn bundle(shared: &Shared) -> Result<BundleRef, ApiError> {
    let configured = shared.config.bundle.clone();
    configured.or_else(|| shared.roster.bundle()).ok_or_else(|| {
        ApiError::new(
            Code::NoModelsKnown,
            "No worker has been heard of since this API started, and no bundle is configured. Workers say which \
             models they have every few seconds: start one, and send the request again. Where workers start only when \
             there is work, name the bundle in the API's settings (models.bundle, PITCHFLEET_BUNDLE).",
        )
        .after(std::time::Duration::from_secs(5))
    })
}

/// Whoever sends a request again may have been cut off in the middle of the first one: what it left undone is done.
async fn heal(shared: &Shared, manifest: &Manifest, batch: BatchId) -> Result<(), ApiError> {
    submission::put_index(shared, manifest, batch).await?;
    if manifest.source == Source::Upload {
        return Ok(());
    }
    let (store, keys) = (shared.buckets.home(), BatchKeys::new(&manifest.tenant, batch));
    if store.head(&keys.expanded()).await?.is_none() && store.head(&keys.finished()).await?.is_none() {
        submission::start_chain(shared, &manifest.tenant, batch, Stage::Expand).await?;
    }
    Ok(())
}

#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Batches on a page, 1 to 100.
    #[serde(default = "default_limit")]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: usize,
    /// `next` of the page before.
    cursor: Option<String>,
}

const fn default_limit() -> usize {
    20
}

/// List batches, newest first.
#[utoipa::path(
    get, path = "/v1/batches", tag = "batches", operation_id = "list_batches", params(PageQuery),
    responses((status = 200, body = BatchPage),
        (status = 400, body = Problem, content_type = "application/problem+json"))
)]
async fn list(
    State(app): AppState,
    caller: Caller<Read>,
    QueryOf(query): QueryOf<PageQuery>,
) -> Result<Json<BatchPage>, ApiError> {
    let (shared, tenant) = (&app.shared, caller.tenant());
    if !(1..=100).contains(&query.limit) {
        return Err(ApiError::field(
            Code::InvalidParameter,
            "limit",
            "must be from 1 to 100",
        ));
    }
    let prefix = index_prefix(tenant);
    let cursor = query.cursor.as_deref().map(Cursor::parse).transpose()?;
    let after = cursor.map(|cursor| format!("{prefix}{}", cursor.after));
    let page = shared
        .buckets
        .home()
        .list(&prefix, after.as_deref(), query.limit)
        .await?;
    let next = page
        .objects
        .last()
        .filter(|_| page.more)
        .map(|last| Cursor::of(&last.key[prefix.len()..]));
    let batches = stream::iter(page.objects)
        .map(|entry| async move {
            let Some(batch) = index_batch(&entry.key) else {
                return Ok::<_, ApiError>(None);
            };
            let status = shared.progress.status(tenant, batch).await?;
            // Two processes that were sent the same request at once made two entries; one is the manifest's.
            Ok(status
                .filter(|s| index_key(tenant, submission::created_ms(&s.created_at), batch) == entry.key))
        })
        .buffered(READ_AT_A_TIME)
        .try_filter_map(|status| async move { Ok(status) })
        .try_collect()
        .await?;
    Ok(Json(BatchPage { batches, next }))
}

/// Look at a batch.
#[utoipa::path(
    get, path = "/v1/batches/{id}", tag = "batches", operation_id = "get_batch",
    params(("id" = String, Path, description = "The batch")),
    responses((status = 200, body = BatchStatus),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn get(
    State(app): AppState,
    caller: Caller<Read>,
    PathOf(id): PathOf<String>,
) -> Result<Json<BatchStatus>, ApiError> {
    status_of(&app.shared, caller.tenant(), batch_id(&id)?)
        .await
        .map(Json)
}

/// Submit an uploaded batch.
///
/// What was declared and uploaded until now is analysed. Sending it again changes nothing.
#[utoipa::path(
    post, path = "/v1/batches/{id}/submit", tag = "batches", operation_id = "submit_batch",
    params(("id" = String, Path, description = "The batch")),
    responses((status = 202, body = BatchStatus),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"))
)]
async fn submit(
    State(app): AppState,
    caller: Caller<Submit>,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let (shared, tenant, batch) = (&app.shared, caller.tenant(), batch_id(&id)?);
    let status = status_of(shared, tenant, batch).await?;
    if status.state == BatchState::Cancelled {
        return Err(wrong_state(&status, "make a new one"));
    }
    if status.state != BatchState::Uploading {
        return Ok(accepted(&status, true));
    }
    let declared = BatchKeys::new(tenant, batch).uploads();
    if shared
        .buckets
        .home()
        .list(&declared, None, 1)
        .await?
        .objects
        .is_empty()
    {
        return Err(ApiError::new(
            Code::NoPhotos,
            "Nothing was declared for upload. Send `POST …/uploads` and the photos first.",
        ));
    }
    submission::broker_is_there(shared)?;
    submission::start_chain(shared, tenant, batch, Stage::Expand).await?;
    Ok(accepted(&status_of(shared, tenant, batch).await?, false))
}

/// Cancel a batch.
///
/// Photos that are being analysed are finished, the others are not begun. What there is until then gets its documents.
#[utoipa::path(
    post, path = "/v1/batches/{id}/cancel", tag = "batches", operation_id = "cancel_batch",
    params(("id" = String, Path, description = "The batch")),
    responses((status = 202, body = BatchStatus),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"))
)]
async fn cancel(
    State(app): AppState,
    caller: Caller<Submit>,
    PathOf(id): PathOf<String>,
) -> Result<Response, ApiError> {
    let (shared, tenant, batch) = (&app.shared, caller.tenant(), batch_id(&id)?);
    let status = status_of(shared, tenant, batch).await?;
    match status.state {
        BatchState::Cancelled => return Ok(accepted(&status, true)),
        state if state.is_final() => return Err(wrong_state(&status, "there is nothing to cancel")),
        _ => {}
    }
    let key = BatchKeys::new(tenant, batch).cancelled();
    let home = shared.buckets.home();
    home.put(&key, bytes::Bytes::new(), "text/plain").await?;
    shared.progress.invalidate(tenant, batch);
    let command = Command::Cancel {
        tenant: tenant.clone(),
        batch,
    };
    // The marker is what counts; the word to all workers only makes it quick.
    if let Ok(message) = Message::json(&command) {
        let _ = submission::publish(shared, Destination::Fanout(Fanout::Fleet), message).await;
    }
    submission::look_now(shared, tenant, batch).await?;
    Ok(accepted(&status_of(shared, tenant, batch).await?, false))
}

/// Take up the failed photos once more.
#[utoipa::path(
    post, path = "/v1/batches/{id}/retry", tag = "batches", operation_id = "retry_batch",
    params(("id" = String, Path, description = "The batch")),
    responses((status = 202, body = Retried),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"))
)]
async fn retry(
    State(app): AppState,
    caller: Caller<Submit>,
    PathOf(id): PathOf<String>,
) -> Result<(StatusCode, Json<Retried>), ApiError> {
    let (shared, tenant, batch) = (&app.shared, caller.tenant(), batch_id(&id)?);
    let status = status_of(shared, tenant, batch).await?;
    if !matches!(status.state, BatchState::Completed | BatchState::Running) {
        return Err(wrong_state(
            &status,
            "only a running or completed one can retry its failures",
        ));
    }
    let (home, keys) = (shared.buckets.home(), BatchKeys::new(tenant, batch));
    let failures = home.objects(&keys.failures(), None);
    let photos = failures
        .try_fold(0, |count, _| async move { Ok(count + 1) })
        .await?;
    if photos > 0 {
        submission::broker_is_there(shared)?;
        submission::start_chain(shared, tenant, batch, Stage::Retry).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(Retried { photos })))
}

/// Delete a batch.
///
/// Everything of it: photos that were uploaded for it, results, pictures, documents. Only in a final state. Photos that
/// were imported stay where they are.
#[utoipa::path(
    delete, path = "/v1/batches/{id}", tag = "batches", operation_id = "delete_batch",
    params(("id" = String, Path, description = "The batch")),
    responses((status = 204, description = "Nothing of it is left"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"))
)]
async fn delete(
    State(app): AppState,
    caller: Caller<Admin>,
    PathOf(id): PathOf<String>,
) -> Result<StatusCode, ApiError> {
    let (tenant, batch) = (caller.tenant().clone(), batch_id(&id)?);
    let status = status_of(&app.shared, &tenant, batch).await?;
    let idle = app
        .shared
        .buckets
        .home()
        .head(&active_key(&tenant, batch))
        .await?
        .is_none();
    // Whoever was cut off while deleting left a batch without an end that nobody works on.
    let abandoned = idle && status.state != BatchState::Uploading;
    if !status.state.is_final() && !abandoned {
        return Err(wrong_state(
            &status,
            "cancel it first, then delete it when it has ended",
        ));
    }
    // In a task of its own, so that it goes on when the client goes away.
    let shared = Arc::clone(&app.shared);
    let deletion = tokio::spawn(async move { delete_all(&shared, &tenant, batch, &status).await });
    deletion.await.map_err(|error| ApiError::internal(&error))??;
    Ok(StatusCode::NO_CONTENT)
}

/// The manifest goes last but for the rest that is written while this runs: until then the same call continues.
async fn delete_all(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
    status: &BatchStatus,
) -> Result<(), ApiError> {
    let (home, keys) = (shared.buckets.home(), BatchKeys::new(tenant, batch));
    for folder in [
        keys.results(),
        keys.failures(),
        keys.photos(),
        keys.at("overlays/"),
        keys.at("report/"),
    ] {
        home.delete_below(&folder).await?;
    }
    home.delete(&index_key(
        tenant,
        submission::created_ms(&status.created_at),
        batch,
    ))
    .await?;
    home.delete(&keys.finished()).await?;
    home.delete(&keys.manifest()).await?;
    home.delete_below(keys.root()).await?;
    shared.progress.invalidate(tenant, batch);
    Ok(())
}
