//! Taking from one lane: a task that attaches, hands over, watches for hanging, and attaches again.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::publisher::{self, Parcel, Route};
use super::session::{Session, lost, settlement};
use super::{Shared, wire};
use crate::delivery::{Delivery, Outcome, Receipt};
use crate::message::{self, Death, Envelope, Undecodable};
use crate::port::{Consumer, Destination, Lane, QueueError};

/// The wait before attaching again on a session that seemed fine.
const ATTACH_PAUSE: Duration = Duration::from_millis(200);
/// Watchdog rounds with messages ready, room for them and nothing coming, before a consumer counts as hung.
const HUNG_ROUNDS: u32 = 2;

pub(super) async fn consume(
    shared: &Arc<Shared>,
    lane: Lane,
    prefetch: NonZeroU16,
) -> Result<Box<dyn Consumer>, QueueError> {
    let (commands, received) = mpsc::channel(1);
    let (attached, is_attached) = oneshot::channel();
    let buffer = Arc::new(Buffer::default());
    let task = Task {
        shared: Arc::clone(shared),
        lane,
        queue: shared.config.topology.queue(lane).into(),
        prefetch,
        buffer: Arc::clone(&buffer),
        commands: received,
        attached: Some(attached),
        in_hand: Arc::new(()),
    };
    tokio::spawn(task.run());
    is_attached.await.map_err(|_| QueueError::Closed)?;
    Ok(Box::new(RabbitConsumer { buffer, commands }))
}

/// Prefetched and not yet taken; small, because the broker sends no more than the prefetch.
#[derive(Default)]
struct Buffer {
    deliveries: Mutex<VecDeque<Prefetched>>,
    ended: AtomicBool,
    changed: Notify,
}

