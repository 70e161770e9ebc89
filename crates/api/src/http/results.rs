//! Results and pictures of single photos.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fleet::api::{Problem, ResultPage};
use fleet::ids::{BatchId, Tenant};
use fleet::layout::{BatchKeys, index_of, result_key};
use fleet::result::{Outcome, PhotoResult};
use futures_util::{StreamExt as _, stream};
use pitch::analysis::{
    BrightnessLevel, ColourType, CrackSeverity, GrassLevel, MoistureLevel, OverlayKind, PitchClass,
    TextureType,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::{Object, Store, StoreErrorKind};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::batches::{batch_id, manifest_of};
use super::cursor::Cursor;
use super::extract::{PathOf, QueryOf};
use super::gate::{Caller, Read};
use super::problem::{ApiError, Code};
use crate::objects;
use crate::shared::Shared;

/// Results read at the same time for a page.
const READ_AT_A_TIME: usize = 16;
/// Results that one request reads at most, however few of them the filters let through: then the page ends early, and
/// its cursor goes on.
const READ_AT_MOST: usize = 2_000;

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(overlay))
}

/// Which results. Absent: all.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ResultQuery {
    /// Results on a page, 1 to 500; 100 when absent. A page may hold fewer, even none: go on while there is `next`.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// `true`: failures only. `false`: analyses only.
    failed: Option<bool>,
    /// Pitch, end or session of play.
    group: Option<String>,
    /// Corrected class, such as `spin_friendly`.
    #[param(value_type = Option<String>)]
    class: Option<PitchClass>,
    /// Grass level, such as `Medium`.
    #[param(value_type = Option<String>)]
    grass: Option<GrassLevel>,
    /// Severity of cracking, such as `High`.
    #[param(value_type = Option<String>)]
    cracks: Option<CrackSeverity>,
    /// Moisture level, such as `Slightly Damp`.
    #[param(value_type = Option<String>)]
    moisture: Option<MoistureLevel>,
    /// Type of the mean colour, such as `Brown/Red`.
    #[param(value_type = Option<String>)]
    colour: Option<ColourType>,
    /// Texture type, such as `Smooth`.
    #[param(value_type = Option<String>)]
    texture: Option<TextureType>,
    /// Brightness level, such as `Bright`.
    #[param(value_type = Option<String>)]
    brightness: Option<BrightnessLevel>,
}

fn is<T: PartialEq>(wanted: Option<T>, value: Option<T>) -> bool {
    wanted.is_none() || wanted == value
}

impl ResultQuery {
    fn takes(&self, result: &PhotoResult) -> bool {
        let surface = result.surface.as_ref();
        let class = result.classification.as_ref().map(|c| c.corrected.class);
        is(self.failed, Some(result.outcome == Outcome::Failed))
            && is(self.group.as_deref(), result.group.as_deref())
            && is(self.class, class)
            && is(self.grass, surface.map(|s| s.grass.level))
            && is(self.cracks, surface.map(|s| s.cracks.severity))
            && is(self.moisture, surface.map(|s| s.moisture.level))
            && is(self.colour, surface.map(|s| s.colour.kind))
            && is(self.texture, surface.map(|s| s.texture.kind))
            && is(self.brightness, surface.map(|s| s.brightness.level))
    }
}

/// A [`ResultPage`] whose results are as they lie in the bucket: what a newer worker added to them stays.
#[derive(Debug, Default, Serialize)]
struct RawPage {
    results: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// List results by index.
#[utoipa::path(
    get, path = "/v1/batches/{id}/results", tag = "results", operation_id = "list_results",
    params(("id" = String, Path, description = "The batch"), ResultQuery),
    responses((status = 200, body = ResultPage),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn list(
    State(app): AppState,
    caller: Caller<Read>,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<ResultQuery>,
) -> Result<Json<RawPage>, ApiError> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=500).contains(&limit) {
        return Err(ApiError::field(
            Code::InvalidParameter,
            "limit",
            "must be from 1 to 500",
        ));
    }
    let (tenant, batch) = (caller.tenant(), batch_id(&id)?);
    manifest_of(&app.shared, tenant, batch).await?;
    page(&app.shared, tenant, batch, &query, limit).await.map(Json)
}

