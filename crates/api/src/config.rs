//! What an operator chooses.

use fleet::manifest::BundleRef;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::coordinator::CoordinatorConfig;
use crate::webhook::WebhookConfig;

/// Everything about this role that an operator may choose.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// The models of new batches; absent: those of the worker that was heard of last.
    #[serde(skip)]
    pub bundle: Option<BundleRef>,
    /// Expand, finalise, retry, sweep.
    pub coordinator: CoordinatorConfig,
    /// Who is told about finished batches.
    pub webhook: WebhookConfig,
}

/// A configuration that cannot be served.
#[derive(Debug, Error)]
pub enum ConfigError {}
