//! A message in hand, and the five things that can become of it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::message::{self, Death, Envelope, Undecodable};
use crate::port::{Lane, QueueError};

/// What becomes of a delivery. The distinction that matters is whose fault it was: a retry and a rejection are the
/// photo's (or a server's it needs), a requeue is ours, and costs the photo nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done and its result is stored: forget the message.
    Done,
    /// This try failed: come back to the same lane after about `after`, with the attempt counted. The delay is
    /// rounded up to the next step of [`Topology::retry_delays`](crate::Topology::retry_delays).
    Retry {
        /// How long to stay away.
        after: Duration,
        /// What went wrong; the next try finds it in [`Envelope::last_failure`].
        reason: String,
    },
    /// Nothing failed, it is only too early: come back after about `after`, as the same attempt.
    Snooze {
        /// How long to stay away; rounded up like a retry's.
        after: Duration,
    },
    /// No further try can help: move it to the lane's dead-letter lane ([`Lane::dead_letters`]) with the reason.
    Reject {
        /// Why, for whoever looks at the dead letters.
        reason: String,
    },
    /// We are draining or have no room: back to the queue at once, no attempt counted.
    Requeue,
}

/// How an adapter settles one delivery. Dropping a receipt puts the message back to the queue.
#[async_trait]
pub trait Receipt: Send + Sync {
    /// Carries out `outcome`.
    ///
    /// # Errors
    /// When a copy for a retry or the dead-letter lane could not be stored: the original is back in its queue then.
    async fn settle(self: Box<Self>, outcome: Outcome) -> Result<(), QueueError>;
}

/// A message that this process holds and that nobody else gets meanwhile.
///
/// The holder owes it a [`settle`](Self::settle). Dropping it unsettled (a panic, a cancelled task) puts it back to
/// its queue as a suspect: it counts towards the broker's delivery limit, but not as an attempt.
pub struct Delivery {
    lane: Lane,
    body: Bytes,
    envelope: Result<Envelope, Undecodable>,
    redeliveries: u32,
    death: Option<Death>,
    receipt: Box<dyn Receipt>,
}

impl Delivery {
    /// For adapters: a delivery that is settled by `receipt`.
    pub fn new(
        lane: Lane,
        body: Bytes,
        envelope: Result<Envelope, Undecodable>,
        redeliveries: u32,
        death: Option<Death>,
        receipt: Box<dyn Receipt>,
    ) -> Self {
        Self {
            lane,
            body,
            envelope,
            redeliveries,
            death,
            receipt,
        }
    }

    /// The lane it was taken from.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// The bytes as they came, whether ours or not.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Attempt, trace and the failure before.
    ///
    /// # Errors
    /// When the message is not ours. The holder then rejects it.
    pub fn envelope(&self) -> Result<&Envelope, &Undecodable> {
        self.envelope.as_ref()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When the message is not ours, or is of another shape. The holder then rejects it.
    pub fn open<T: DeserializeOwned>(&self) -> Result<T, Undecodable> {
        self.envelope.as_ref().map_err(Clone::clone)?;
        message::parse(&self.body)
    }

    /// Which try this is, from 1; a message that is not ours is always at its first.
    pub fn attempt(&self) -> u32 {
        self.envelope.as_ref().map_or(1, |envelope| envelope.attempt)
    }

    /// How often it was handed out before without being settled, as far as the broker knows: more than 0 means that a
    /// process may have died over it. An upper bound: brokers before RabbitMQ 4.3 count our requeues, too.
    pub fn redeliveries(&self) -> u32 {
        self.redeliveries
    }

    /// For deliveries from a dead-letter lane: why it is there.
    pub fn death(&self) -> Option<&Death> {
        self.death.as_ref()
    }

    /// Carries out `outcome`. When the connection that brought this delivery is gone, nothing happens (the broker has
    /// already given the message to somebody else) except that [`Counters::stale`](crate::Counters::stale) counts it.
    ///
    /// A retry, snooze or rejection stores its copy before the original is forgotten: a crash between the two leaves
    /// both, never none.
    ///
    /// # Errors
    /// When that copy could not be stored; the original is then back in its queue. A caller has nothing to undo.
    pub async fn settle(self, outcome: Outcome) -> Result<(), QueueError> {
        self.receipt.settle(outcome).await
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("lane", &self.lane)
            .field("envelope", &self.envelope)
            .field("redeliveries", &self.redeliveries)
            .field("death", &self.death)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
