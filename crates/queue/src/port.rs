//! The port: publish, consume, subscribe, depth. Every adapter passes the suite in `tests/conformance.rs`.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;

use crate::delivery::Delivery;
use crate::message::Message;

/// A queue with one meaning. At least once, in order as long as nothing is redelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Photos of big sets.
    Bulk,
    /// Photos of small sets and single photos, taken before bulk.
    Express,
    /// Expand and finalise, for coordinators.
    Control,
    /// What was rejected from the three above, for coordinators.
    Dead,
    /// What a coordinator could not make a failed result of (messages that are not ours). For people: nobody consumes
    /// it automatically.
    Parked,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Self; 5] = [Self::Bulk, Self::Express, Self::Control, Self::Dead, Self::Parked];

    /// Where a rejection from this lane goes. What is parked and rejected goes to the end of the parked.
    pub fn dead_letters(self) -> Self {
        match self {
            Self::Bulk | Self::Express | Self::Control => Self::Dead,
            Self::Dead | Self::Parked => Self::Parked,
        }
    }

    /// Whether workers take from it.
    pub fn is_work(self) -> bool {
        matches!(self, Self::Bulk | Self::Express)
    }

    /// Whether what is here was rejected elsewhere.
    pub fn is_dead_letters(self) -> bool {
        matches!(self, Self::Dead | Self::Parked)
    }
}

/// A topic that reaches every process that listens at that moment, and nobody later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fanout {
    /// Progress and heartbeats, from workers to whoever watches.
    Events,
    /// Commands of operators to all workers.
    Fleet,
}

impl Fanout {
    /// Every fanout.
    pub const ALL: [Self; 2] = [Self::Events, Self::Fleet];
}

/// Where to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The end of a lane.
    Lane(Lane),
    /// The end of a lane, after a delay that is rounded up to the next step of
    /// [`Topology::retry_delays`](crate::Topology::retry_delays).
    Later(Lane, Duration),
    /// Everybody who listens now; nobody listening is no error.
    Fanout(Fanout),
}

/// Whether the broker can be reached right now; readiness probes say so.
#[derive(Clone, Debug)]
pub enum Connection {
    /// Not now; the adapter keeps trying.
    Connecting {
        /// Failed attempts in a row.
        failures: u32,
        /// What the last of them said.
        error: Option<Arc<QueueError>>,
    },
    /// Yes.
    Connected {
        /// Set while the broker takes no messages (memory or disk alarm): its reason. Deliveries still come.
        blocked: Option<Arc<str>>,
    },
    /// Closed by us, for good.
    Closed,
}

impl Connection {
    /// Connected, and not blocked.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Connected { blocked: None })
    }
}

/// Messages waiting at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depths {
    /// By lane.
    pub lanes: BTreeMap<Lane, LaneDepth>,
    /// Photos waiting to be tried again, by delay. A lane is not drained while something is due within the grace.
    pub delayed: BTreeMap<Duration, u64>,
    /// What coordinators put off, by delay: the next look at a batch, a webhook that was not taken.
    pub put_off: BTreeMap<Duration, u64>,
}

/// One lane at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Messages that nobody has been given. Brokers do not tell what is unacknowledged.
    pub ready: u64,
    /// Consumers attached, of all processes.
    pub consumers: u64,
}

impl Depths {
    /// Messages ready in `lane`.
    pub fn ready(&self, lane: Lane) -> u64 {
        self.lanes.get(&lane).map_or(0, |depth| depth.ready)
    }

    /// Photos that fall due in less than or about `horizon`.
    pub fn delayed_within(&self, horizon: Duration) -> u64 {
        self.delayed.range(..=horizon).map(|(_, count)| count).sum()
    }

    /// Messages of every lane that wait for their delay to pass.
    pub fn waiting(&self) -> u64 {
        self.delayed.values().chain(self.put_off.values()).sum()
    }
}

/// What happened since the start of this queue handle; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections lost and made again.
    pub reconnects: u64,
    /// Settlements of deliveries whose connection was gone: harmless, somebody else has the message.
    pub stale: u64,
    /// Consumers that the watchdog found hanging and attached again.
    pub hung_consumers: u64,
    /// Messages published again because their confirm was lost: each may exist twice.
    pub republished: u64,
}

