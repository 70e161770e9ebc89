//! What an operator chooses.

use std::time::Duration;

use fleet::ids::Tenant;
use fleet::manifest::BundleRef;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::coordinator::CoordinatorConfig;
use crate::http::tokens::Tokens;
use crate::webhook::WebhookConfig;

/// Everything about this role that an operator may choose.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Who may do what, from the token file. Without tokens everybody is the tenant `local`, and only loopback is
    /// served.
    #[serde(skip)]
    pub tokens: Tokens,
    /// The models of new batches; absent: those of the worker that was heard of last.
    #[serde(skip)]
    pub bundle: Option<BundleRef>,
    /// What clients reach this API by, such as `https://pitch.example.org`, where it is not the `Host` they send.
    pub public_url: Option<String>,
    /// Where photos may be imported from.
    pub imports: Vec<ImportRule>,
    /// What a request and a batch may cost.
    pub limits: ApiLimits,
    /// Seconds until a request that is not a transfer gets an answer, 504 at worst; and for its head to arrive, after
    /// which the connection is closed.
    pub request_seconds: u32,
    /// Seconds that `POST /v1/analyze` waits for the result before it answers 202.
    pub analyze_seconds: u32,
    /// Seconds that requests in flight have to finish after a shutdown began.
    pub drain_seconds: u32,
    /// Expand, finalise, retry, sweep.
    pub coordinator: CoordinatorConfig,
    /// Who is told about finished batches.
    pub webhook: WebhookConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            bundle: None,
            public_url: None,
            imports: Vec::new(),
            limits: ApiLimits::default(),
            request_seconds: 30,
            analyze_seconds: 30,
            drain_seconds: 25,
            coordinator: CoordinatorConfig::default(),
            webhook: WebhookConfig::default(),
        }
    }
}

impl ApiConfig {
    /// Whether `tenant` may import photos under `start` (a prefix, or a whole key) of `bucket`.
    pub(crate) fn may_import(&self, tenant: &Tenant, bucket: &str, start: &str) -> bool {
        self.imports.iter().any(|rule| {
            rule.bucket == bucket
                && start.starts_with(&rule.prefix)
                && (rule.tenants.is_empty() || rule.tenants.contains(tenant))
        })
    }

    pub(crate) fn request_time(&self) -> Duration {
        Duration::from_secs(self.request_seconds.into())
    }
}

/// A bucket, or a part of one, that photos may be imported from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRule {
    /// The bucket.
    pub bucket: String,
    /// What keys must begin with. End it with `/`, or `day-1` opens `day-10`, too.
    #[serde(default)]
    pub prefix: String,
    /// Who may; empty: every tenant.
    #[serde(default)]
    pub tenants: Vec<Tenant>,
}

/// What a request and a batch may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiLimits {
    /// Bytes of one uploaded photo.
    pub bytes_per_photo: u64,
    /// Bytes of a JSON body; a long list of keys is the largest.
    pub body_bytes: usize,
    /// Requests a second that one token may send in the long run.
    pub requests_per_second: u32,
    /// Requests that one token may send at once after a pause.
    pub burst: u32,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            bytes_per_photo: 64 << 20,
            body_bytes: 8 << 20,
            requests_per_second: 100,
            burst: 500,
        }
    }
}

/// A configuration that cannot be served.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Everybody in the network could use it.
    #[error(
        "{address} can be reached from other machines and there are no tokens: make one \
         (`pitchfleet token create`) and name the token file in the configuration, or listen on 127.0.0.1"
    )]
    OpenToAll {
        /// Where it should listen.
        address: std::net::SocketAddr,
    },
    /// A number that must not be 0.
    #[error("`{key}` must not be 0")]
    Zero {
        /// Its name.
        key: &'static str,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_allowed_by_tenant_bucket_and_prefix() {
        let (acme, other): (Tenant, Tenant) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let rule = |prefix: &str, tenants: &[&Tenant]| ImportRule {
            bucket: "photos".into(),
            prefix: prefix.into(),
            tenants: tenants.iter().map(|&tenant| tenant.clone()).collect(),
        };
        let config = ApiConfig {
            imports: vec![rule("acme/", &[&acme]), rule("public/", &[])],
            ..ApiConfig::default()
        };
        for (tenant, bucket, start, allowed) in [
            (&acme, "photos", "acme/", true),
            (&acme, "photos", "acme/day-1/a.jpg", true),
            (&acme, "photos", "acme", false),
            (&acme, "photos", "acme-secret/", false),
            (&acme, "photos", "", false),
            (&acme, "elsewhere", "acme/", false),
            (&other, "photos", "acme/", false),
            (&other, "photos", "public/x", true),
        ] {
            assert_eq!(
                config.may_import(tenant, bucket, start),
                allowed,
                "{tenant} {bucket} {start}"
            );
        }
    }
}
