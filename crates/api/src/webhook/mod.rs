//! Telling others that a batch is finished, by Standard Webhooks.

use serde::{Deserialize, Serialize};

/// What an operator may choose about it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Hosts that may be told.
    pub hosts: Vec<String>,
}
