//! The chain of a batch: which message may act on it, and how the next one follows.
//!
//! The marker `active/<tenant>/<batch>` names the link that counts. A message acts when its link is the marker's, or a
//! later one of the same chain (its sender publishes before it writes the marker, so that a crash between the two
//! repeats a step and never loses one). Everything else that is taken, late or twice, ends there.

use std::future::Future;
use std::time::Duration;

use fleet::batch::{Active, Stage};
use fleet::ids::{BatchId, Tenant};
use fleet::job::Control;
use fleet::layout::{BatchKeys, active_key};
use queue::{Destination, Lane, Message};
use ulid::Ulid;

use super::trouble::Trouble;
use crate::objects;
use crate::shared::Shared;

/// How often the marker is touched while something long is done; far below [`super::sweep::STALE`].
const TOUCH_EVERY: Duration = Duration::from_secs(20);

/// A message's place in its chain: `<chain>.<step>.<nonce>`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    chain: String,
    step: u64,
    /// Tells two messages apart that were published for the same step.
    nonce: String,
}

impl Link {
    fn first() -> Self {
        Self {
            chain: Ulid::generate().to_string(),
            step: 0,
            nonce: String::new(),
        }
    }

    fn next(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            step: self.step.saturating_add(1),
            nonce: Ulid::generate().to_string(),
        }
    }

    fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '.');
        Self {
            chain: parts.next().unwrap_or_default().to_owned(),
            step: parts.next().and_then(|step| step.parse().ok()).unwrap_or(0),
            nonce: parts.next().unwrap_or_default().to_owned(),
        }
    }

    /// Whether a message here may act while the marker says `marker`.
    fn counts_beside(&self, marker: &Self) -> bool {
        self.chain == marker.chain
            && (self.step > marker.step || (self.step == marker.step && self.nonce == marker.nonce))
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.chain, self.step, self.nonce)
    }
}

fn message(
    stage: Stage,
    tenant: &Tenant,
    batch: BatchId,
    link: &Link,
    traceparent: Option<&str>,
) -> Result<Message, Trouble> {
    let (tenant, chain) = (tenant.clone(), link.to_string());
    let control = match stage {
        Stage::Expand => Control::Expand { tenant, batch, chain },
        Stage::Finalise => Control::Finalise { tenant, batch, chain },
        Stage::Retry => Control::Retry { tenant, batch, chain },
    };
    Ok(traced(Message::json(&control)?, traceparent))
}

/// `message`, sent within the trace of `traceparent`.
pub(super) fn traced(message: Message, traceparent: Option<&str>) -> Message {
    match traceparent {
        Some(traceparent) => message.traced(traceparent),
        None => message,
    }
}

/// Starts a new chain at `stage`; whatever is left of an older one ends itself. For submission ([`Stage::Expand`]),
/// for a retry of a finished batch ([`Stage::Retry`]), and for the sweeper.
///
/// Returns when the broker has confirmed the message. After an error the same call may be made again; if nobody does,
/// the sweeper starts the batch.
///
/// # Errors
/// When the bucket or the broker does not answer.
pub async fn begin(shared: &Shared, tenant: &Tenant, batch: BatchId, stage: Stage) -> Result<(), Trouble> {
    let now_ms = shared.clock.now_ms();
    begin_again(shared, tenant, batch, stage, trace::traceparent(), now_ms).await
}

/// Starts a new chain of a batch that was submitted at `begun_ms`, within the trace of `traceparent`: that of the request
/// which started the chain before it.
pub(super) async fn begin_again(
    shared: &Shared,
    tenant: &Tenant,
    batch: BatchId,
    stage: Stage,
    traceparent: Option<String>,
    begun_ms: u64,
) -> Result<(), Trouble> {
    let link = Link::first();
    let now = shared.clock.now_ms();
    let marker = Active {
        chain: link.to_string(),
        touched_ms: now,
        stage,
        done: 0,
        since_ms: now,
        traceparent,
        begun_ms,
    };
    objects::write(shared.buckets.home(), &active_key(tenant, batch), &marker).await?;
    let message = message(stage, tenant, batch, &link, marker.traceparent.as_deref())?;
    shared
        .queue
        .publish(Destination::Lane(Lane::Control), &[message])
        .await?;
    Ok(())
}

/// Has the batch looked at now instead of at its next turn: its last result is there, or it was cancelled. `false`
/// when it is not active.
///
/// # Errors
/// When the bucket or the broker does not answer. The batch is then looked at when its turn comes.
pub async fn hasten(shared: &Shared, tenant: &Tenant, batch: BatchId) -> Result<bool, Trouble> {
    let Some(marker) = read_marker(shared, tenant, batch).await? else {
        return Ok(false);
    };
    let link = Link::parse(&marker.chain);
    let mut lease = Lease::new(shared, tenant.clone(), batch, link, marker);
    lease.arm(Stage::Finalise, None).await?;
    Ok(true)
}

