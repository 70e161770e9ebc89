//! From attaching to the lanes to the farewell.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, EngineError};
use fleet::event::Done;
use fleet::job::{Command, Job};
use queue::priority::ExpressFirst;
use queue::{Delivery, Fanout, Lane, Queue, QueueError};
use store::Buckets;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::Instrument as _;

use crate::analyse::{self, Arrival, Stop};
use crate::config::WorkerConfig;
use crate::context::Context;
use crate::follow;
use crate::lifecycle::{Lifecycle, Seen, Step};
use crate::settle;
use crate::tell::{Events, Teller};

/// Deliveries that the broker sends ahead of need, so that a place in hand is filled without a round trip.
const SENT_AHEAD: usize = 2;
/// A photo that was handed out this often without being settled may have killed the workers that had it. Brokers
/// before RabbitMQ 4.3 count what was requeued, too, so a few are innocent.
const SUSPECT: u32 = 3;
/// Longest time for settling what is overdue at the end.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// A worker, ready to run.
pub struct Worker {
    context: Arc<Context>,
    teller: Teller,
}

/// How a worker went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Farewell {
    /// What became of the photos.
    pub done: Done,
    /// Photos given back to the queue because the worker went.
    pub requeued: u64,
    /// Whether all that was with the engine was finished within the grace.
    pub in_time: bool,
}

/// Why a worker does not run.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The queue was closed, or cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The models were to be loaded at the start, and cannot.
    #[error("the models cannot be loaded: {0}")]
    Engine(#[from] EngineError),
}

impl Worker {
    /// A worker that takes from `queue`, reads and writes in `buckets` and analyses with `engine`.
    pub fn new(config: WorkerConfig, queue: Arc<dyn Queue>, buckets: Buckets, engine: Engine) -> Self {
        let (sender, events) = Events::channel();
        let context = Context::new(config, queue, buckets, engine, sender);
        Self {
            context: Arc::new(context),
            teller: Teller::new(events),
        }
    }

    /// Works until `shutdown` is done. Then takes no more, finishes what is with the engine, gives the rest back,
    /// ends the engine and says goodbye. Waits for the broker for as long as it takes.
    ///
    /// # Errors
    /// [`WorkerError::Queue`] when somebody closes the queue, [`WorkerError::Engine`] when the models were to be loaded
    /// at the start and cannot.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<Farewell, WorkerError> {
        let context = Arc::clone(&self.context);
        let worked = {
            let background = async {
                tokio::join!(
                    self.teller.tell(&context),
                    heed_commands(&context),
                    keep_models(&context),
                );
                // They end only with the queue.
                std::future::pending().await
            };
            tokio::select! {
                worked = work(&context, shutdown) => worked,
                never = background => never,
            }
        };
        context.engines.stop().await;
        self.teller.say_goodbye(&context).await;
        worked
    }
}

