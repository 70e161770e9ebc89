//! What axum takes out of a request, with problems instead of plain text when it cannot.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::problem::{ApiError, Code};

/// A JSON body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let media_type = request.headers().get(CONTENT_TYPE);
        if !media_type.is_some_and(is_json) {
            return Err(ApiError::new(
                Code::UnsupportedMediaType,
                "Send JSON, with the header `Content-Type: application/json`.",
            )
            .header("accept", "application/json"));
        }
        let body = body_bytes(request, state).await?;
        from_json(&body).map(Self)
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let essence = value.to_str().ok().and_then(|text| text.split(';').next());
    let essence = essence.map(str::trim).unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn body_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        if rejection.status() == Code::BodyTooLarge.status() {
            ApiError::new(
                Code::BodyTooLarge,
                "The body is longer than this route takes. Send less at a time.",
            )
        } else {
            ApiError::new(Code::BodyIncomplete, rejection.body_text())
        }
    })
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        match error.classify() {
            serde_json::error::Category::Data => {
                ApiError::field(Code::InvalidBody, pointer, error.to_string())
            }
            _ => ApiError::new(Code::MalformedJson, format!("The body is not JSON: {error}.")),
        }
    })?;
    json.end()
        .map_err(|error| ApiError::new(Code::MalformedJson, format!("The body is not JSON: {error}.")))?;
    Ok(value)
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            // An enum's variant has no place of its own in the document, and what could not be read has none at all.
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// Query parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryOf<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|rejection| {
                let said = std::error::Error::source(&rejection)
                    .map_or_else(|| rejection.body_text(), ToString::to_string);
                ApiError::new(Code::InvalidParameter, format!("The query is not valid: {said}."))
            })
    }
}

/// Segments of the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathOf<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(value)| Self(value))
            .map_err(|rejection| ApiError::new(Code::InvalidParameter, rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use fleet::api::{NewBatch, NewUploads};

    use super::*;

    fn refused<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> (Code, String) {
        let error = from_json::<T>(body.as_bytes()).unwrap_err();
        (error.code(), format!("{error:?}"))
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let (code, text) =
            refused::<NewUploads>(r#"{"photos":[{"index":0,"name":"a","size":1},{"index":"x"}]}"#);
        assert_eq!(code, Code::InvalidBody);
        assert!(text.contains("/photos/1/index"), "{text}");
        let (code, text) =
            refused::<NewBatch>(r#"{"source":{"kind":"upload"},"options":{"analysis":{"full_frame":1}}}"#);
        assert_eq!(code, Code::InvalidBody);
        assert!(text.contains("/options/analysis/full_frame"), "{text}");
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        for body in ["", "{", "{\"photos\":[]} x", "nonsense"] {
            assert_eq!(refused::<NewUploads>(body).0, Code::MalformedJson, "{body}");
        }
    }

    #[test]
    fn json_has_several_media_types() {
        for (text, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(text)), json, "{text}");
        }
    }
}