async fn read_marker(shared: &Shared, tenant: &Tenant, batch: BatchId) -> Result<Option<Active>, Trouble> {
    Ok(objects::read(shared.buckets.home(), &active_key(tenant, batch)).await?)
}

/// The right to act on a batch, for as long as no newer message takes it over.
pub(super) struct Lease<'a> {
    pub(super) shared: &'a Shared,
    pub(super) tenant: Tenant,
    pub(super) batch: BatchId,
    pub(super) keys: BatchKeys,
    link: Link,
    /// As it was last read or written.
    pub(super) marker: Active,
}

impl<'a> Lease<'a> {
    fn new(shared: &'a Shared, tenant: Tenant, batch: BatchId, link: Link, marker: Active) -> Self {
        Self {
            keys: BatchKeys::new(&tenant, batch),
            shared,
            tenant,
            batch,
            link,
            marker,
        }
    }

    /// For a message with `chain`; `None` when it does not count: the batch is finished, or a newer message exists.
    pub(super) async fn take(
        shared: &'a Shared,
        tenant: &Tenant,
        batch: BatchId,
        chain: &str,
    ) -> Result<Option<Self>, Trouble> {
        let Some(marker) = read_marker(shared, tenant, batch).await? else {
            return Ok(None);
        };
        let link = Link::parse(chain);
        if !link.counts_beside(&Link::parse(&marker.chain)) {
            return Ok(None);
        }
        Ok(Some(Self::new(shared, tenant.clone(), batch, link, marker)))
    }

    /// How often the chain was re-armed before.
    pub(super) fn step(&self) -> u64 {
        self.link.step
    }

    fn marker_key(&self) -> String {
        active_key(&self.tenant, self.batch)
    }

    /// Reads the marker again.
    async fn check(&self) -> Result<(), Trouble> {
        let marker = read_marker(self.shared, &self.tenant, self.batch).await?;
        match marker {
            Some(marker) if self.link.counts_beside(&Link::parse(&marker.chain)) => Ok(()),
            _ => Err(Trouble::Superseded),
        }
    }

    async fn write(&mut self, link: &Link) -> Result<(), Trouble> {
        self.marker.chain = link.to_string();
        self.marker.touched_ms = self.shared.clock.now_ms();
        objects::write(self.shared.buckets.home(), &self.marker_key(), &self.marker).await?;
        Ok(())
    }

    /// Says that somebody is at work.
    async fn touch(&mut self) -> Result<(), Trouble> {
        self.check().await?;
        let link = self.link.clone();
        self.write(&link).await
    }

    /// Does `work`, touching the marker meanwhile. `work` is dropped in the middle when a newer message took over.
    pub(super) async fn keep<T, E: From<Trouble>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(TOUCH_EVERY) => self.touch().await?,
            }
        }
    }

    /// Publishes the next message of the chain, at once or after a delay, and makes it the one that counts.
    pub(super) async fn arm(&mut self, stage: Stage, after: Option<Duration>) -> Result<(), Trouble> {
        self.check().await?;
        let next = self.link.next();
        let traceparent = self.marker.traceparent.as_deref();
        let message = message(stage, &self.tenant, self.batch, &next, traceparent)?;
        let to = match after {
            None => Destination::Lane(Lane::Control),
            Some(after) => Destination::Later(Lane::Control, after),
        };
        self.shared.queue.publish(to, &[message]).await?;
        self.marker.stage = stage;
        self.write(&next).await
    }

    /// Ends the chain: nothing is left to do for the batch.
    pub(super) async fn end(self) -> Result<(), Trouble> {
        self.check().await?;
        self.shared.buckets.home().delete(&self.marker_key()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_back() {
        let first = Link::first();
        let second = first.next();
        for link in [&first, &second] {
            assert_eq!(&Link::parse(&link.to_string()), link);
        }
        assert_eq!(Link::parse("anything").step, 0);
    }

    #[test]
    fn only_the_marker_s_link_and_later_ones_of_its_chain_count() {
        let first = Link::first();
        let second = first.next();
        let twin = first.next();
        assert!(first.counts_beside(&first));
        assert!(
            second.counts_beside(&first),
            "the marker is written after the message"
        );
        assert!(!first.counts_beside(&second), "late");
        assert!(!twin.counts_beside(&second), "published twice");
        assert!(!Link::first().counts_beside(&first), "another chain");
    }
}
