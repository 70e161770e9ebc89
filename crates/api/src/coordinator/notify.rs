//! Webhooks: one try of a delivery, and when the next one is due.

use std::time::Duration;

use fleet::batch::Finished;
use fleet::ids::{BatchId, Tenant};
use fleet::job::Control;
use fleet::layout::BatchKeys;
use fleet::manifest::Manifest;
use fleet::metrics::WebhookEnd;
use queue::{Delivery, Destination, Lane, Message, Outcome};

use super::chain::traced;
use super::insist;
use super::trouble::Trouble;
use crate::objects;
use crate::shared::Shared;
use crate::webhook::{self, Payload, Try};

/// What [`Control::Notify`] says.
pub(super) struct Notification<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) batch: BatchId,
    pub(super) id: &'a str,
    pub(super) tries: u32,
    pub(super) due_ms: u64,
}

/// What becomes of a notification. Its next try is a message of its own, because the count of tries is in it; a crash
/// between the two tells the receiver twice, under the same id.
pub(super) async fn handle(shared: &Shared, delivery: &Delivery, this: Notification<'_>) -> Outcome {
    let early_ms = this.due_ms.saturating_sub(shared.clock.now_ms());
    if early_ms > 0 {
        return Outcome::Snooze {
            after: Duration::from_millis(early_ms),
        };
    }
    let Ok(_permit) = shared.coordinator.notifications.try_acquire() else {
        return Outcome::Snooze {
            after: Duration::from_secs(1),
        };
    };
    let traceparent = delivery
        .envelope()
        .ok()
        .and_then(|envelope| envelope.traceparent.as_deref());
    match deliver(shared, &this, traceparent).await {
        Ok(()) => Outcome::Done,
        Err(trouble) => insist(delivery, &trouble),
    }
}

async fn deliver(shared: &Shared, this: &Notification<'_>, traceparent: Option<&str>) -> Result<(), Trouble> {
    let home = shared.buckets.home();
    let keys = BatchKeys::new(this.tenant, this.batch);
    let manifest: Option<Manifest> = objects::read(home, &keys.manifest()).await?;
    let finished: Option<Finished> = objects::read(home, &keys.finished()).await?;
    // Deleted or retried since: there is nothing to tell, or somebody tells it later.
    let (Some(manifest), Some(finished)) = (manifest, finished) else {
        return Ok(());
    };
    let (Some(url), Some(notifier)) = (&manifest.webhook, shared.coordinator.notifier(shared)) else {
        return Ok(());
    };
    let payload = Payload::finished(
        this.batch,
        &manifest,
        &finished,
        shared.config.public_url.as_deref(),
    );
    let now_ms = shared.clock.now_ms();
    let outcome = notifier
        .deliver(Try {
            url,
            id: this.id,
            payload: &payload,
            tries: this.tries,
            now_ms,
        })
        .await;
    let (batch, id, tries) = (this.batch, this.id, this.tries);
    shared.metrics.webhook(end(&outcome));
    match outcome {
        webhook::Outcome::Delivered => tracing::info!(id, tries, "webhook delivered"),
        webhook::Outcome::Disabled => {
            tracing::warn!(id, "the webhook's receiver wants to hear no more")
        }
        webhook::Outcome::Refused { reason } => tracing::warn!(id, reason, "webhook refused"),
        webhook::Outcome::GaveUp { reason } => tracing::error!(id, tries, reason, "webhook given up"),
        webhook::Outcome::Retry { after, reason } => {
            tracing::warn!(id, tries, reason, ?after, "webhook tried again later");
            let next = Control::Notify {
                tenant: this.tenant.clone(),
                batch,
                id: id.to_owned(),
                tries: tries.saturating_add(1),
                due_ms: now_ms + u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            };
            let to = Destination::Later(Lane::Control, after);
            let message = traced(Message::json(&next)?, traceparent);
            shared.queue.publish(to, &[message]).await?;
        }
    }
    Ok(())
}

fn end(outcome: &webhook::Outcome) -> WebhookEnd {
    match outcome {
        webhook::Outcome::Delivered => WebhookEnd::Delivered,
        webhook::Outcome::Retry { .. } => WebhookEnd::Retried,
        webhook::Outcome::Disabled => WebhookEnd::Disabled,
        webhook::Outcome::Refused { .. } => WebhookEnd::Refused,
        webhook::Outcome::GaveUp { .. } => WebhookEnd::GaveUp,
    }
}