impl Buffer {
    fn deliveries(&self) -> MutexGuard<'_, VecDeque<Prefetched>> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, delivery: Prefetched) {
        self.deliveries().push_back(delivery);
        self.changed.notify_one();
    }

    /// Drops what came from a channel that is gone: the broker has given it to somebody already.
    fn forget_stale(&self) {
        self.deliveries()
            .retain(|delivery| delivery.receipt.acker.usable());
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

struct Prefetched {
    body: Bytes,
    envelope: Result<Envelope, Undecodable>,
    redeliveries: u32,
    death: Option<Death>,
    receipt: Box<RabbitReceipt>,
}

enum Command {
    Prefetch(NonZeroU16),
    Cancel(oneshot::Sender<()>),
}

struct RabbitConsumer {
    buffer: Arc<Buffer>,
    commands: mpsc::Sender<Command>,
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            let taken = self.buffer.deliveries().pop_front();
            match taken {
                Some(delivery) if delivery.receipt.acker.usable() => {
                    let Prefetched {
                        body,
                        envelope,
                        redeliveries,
                        death,
                        receipt,
                    } = delivery;
                    return Some(Delivery::new(
                        receipt.lane,
                        body,
                        envelope,
                        redeliveries,
                        death,
                        receipt,
                    ));
                }
                Some(_) => {}
                None if self.buffer.ended.load(Ordering::Acquire) => return None,
                // A permit is kept while nobody waits, so nothing falls between looking and waiting.
                None => self.buffer.changed.notified().await,
            }
        }
    }

    async fn set_prefetch(&mut self, prefetch: NonZeroU16) {
        // An error says that the consumer has ended.
        let _ = self.commands.send(Command::Prefetch(prefetch)).await;
    }

    async fn cancel(&mut self) {
        let (done, is_done) = oneshot::channel();
        if self.commands.send(Command::Cancel(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

/// What goes on behind a [`RabbitConsumer`].
struct Task {
    shared: Arc<Shared>,
    lane: Lane,
    queue: ShortString,
    prefetch: NonZeroU16,
    buffer: Arc<Buffer>,
    commands: mpsc::Receiver<Command>,
    /// Told once.
    attached: Option<oneshot::Sender<()>>,
    /// One clone in every delivery that is not settled.
    in_hand: Arc<()>,
}

/// Why a stretch of consuming ended.
enum End {
    /// Attach again.
    Again,
    /// Cancelled, dropped or closed.
    Finished(Option<oneshot::Sender<()>>),
}

impl Task {
    async fn run(mut self) {
        let closed = self.shared.closed.clone();
        let finished = tokio::select! {
            finished = self.consume() => finished,
            () = closed.cancelled() => None,
        };
        self.buffer.deliveries().clear();
        self.buffer.end();
        if let Some(done) = finished {
            let _ = done.send(());
        }
    }

    async fn consume(&mut self) -> Option<oneshot::Sender<()>> {
        loop {
            let shared = Arc::clone(&self.shared);
            let session = tokio::select! {
                session = shared.session() => session.ok()?,
                command = self.commands.recv() => match command {
                    Some(Command::Prefetch(prefetch)) => {
                        self.prefetch = prefetch;
                        continue;
                    }
                    Some(Command::Cancel(done)) => return Some(done),
                    None => return None,
                },
            };
            // On a session that is lost, an answer may never come.
            let stretch = tokio::select! {
                stretch = self.stretch(&session) => stretch,
                () = session.lost() => Ok(End::Again),
            };
            match stretch {
                Ok(End::Finished(done)) => return done,
                Ok(End::Again) => {}
                Err(error) => {
                    tracing::warn!(queue = %self.queue, %error, "consumer lost, attaching again");
                    self.recover(&session).await;
                }
            }
            self.buffer.forget_stale();
        }
    }

    /// After an error: the channel's, or the connection's?
    async fn recover(&self, session: &Session) {
        if session.is_lost() {
            return;
        }
        let connected = session.consuming.status().connected();
        // The queue may have been deleted.
        if !connected || session.redeclare(&self.shared.config.topology).await.is_err() {
            session.fail();
        }
        tokio::time::sleep(ATTACH_PAUSE).await;
    }

    /// Attaches and hands over until something ends it.
    async fn stretch(&mut self, session: &Session) -> Result<End, QueueError> {
        let channel = session.consuming.create_channel().await.map_err(lost)?;
        let mut deliveries = self.attach(&channel).await?;
        if let Some(attached) = self.attached.take()
            && attached.send(()).is_err()
        {
            return Ok(End::Finished(None));
        }
        let mut watchdog = tokio::time::interval(self.shared.config.watchdog);
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        watchdog.reset();
        let mut last_delivery = Instant::now();
        let mut hung_rounds = 0;
        loop {
            tokio::select! {
                delivery = deliveries.next() => match delivery {
                    Some(delivery) => {
                        last_delivery = Instant::now();
                        hung_rounds = 0;
                        self.hand_over(session, &channel, delivery.map_err(lost)?);
                    }
                    None => return Err(QueueError::Lost("the broker cancelled the consumer".into())),
                },
                command = self.commands.recv() => {
                    detach(&channel, &deliveries).await?;
                    while let Some(Ok(delivery)) = deliveries.next().await {
                        self.hand_over(session, &channel, delivery);
                    }
                    match command {
                        Some(Command::Prefetch(prefetch)) => {
                            self.prefetch = prefetch;
                            self.give_back_beyond(prefetch.get().into()).await;
                            deliveries = self.attach(&channel).await?;
                        }
                        Some(Command::Cancel(done)) => {
                            self.give_back_beyond(0).await;
                            return Ok(End::Finished(Some(done)));
                        }
                        None => {
                            self.give_back_beyond(0).await;
                            return Ok(End::Finished(None));
                        }
                    }
                },
                _ = watchdog.tick() => {
                    if last_delivery.elapsed() < self.shared.config.watchdog {
                        continue;
                    }
                    hung_rounds = if self.seems_hung(session).await? { hung_rounds + 1 } else { 0 };
                    if hung_rounds >= HUNG_ROUNDS {
                        self.shared.hung_consumers.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(queue = %self.queue, "consumer gets nothing from a queue that is not empty");
                        // What is in hand keeps the old channel; only new deliveries come on a new one.
                        detach(&channel, &deliveries).await?;
                        return Ok(End::Again);
                    }
                }
            }
        }
    }

    async fn attach(&self, channel: &Channel) -> Result<lapin::Consumer, QueueError> {
        // Per consumer, not per channel: quorum queues know no other. It holds for consumers that start after it.
        channel
            .basic_qos(self.prefetch.get(), BasicQosOptions::default())
            .await
            .map_err(lost)?;
        let options = BasicConsumeOptions::default();
        let tag = ShortString::default();
        channel
            .basic_consume(self.queue.clone(), tag, options, FieldTable::default())
            .await
            .map_err(lost)
    }

    fn hand_over(&self, session: &Session, channel: &Channel, delivery: lapin::message::Delivery) {
        let envelope = wire::envelope(&delivery.properties);
        let death = wire::death(&delivery.properties).filter(|_| self.lane.is_dead_letters());
        let body = Bytes::from(delivery.data);
        let receipt = Box::new(RabbitReceipt {
            shared: Arc::clone(&self.shared),
            lane: self.lane,
            body: body.clone(),
            envelope: envelope.clone(),
            acker: delivery.acker,
            channel: channel.clone(),
            life: session.life(),
            _in_hand: Arc::clone(&self.in_hand),
            settled: false,
        });
        let redeliveries = wire::redeliveries(&delivery.properties, delivery.redelivered);
        self.buffer.push(Prefetched {
            body,
            envelope,
            redeliveries,
            death,
            receipt,
        });
    }

    /// Gives back the newest of the buffer, at no cost to them, until `keep` are left.
    async fn give_back_beyond(&self, keep: usize) {
        loop {
            let newest = {
                let mut deliveries = self.buffer.deliveries();
                if deliveries.len() <= keep {
                    None
                } else {
                    deliveries.pop_back()
                }
            };
            let Some(newest) = newest else { return };
            // It is not taken yet, so there is nobody to tell of an error; a dead channel has given it back itself.
            let _ = newest.receipt.settle(Outcome::Requeue).await;
        }
    }

    /// Whether messages wait although there is room for them here.
    async fn seems_hung(&self, session: &Session) -> Result<bool, QueueError> {
        let (ready, _) = session.inspect(self.queue.as_str()).await?;
        let room = Arc::strong_count(&self.in_hand) - 1 < usize::from(self.prefetch.get());
        Ok(ready > 0 && room)
    }
}

async fn detach(channel: &Channel, deliveries: &lapin::Consumer) -> Result<(), QueueError> {
    channel
        .basic_cancel(deliveries.tag(), BasicCancelOptions::default())
        .await
        .map_err(lost)
}

/// A delivery that was dropped unsettled, on its way back.
pub(super) struct Abandoned {
    acker: Acker,
    life: CancellationToken,
    /// Closing it would give everything else on it back, too.
    _channel: Channel,
}

/// Gives back what was dropped. As a rejection, not as a requeue: since RabbitMQ 4.3 only that counts towards the
/// delivery limit, and what makes its handler panic every time must come to an end.
pub(super) async fn give_back(closed: CancellationToken, mut abandoned: mpsc::UnboundedReceiver<Abandoned>) {
    loop {
        let next = tokio::select! {
            next = abandoned.recv() => next,
            () = closed.cancelled() => return,
        };
        let Some(Abandoned { acker, life, .. }) = next else {
            return;
        };
        // On a dead channel the broker has done it itself.
        settlement(&life, acker.reject(BasicRejectOptions { requeue: true })).await;
    }
}

struct RabbitReceipt {
    shared: Arc<Shared>,
    lane: Lane,
    body: Bytes,
    envelope: Result<Envelope, Undecodable>,
    acker: Acker,
    channel: Channel,
    life: CancellationToken,
    _in_hand: Arc<()>,
    settled: bool,
}

impl RabbitReceipt {
    /// Stores a copy elsewhere before the original is forgotten.
    async fn copy(
        &self,
        to: Destination,
        envelope: &Result<Envelope, Undecodable>,
        death: Option<&Death>,
    ) -> Result<(), QueueError> {
        let route = Route::new(&self.shared, to);
        let parcel = Parcel {
            body: &self.body,
            properties: wire::copy(envelope, death),
        };
        publisher::send(&self.shared, &route, &[parcel]).await
    }
}

#[async_trait]
impl Receipt for RabbitReceipt {
    async fn settle(mut self: Box<Self>, outcome: Outcome) -> Result<(), QueueError> {
        if !self.acker.usable() {
            self.shared.count_stale();
            return Ok(());
        }
        match outcome {
            Outcome::Done => {}
            Outcome::Requeue => {
                let options = BasicNackOptions {
                    requeue: true,
                    ..BasicNackOptions::default()
                };
                let given_back = settlement(&self.life, self.acker.nack(options)).await;
                self.settled = true;
                if !given_back {
                    self.shared.count_stale();
                }
                return Ok(());
            }
            Outcome::Retry { after, reason } => {
                let envelope = self.envelope.clone().map(|envelope| Envelope {
                    attempt: envelope.attempt.saturating_add(1),
                    last_failure: Some(message::shorten(&reason).to_owned()),
                    ..envelope
                });
                self.copy(Destination::Later(self.lane, after), &envelope, None)
                    .await?;
            }
            Outcome::Snooze { after } => {
                self.copy(Destination::Later(self.lane, after), &self.envelope, None)
                    .await?;
            }
            Outcome::Reject { reason } => {
                let queue = self.shared.config.topology.queue(self.lane);
                let death = Death {
                    reason: message::shorten(&reason).to_owned(),
                    queue,
                };
                let to = Destination::Lane(self.lane.dead_letters());
                self.copy(to, &self.envelope, Some(&death)).await?;
            }
        }
        let forgotten = settlement(&self.life, self.acker.ack(BasicAckOptions::default())).await;
        self.settled = true;
        if !forgotten {
            self.shared.count_stale();
        }
        Ok(())
    }
}

impl Drop for RabbitReceipt {
    fn drop(&mut self) {
        if !self.settled && self.acker.usable() {
            let (acker, channel) = (self.acker.clone(), self.channel.clone());
            let life = self.life.clone();
            // An error says that the queue is closed, and the broker has everything back.
            let _ = self.shared.abandoned.send(Abandoned {
                acker,
                life,
                _channel: channel,
            });
        }
    }
}
