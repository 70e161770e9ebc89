//! Requests to the API, tried again where that can help, and their errors in words.

use std::io::Read;
use std::thread;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use fleet::api::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use ureq::http::{Method, Request, Response, StatusCode, Uri};
use ureq::{Agent, Body, SendBody};

use super::refusal::{Refusal, words};
use crate::exit::Fatal;
use crate::path_key::printable;

/// Documents are small; photos and exports are streamed.
const LARGEST_DOCUMENT: u64 = 64 << 20;

/// Longest silence of a server that still counts as working.
const SILENCE: Duration = Duration::from_secs(60);

/// How long to go on while the server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// A person waits: a few tries within some seconds.
    Short,
    /// A batch runs, and servers are restarted: about ten minutes.
    Long,
}

impl Patience {
    fn backoff(self) -> ExponentialBuilder {
        let base = ExponentialBuilder::default().with_jitter();
        match self {
            Self::Short => base
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(Duration::from_secs(2))
                .with_max_times(3),
            Self::Long => base
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(Duration::from_secs(5))
                .with_max_times(120),
        }
    }

    /// Does it until it succeeds or there is no hope. Not `backon`'s own loop, which cannot heed a `Retry-After` in
    /// blocking code.
    fn retried<T>(self, mut ask: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut delays = self.backoff().build();
        loop {
            let refusal = match ask() {
                Err(refusal) if refusal.is_transient() => refusal,
                ended => return ended,
            };
            match refusal.wait(delays.next()) {
                Some(delay) => thread::sleep(delay),
                None => return Err(refusal),
            }
        }
    }
}

/// A fleet's API. Cheap to clone; connections are shared.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    /// Scheme and authority, without a slash at the end.
    server: String,
    authorization: Option<String>,
}

