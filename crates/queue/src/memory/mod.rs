//! The in-process adapter: the same rules as a broker's, nothing installed, nothing that outlives the process. Who
//! runs on it finds unfinished work elsewhere after a crash (a batch's folder says what lacks a result).

mod state;

use std::fmt;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use self::state::{State, Stored};
use crate::delivery::{Delivery, Outcome, Receipt};
use crate::message::{self, Message, Undecodable};
use crate::port::{
    Connection, Consumer, Counters, Depths, Destination, Fanout, Lane, Queue, QueueError, Subscription,
};
use crate::topology::{SUBSCRIPTION_BACKLOG, Topology};

/// A queue inside this process. Delays are by tokio's clock, so a paused one works.
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

struct Shared {
    topology: Topology,
    state: Mutex<State>,
    /// Somebody published, settled, or closed.
    changed: Notify,
    events: broadcast::Sender<Bytes>,
    fleet: broadcast::Sender<Bytes>,
    connection: watch::Sender<Connection>,
    stale: AtomicU64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete before its guard goes: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fanout(&self, fanout: Fanout) -> &broadcast::Sender<Bytes> {
        match fanout {
            Fanout::Events => &self.events,
            Fanout::Fleet => &self.fleet,
        }
    }
}

impl MemoryQueue {
    /// An empty queue with the delays of `topology`.
    pub fn new(topology: Topology) -> Self {
        let backlog = usize::try_from(SUBSCRIPTION_BACKLOG)
            .unwrap_or(usize::MAX)
            .min(1 << 14);
        Self {
            shared: Arc::new(Shared {
                topology,
                state: Mutex::default(),
                changed: Notify::new(),
                events: broadcast::channel(backlog).0,
                fleet: broadcast::channel(backlog).0,
                connection: watch::channel(Connection::Connected { blocked: None }).0,
                stale: AtomicU64::new(0),
            }),
        }
    }

    /// Puts bytes into `lane` as a stranger would, without an envelope; for tests of what meets them.
    pub fn inject_foreign(&self, lane: Lane, body: impl Into<Bytes>) {
        let envelope = Err(Undecodable::Foreign { app_id: None });
        let stored = Stored {
            body: body.into(),
            envelope,
            redeliveries: 0,
            death: None,
        };
        self.shared.state().push(lane, stored);
        self.shared.changed.notify_waiters();
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, to: Destination, messages: &[Message]) -> Result<(), QueueError> {
        let shared = &self.shared;
        let mut state = shared.state();
        if state.closed {
            return Err(QueueError::Closed);
        }
        match to {
            Destination::Fanout(fanout) => {
                for message in messages {
                    // An error says that nobody listens.
                    let _ = shared.fanout(fanout).send(message.body.clone());
                }
            }
            Destination::Lane(lane) => {
                messages
                    .iter()
                    .for_each(|message| state.push(lane, Stored::new(message.clone())));
            }
            Destination::Later(lane, after) => {
                let due = Instant::now() + shared.topology.delay_for(after);
                for message in messages {
                    state.push_later(due, lane, Stored::new(message.clone()));
                }
            }
        }
        drop(state);
        shared.changed.notify_waiters();
        Ok(())
    }

    async fn consume(&self, lane: Lane, prefetch: NonZeroU16) -> Result<Box<dyn Consumer>, QueueError> {
        let mut state = self.shared.state();
        if state.closed {
            return Err(QueueError::Closed);
        }
        *state.consumers.entry(lane).or_default() += 1;
        Ok(Box::new(MemoryConsumer {
            shared: Arc::clone(&self.shared),
            lane,
            prefetch,
            in_hand: Arc::default(),
            cancelled: false,
        }))
    }

    async fn subscribe(&self, fanout: Fanout) -> Result<Box<dyn Subscription>, QueueError> {
        if self.shared.state().closed {
            return Err(QueueError::Closed);
        }
        let bodies = self.shared.fanout(fanout).subscribe();
        Ok(Box::new(MemorySubscription {
            bodies,
            connection: self.shared.connection.subscribe(),
        }))
    }

    async fn depths(&self) -> Result<Depths, QueueError> {
        let now = Instant::now();
        let mut state = self.shared.state();
        if state.closed {
            return Err(QueueError::Closed);
        }
        state.promote(now);
        Ok(state.depths(now, &self.shared.topology))
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }

