//! What goes wrong with a request, as `application/problem+json` (RFC 9457). The codes are a contract: clients match
//! on them, so that they are never renamed.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet::api::{FieldError, Problem};
use queue::QueueError;
use store::{StoreError, StoreErrorKind};

use crate::coordinator::Trouble;
use crate::objects::ObjectError;

/// Declares the codes: variant, code on the wire, status, whether the same request may succeed later, title.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident, $retryable:literal, $title:literal;)+) => {
        /// A kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant),+
        }

        impl Code {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code on the wire.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The answer's status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// Whether the same request may succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable),+ }
            }

            /// The kind of problem in words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

codes! {
    /// The body is no JSON.
    MalformedJson = "malformed_json", BAD_REQUEST, false, "The body is not JSON";
    /// The body is JSON of another shape.
    InvalidBody = "invalid_body", UNPROCESSABLE_ENTITY, false, "The body does not have the expected shape";
    /// A query parameter, path segment or header.
    InvalidParameter = "invalid_parameter", BAD_REQUEST, false, "A parameter is not valid";
    /// The body is of another media type.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false,
        "The media type is not accepted";
    /// The body is longer than this route takes.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, false, "The body is too large";
    /// The client went away or sent too slowly.
    BodyIncomplete = "body_incomplete", BAD_REQUEST, true, "The body broke off";
    /// No such path.
    UnknownRoute = "unknown_route", NOT_FOUND, false, "There is nothing at this path";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, false, "The method is not allowed here";
    /// No bearer token, or one that nobody issued.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, false, "A valid token is needed";
    /// The token lacks a scope.
    MissingScope = "missing_scope", FORBIDDEN, false, "The token does not allow this";
    /// A web page of somebody else, or a name that is not this machine's.
    CrossSite = "cross_site", FORBIDDEN, false, "Requests from other sites are refused";
    /// More requests than the token may send.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, true, "Too many requests";
    /// `POST /v1/batches` without the header.
    IdempotencyKeyMissing = "idempotency_key_missing", BAD_REQUEST, false, "An Idempotency-Key is needed";
    /// Empty, too long, or not printable.
    IdempotencyKeyInvalid = "idempotency_key_invalid", BAD_REQUEST, false, "The Idempotency-Key is not valid";
    /// The key came before with another body.
    IdempotencyKeyReused = "idempotency_key_reused", UNPROCESSABLE_ENTITY, false,
        "The Idempotency-Key was used for another request";
    /// The first request with this key is not answered yet.
    IdempotencyKeyInFlight = "idempotency_key_in_flight", CONFLICT, true,
        "A request with this Idempotency-Key is being answered";
    /// No such batch, or another tenant's.
    UnknownBatch = "unknown_batch", NOT_FOUND, false, "There is no such batch";
    /// No such worker, or it was silent for an hour.
    UnknownWorker = "unknown_worker", NOT_FOUND, false, "There is no such worker";
    /// Nobody is there to be ordered.
    NoWorkers = "no_workers", SERVICE_UNAVAILABLE, true, "No worker is alive";
    /// The photo has no result, or not yet.
    UnknownResult = "unknown_result", NOT_FOUND, true, "There is no such result yet";
    /// The photo has no such picture.
    UnknownOverlay = "unknown_overlay", NOT_FOUND, false, "There is no such picture";
    /// No such document.
    UnknownFormat = "unknown_format", NOT_FOUND, false, "There is no such export format";
    /// The batch's state does not allow what was asked.
    WrongState = "wrong_state", CONFLICT, false, "The batch is in another state";
    /// Nothing was declared for upload.
    NoPhotos = "no_photos", UNPROCESSABLE_ENTITY, false, "The batch has no photos";
    /// More photos than a batch may have.
    TooManyPhotos = "too_many_photos", UNPROCESSABLE_ENTITY, false, "Too many photos";
    /// A photo of more bytes than are taken.
    PhotoTooLarge = "photo_too_large", PAYLOAD_TOO_LARGE, false, "The photo is too large";
    /// A bucket or prefix that the tenant may not import from.
    ForbiddenSource = "forbidden_source", FORBIDDEN, false, "Photos may not be imported from there";
    /// A webhook to a host that the operator does not allow.
    ForbiddenWebhook = "forbidden_webhook", FORBIDDEN, false, "The webhook's host is not allowed";
    /// The ticket's time has passed.
    UploadExpired = "upload_expired", FORBIDDEN, false, "The upload ticket has expired";
    /// The ticket was not issued here, or changed.
    UploadForged = "upload_forged", FORBIDDEN, false, "The upload ticket is not valid";
    /// The body does not have the declared size.
    UploadSizeMismatch = "upload_size_mismatch", BAD_REQUEST, false,
        "The upload does not have the declared size";
    /// Without it nobody knows whether the upload is whole.
    LengthRequired = "length_required", LENGTH_REQUIRED, false, "A Content-Length is needed";
    /// No bundle is configured and no worker was heard of.
    NoModelsKnown = "no_models_known", SERVICE_UNAVAILABLE, true, "No models are known yet";
    /// The broker is away.
    BrokerUnavailable = "broker_unavailable", SERVICE_UNAVAILABLE, true, "The broker cannot be reached";
    /// The bucket is away.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, true, "The object store cannot be reached";
    /// No space is left in the bucket.
    StoreFull = "store_full", INSUFFICIENT_STORAGE, false, "The object store is full";
    /// The answer took longer than anybody waits.
    Timeout = "timeout", GATEWAY_TIMEOUT, true, "The request took too long";
    /// The server is stopping.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, true, "The server is shutting down";
    /// A bug, or a broken object in the bucket.
    Internal = "internal", INTERNAL_SERVER_ERROR, true, "Something broke in the server";
}

