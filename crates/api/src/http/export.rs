//! Documents about a batch: the finished ones from the bucket, partial ones from the results so far.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use fleet::api::Problem;
use fleet::layout::BatchKeys;
use report::ExportFormat;
use store::StoreErrorKind;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::batches::{batch_id, manifest_of, status_of};
use super::extract::PathOf;
use super::gate::{Caller, Read};
use super::problem::{ApiError, Code};
use super::results::stream_object;
use crate::census::Census;
use crate::coordinator::documents;

/// Bytes that travel together.
const CHUNK: usize = 64 * 1024;

/// A partial document takes as long as there are results.
pub(crate) fn slow_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(export))
}

/// The format of a name in a path: its own, or that of its file.
fn format(name: &str) -> Result<ExportFormat, ApiError> {
    let mut all = ExportFormat::ALL.into_iter();
    all.find(|format| format.name() == name || format.file_name() == name)
        .ok_or_else(|| {
            let names = ExportFormat::ALL.map(ExportFormat::file_name).join(", ");
            ApiError::new(
                Code::UnknownFormat,
                format!("`{name}` is no document: {names} are."),
            )
        })
}

/// A document about a batch.
///
/// While the batch runs it is made from the results so far, and `Pitchfleet-Partial` says so.
#[utoipa::path(
    get, path = "/v1/batches/{id}/export/{format}", tag = "results", operation_id = "export_batch",
    params(("id" = String, Path, description = "The batch"),
        ("format" = String, Path, description = "`report.html`, `verdict.json`, `summary.csv`, `results.ndjson`, \
            `results.parquet` or `coco.json`")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = Problem, content_type = "application/problem+json"))
)]
async fn export(
    State(app): AppState,
    caller: Caller<Read>,
    PathOf((id, name)): PathOf<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (shared, tenant, batch) = (&app.shared, caller.tenant(), batch_id(&id)?);
    let format = format(&name)?;
    let (home, keys) = (shared.buckets.home(), BatchKeys::new(tenant, batch));
    let whole = match status_of(shared, tenant, batch).await?.state.is_final() {
        true => home.get(&keys.report(format.file_name())).await.map(Some),
        false => Ok(None),
    };
    let mut response = match whole {
        Ok(Some(object)) => stream_object(object, format.media_type(), &headers),
        Ok(None) => {
            let manifest = manifest_of(shared, tenant, batch).await?;
            let census = Census::take(home, &keys).await?;
            let file = documents::partial(shared, &keys, &manifest, &census, format).await?;
            let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
            partial(content, format)
        }
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            let detail = "The batch ended without documents: it has no results.";
            return Err(ApiError::new(Code::UnknownFormat, detail));
        }
        Err(error) => return Err(error.into()),
    };
    let attached = format!("inline; filename=\"{batch}-{}\"", format.file_name());
    if let Ok(value) = HeaderValue::from_str(&attached) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(response)
}

fn partial(content: ReaderStream<tokio::fs::File>, format: ExportFormat) -> Response {
    let mut response = Response::new(Body::from_stream(content));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = HeaderName::from_static("pitchfleet-partial");
    headers.insert(name, HeaderValue::from_static("true"));
    response
}
