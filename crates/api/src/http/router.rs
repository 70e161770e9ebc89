//! Which path leads where, and what every request passes through.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use utoipa_axum::router::OpenApiRouter;

use super::app::App;
use super::problem::{ApiError, Code, write_problem};
use super::requests::{Answered, Failed, Ids, InSpan, REQUEST_ID};
use super::{analyze, batches, events, export, health, openapi, requests, results, uploads, workers};
use crate::shared::Shared;

/// Every route over `app`.
pub(crate) fn router(app: Arc<App>) -> Router {
    let request_time = app.shared.config.request_time();
    let quick = OpenApiRouter::with_openapi(openapi::base())
        .merge(batches::routes())
        .merge(uploads::routes())
        .merge(results::routes())
        .merge(workers::routes())
        .merge(health::routes())
        .layer(from_fn_with_state(request_time, in_time));
    let slow = OpenApiRouter::new()
        .merge(batches::slow_routes())
        .merge(uploads::slow_routes())
        .merge(events::routes())
        .merge(export::slow_routes())
        .merge(analyze::slow_routes())
        .merge(workers::slow_routes());
    let shared = Arc::clone(&app.shared);
    let (router, document) = quick.merge(slow).split_for_parts();
    for (route, method) in openapi::operations(&document) {
        shared.metrics.serves(route, method);
    }
    router
        .merge(openapi::routes(&document))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(app.shared.config.limits.body_bytes))
        .with_state(app)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(shared, counted))
        .layer(from_fn(with_problem_body))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(InSpan)
                .on_response(Answered)
                .on_failure(Failed),
        )
        .layer(SetRequestIdLayer::new(REQUEST_ID, Ids))
        .layer(map_request(async |request: Request| {
            requests::without_odd_id(request)
        }))
}

async fn with_problem_body(request: Request, next: Next) -> Response {
    let id = requests::id(&request).map(str::to_owned);
    write_problem(next.run(request).await, id.as_deref())
}

/// Under the template of its route: what was asked for may be a secret, and has no end.
async fn counted(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    shared.metrics.request(
        route.as_ref().map(MatchedPath::as_str),
        method.as_str(),
        response.status().as_u16(),
        begun.elapsed().as_secs_f64(),
    );
    response
}

async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            Code::Timeout,
            "The answer took too long, probably because the object store or the broker is slow. Try again.",
        )
        .into_response(),
    }
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::new(
        Code::UnknownRoute,
        format!("There is nothing at `{}`. See `/docs`.", uri.path()),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        Code::MethodNotAllowed,
        format!(
            "`{}` does not take {method}. The header `Allow` names what it takes.",
            uri.path()
        ),
    )
}

fn panicked(_panic: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request panicked");
    ApiError::new(
        Code::Internal,
        "The cause is in the server's log under this request's id.",
    )
    .into_response()
}
