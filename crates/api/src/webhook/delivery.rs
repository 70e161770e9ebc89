//! One try of a delivery.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::header::{CONTENT_TYPE, RETRY_AFTER};
use ureq::http::uri::Scheme;
use ureq::http::{Request, Response, StatusCode, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::signature::signatures;
use super::{Payload, Target, WebhookConfig, WebhookConfigError, address, schedule};

/// Tells receivers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    agent: Agent,
    config: WebhookConfig,
}

/// One try.
#[derive(Clone, Copy, Debug)]
pub struct Try<'a> {
    /// Who is told.
    pub url: &'a str,
    /// Which delivery this is, the same in every try of it: a receiver takes it once.
    pub id: &'a str,
    /// What is told.
    pub payload: &'a Payload,
    /// Tries before this one.
    pub tries: u32,
    /// The time of day, milliseconds of Unix time.
    pub now_ms: u64,
}

/// What became of a try, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// It may succeed later.
    Retry {
        /// How long to wait before the next try.
        after: Duration,
        /// What went wrong, without anything that the receiver wrote.
        reason: String,
    },
    /// The receiver wants to hear no more (410).
    Disabled,
    /// Nobody was told, and nobody is going to be: the URL or where it leads is not allowed.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was tried often enough.
    GaveUp {
        /// What went wrong the last time.
        reason: String,
    },
}

impl Notifier {
    /// Nobody is told anything yet.
    ///
    /// # Errors
    /// When a host has no secret.
    pub fn new(config: WebhookConfig) -> Result<Self, WebhookConfigError> {
        config.check()?;
        let settings = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would lead where nobody looked.
            .max_redirects(0)
            // So would a proxy of the environment: it resolves names itself.
            .proxy(None)
            .timeout_global(Some(config.timeout()))
            .max_idle_connections(0)
            .max_response_header_size(16 << 10)
            .user_agent(concat!("pitchfleet/", env!("CARGO_PKG_VERSION")))
            .build();
        let resolver = PublicOnly {
            inner: DefaultResolver::default(),
            allow_loopback: config.allow_loopback,
        };
        Ok(Self {
            agent: Agent::with_parts(settings, DefaultConnector::default(), resolver),
            config,
        })
    }

    /// Tries once. Takes as long as the receiver does, at most
    /// [`timeout_seconds`](WebhookConfig::timeout_seconds); a try whose future is dropped may still arrive.
    pub async fn deliver(&self, attempt: Try<'_>) -> Outcome {
        let target = match self.config.target(attempt.url) {
            Ok(target) => target,
            Err(error) => return refused(error),
        };
        let request = match self.request(&target, attempt) {
            Ok(request) => request,
            Err(error) => return refused(error),
        };
        let agent = self.agent.clone();
        // ureq blocks. What the receiver wrote below its headers is not even read.
        let answer = tokio::task::spawn_blocking(move || agent.run(request).map(Answer::of)).await;
        match answer {
            Ok(Ok(answer)) if answer.status.is_success() => Outcome::Delivered,
            Ok(Ok(answer)) if answer.status == StatusCode::GONE => Outcome::Disabled,
            Ok(Ok(answer)) => {
                let reason = format!("`{}` answered {}", target.host, answer.status.as_u16());
                failed(attempt, answer.retry_after, reason)
            }
            Ok(Err(ureq::Error::Other(error))) if error.is::<Forbidden>() => refused(error),
            Ok(Err(error)) => failed(
                attempt,
                None,
                format!("`{}` cannot be told: {error}", target.host),
            ),
            Err(error) => failed(attempt, None, error.to_string()),
        }
    }

    fn request(&self, target: &Target, attempt: Try<'_>) -> Result<Request<Vec<u8>>, RequestError> {
        let body = serde_json::to_vec(attempt.payload)?;
        let timestamp = attempt.now_ms / 1_000;
        let secrets = self.config.secrets_of(&target.host);
        Ok(Request::post(target.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", attempt.id)
            .header("webhook-timestamp", timestamp)
            .header(
                "webhook-signature",
                signatures(secrets, attempt.id, timestamp, &body),
            )
            .body(body)?)
    }
}

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the message cannot be written: {0}")]
    Body(#[from] serde_json::Error),
    #[error("the message cannot be sent: {0}")]
    Header(#[from] ureq::http::Error),
}

fn refused(error: impl ToString) -> Outcome {
    Outcome::Refused {
        reason: error.to_string(),
    }
}

fn failed(attempt: Try<'_>, wish: Option<Duration>, reason: String) -> Outcome {
    match schedule::delay(attempt.id, attempt.tries, wish) {
        Some(after) => Outcome::Retry { after, reason },
        None => Outcome::GaveUp { reason },
    }
}

struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
}

impl Answer {
    fn of<B>(response: Response<B>) -> Self {
        let wish = response.headers().get(RETRY_AFTER);
        let seconds = wish.and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            status: response.status(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }
}

/// Resolves names to the addresses that may be dialled. ureq dials what it is given: nothing is resolved twice.
#[derive(Debug)]
struct PublicOnly {
    inner: DefaultResolver,
    allow_loopback: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the webhook leads to {0}, which is not an address of the Internet")]
struct Forbidden(IpAddr);

impl PublicOnly {
    /// Without TLS only this machine is told.
    fn permits(&self, uri: &Uri, address: SocketAddr) -> bool {
        let is_loopback = self.allow_loopback && address.ip().is_loopback();
        let is_public = uri.scheme() == Some(&Scheme::HTTPS) && address::is_public(address.ip());
        is_loopback || is_public
    }
}

impl Resolver for PublicOnly {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let mut permitted = self.empty();
        let mut forbidden = None;
        for &address in found.iter() {
            if self.permits(uri, address) {
                permitted.push(address);
            } else {
                forbidden = Some(Forbidden(address.ip()));
            }
        }
        match forbidden {
            Some(forbidden) if permitted.is_empty() => Err(ureq::Error::Other(Box::new(forbidden))),
            _ => Ok(permitted),
        }
    }
}
