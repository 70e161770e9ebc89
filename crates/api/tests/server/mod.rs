//! The API over an in-process queue and a folder, on a port of its own, and a client for it.

#![allow(dead_code, reason = "each test file uses its part of it")]

mod worker;

use std::sync::Arc;

use api::{Api, ApiConfig, Shared};
use fleet::api::Problem;
use fleet::manifest::BundleRef;
use queue::memory::MemoryQueue;
use queue::{Queue, Topology};
use serde_json::Value;
use store::{Buckets, FolderStore};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server that ends with the test.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) folder: TempDir,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What most tests configure.
pub(crate) fn config() -> ApiConfig {
    ApiConfig {
        bundle: Some(BundleRef {
            name: "demo".into(),
            digest: "sha256:demo".into(),
        }),
        ..ApiConfig::default()
    }
}

impl Server {
    pub(crate) async fn start(config: ApiConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let photos = Arc::new(FolderStore::new(folder.path().join("photos")));
        let buckets = Buckets::new(Arc::new(FolderStore::new(folder.path().join("home"))));
        let buckets = buckets.with_source("photos", photos);
        let queue = Arc::new(MemoryQueue::new(Topology::new("test").unwrap()));
        Self::over(config, buckets, queue, folder).await
    }

    pub(crate) async fn over(
        config: ApiConfig,
        buckets: Buckets,
        queue: Arc<dyn Queue>,
        folder: TempDir,
    ) -> Self {
        let shared = Shared::new(buckets, queue, config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let (api, stop) = (Api::new(Arc::clone(&shared)).unwrap(), shutdown.clone());
        let task = tokio::spawn(async move { api.serve(listener, stop).await.unwrap() });
        Self {
            url,
            shared,
            folder,
            shutdown,
            task,
        }
    }

    /// With a coordinator and a worker beside it.
    pub(crate) async fn with_fleet(config: ApiConfig) -> Self {
        let server = Self::start(config).await;
        let (shared, shutdown) = (Arc::clone(&server.shared), server.shutdown.clone());
        tokio::spawn(async move { api::coordinator::run(shared, shutdown).await });
        let (shared, shutdown) = (Arc::clone(&server.shared), server.shutdown.clone());
        tokio::spawn(shutdown.run_until_cancelled_owned(worker::run(shared)));
        server
    }

    /// Follows the batch to its end, by its events; the ids rise, and the stream ends by itself.
    pub(crate) async fn follow(&self, path: &str) -> Value {
        let stream = self.get(&format!("{path}/events")).await;
        assert_eq!(stream.header("content-type"), "text/event-stream", "{stream:?}");
        let text = String::from_utf8(stream.body).unwrap();
        let field = |name: &str| {
            let lines = text
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let ids: Vec<u64> = field("id").iter().map(|id| id.parse().unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{text}");
        assert!(field("event").iter().all(|event| event == "status"), "{text}");
        let last = field("data").pop().unwrap();
        let (events, seen) = (format!("{path}/events"), ids.last().unwrap().to_string());
        let answer = self.send("GET", &events, &[("last-event-id", &seen)], []).await;
        assert_eq!(answer.status, 204);
        serde_json::from_str(&last).unwrap()
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.url)
        };
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .allow_non_standard_methods(true)
                .build()
                .new_agent();
            let mut response = agent.run(request).unwrap();
            Answer {
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                body: response.body_mut().read_to_vec().unwrap(),
            }
        })
        .await
        .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], []).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }

    /// Makes a batch under an Idempotency-Key.
    pub(crate) async fn create(&self, key: &str, body: &Value) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send("POST", "/v1/batches", &headers, body.to_string()).await
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The problem that it is: every one has its media type, a code, something to do, and the request's id.
    #[track_caller]
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        assert!(!problem.title.is_empty() && !problem.detail.is_empty());
        assert_eq!(problem.kind, format!("/docs#{}", problem.code));
        assert_eq!(problem.request_id.as_deref(), Some(self.header("x-request-id")));
        problem
    }

    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) {
        let problem = self.problem();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (status, code),
            "{problem:?}"
        );
    }
}
