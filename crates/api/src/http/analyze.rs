//! One photo, analysed while the client waits: a batch of one, which takes the express lane as every small batch does.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fleet::api::{BatchStatus, NewBatch, NewSource, NewUpload, NewUploads, Problem};
use fleet::batch::Stage;
use fleet::ids::BatchId;
use fleet::layout::{BatchKeys, result_key};
use fleet::manifest::{BatchOptions, Precision};
use pitch::analysis::{Options, OverlayKind};
use serde::Deserialize;
use store::{Object, StoreErrorKind};
use tokio::time::Instant;
use ulid::Ulid;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::batches::{bundle, status_of};
use super::extract::QueryOf;
use super::gate::{Caller, Submit};
use super::problem::{ApiError, Code};
use super::results::stream_object;
use super::uploads::{content_length, exactly};
use super::{submission, validate};
use crate::objects;
use crate::shared::Shared;

/// Events of workers may be lost: the bucket is looked at this often, too.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The upload takes as long as the client's line does, and then it waits.
pub(crate) fn slow_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(analyze))
}

/// What is to be done with the photo.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AnalyzeQuery {
    /// The photo's file name.
    name: Option<String>,
    /// Least score of a box, 0 to 1.
    detection_threshold: Option<f32>,
    /// The photo is a crop of a pitch already.
    full_frame: bool,
    /// Longest side in pixels at which the surface is read; 0 is the crop's own size.
    analysis_max_side: Option<usize>,
    /// Pictures to make, separated by commas: `grass`, `cracks`, `moisture`, `crop`, `box`, `report`.
    overlays: Option<String>,
    /// `auto`, `fp32` or `int8`.
    #[param(value_type = Option<String>)]
    precision: Precision,
}

impl AnalyzeQuery {
    fn options(&self) -> Result<BatchOptions, ApiError> {
        let mut overlays = Vec::new();
        for name in self.overlays.iter().flat_map(|list| list.split(',')) {
            let kind = OverlayKind::ALL
                .into_iter()
                .find(|kind| kind.name() == name.trim());
            overlays.push(kind.ok_or_else(|| {
                ApiError::field(
                    Code::InvalidParameter,
                    "overlays",
                    format!("`{name}` is no kind of picture"),
                )
            })?);
        }
        let analysis = Options {
            detection_threshold: self.detection_threshold,
            full_frame: self.full_frame,
            analysis_max_side: self
                .analysis_max_side
                .unwrap_or(Options::default().analysis_max_side),
            overlays,
        };
        Ok(BatchOptions {
            analysis,
            precision: self.precision,
        })
    }
}

/// Analyse one photo.
///
/// The body is the photo. Waits for the result; when that takes longer than the server waits, the answer is 202 and
/// `Location` is where the result will be. It is a batch of one and stays until it is deleted.
#[utoipa::path(
    post, path = "/v1/analyze", tag = "photos", operation_id = "analyze_photo", params(AnalyzeQuery),
    request_body(content = Vec<u8>, content_type = "image/*"),
    responses((status = 200, body = Object, description = "The result, schema `pitchfleet.result/1`",
            headers(("Location" = String))),
        (status = 202, body = BatchStatus, description = "Not done yet", headers(("Location" = String))),
        (status = 411, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 415, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json"))
)]
async fn analyze(
    State(app): AppState,
    caller: Caller<Submit>,
    QueryOf(query): QueryOf<AnalyzeQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (shared, tenant) = (&app.shared, caller.tenant());
    let until = Instant::now() + Duration::from_secs(shared.config.analyze_seconds.into());
    let size = content_length(&headers)?;
    is_photo(&headers)?;
    let photo = NewUploads {
        photos: vec![NewUpload {
            index: 0,
            name: query.name.clone().unwrap_or_else(|| "photo".to_owned()),
            size,
            group: None,
            sha256: None,
        }],
    };
    validate::uploads(&shared.config, &photo)?;
    let new = NewBatch {
        name: query.name.clone(),
        source: NewSource::Upload,
        options: query.options()?,
        webhook: None,
    };
    validate::batch(&shared.config, tenant, &new)?;
    submission::broker_is_there(shared)?;
    let batch = BatchId::from(Ulid::generate());
    let manifest = submission::manifest(tenant, batch, &new, bundle(shared)?, shared.clock.now_ms());
    let (home, keys) = (shared.buckets.home(), BatchKeys::new(tenant, batch));
    let content = exactly(body.into_data_stream(), size);
    let name = &photo.photos[0].name;
    home.put_stream(&keys.photo(0, name), content, "application/octet-stream")
        .await?;
    let declaration = format!("{}{}.json", keys.uploads(), Ulid::generate());
    objects::write(home, &declaration, &photo).await?;
    futures_util::try_join!(
        submission::put_index(shared, &manifest, batch),
        submission::put_manifest(shared, &manifest, batch),
    )?;
    let changes = shared.progress.changes(tenant, batch);
    submission::start_chain(shared, tenant, batch, Stage::Expand).await?;
    let found = tokio::select! {
        found = result(shared, &keys, changes) => Some(found?),
        () = tokio::time::sleep_until(until) => None,
        () = app.shutdown.cancelled() => None,
    };
    let mut response = match found {
        Some(object) => stream_object(object, "application/json", &HeaderMap::new()),
        None => (
            StatusCode::ACCEPTED,
            Json(status_of(shared, tenant, batch).await?),
        )
            .into_response(),
    };
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/batches/{batch}/results/0")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn is_photo(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(media_type) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let media_type = media_type.as_bytes().to_ascii_lowercase();
    if media_type.starts_with(b"image/") || media_type == b"application/octet-stream" {
        return Ok(());
    }
    Err(ApiError::new(
        Code::UnsupportedMediaType,
        "Send the photo itself as the body, with `Content-Type: image/jpeg` or its like.",
    ))
}

/// Waits for the photo's result.
async fn result(
    shared: &Shared,
    keys: &BatchKeys,
    mut changes: tokio::sync::watch::Receiver<u64>,
) -> Result<Object, ApiError> {
    let key = keys.at(&result_key(0));
    loop {
        match shared.buckets.home().get(&key).await {
            Ok(object) => return Ok(object),
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await {
            // Nobody tells any more.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}
