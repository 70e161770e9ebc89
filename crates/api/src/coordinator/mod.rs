//! Expand, finalise, retry, dead letters, sweeping: what happens to a batch between two requests.

use std::sync::Arc;

use queue::QueueError;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::shared::Shared;

/// What an operator may choose about it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorConfig {}

/// Takes control messages and dead letters until `shutdown`, and returns when what is in hand is settled.
///
/// # Errors
/// When the queue is closed.
pub async fn run(_shared: Arc<Shared>, shutdown: CancellationToken) -> Result<(), QueueError> {
    shutdown.cancelled().await;
    Ok(())
}
