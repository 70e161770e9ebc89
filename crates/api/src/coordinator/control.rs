//! One control message, from reading it to what becomes of it.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use fleet::ids::{BatchId, Tenant};
use fleet::job::Control;
use queue::{Delivery, Outcome, RetryPolicy};

use super::chain::Lease;
use super::notify::Notification;
use super::trouble::Trouble;
use super::{expand, finish, notify, retry};
use crate::shared::Shared;

/// How often a step that fails is tried before its message dies, and the sweeper starts the batch again. Shorter than
/// a worker's: somebody waits for each of these.
const DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(30),
    Duration::from_secs(30),
];

/// What becomes of a control message.
pub(super) async fn handle(shared: &Shared, delivery: &Delivery) -> Outcome {
    let control = match delivery.open::<Control>() {
        Ok(control) => control,
        // By way of the dead letters it is parked, where people see it.
        Err(foreign) => {
            return Outcome::Reject {
                reason: foreign.to_string(),
            };
        }
    };
    let (name, tenant, batch) = match &control {
        Control::Expand { tenant, batch, .. } => ("expand", tenant, *batch),
        Control::Finalise { tenant, batch, .. } => ("finalise", tenant, *batch),
        Control::Retry { tenant, batch, .. } => ("retry", tenant, *batch),
        Control::Notify { tenant, batch, .. } => ("notify", tenant, *batch),
    };
    let span = tracing::Span::current();
    trace::rename(&span, name);
    span.record("tenant", tracing::field::display(tenant));
    span.record("batch", tracing::field::display(batch));
    if let Control::Notify {
        id, tries, due_ms, ..
    } = &control
    {
        let this = Notification {
            tenant,
            batch,
            id,
            tries: *tries,
            due_ms: *due_ms,
        };
        return notify::handle(shared, delivery, this).await;
    }
    let Some(_in_hand) = InHand::claim(shared, tenant.clone(), batch) else {
        // The broker thought us gone and gave the message out again, or an older one comes late.
        return Outcome::Snooze {
            after: Duration::from_secs(1),
        };
    };
    match step(shared, tenant, batch, &control).await {
        Ok(()) | Err(Trouble::Superseded) => Outcome::Done,
        Err(trouble) => {
            tracing::warn!(error = %trouble, attempt = delivery.attempt(), "a step failed");
            let policy = RetryPolicy {
                delays: DELAYS.to_vec(),
            };
            policy.outcome(delivery.attempt(), trouble.to_string())
        }
    }
}

async fn step(shared: &Shared, tenant: &Tenant, batch: BatchId, control: &Control) -> Result<(), Trouble> {
    let chain = match control {
        Control::Expand { chain, .. } | Control::Finalise { chain, .. } | Control::Retry { chain, .. } => {
            chain
        }
        Control::Notify { .. } => return Ok(()),
    };
    let Some(lease) = Lease::take(shared, tenant, batch, chain).await? else {
        tracing::debug!("a message of an older chain ends here");
        return Ok(());
    };
    match control {
        Control::Expand { .. } => expand::expand(lease).await,
        Control::Finalise { .. } => finish::finalise(lease).await,
        Control::Retry { .. } => retry::retry(lease).await,
        Control::Notify { .. } => Ok(()),
    }
}

/// A batch that this process works on; one message of it at a time.
struct InHand<'a> {
    shared: &'a Shared,
    batch: (Tenant, BatchId),
}

impl<'a> InHand<'a> {
    fn claim(shared: &'a Shared, tenant: Tenant, batch: BatchId) -> Option<Self> {
        let batch = (tenant, batch);
        let is_free = in_hand(shared).insert(batch.clone());
        // Lazily: one that is made and dropped would give the batch free.
        is_free.then(|| Self { shared, batch })
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        in_hand(self.shared).remove(&self.batch);
    }
}

fn in_hand(shared: &Shared) -> MutexGuard<'_, HashSet<(Tenant, BatchId)>> {
    let in_hand = shared.coordinator.in_hand.lock();
    in_hand.unwrap_or_else(PoisonError::into_inner)
}