    fn counters(&self) -> Counters {
        Counters {
            stale: self.shared.stale.load(Ordering::Relaxed),
            ..Counters::default()
        }
    }

    async fn close(&self) {
        self.shared.state().closed = true;
        self.shared.connection.send_replace(Connection::Closed);
        self.shared.changed.notify_waiters();
    }
}

struct MemoryConsumer {
    shared: Arc<Shared>,
    lane: Lane,
    prefetch: NonZeroU16,
    in_hand: Arc<AtomicU16>,
    cancelled: bool,
}

impl MemoryConsumer {
    fn detach(&mut self) {
        if !std::mem::replace(&mut self.cancelled, true) {
            let mut state = self.shared.state();
            if let Some(consumers) = state.consumers.get_mut(&self.lane) {
                *consumers = consumers.saturating_sub(1);
            }
        }
    }

    fn deliver(&self, stored: Stored) -> Delivery {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        let receipt = MemoryReceipt {
            shared: Arc::clone(&self.shared),
            in_hand: Arc::clone(&self.in_hand),
            lane: self.lane,
            stored: Some(stored.clone()),
        };
        let Stored {
            body,
            envelope,
            redeliveries,
            death,
        } = stored;
        Delivery::new(self.lane, body, envelope, redeliveries, death, Box::new(receipt))
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let shared = Arc::clone(&self.shared);
        loop {
            // Listening begins before looking, or a change between the two would go unseen.
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let due = {
                let mut state = shared.state();
                if state.closed || self.cancelled {
                    return None;
                }
                let due = state.promote(Instant::now());
                if self.in_hand.load(Ordering::Relaxed) < self.prefetch.get()
                    && let Some(stored) = state.pop(self.lane)
                {
                    drop(state);
                    return Some(self.deliver(stored));
                }
                due
            };
            match due {
                Some(due) => {
                    let _ = tokio::time::timeout_at(due, changed).await;
                }
                None => changed.await,
            }
        }
    }

    async fn set_prefetch(&mut self, prefetch: NonZeroU16) {
        self.prefetch = prefetch;
    }

    async fn cancel(&mut self) {
        self.detach();
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.detach();
    }
}

struct MemoryReceipt {
    shared: Arc<Shared>,
    in_hand: Arc<AtomicU16>,
    lane: Lane,
    /// Until it is settled.
    stored: Option<Stored>,
}

#[async_trait]
impl Receipt for MemoryReceipt {
    async fn settle(mut self: Box<Self>, outcome: Outcome) -> Result<(), QueueError> {
        let Some(mut stored) = self.stored.take() else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if state.closed {
            shared.stale.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let due = |after| Instant::now() + shared.topology.delay_for(after);
        match outcome {
            Outcome::Done => {}
            Outcome::Requeue => state.requeue(self.lane, stored),
            Outcome::Reject { reason } => state.bury(self.lane, stored, &reason, &shared.topology),
            Outcome::Snooze { after } => {
                stored.redeliveries = 0;
                state.push_later(due(after), self.lane, stored);
            }
            Outcome::Retry { after, reason } => {
                stored.redeliveries = 0;
                if let Ok(envelope) = &mut stored.envelope {
                    envelope.attempt = envelope.attempt.saturating_add(1);
                    envelope.last_failure = Some(message::shorten(&reason).to_owned());
                }
                state.push_later(due(after), self.lane, stored);
            }
        }
        Ok(())
    }
}

impl Drop for MemoryReceipt {
    fn drop(&mut self) {
        self.in_hand.fetch_sub(1, Ordering::Relaxed);
        if let Some(stored) = self.stored.take() {
            self.shared
                .state()
                .abandon(self.lane, stored, &self.shared.topology);
        }
        self.shared.changed.notify_waiters();
    }
}

struct MemorySubscription {
    bodies: broadcast::Receiver<Bytes>,
    connection: watch::Receiver<Connection>,
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                body = self.bodies.recv() => match body {
                    Ok(body) => return Some(body),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = self.connection.wait_for(|c| matches!(c, Connection::Closed)) => return None,
            }
        }
    }
}