async fn page(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
    query: &ResultQuery,
    limit: usize,
) -> Result<RawPage, ApiError> {
    let (home, keys) = (shared.buckets.home(), BatchKeys::new(tenant, batch));
    // Failures have a listing of their own, so that a few among ten thousand are found at once.
    let prefix = if query.failed == Some(true) {
        keys.failures()
    } else {
        keys.results()
    };
    let cursor = query.cursor.as_deref().map(Cursor::parse).transpose()?;
    let mut after = cursor.map(|cursor| format!("{prefix}{}", cursor.after));
    let mut page = RawPage::default();
    let mut read = 0;
    loop {
        let ask = (limit - page.results.len()).max(READ_AT_A_TIME);
        let listed = home.list(&prefix, after.as_deref(), ask.min(1000)).await?;
        read += listed.objects.len();
        let mut rest: VecDeque<_> = listed.objects.iter().map(|object| object.key.clone()).collect();
        let mut results = stream::iter(rest.clone())
            .map(|key| read_result(home, &keys, key))
            .buffered(READ_AT_A_TIME);
        while let Some(result) = results.next().await {
            after = rest.pop_front();
            if let Some((result, raw)) = result?
                && query.takes(&result)
            {
                page.results.push(raw);
                if page.results.len() == limit {
                    break;
                }
            }
        }
        let more = listed.more || !rest.is_empty();
        if page.results.len() == limit || !more || read >= READ_AT_MOST {
            page.next = after
                .filter(|_| more)
                .map(|after| Cursor::of(&after[prefix.len()..]));
            return Ok(page);
        }
    }
}

/// The result that a key of `results/` or `failures/` is about, as it is and as it reads. `None` when it is gone (a
/// retry took the photo up meanwhile) or broken.
async fn read_result(
    home: &Arc<dyn Store>,
    keys: &BatchKeys,
    key: String,
) -> Result<Option<(PhotoResult, Box<RawValue>)>, ApiError> {
    let Some(index) = index_of(&key) else {
        return Ok(None);
    };
    let Some(raw) = objects::read::<Box<RawValue>>(home, &keys.result(index)).await? else {
        return Ok(None);
    };
    match serde_json::from_str(raw.get()) {
        Ok(result) => Ok(Some((result, raw))),
        Err(error) => {
            tracing::error!(%error, key, "a result that is not readable");
            Ok(None)
        }
    }
}

/// The result of one photo, schema `pitchfleet.result/1`.
#[utoipa::path(
    get, path = "/v1/batches/{id}/results/{index}", tag = "results", operation_id = "get_result",
    params(("id" = String, Path, description = "The batch"), ("index" = u64, Path, description = "The photo")),
    responses((status = 200, body = Object),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn get(
    State(app): AppState,
    caller: Caller<Read>,
    PathOf((id, index)): PathOf<(String, u64)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (tenant, batch) = (caller.tenant(), batch_id(&id)?);
    let key = BatchKeys::new(tenant, batch).at(&result_key(index));
    let absent = || {
        ApiError::new(
            Code::UnknownResult,
            format!("The photo {index} of the batch has no result: it is not done yet, or not in the batch."),
        )
    };
    object(
        &app.shared,
        tenant,
        batch,
        &key,
        "application/json",
        &headers,
        absent,
    )
    .await
}

/// A picture of one photo.
#[utoipa::path(
    get, path = "/v1/batches/{id}/overlays/{index}/{kind}", tag = "results", operation_id = "get_overlay",
    params(("id" = String, Path, description = "The batch"), ("index" = u64, Path, description = "The photo"),
        ("kind" = String, Path, description = "`grass`, `cracks`, `moisture`, `crop`, `box` or `report`")),
    responses((status = 200, body = Vec<u8>, content_type = "image/jpeg"),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn overlay(
    State(app): AppState,
    caller: Caller<Read>,
    PathOf((id, index, kind)): PathOf<(String, u64, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (tenant, batch) = (caller.tenant(), batch_id(&id)?);
    let name = kind.strip_suffix(".jpg").unwrap_or(&kind);
    let Some(kind) = OverlayKind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let names = OverlayKind::ALL.map(OverlayKind::name).join(", ");
        return Err(ApiError::new(
            Code::UnknownOverlay,
            format!("`{kind}` is no kind of picture: {names} are."),
        ));
    };
    let key = BatchKeys::new(tenant, batch).overlay(index, kind);
    let absent = || {
        ApiError::new(
            Code::UnknownOverlay,
            format!(
                "The photo {index} has no such picture. Pictures are made when the batch's options name them."
            ),
        )
    };
    object(&app.shared, tenant, batch, &key, "image/jpeg", &headers, absent).await
}

/// An object of a batch as an answer, streamed. When it is absent, first see whether the batch is there at all.
async fn object(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
    key: &str,
    media_type: &'static str,
    headers: &HeaderMap,
    absent: impl FnOnce() -> ApiError,
) -> Result<Response, ApiError> {
    match shared.buckets.home().get(key).await {
        Ok(object) => Ok(stream_object(object, media_type, headers)),
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            manifest_of(shared, tenant, batch).await?;
            Err(absent())
        }
        Err(error) => Err(error.into()),
    }
}

/// `object` as an answer, a chunk in memory at a time; 304 to who has it already.
pub(crate) fn stream_object(object: Object, media_type: &'static str, headers: &HeaderMap) -> Response {
    let etag = HeaderValue::from_str(&format!("\"{}\"", object.info.etag.trim_matches('"'))).ok();
    let known = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| Some(known) == etag.as_ref());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let size = object.info.size;
        let mut response = Response::new(Body::from_stream(object.body));
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    };
    // A retry writes results again under the same key: ask every time, and be told that nothing changed.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if let Some(etag) = etag {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}
