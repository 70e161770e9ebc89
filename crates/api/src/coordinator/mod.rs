//! What happens to a batch between two requests: expand, finalise, retry, dead letters, sweeping, webhooks.
//!
//! ```text
//!  submit ──► Expand ──► Finalise ⟲ ──► finished        one chain of messages for each batch (chain)
//!                ▲           │
//!                └── sweep ──┴── Retry                  a chain that was lost starts anew (sweep)
//! ```
//! Several coordinators may run. Every message may come twice, half done or late, and is then harmless: what a step
//! writes depends on the batch alone, and each step looks at the bucket for what was done before
//! (`docs/decisions/batch-state.md`).

mod chain;
mod control;
mod dead;
pub(crate) mod documents;
mod expand;
mod finish;
mod items;
mod notify;
mod publish;
mod retry;
mod source;
mod sweep;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use fleet::batch::BatchState;
use fleet::event::Event;
use fleet::ids::{BatchId, Tenant};
use queue::{Delivery, Destination, Fanout, Lane, Message, Outcome, QueueError};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::field::Empty;

pub use self::chain::{begin, hasten};
pub use self::trouble::Trouble;
use crate::shared::Shared;
use crate::webhook::Notifier;
use chain::Lease;

/// Sets of at most so many photos go to the express lane.
pub const EXPRESS_PHOTOS: u64 = 50;

/// Control messages in hand at the same time: most wait for the bucket.
const CONTROL_IN_HAND: NonZeroU16 = NonZeroU16::new(16).unwrap();
const DEAD_IN_HAND: NonZeroU16 = NonZeroU16::new(16).unwrap();
/// Batches whose documents are written at the same time: each costs a few megabytes.
const DOCUMENTS_AT_A_TIME: usize = 2;

/// Webhooks told at the same time: receivers that are slow keep no batch waiting.
const NOTIFICATIONS_AT_A_TIME: usize = 8;

/// What an operator may choose about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CoordinatorConfig {
    /// Photos of one batch.
    pub max_photos: u64,
    /// The queue does not outlive this process: every batch that is not finished is started again with it.
    #[serde(skip)]
    pub volatile_queue: bool,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            max_photos: 100_000,
            volatile_queue: false,
        }
    }
}

/// What the coordinator of this process keeps in memory.
#[derive(Debug)]
pub struct State {
    /// Batches that a message in hand is working on.
    in_hand: Mutex<HashSet<(Tenant, BatchId)>>,
    documents: Semaphore,
    notifications: Semaphore,
    notifier: OnceLock<Option<Notifier>>,
    active: Mutex<Option<ActiveBatches>>,
}

/// Batches of the whole fleet that are submitted and not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ActiveBatches {
    pub(crate) batches: u64,
    /// When the oldest was submitted, milliseconds of Unix time.
    pub(crate) oldest_ms: Option<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            in_hand: Mutex::default(),
            documents: Semaphore::new(DOCUMENTS_AT_A_TIME),
            notifications: Semaphore::new(NOTIFICATIONS_AT_A_TIME),
            notifier: OnceLock::new(),
            active: Mutex::default(),
        }
    }
}

