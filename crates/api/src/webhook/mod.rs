//! Telling others that a batch is finished, by Standard Webhooks (<https://www.standardwebhooks.com>).
//!
//! [`WebhookConfig::target`] says whether a URL may be told at all, [`Payload`] what is told, [`Notifier`] tells it once
//! and says in an [`Outcome`] what follows. Who calls it carries the tries: nothing is kept here.

mod address;
mod delivery;
mod payload;
mod schedule;
mod signature;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use delivery::{Notifier, Outcome, Try};
pub use payload::{LONGEST_BODY, Payload};
pub use signature::{Secret, SecretError};
pub use target::{Target, TargetError};

/// What an operator may choose about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Hosts that may be told; nobody else is.
    pub hosts: Vec<String>,
    /// Secrets by host, each `whsec_` and 24 to 64 bytes in base 64. Every host has its own, so that none can pass for
    /// the fleet at another. Messages are signed with all of a host's secrets: to change one, add the new one, and take
    /// the old one away when the receiver knows the new one.
    pub secrets: BTreeMap<String, Vec<Secret>>,
    /// Seconds that a receiver has to answer.
    pub timeout_seconds: u32,
    /// Also tells hosts on this machine, those without TLS: for trials and tests.
    pub allow_loopback: bool,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            secrets: BTreeMap::new(),
            timeout_seconds: 15,
            allow_loopback: false,
        }
    }
}

/// A configuration with which somebody could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookConfigError {
    /// A message that is not signed is worth nothing.
    #[error(
        "the webhook host `{host}` has no secret: add one under `webhook.secrets` (`whsec_` and the output of `openssl rand -base64 32`)"
    )]
    NoSecret {
        /// The host.
        host: String,
    },
}

impl WebhookConfig {
    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// [`WebhookConfigError`].
    pub fn check(&self) -> Result<(), WebhookConfigError> {
        match self.hosts.iter().find(|host| self.secrets_of(host).is_empty()) {
            Some(host) => Err(WebhookConfigError::NoSecret { host: host.clone() }),
            None => Ok(()),
        }
    }

    fn secrets_of(&self, host: &str) -> &[Secret] {
        let mut entries = self.secrets.iter();
        let entry = entries.find(|(name, _)| name.eq_ignore_ascii_case(host));
        entry.map_or(&[], |(_, secrets)| secrets)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.max(1).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_needs_a_secret() {
        let mut config: WebhookConfig = serde_json::from_value(serde_json::json!({
            "hosts": ["a.example.org", "b.example.org"],
            "secrets": {"A.example.org": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
        }))
        .unwrap();
        let error = config.check().unwrap_err();
        assert_eq!(
            error,
            WebhookConfigError::NoSecret {
                host: "b.example.org".into()
            }
        );
        config.hosts.pop();
        assert_eq!(config.check(), Ok(()));
    }
}