impl Client {
    /// For the server at `address`, with or without a scheme.
    ///
    /// # Errors
    /// When that is no address, or the token cannot be sent.
    pub(crate) fn new(address: &str, token: Option<&str>) -> Result<Self, Fatal> {
        let address = address.trim();
        let server = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let server = server.trim_end_matches('/').to_owned();
        let known = server.parse::<Uri>().ok().is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none()
        });
        if !known {
            return Err(Fatal::usage(format!(
                "`{}` is no server's address; http://HOST:PORT or https://HOST is",
                printable(address)
            )));
        }
        if token.is_some_and(|token| token.is_empty() || token.bytes().any(|b| !b.is_ascii_graphic())) {
            return Err(Fatal::usage(
                "the token holds characters that no token has; copy it as `pitchfleet token create` showed it",
            ));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("pitchfleet/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .max_redirects(0)
            .max_idle_connections_per_host(16)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            server,
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// The address, as it was understood.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Asks for the document at `path`.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, patience: Patience) -> Result<T, Refusal> {
        patience.retried(|| {
            let response = self.send(Method::GET, path, &[], None)?;
            self.document(response)
        })
    }

    /// Sends `body` to `path`. Every request of this API may be sent again when its answer was lost; a batch needs an
    /// `Idempotency-Key` for that.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
        headers: &[(&str, &str)],
        patience: Patience,
    ) -> Result<T, Refusal> {
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => body.unwrap_or_default(),
            Err(error) => return Err(self.foreign(StatusCode::BAD_REQUEST, &error.to_string())),
        };
        let mut headers = headers.to_vec();
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        patience.retried(|| {
            let response = self.send(Method::POST, path, &headers, Some(&body))?;
            self.document(response)
        })
    }

    /// Starts to read what is at `path`, whatever it is.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) fn open(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        patience: Patience,
    ) -> Result<Response<Body>, Refusal> {
        patience.retried(|| self.send(Method::GET, path, headers, None))
    }

    /// PUTs `size` bytes once to `url`, which may be one of the server's own paths.
    ///
    /// # Errors
    /// See [`PutError`].
    pub(crate) fn put<'h>(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), PutError> {
        let own = url.starts_with('/') || url.starts_with(&format!("{}/", self.server));
        let address = if url.starts_with('/') {
            format!("{}{url}", self.server)
        } else {
            url.to_owned()
        };
        let mut request = Request::builder().method(Method::PUT).uri(&address);
        let mut sized = false;
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("host") {
                continue; // It is in the address.
            }
            sized |= name.eq_ignore_ascii_case("content-length");
            request = request.header(name, value);
        }
        if !sized {
            request = request.header("content-length", size);
        }
        // The token is for the server alone, never for the bucket's.
        if let Some(authorization) = self.authorization.as_deref().filter(|_| own) {
            request = request.header("authorization", authorization);
        }
        let request = request
            .body(SendBody::from_reader(content))
            .map_err(|error| PutError::Network(error.to_string()))?;
        let mut response = self
            .agent
            .run(request)
            .map_err(|error| PutError::Network(reason(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let text = response.body_mut().with_config().limit(4096).read_to_string();
        let text = text.unwrap_or_default();
        let said = serde_json::from_str::<Problem>(&text)
            .map_or_else(|_| printable(text.trim()), |problem| words(&problem));
        Err(PutError::Refused { status, said })
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response<Body>, Refusal> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let unreachable = |why: String| Refusal::Unreachable {
            server: self.server.clone(),
            why,
        };
        let built = |error: ureq::http::Error| unreachable(error.to_string());
        let answered = match body {
            Some(body) => self.agent.run(request.body(body).map_err(built)?),
            None => self.agent.run(request.body(()).map_err(built)?),
        };
        let mut response = answered.map_err(|error| unreachable(reason(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let after = response.headers().get("retry-after");
        let after = after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let after = after.map(Duration::from_secs);
        let text = response.body_mut().with_config().limit(1 << 20).read_to_string();
        let text = text.unwrap_or_default();
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => Refusal::Problem {
                problem: Box::new(problem),
                after,
            },
            Err(_) => self.foreign(status, &text),
        })
    }

    fn document<T: DeserializeOwned>(&self, mut response: Response<Body>) -> Result<T, Refusal> {
        let status = response.status();
        let read = response
            .body_mut()
            .with_config()
            .limit(LARGEST_DOCUMENT)
            .read_to_string();
        let text = read.map_err(|error| Refusal::Unreachable {
            server: self.server.clone(),
            why: reason(&error),
        })?;
        serde_json::from_str(&text).map_err(|error| self.foreign(status, &format!("{error} in {text}")))
    }

    fn foreign(&self, status: StatusCode, text: &str) -> Refusal {
        let begin = text
            .trim()
            .get(..text.trim().floor_char_boundary(200))
            .unwrap_or_default();
        Refusal::Foreign {
            server: self.server.clone(),
            status,
            text: printable(begin),
        }
    }
}

/// Why a PUT did not succeed.
#[derive(Clone, Debug, Error)]
pub(crate) enum PutError {
    /// The connection, the disk, or time.
    #[error("{0}")]
    Network(String),
    /// The server said no.
    #[error("{status}: {said}")]
    Refused {
        /// HTTP status.
        status: StatusCode,
        /// Its words.
        said: String,
    },
}

impl PutError {
    /// Whether to try again, with a new ticket: the old one may have expired.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 400 | 403 | 408 | 410 | 429)
            }
        }
    }
}

/// The network's words without the library's.
pub(super) fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "there is no host of this name".to_owned(),
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (written, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://fleet.example.org/", "https://fleet.example.org"),
            ("localhost:8080", "http://localhost:8080"),
            ("https://example.org/fleet/", "https://example.org/fleet"),
        ] {
            assert_eq!(Client::new(written, None).ok().unwrap().server(), meant);
        }
        for bad in ["", "ftp://h", "http://", "http://h?x=1", "http://a b"] {
            let error = Client::new(bad, None).err().unwrap();
            assert!(
                error.to_string().contains("is no server's address"),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn a_token_that_would_break_the_header_is_refused() {
        for bad in ["", "a b", "a\nb", "é"] {
            let error = Client::new("http://h", Some(bad)).err().unwrap().to_string();
            assert!(error.contains("no token") && !error.contains(bad.trim_matches(' ')) || bad.is_empty());
        }
    }

    #[test]
    fn nobody_there_is_told_with_the_remedy() {
        // Port 1 of the loopback: nothing listens there.
        let client = Client::new("http://127.0.0.1:1", None).ok().unwrap();
        let refusal = client.get::<Problem>("/v1/batches", Patience::Short).unwrap_err();
        assert!(refusal.is_transient());
        let text = refusal.to_string();
        assert!(
            text.contains("http://127.0.0.1:1") && text.contains("pitchfleet up"),
            "{text}"
        );
    }
}