/// What can go wrong. Short, so that a caller can match; the broker's words are inside.
#[derive(Clone, Debug, Error)]
pub enum QueueError {
    /// [`Queue::close`] was called, or the handle was dropped.
    #[error("queue is closed")]
    Closed,
    /// The URL is not one.
    #[error("broker URL: {0}")]
    Url(String),
    /// Nobody answers there, or not in time.
    #[error("broker unreachable: {0}")]
    Unreachable(String),
    /// The broker answers and will not have us.
    #[error("broker refuses the connection: {0}; check user, password and virtual host")]
    Refused(String),
    /// A queue or exchange exists with other arguments, which can never be changed in place.
    #[error(
        "`{name}` exists with other arguments ({detail}); let it run empty and delete it \
         (`rabbitmqctl delete_queue {name}`), or set another `prefix`"
    )]
    Conflict {
        /// Name of the queue or exchange.
        name: String,
        /// The broker's words.
        detail: String,
    },
    /// The broker took the message and had no queue for it, even after declaring the topology again.
    #[error("broker returned a message for `{0}`: no queue takes it")]
    Unroutable(String),
    /// No confirm in time. Each message may or may not be stored: publish all of them again.
    #[error("{unconfirmed} of {total} messages not confirmed in {waited:?}: {detail}")]
    Unconfirmed {
        /// How many lack a confirm.
        unconfirmed: usize,
        /// How many there were.
        total: usize,
        /// How long we tried.
        waited: Duration,
        /// What stood in the way last.
        detail: String,
    },
    /// The connection broke in the middle of a question.
    #[error("connection lost: {0}")]
    Lost(String),
}

/// A broker. Object-safe: the executable chooses an adapter, everything else sees this.
#[async_trait]
pub trait Queue: Send + Sync + std::fmt::Debug + 'static {
    /// Stores `messages` durably (a fanout's are not durable), in order, and returns when the broker has confirmed
    /// every one. Waits for the broker while it is away, up to the adapter's publish timeout.
    ///
    /// The caller's duty: on an error, some may be stored and some not, so publish all of them again; readers must
    /// bear duplicates anyway. Pass thousands in one call rather than one in each of thousands.
    ///
    /// # Errors
    /// [`QueueError::Unconfirmed`], [`QueueError::Unroutable`], [`QueueError::Closed`].
    async fn publish(&self, to: Destination, messages: &[Message]) -> Result<(), QueueError>;

    /// Starts taking from `lane`, at most `prefetch` unsettled at a time. Returns when the consumer is attached, which
    /// takes as long as the broker is away: select it against a shutdown signal.
    ///
    /// The caller's duty: settle what it takes, soon (RabbitMQ closes the channel of a delivery that is in hand for
    /// 30 minutes), and keep `prefetch` at what it works on plus a few.
    ///
    /// # Errors
    /// [`QueueError::Closed`].
    async fn consume(&self, lane: Lane, prefetch: NonZeroU16) -> Result<Box<dyn Consumer>, QueueError>;

    /// Listens to `fanout` from when this returns. What is said while the broker is away, or faster than the listener
    /// takes it, is missed: use it for what makes things feel live, never for what must happen.
    ///
    /// # Errors
    /// [`QueueError::Closed`].
    async fn subscribe(&self, fanout: Fanout) -> Result<Box<dyn Subscription>, QueueError>;

    /// Counts what waits. A few round trips: ask every few seconds, not per message.
    ///
    /// # Errors
    /// [`QueueError::Lost`] or [`QueueError::Closed`]; not knowing is not the same as empty.
    async fn depths(&self) -> Result<Depths, QueueError>;

    /// Whether the broker can be reached, now and when it changes.
    fn connection(&self) -> watch::Receiver<Connection>;

    /// What happened so far.
    fn counters(&self) -> Counters;

    /// Ends consumers and subscriptions and closes the connection. What is in hand goes back to its queue. Final.
    async fn close(&self);
}

/// Takes from one lane. Recovers by itself when the broker comes back.
#[async_trait]
pub trait Consumer: Send {
    /// The next delivery; waits for one. `None` after [`cancel`](Self::cancel) or [`Queue::close`] only. Call it when
    /// there is room for a delivery. Cancel-safe: a delivery is never lost in a dropped future.
    async fn next(&mut self) -> Option<Delivery>;

    /// Changes how many may be unsettled at a time. Raising it works at once; what is in hand under the old value
    /// does not count against the new one.
    async fn set_prefetch(&mut self, prefetch: NonZeroU16);

    /// Takes no more, and gives back what was prefetched and not taken, at no cost to it. Deliveries in hand can still
    /// be settled.
    async fn cancel(&mut self);
}

/// Listens to one fanout. Recovers by itself when the broker comes back.
#[async_trait]
pub trait Subscription: Send {
    /// The next body, whoever sent it; `None` after [`Queue::close`] only. Cancel-safe.
    async fn next(&mut self) -> Option<Bytes>;
}
