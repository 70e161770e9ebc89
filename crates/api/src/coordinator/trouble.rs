//! What keeps a coordinator from doing its work.

use std::io;

use queue::QueueError;
use report::ReportError;
use store::StoreError;

use crate::objects::ObjectError;

/// Why something was not done. All but [`Superseded`](Self::Superseded) may pass.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The bucket.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object of ours.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The broker.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A message could not be written as JSON.
    #[error("cannot write a message: {0}")]
    Message(#[from] serde_json::Error),
    /// A document could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The temporary folder, where documents are written before they go to the bucket.
    #[error("temporary files: {0}")]
    Disk(#[source] io::Error),
    /// A newer message is responsible for the batch.
    #[error("a newer message took over")]
    Superseded,
}
