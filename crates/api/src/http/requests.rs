//! What a request is called: its id, and its span in logs and traces.

use std::time::Duration;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{HeaderName, HeaderValue, Request, Response};
use tower_http::classify::ServerErrorsFailureClass;
use tower_http::request_id::{MakeRequestId, RequestId};
use tower_http::trace::{MakeSpan, OnFailure, OnResponse};
use tracing::field::Empty;
use tracing::{Span, info_span};
use ulid::Ulid;

/// The header that carries the id, in requests and answers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Characters of a client's own id; more is none.
const LONGEST: usize = 128;

const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Makes ids for requests that come without one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids;

impl MakeRequestId for Ids {
    fn make_request_id<B>(&mut self, _request: &Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&Ulid::generate().to_string())
            .ok()
            .map(RequestId::new)
    }
}

/// Takes an id away that may not stand in logs and answers, so that the request gets one of ours.
pub(crate) fn without_odd_id<B>(mut request: Request<B>) -> Request<B> {
    if request.headers().get(REQUEST_ID).is_some_and(is_odd) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

fn is_odd(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=~@".contains(byte);
    id.is_empty() || id.len() > LONGEST || !id.iter().all(sane)
}

/// The id of a request.
pub(crate) fn id<B>(request: &Request<B>) -> Option<&str> {
    request.headers().get(REQUEST_ID)?.to_str().ok()
}

/// The span of a request: a step of the client's trace, where it sends one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InSpan;

impl MakeSpan<Body> for InSpan {
    fn make_span(&mut self, request: &Request<Body>) -> Span {
        let method = request.method();
        let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let path = request.uri().path();
        // The path of an upload is a secret, so that its route's name stands for it.
        let path = if path.starts_with("/v1/uploads/") {
            "/v1/uploads/…"
        } else {
            path
        };
        let request_id = id(request).unwrap_or_default();
        // Asked every few seconds for ever: nobody looks for a trace of it.
        if PROBES.contains(&path) {
            return info_span!(target: trace::UNTRACED, "request", %method, path, request_id);
        }
        let span = info_span!(
            "request",
            otel.name = format_args!("{method} {}", route.unwrap_or_default()),
            otel.kind = "server",
            %method,
            path,
            request_id,
            token = Empty,
            trace_id = Empty,
            http.response.status_code = Empty,
        );
        let parent = request.headers().get(TRACEPARENT);
        trace::begin(&span, parent.and_then(|parent| parent.to_str().ok()));
        span
    }
}

/// Says what a request was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered;

impl OnResponse<Body> for Answered {
    fn on_response(self, response: &Response<Body>, latency: Duration, span: &Span) {
        let status = response.status().as_u16();
        span.record("http.response.status_code", status);
        tracing::debug!(status, latency_ms = latency.as_secs_f64() * 1e3, "answered");
    }
}

/// Says that a request failed on our side. Of probes it is the answer that counts, every few seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed;

impl OnFailure<ServerErrorsFailureClass> for Failed {
    fn on_failure(&mut self, class: ServerErrorsFailureClass, latency: Duration, span: &Span) {
        let is_probe = span
            .metadata()
            .is_some_and(|metadata| metadata.target() == trace::UNTRACED);
        if !is_probe {
            tracing::error!(%class, latency_ms = latency.as_secs_f64() * 1e3, "a request failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_id_is_kept_when_it_can_stand_anywhere() {
        let kept = |id: &[u8]| {
            let request = Request::builder().header(REQUEST_ID, id).body(()).unwrap();
            without_odd_id(request).headers().contains_key(REQUEST_ID)
        };
        assert!(kept(b"0192f0c1-7c1e-7d0a-9f6e-5d9b1c1b7a11"));
        assert!(kept(b"Root=1-67891233-abcdef012345678912345678"));
        assert!(kept(&[b'a'; LONGEST]));
        for odd in [
            b"".as_slice(),
            &[b'a'; LONGEST + 1],
            b"a b",
            b"<script>",
            b"\"",
            "ä".as_bytes(),
            b"{}",
        ] {
            assert!(!kept(odd), "{odd:?}");
        }
    }
}
