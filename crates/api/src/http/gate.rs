//! Who is let in: bearer tokens, scopes, rates, and who may call a server that has no tokens.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use fleet::ids::Tenant;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::app::App;
use super::problem::{ApiError, Code};
use super::tokens::{Principal, Scope, Tokens};
use crate::config::{ApiLimits, ConfigError};

/// Tokens, and how fast each may ask.
#[derive(Debug)]
pub(crate) struct Gate {
    tokens: Tokens,
    /// One for each token in the order of the file; one in all where there are none.
    rates: Vec<DefaultDirectRateLimiter>,
}

impl Gate {
    pub(crate) fn new(tokens: Tokens, limits: &ApiLimits) -> Result<Self, ConfigError> {
        let per_second = NonZeroU32::new(limits.requests_per_second).ok_or(ConfigError::Zero {
            key: "limits.requests_per_second",
        })?;
        let burst = NonZeroU32::new(limits.burst).ok_or(ConfigError::Zero { key: "limits.burst" })?;
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let rates = (0..tokens.len().max(1)).map(|_| RateLimiter::direct(quota));
        Ok(Self {
            rates: rates.collect(),
            tokens,
        })
    }

    /// Whether there are no tokens, so that only this machine may be served.
    pub(crate) fn is_open(&self) -> bool {
        self.tokens.is_empty()
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Principal, ApiError> {
        let (place, principal) = if self.is_open() {
            same_site(headers)?;
            (0, Principal::local())
        } else {
            let (place, principal) = self.tokens.find(bearer(headers)?).ok_or_else(|| {
                unauthenticated(
                    "Nobody issued this token. Ask the operator for one (`pitchfleet token create`).",
                )
            })?;
            (place, principal.clone())
        };
        if let Some(Err(until)) = self.rates.get(place).map(RateLimiter::check) {
            let wait = until.wait_time_from(DefaultClock::default().now());
            return Err(ApiError::new(
                Code::RateLimited,
                "This token sends more requests than it may. Wait as long as `Retry-After` says.",
            )
            .after(wait));
        }
        Ok(principal)
    }
}

fn unauthenticated(detail: &str) -> ApiError {
    ApiError::new(Code::Unauthenticated, detail).header("www-authenticate", "Bearer")
}

/// RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(unauthenticated("Send the header `Authorization: Bearer pf_…`."));
    };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    parts
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthenticated("The header `Authorization` is not `Bearer pf_…`."))
}

/// Without tokens whoever runs a browser on this machine could be made to call this API by any web page: by a request
/// across sites, or by a name of its own that points here (DNS rebinding).
fn same_site(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |what: &str| {
        Err(ApiError::new(
            Code::CrossSite,
            format!("{what} This server has no tokens, so it serves this machine only."),
        ))
    };
    if let Some(site) = headers.get("sec-fetch-site")
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return refused("A web page from elsewhere sent this request.");
    }
    match headers.get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) if !is_loopback(host) => refused("The request is for another name than this machine's."),
        _ => Ok(()),
    }
}

/// Whether an authority names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What a route needs.
pub(crate) trait Needs: Send + Sync {
    const SCOPE: Scope;
}

/// [`Scope::Submit`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Submit;
/// [`Scope::Read`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read;
/// [`Scope::Admin`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin;

impl Needs for Submit {
    const SCOPE: Scope = Scope::Submit;
}
impl Needs for Read {
    const SCOPE: Scope = Scope::Read;
}
impl Needs for Admin {
    const SCOPE: Scope = Scope::Admin;
}

/// Somebody who may do what the route needs. A handler that takes this cannot be reached by anybody else.
#[derive(Debug)]
pub(crate) struct Caller<S> {
    principal: Principal,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// Whose batches this is about.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.principal.tenant
    }
}

impl<S: Needs> FromRequestParts<Arc<App>> for Caller<S> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let principal = app.gate.admit(&parts.headers)?;
        tracing::Span::current().record("token", &principal.id);
        if !principal.may(S::SCOPE) {
            return Err(ApiError::new(
                Code::MissingScope,
                format!("This needs a token with the scope `{}`.", S::SCOPE.name()),
            ));
        }
        Ok(Self {
            principal,
            scope: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn this_machine_has_these_names() {
        for (host, loopback) in [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:1", true),
            ("127.1.2.3", true),
            ("[::1]:8080", true),
            ("localhost.evil.example", false),
            ("evil.example:80", false),
            ("192.168.0.1", false),
            ("[2001:db8::1]", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), loopback, "{host}");
        }
    }

    #[test]
    fn web_pages_from_elsewhere_are_refused() {
        let of = |pairs| same_site(&headers(pairs)).is_ok();
        assert!(of(&[("host", "localhost:1")]));
        assert!(of(&[("host", "localhost:1"), ("sec-fetch-site", "same-origin")]));
        assert!(of(&[("host", "localhost:1"), ("sec-fetch-site", "none")]));
        assert!(!of(&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")]));
        assert!(!of(&[("host", "rebound.example")]));
    }

    #[test]
    fn rates_are_limited() {
        let limits = ApiLimits {
            requests_per_second: 1,
            burst: 2,
            ..ApiLimits::default()
        };
        let gate = Gate::new(Tokens::default(), &limits).unwrap();
        let asked = [(); 3].map(|()| gate.admit(&HeaderMap::new()).map_err(|e| e.code()).err());
        assert_eq!(asked, [None, None, Some(Code::RateLimited)]);
    }
}