impl State {
    /// As of the last sweep; `None` before the first.
    pub(crate) fn active(&self) -> Option<ActiveBatches> {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_active(&self, active: ActiveBatches) {
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = Some(active);
    }

    /// Tells webhooks; `None` with a configuration that cannot be used, which the log says.
    fn notifier(&self, shared: &Shared) -> Option<&Notifier> {
        let made = self.notifier.get_or_init(|| {
            Notifier::new(shared.config.webhook.clone())
                .inspect_err(|error| tracing::error!(%error, "no webhook is told"))
                .ok()
        });
        made.as_ref()
    }
}

/// Takes control messages and dead letters until `shutdown`. What is in hand then goes back to the queue: whoever
/// takes it next goes on.
///
/// # Errors
/// When the queue is closed.
pub async fn run(shared: Arc<Shared>, shutdown: CancellationToken) -> Result<(), QueueError> {
    let control = consume(&shared, Lane::Control, CONTROL_IN_HAND, &shutdown);
    let dead = consume(&shared, Lane::Dead, DEAD_IN_HAND, &shutdown);
    let background = async {
        tokio::join!(
            sweep::run(&shared, &shutdown),
            hasten_complete(&shared, &shutdown)
        );
        Ok(())
    };
    tokio::try_join!(control, dead, background).map(|_| ())
}

/// Has batches finished as soon as their last result is heard of.
async fn hasten_complete(shared: &Shared, shutdown: &CancellationToken) {
    while let Some((tenant, batch)) = shutdown
        .run_until_cancelled(shared.progress.next_complete())
        .await
    {
        if let Err(error) = hasten(shared, &tenant, batch).await {
            tracing::warn!(%tenant, %batch, %error, "a complete batch waits for its next turn");
        }
    }
}

async fn consume(
    shared: &Arc<Shared>,
    lane: Lane,
    in_hand: NonZeroU16,
    shutdown: &CancellationToken,
) -> Result<(), QueueError> {
    let Some(consumer) = shutdown
        .run_until_cancelled(shared.queue.consume(lane, in_hand))
        .await
    else {
        return Ok(());
    };
    let mut consumer = consumer?;
    let mut tasks = JoinSet::new();
    let ended = loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break Ok(()),
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => log_panic(ended),
            delivery = consumer.next(), if tasks.len() < usize::from(in_hand.get()) => match delivery {
                Some(delivery) => {
                    tasks.spawn(settle(Arc::clone(shared), delivery, shutdown.clone()));
                }
                None => break Err(QueueError::Closed),
            },
        }
    };
    consumer.cancel().await;
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
    ended
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        // The delivery was dropped with the task, and comes again.
        tracing::error!(%error, "handling a message failed");
    }
}

async fn settle(shared: Arc<Shared>, delivery: Delivery, shutdown: CancellationToken) {
    let span = tracing::info_span!(
        "message",
        otel.name = "dead letter",
        otel.kind = "consumer",
        tenant = Empty,
        batch = Empty,
        index = Empty,
        trace_id = Empty,
    );
    let envelope = delivery.envelope().ok();
    trace::begin(
        &span,
        envelope.and_then(|envelope| envelope.traceparent.as_deref()),
    );
    settle_within(&shared, delivery, shutdown).instrument(span).await;
}

async fn settle_within(shared: &Shared, delivery: Delivery, shutdown: CancellationToken) {
    let handle = async {
        match delivery.lane() {
            Lane::Dead => dead::handle(shared, &delivery).await,
            _ => control::handle(shared, &delivery).await,
        }
    };
    let outcome = shutdown
        .run_until_cancelled(handle)
        .await
        .unwrap_or(Outcome::Requeue);
    if let Err(error) = delivery.settle(outcome).await {
        tracing::warn!(%error, "a message could not be settled, and comes again");
    }
}

/// The outcome of a message that must be done some day, however often it takes.
fn insist(delivery: &Delivery, trouble: &Trouble) -> Outcome {
    tracing::warn!(attempt = delivery.attempt(), error = %trouble, "a message is tried again");
    Outcome::Retry {
        after: Duration::from_secs(match delivery.attempt() {
            1 => 1,
            2 => 5,
            _ => 30,
        }),
        reason: trouble.to_string(),
    }
}

/// Says that the batch reached `state`.
async fn tell(lease: &Lease<'_>, state: BatchState) {
    let event = Event::Batch {
        tenant: lease.tenant.clone(),
        batch: lease.batch,
        state,
    };
    announce(lease.shared, &event).await;
}

/// Says something to whoever listens. Nothing depends on it.
async fn announce(shared: &Shared, event: &Event) {
    let Ok(message) = Message::json(event) else {
        return;
    };
    let to = Destination::Fanout(Fanout::Events);
    if let Err(error) = shared.queue.publish(to, &[message]).await {
        tracing::debug!(%error, "an event was not told");
    }
}