/// Takes photos until `shutdown`, then drains.
async fn work(
    context: &Arc<Context>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Farewell, WorkerError> {
    tokio::pin!(shutdown);
    let room = context.engines.own().lanes() + context.config.ahead;
    let mut lanes = tokio::select! {
        biased;
        () = &mut shutdown => return Ok(Farewell { in_time: true, ..Farewell::default() }),
        lanes = attach(context, room) => lanes?,
    };
    let mut in_hand = JoinSet::new();
    let closed = loop {
        let next = async {
            context.pressure.pause().await;
            lanes.next().await
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break false,
            Some(ended) = in_hand.join_next() => report(ended),
            delivery = next, if in_hand.len() < room => match delivery {
                Some(delivery) => drop(in_hand.spawn(handle(Arc::clone(context), delivery))),
                None => break true,
            },
        }
    };
    context.draining.cancel();
    lanes.cancel().await;
    let in_time = drain(context, in_hand).await;
    if closed {
        return Err(QueueError::Closed.into());
    }
    Ok(Farewell {
        done: context.tally.done(),
        requeued: context.tally.requeued(),
        in_time,
    })
}

async fn attach(context: &Context, room: usize) -> Result<ExpressFirst, WorkerError> {
    if context.config.preload {
        let own = context.engines.own();
        let facts = own.load().await?;
        context.engines.remember(own.config().precision, &facts);
    }
    let prefetch = u16::try_from(room + SENT_AHEAD)
        .ok()
        .and_then(NonZeroU16::new)
        .unwrap_or(NonZeroU16::MAX);
    let express = context.queue.consume(Lane::Express, prefetch).await?;
    let bulk = context.queue.consume(Lane::Bulk, prefetch).await?;
    Ok(ExpressFirst::new(express, bulk))
}

/// One delivery, from taking to settling.
async fn handle(context: Arc<Context>, delivery: Delivery) {
    let span = follow::photo(&context.config.id, &delivery);
    handle_within(context, delivery).instrument(span).await;
}

async fn handle_within(context: Arc<Context>, delivery: Delivery) {
    let _counted = context.tally.take();
    let taken = Instant::now();
    let job: Job = match delivery.open() {
        Ok(job) => job,
        Err(why) => return settle::refuse(delivery, &why).await,
    };
    follow::named(&job);
    let arrival = Arrival {
        lane: delivery.lane(),
        suspect: delivery.redeliveries() >= SUSPECT,
        taken,
    };
    let came = tokio::select! {
        biased;
        () = context.overdue.cancelled() => Err(Stop::Draining),
        came = analyse::analyse(&context, &job, arrival) => came,
    };
    follow::ended(&came, taken);
    settle::settle(&context, delivery, &job, taken, came).await;
}

/// Waits for what is in hand; whether all of it was finished within the grace.
async fn drain(context: &Context, mut in_hand: JoinSet<()>) -> bool {
    let mut finish = async || {
        while let Some(ended) = in_hand.join_next().await {
            report(ended);
        }
    };
    if timeout(context.config.drain_grace, finish()).await.is_ok() {
        return true;
    }
    context.overdue.cancel();
    // What is not settled even then is dropped, and the broker takes it back.
    let _ = timeout(LAST_MOMENTS, finish()).await;
    false
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "handling a photo ended abnormally; its message is back in the queue");
    }
}

/// Does what the fleet is told, as long as the queue is there.
async fn heed_commands(context: &Context) {
    let Ok(mut commands) = context.queue.subscribe(Fanout::Fleet).await else {
        return;
    };
    while let Some(body) = commands.next().await {
        match serde_json::from_slice(&body) {
            Ok(Command::Cancel { tenant, batch }) => context.unwanted.add(tenant, batch),
            Err(error) => tracing::debug!(%error, "a command that is not understood"),
        }
    }
}

/// Unloads the models when there has been nothing to do for the grace.
async fn keep_models(context: &Context) {
    let grace = context.config.unload_grace;
    let mut lifecycle = Lifecycle::new(grace);
    let mut look = interval(lifecycle.period());
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = context.tally.idle.notified() => {}
        }
        let loaded = context.engines.stats().pid.is_some();
        let in_hand = usize::try_from(context.tally.in_hand()).unwrap_or(usize::MAX);
        let taken = context.tally.taken();
        // Counting costs the broker a question for every queue: only when the answer matters.
        let waiting = match grace {
            Some(grace) if loaded && in_hand == 0 => waiting(context, grace).await,
            _ => None,
        };
        let seen = Seen {
            loaded,
            in_hand,
            taken,
            waiting,
        };
        if lifecycle.step(seen, tokio::time::Instant::now()) == Step::Unload {
            tracing::info!("nothing to do: the models are unloaded");
            context.engines.stop().await;
        }
    }
}

async fn waiting(context: &Context, grace: Duration) -> Option<u64> {
    let depths = context.queue.depths().await.ok()?;
    let ready = depths.ready(Lane::Express) + depths.ready(Lane::Bulk);
    Some(ready + depths.delayed_within(grace))
}
