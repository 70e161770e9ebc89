//! The RabbitMQ adapter, on `lapin`.
//!
//! `lapin`'s own recovery is left off: it gives up after a number of attempts, and a consumer can hang through it
//! (lapin issues 312, 389, 420). Instead a supervisor makes a new [`session::Session`] whenever the old one fails, and
//! everything else waits for the next session and starts over on it. A delivery belongs to the channel that brought
//! it; when that is gone, settling it does nothing but count.

mod config;
mod consumer;
mod inspection;
mod publisher;
mod session;
mod subscription;
mod supervisor;
mod wire;

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::config::{AmqpUrl, RabbitConfig};
use self::consumer::Abandoned;
pub use self::inspection::{Inspection, inspect};
use self::session::{Link, Session};
use crate::message::Message;
use crate::port::{
    Connection, Consumer, Counters, Depths, Destination, Fanout, Lane, LaneDepth, Queue, QueueError,
    Subscription,
};

/// Longest virtual host name that fits an AMQP short string.
const VHOST_LIMIT: usize = 255;

/// A broker. Recovers by itself, for as long as it takes; ends with [`Queue::close`] or when dropped.
pub struct RabbitQueue {
    shared: Arc<Shared>,
}

struct Shared {
    config: RabbitConfig,
    link: watch::Sender<Link>,
    connection: watch::Sender<Connection>,
    closed: CancellationToken,
    /// Deliveries dropped unsettled, for the task that may await.
    abandoned: mpsc::UnboundedSender<Abandoned>,
    reconnects: AtomicU64,
    stale: AtomicU64,
    hung_consumers: AtomicU64,
    republished: AtomicU64,
}

impl Shared {
    /// The session that is up, as soon as one is.
    async fn session(&self) -> Result<Arc<Session>, QueueError> {
        let mut link = self.link.subscribe();
        loop {
            match &*link.borrow_and_update() {
                Link::Closed => return Err(QueueError::Closed),
                Link::Up(session) if !session.is_lost() => return Ok(Arc::clone(session)),
                Link::Up(_) | Link::Down => {}
            }
            link.changed().await.map_err(|_| QueueError::Closed)?;
        }
    }

    fn count_stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }
}

impl RabbitQueue {
    /// Connects and declares the topology; an error tells what to do before a fleet waits for it. Once connected it
    /// stays so by itself.
    ///
    /// # Errors
    /// Of the first attempt: [`QueueError::Unreachable`], [`QueueError::Refused`], [`QueueError::Conflict`],
    /// [`QueueError::Url`].
    pub async fn connect(config: RabbitConfig) -> Result<Self, QueueError> {
        check(&config)?;
        let first = Session::open(&config).await?;
        Ok(Self::run(config, Some(first)))
    }

    /// Begins connecting and returns at once: for a process that may start before its broker. What stands in the way
    /// is in [`Queue::connection`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`QueueError::Url`], when no attempt could ever succeed.
    pub fn start(config: RabbitConfig) -> Result<Self, QueueError> {
        check(&config)?;
        Ok(Self::run(config, None))
    }

    fn run(config: RabbitConfig, first: Option<Session>) -> Self {
        let (abandoned, to_return) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            config,
            link: watch::channel(Link::Down).0,
            connection: watch::channel(Connection::Connecting {
                failures: 0,
                error: None,
            })
            .0,
            closed: CancellationToken::new(),
            abandoned,
            reconnects: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            hung_consumers: AtomicU64::new(0),
            republished: AtomicU64::new(0),
        });
        if let Some(session) = first {
            supervisor::announce(&shared, Arc::new(session));
        }
        tokio::spawn(supervisor::run(Arc::clone(&shared)));
        tokio::spawn(consumer::give_back(shared.closed.clone(), to_return));
        Self { shared }
    }
}

fn check(config: &RabbitConfig) -> Result<(), QueueError> {
    // The client library panics on a longer one.
    if config.url.to_uri(config.heartbeat).vhost.len() > VHOST_LIMIT {
        return Err(QueueError::Url(format!(
            "the virtual host has more than {VHOST_LIMIT} bytes"
        )));
    }
    Ok(())
}

impl Drop for RabbitQueue {
    fn drop(&mut self) {
        self.shared.closed.cancel();
    }
}

impl fmt::Debug for RabbitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitQueue")
            .field("url", &self.shared.config.url)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, to: Destination, messages: &[Message]) -> Result<(), QueueError> {
        publisher::publish(&self.shared, to, messages).await
    }

    async fn consume(&self, lane: Lane, prefetch: NonZeroU16) -> Result<Box<dyn Consumer>, QueueError> {
        consumer::consume(&self.shared, lane, prefetch).await
    }

    async fn subscribe(&self, fanout: Fanout) -> Result<Box<dyn Subscription>, QueueError> {
        subscription::subscribe(&self.shared, fanout).await
    }

    async fn depths(&self) -> Result<Depths, QueueError> {
        let topology = &self.shared.config.topology;
        let session = match &*self.shared.link.borrow() {
            Link::Closed => return Err(QueueError::Closed),
            Link::Down => return Err(QueueError::Lost("not connected".into())),
            Link::Up(session) => Arc::clone(session),
        };
        let mut depths = Depths::default();
        for lane in Lane::ALL {
            let (ready, consumers) = session.inspect(&topology.queue(lane)).await?;
            depths.lanes.insert(
                lane,
                LaneDepth {
                    ready: ready.into(),
                    consumers: consumers.into(),
                },
            );
        }
        for delay in topology.retry_delays() {
            for (lane, waits) in [
                (Lane::Bulk, &mut depths.delayed),
                (Lane::Control, &mut depths.put_off),
            ] {
                let (ready, _) = session.inspect(&topology.later(lane, delay)).await?;
                waits.insert(delay, ready.into());
            }
        }
        Ok(depths)
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }

    fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            reconnects: read(&self.shared.reconnects),
            stale: read(&self.shared.stale),
            hung_consumers: read(&self.shared.hung_consumers),
            republished: read(&self.shared.republished),
        }
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        let mut connection = self.shared.connection.subscribe();
        // The supervisor says goodbye to the broker first.
        let _ = connection
            .wait_for(|state| matches!(state, Connection::Closed))
            .await;
    }
}