/// A request that is not answered as it hoped.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    header: Option<(&'static str, &'static str)>,
}

impl ApiError {
    /// `detail` says what is wrong with this request, and what to do about it.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            header: None,
        }
    }

    /// One field, parameter or header is wrong.
    pub(crate) fn field(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let mut error = Self::new(code, format!("`{field}`: {message}"));
        error.errors.push(FieldError { field, message });
        error
    }

    /// The client may come back after `wait`.
    #[must_use]
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// With a header on the answer, its name in lower case.
    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The kind.
    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// There is no such batch, or it is another tenant's: the same words for both.
    pub(crate) fn unknown_batch(batch: &str) -> Self {
        Self::new(
            Code::UnknownBatch,
            format!("There is no batch `{batch}`. `GET /v1/batches` lists yours."),
        )
    }

    /// Something that should not happen. The cause goes into the log, not to the client.
    pub(crate) fn internal(cause: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(cause, "a request failed inside");
        Self::new(
            Code::Internal,
            "The cause is in the server's log under this request's id.",
        )
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the object store");
        match error.kind {
            StoreErrorKind::Full => Self::new(
                Code::StoreFull,
                "No space is left in the object store. Delete batches that are not needed, or make room.",
            ),
            StoreErrorKind::Unavailable | StoreErrorKind::Denied => Self::new(
                Code::StoreUnavailable,
                "The object store does not answer as it should. Try again in a moment.",
            )
            .after(Duration::from_secs(2)),
            StoreErrorKind::NotFound | StoreErrorKind::InvalidKey | StoreErrorKind::Unsupported => Self::new(
                Code::Internal,
                "The cause is in the server's log under this request's id.",
            ),
        }
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Store(error) => error.into(),
            ObjectError::Body { .. } => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the object store");
                Self::new(
                    Code::StoreUnavailable,
                    "The object store broke off while it was read. Try again in a moment.",
                )
                .after(Duration::from_secs(2))
            }
            ObjectError::Damaged { .. } => Self::internal(&error),
        }
    }
}

impl From<Trouble> for ApiError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Store(error) => error.into(),
            Trouble::Object(error) => error.into(),
            Trouble::Queue(error) => error.into(),
            Trouble::Superseded => Self::new(
                Code::WrongState,
                "Somebody else changed the batch at the same moment. Look at it, then try again.",
            ),
            Trouble::Message(_) | Trouble::Report(_) | Trouble::Disk(_) => Self::internal(&trouble),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the broker");
        broker_unavailable()
    }
}

/// The broker is away.
pub(crate) fn broker_unavailable() -> ApiError {
    ApiError::new(
        Code::BrokerUnavailable,
        "The broker cannot be reached. Try again in a moment with the same Idempotency-Key.",
    )
    .after(Duration::from_secs(2))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let problem = Problem {
            kind: format!("/docs#{}", self.code.code()),
            title: self.code.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            code: self.code.code().to_owned(),
            retryable: self.code.retryable(),
            errors: self.errors,
            request_id: None,
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        if let Some((name, value)) = self.header {
            let name = HeaderName::from_static(name);
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        if let Some(wait) = self.retry_after {
            // Whole seconds, never 0: a client that obeys must not come back at once.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        // The body is written by `with_request_id`, which knows the id.
        response.extensions_mut().insert(Pending(problem));
        response
    }
}

/// A problem whose body is not written yet.
#[derive(Clone, Debug)]
struct Pending(Problem);

/// Writes the bodies of problems, with `request_id` in them.
pub(crate) fn write_problem(mut response: Response, request_id: Option<&str>) -> Response {
    let Some(Pending(mut problem)) = response.extensions_mut().remove::<Pending>() else {
        return response;
    };
    problem.request_id = request_id.map(str::to_owned);
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_in_snake_case() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in codes {
            assert!(
                code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{code}"
            );
        }
    }

    #[test]
    fn every_code_is_an_error() {
        for code in Code::ALL {
            let status = code.status();
            assert!(status.is_client_error() || status.is_server_error(), "{code:?}");
        }
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        for (ms, header) in [(0, "1"), (999, "1"), (1000, "1"), (1001, "2")] {
            let error = ApiError::new(Code::RateLimited, "").after(Duration::from_millis(ms));
            assert_eq!(error.into_response().headers()[header::RETRY_AFTER], header);
        }
    }
}
