//! The worker's own HTTP side, for Prometheus and for whoever keeps the process running: `/metrics`, `/livez`,
//! `/readyz`. What people ask of a fleet is the API's to answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{Device, EngineFacts};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::context::Context;
use crate::page;

/// Connections at the same time; more wait in the kernel.
const CONNECTIONS: usize = 16;
/// Longest wait for a request on an open connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for one connection, so that none holds a place for ever.
const LONGEST: Duration = Duration::from_secs(600);

const TEXT: &str = "text/plain; charset=utf-8";

/// What a worker shows of itself over HTTP.
#[derive(Clone)]
pub struct Pages {
    context: Arc<Context>,
}

impl Pages {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Answers whoever connects to `listener`, until this is dropped. Needs a tokio runtime.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                // It is never closed.
                return std::future::pending().await;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: asking again at once would only turn in circles.
                    tracing::debug!(%error, "a connection to the metrics port is not taken");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let pages = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(|request| std::future::ready(pages.answer(&request)));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), service);
                // Whatever went wrong, it is the other side's to try again.
                let _ = tokio::time::timeout(LONGEST, connection).await;
            });
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
        let accept = request
            .headers()
            .get(ACCEPT)
            .and_then(|accept| accept.to_str().ok());
        let (status, content_type, body) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => match page::page(&self.context, accept) {
                Ok(page) => (StatusCode::OK, page.content_type, page.body),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
            },
            (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            (&Method::GET | &Method::HEAD, "/readyz") => match obstacle(&self.context) {
                None => (StatusCode::OK, TEXT, "ok\n".to_owned()),
                Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{obstacle}\n")),
            },
            (&Method::GET | &Method::HEAD, _) => (
                StatusCode::NOT_FOUND,
                TEXT,
                "There are /metrics, /livez and /readyz.\n".to_owned(),
            ),
            _ => {
                return Response::builder()
                    .status(StatusCode::METHOD_NOT_ALLOWED)
                    .header(ALLOW, "GET, HEAD")
                    .body(Full::default());
            }
        };
        Response::builder()
            .status(status)
            .header(CONTENT_TYPE, content_type)
            .header(CACHE_CONTROL, "no-store")
            .body(Full::from(body))
    }
}

/// What keeps the worker from taking photos, or would have it analyse them on another device than was asked for.
fn obstacle(context: &Context) -> Option<String> {
    if context.draining.is_cancelled() {
        return Some("the worker is going".to_owned());
    }
    if context.models.is_held() {
        return Some("the worker was told to take no more: `pitchfleet fleet warm` ends that".to_owned());
    }
    if let Some(error) = context.models.trouble() {
        return Some(format!("the models cannot be loaded: {error}"));
    }
    let own = context.engines.own();
    let config = own.config();
    if let Some(facts) = context.engines.stats().facts
        && let Some(silent) = replaced(&facts, config.device, config.allow_cpu_fallback)
    {
        return Some(silent);
    }
    let connected = context.queue.connection().borrow().is_ready();
    (!connected).then(|| "the broker cannot be reached, or takes no messages".to_owned())
}

/// Whether another execution provider runs than was asked for by name, without leave.
fn replaced(facts: &EngineFacts, asked: Device, allowed: bool) -> Option<String> {
    let EngineFacts {
        execution_provider_requested: requested,
        execution_provider: actual,
        device_reason: reason,
        ..
    } = facts;
    let silent = asked != Device::Auto && !allowed && requested != actual;
    silent.then(|| format!("{requested} was asked for, {actual} runs: {reason}"))
}

#[cfg(test)]
mod tests {
    use engine::Precision;

    use super::*;

    #[test]
    fn another_provider_than_was_asked_for_is_never_silent() {
        let facts = |requested: &str, actual: &str| EngineFacts {
            bundle: String::new(),
            bundle_digest: String::new(),
            device: "cpu".into(),
            execution_provider_requested: format!("{requested}ExecutionProvider"),
            execution_provider: format!("{actual}ExecutionProvider"),
            device_reason: "the card was lost".into(),
            detector_precision: Precision::Fp32,
            classifier_precision: Precision::Fp32,
            precision_reason: String::new(),
            lanes: 1,
            runtime_version: String::new(),
            isolation: String::new(),
        };
        let (lost, same) = (facts("CUDA", "CPU"), facts("CUDA", "CUDA"));
        let obstacle = replaced(&lost, Device::Cuda(0), false).unwrap();
        assert!(
            obstacle.contains("CUDAExecutionProvider was asked for"),
            "{obstacle}"
        );
        assert!(obstacle.contains("the card was lost"), "{obstacle}");
        assert_eq!(replaced(&lost, Device::Cuda(0), true), None, "allowed");
        assert_eq!(
            replaced(&lost, Device::Auto, false),
            None,
            "whatever there is was asked for"
        );
        assert_eq!(replaced(&same, Device::Cuda(0), false), None);
        assert_eq!(replaced(&facts("CPU", "CPU"), Device::Cpu, false), None);
    }
}
