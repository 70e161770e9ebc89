//! Photos that clients bring: declarations, tickets, and the PUTs that a store without signatures cannot take itself.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, HOST};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use fleet::api::{NewUploads, Problem, UploadTicket, Uploads};
use fleet::batch::BatchState;
use fleet::layout::BatchKeys;
use futures_util::{StreamExt as _, stream};
use store::{ByteStream, StoreErrorKind};
use ulid::Ulid;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::{App, AppState};
use super::batches::{batch_id, status_of};
use super::extract::{JsonBody, PathOf};
use super::gate::{Caller, Submit};
use super::problem::{ApiError, Code};
use super::tickets::Grant;
use super::validate;
use crate::clock::rfc3339;
use crate::objects;

/// How long a ticket may be used.
const VALID_FOR: Duration = Duration::from_secs(15 * 60);

pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(declare))
}

/// Transfers take as long as the client's line does.
pub(crate) fn slow_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(put))
}

/// Declare photos and get upload tickets.
///
/// Each ticket is a URL to PUT exactly the declared number of bytes to, within 15 minutes. Declaring an index again
/// replaces what was declared before.
#[utoipa::path(
    post, path = "/v1/batches/{id}/uploads", tag = "uploads", operation_id = "declare_uploads",
    params(("id" = String, Path, description = "The batch")),
    request_body = NewUploads,
    responses((status = 200, body = Uploads),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"))
)]
async fn declare(
    State(app): AppState,
    caller: Caller<Submit>,
    PathOf(id): PathOf<String>,
    headers: HeaderMap,
    JsonBody(new): JsonBody<NewUploads>,
) -> Result<Json<Uploads>, ApiError> {
    let (shared, tenant, batch) = (&app.shared, caller.tenant(), batch_id(&id)?);
    let status = status_of(shared, tenant, batch).await?;
    if status.state != BatchState::Uploading {
        return Err(ApiError::new(
            Code::WrongState,
            format!(
                "The batch is {}; photos are taken until it is submitted only.",
                status.state.name()
            ),
        ));
    }
    validate::uploads(&shared.config, &new)?;
    let keys = BatchKeys::new(tenant, batch);
    // Of two declarations of one index the later counts: a ULID sorts by time.
    let declaration = format!("{}{}.json", keys.uploads(), Ulid::generate());
    objects::write(shared.buckets.home(), &declaration, &new).await?;
    let base = own_url(&app, &headers);
    let expires_ms = shared.clock.now_ms() + u64::try_from(VALID_FOR.as_millis()).unwrap_or(u64::MAX);
    let mut uploads = Vec::with_capacity(new.photos.len());
    for photo in new.photos {
        let key = keys.photo(photo.index, &photo.name);
        uploads.push(ticket(&app, &base, photo.index, key, photo.size, expires_ms).await?);
    }
    Ok(Json(Uploads { uploads }))
}

async fn ticket(
    app: &App,
    base: &str,
    index: u64,
    key: String,
    size: u64,
    expires_ms: u64,
) -> Result<UploadTicket, ApiError> {
    let expires_at = rfc3339(expires_ms);
    match app.shared.buckets.home().presign_put(&key, size, VALID_FOR).await {
        Ok(put) => Ok(UploadTicket {
            index,
            url: put.url,
            headers: put.headers.into_iter().collect(),
            expires_at,
        }),
        Err(error) if error.kind == StoreErrorKind::Unsupported => {
            let grant = Grant {
                key,
                size,
                expires_ms,
            };
            Ok(UploadTicket {
                index,
                url: format!("{base}/v1/uploads/{}", app.tickets.issue(&grant)),
                headers: [("content-length".to_owned(), size.to_string())].into(),
                expires_at,
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// What this API is reached by: as configured, else as the client reached it.
pub(crate) fn own_url(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.shared.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}

/// Upload a photo.
///
/// For stores that hand out no URLs of their own. The ticket is the permission; no token is needed.
#[utoipa::path(
    put, path = "/v1/uploads/{ticket}", tag = "uploads", operation_id = "put_upload",
    params(("ticket" = String, Path, description = "Of an upload ticket's URL")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    security(()),
    responses((status = 204, description = "The photo is stored"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 411, body = Problem, content_type = "application/problem+json"))
)]
async fn put(
    State(app): AppState,
    PathOf(ticket): PathOf<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let grant = app.tickets.check(&ticket, app.shared.clock.now_ms())?;
    let sent = content_length(&headers)?;
    if sent != grant.size {
        return Err(size_mismatch(grant.size, sent));
    }
    let content = exactly(body.into_data_stream(), grant.size);
    let home = app.shared.buckets.home();
    home.put_stream(&grant.key, content, "application/octet-stream")
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn size_mismatch(declared: u64, sent: u64) -> ApiError {
    ApiError::new(
        Code::UploadSizeMismatch,
        format!("{declared} bytes were declared and {sent} are sent. Declare the photo again with its size."),
    )
}

/// # Errors
/// Without one nobody could tell a whole body from one that broke off.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<u64, ApiError> {
    let value = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    value.and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::new(
            Code::LengthRequired,
            "Send the header `Content-Length` with the size of the body.",
        )
    })
}

/// The body as the store takes it. A body that ends early is an error, so that nothing is stored.
pub(crate) fn exactly(body: BodyDataStream, size: u64) -> ByteStream {
    let start = (body, 0_u64);
    Box::pin(stream::try_unfold(start, move |(mut body, before)| async move {
        let broken = |what: &str| Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        match body.next().await {
            None if before == size => Ok(None),
            None => broken("the body ended early"),
            Some(Err(error)) => Err(io::Error::other(error)),
            Some(Ok(chunk)) => {
                let after = before + chunk.len() as u64;
                if after > size {
                    return broken("the body is longer than it said");
                }
                Ok::<Option<(Bytes, _)>, io::Error>(Some((chunk, (body, after))))
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;

    use super::*;

    async fn read(chunks: &[&'static str], size: u64) -> io::Result<Vec<Bytes>> {
        let chunks: Vec<_> = chunks
            .iter()
            .map(|chunk| Ok::<_, io::Error>(Bytes::from(*chunk)))
            .collect();
        let body = Body::from_stream(stream::iter(chunks));
        exactly(body.into_data_stream(), size).try_collect().await
    }

    #[tokio::test]
    async fn a_body_is_taken_whole_or_not_at_all() {
        assert_eq!(read(&["ab", "c"], 3).await.unwrap().concat(), b"abc");
        assert!(read(&["ab"], 3).await.is_err());
        assert!(read(&["ab", "cd"], 3).await.is_err());
    }
}
