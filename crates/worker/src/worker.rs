//! From attaching to the lanes to the farewell.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, EngineError};
use fleet::event::Done;
use fleet::job::Job;
use queue::priority::ExpressFirst;
use queue::{Delivery, Lane, Queue, QueueError};
use store::Buckets;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::analyse::{self, Arrival, Stop};
use crate::config::WorkerConfig;
use crate::context::Context;
use crate::follow;
use crate::models::Actions;
use crate::monitor;
use crate::neighbours;
use crate::orders;
use crate::pages::Pages;
use crate::schedule;
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
    actions: Actions,
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
    /// It went of its own accord, because its unloads leave more and more: a new process is to take its place.
    pub recycle: bool,
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
        let (context, actions) = Context::new(config, queue, buckets, engine, sender);
        Self {
            context: Arc::new(context),
            teller: Teller::new(events),
            actions,
        }
    }

    /// What the worker shows of itself over HTTP, for whoever has a port for it.
    pub fn pages(&self) -> Pages {
        Pages::new(Arc::clone(&self.context))
    }

    /// Works until `shutdown` is done, or until its unloads left too much too often and it is idle. Then takes no more,
    /// finishes what is with the engine, gives the rest back, ends the engine and says goodbye. Waits for the broker for as
    /// long as it takes.
    ///
    /// # Errors
    /// [`WorkerError::Queue`] when somebody closes the queue, [`WorkerError::Engine`] when the models were to be loaded
    /// at the start and cannot.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Farewell, WorkerError> {
        let Self {
            context,
            mut teller,
            actions,
        } = self;
        monitor::note(&context, "started");
        let worked = {
            let background = async {
                tokio::join!(
                    teller.tell(&context),
                    orders::heed(&context),
                    neighbours::listen(&context),
                    schedule::keep(&context),
                    context.models.drive(actions, &*context),
                );
                // They end only with the queue.
                std::future::pending().await
            };
            let foreground = async {
                let worked = work(&context, shutdown).await;
                context.models.farewell().await;
                worked
            };
            tokio::select! {
                worked = foreground => worked,
                never = background => never,
            }
        };
        teller.say_goodbye(&context).await;
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
        () = &mut shutdown => return Ok(farewell(context, Ending::Asked, true)),
        lanes = attach(context, room) => lanes?,
    };
    let mut in_hand = JoinSet::new();
    let ending = loop {
        let next = async {
            context.pressure.pause().await;
            loop {
                context.models.takes(true).await;
                tokio::select! {
                    biased;
                    () = context.models.takes(false) => {}
                    delivery = lanes.next() => break delivery,
                }
            }
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break Ending::Asked,
            () = spent(context), if in_hand.is_empty() => break Ending::Spent,
            Some(ended) = in_hand.join_next() => report(ended),
            delivery = next, if in_hand.len() < room => match delivery {
                Some(delivery) => drop(in_hand.spawn(handle(Arc::clone(context), delivery))),
                None => break Ending::Closed,
            },
        }
    };
    context.draining.cancel();
    lanes.cancel().await;
    let in_time = drain(context, in_hand).await;
    match ending {
        Ending::Closed => Err(QueueError::Closed.into()),
        Ending::Asked | Ending::Spent => Ok(farewell(context, ending, in_time)),
    }
}

/// Why a worker goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Somebody said so.
    Asked,
    /// Its memory does not come back.
    Spent,
    /// There is no queue any more.
    Closed,
}

/// Returns when the worker is to begin anew, and may: nothing is loaded, and no operator told it to take no more, which
/// the next process would not know. Cancel-safe.
async fn spent(context: &Context) {
    context.spent.cancelled().await;
    context.models.rest().await;
}

fn farewell(context: &Context, ending: Ending, in_time: bool) -> Farewell {
    Farewell {
        done: context.tally.done(),
        requeued: context.tally.requeued(),
        in_time,
        recycle: ending == Ending::Spent,
    }
}

async fn attach(context: &Context, room: usize) -> Result<ExpressFirst, WorkerError> {
    if context.config.preload {
        context.models.preloaded().await?;
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
    let _in_hand = context.models.take();
    let taken = Instant::now();
    let job: Job = match delivery.open() {
        Ok(job) => job,
        Err(why) => return settle::refuse(&context, delivery, &why).await,
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
