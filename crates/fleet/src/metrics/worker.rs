//! What a worker counts and measures.

mod buckets;
mod cards;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pitch::photo::PhotoErrorKind;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::buckets::{admission_buckets, load_buckets, stage_buckets, wait_buckets};
pub use self::cards::Card;
use self::cards::Cards;
use super::labels::{Resource, Word};
use super::{
    Broker, Counters, DeliveryResult, Gauges, Histograms, Page, PhotoOutcome, PhotoQueue, Process, add,
    add_in, observe, set_one, whole,
};
use crate::event::{Receipt, WorkerState};
use crate::failure::FailureCode;
use crate::lifecycle::{State, UnloadReason};
use crate::result::TimingMs;

/// The stages of a photo that are timed, in their order.
const STAGES: [&str; 7] = [
    "fetch", "decode", "detect", "surface", "classify", "overlays", "store",
];
/// The label of a failure whose code is none of ours.
const OTHER: &str = "other";

/// Bytes that a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Resident, shared pages included.
    pub resident: u64,
    /// Resident and shared with no other process.
    pub private: u64,
    /// The most that was ever resident.
    pub peak: u64,
}

/// The engine's budget for decoded photos: it admits them by what they cost, not by count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes.
    pub total: u64,
    /// Bytes that are taken.
    pub admitted: u64,
    /// Photos that wait until enough of it is given back.
    pub waiting: u64,
}

/// What a worker counts and measures.
#[derive(Debug)]
pub struct WorkerMetrics {
    registry: Registry,
    photos: Counters<2>,
    failures: Counters<1>,
    deliveries: Counters<2>,
    queue_wait: Histograms<1>,
    photo_duration: Histograms<1>,
    stage_duration: Histograms<1>,
    admission_wait: Histograms<1>,
    in_hand: Gauge,
    worker_state: Gauges<1>,
    model_state: Gauges<1>,
    model_loads: Counters<1>,
    model_unloads: Counters<1>,
    model_load_duration: Histogram,
    unload_deadline: Gauge<f64, AtomicU64>,
    engine_restarts: Counter,
    batch_halvings: Counter,
    provider: Family<Vec<(&'static str, String)>, Gauge>,
    resident: Gauges<1>,
    private: Gauges<1>,
    peak: Gauges<1>,
    memory_used: Gauge,
    memory_limit: Gauge,
    memory_budget: Gauge,
    memory_admitted: Gauge,
    memory_waiting: Gauge,
    cards: Cards,
    memory_floor: Gauge,
    residue: Gauge,
    residues: Counter,
    broker: Broker,
}

impl WorkerMetrics {
    /// All at zero.
    ///
    /// `version` is the program's.
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("pitchfleet");
        let build = Info::new([("version", version.to_owned())]);
        registry.register("build", "The program's version", build);
        let r = &mut registry;
        let metrics = Self {
            photos: add(
                r,
                "photos",
                "Photos settled for good by this worker",
                Counters::default(),
            ),
            failures: add(
                r,
                "photo_failures",
                "Photos that failed for good, by the code in their result",
                Counters::default(),
            ),
            deliveries: add(
                r,
                "deliveries",
                "Messages settled, one count for each time a photo was taken from a queue",
                Counters::default(),
            ),
            queue_wait: add_in(
                r,
                "queue_wait",
                Unit::Seconds,
                "From publishing a photo's message to taking it, retries included",
                Histograms::new_with_constructor(wait_buckets),
            ),
            photo_duration: add_in(
                r,
                "photo_duration",
                Unit::Seconds,
                "From taking a photo to its stored result, of analysed ones",
                Histograms::new_with_constructor(stage_buckets),
            ),
            stage_duration: add_in(
                r,
                "stage_duration",
                Unit::Seconds,
                "Time in each stage, of analysed photos",
                Histograms::new_with_constructor(stage_buckets),
            ),
            admission_wait: add_in(
                r,
                "admission_wait",
                Unit::Seconds,
                "From fetched to analysis, of analysed photos. lane: until one of the engine took it, loading of models \
                 included; memory: then until memory_budget had room for it, 0 for one that found room",
                Histograms::new_with_constructor(admission_buckets),
            ),
            in_hand: add(
                r,
                "inflight_photos",
                "Photos taken from a queue and not settled",
                Gauge::default(),
            ),
            worker_state: add(
                r,
                "worker_state",
                "1 for what the worker is doing",
                Gauges::default(),
            ),
            model_state: add(
                r,
                "model_state",
                "1 for where the models are in their life",
                Gauges::default(),
            ),
            model_loads: add(
                r,
                "model_loads",
                "Loads of the models, restarts after a crash not included",
                Counters::default(),
            ),
            model_unloads: add(
                r,
                "model_unloads",
                "Unloads of the models, by why",
                Counters::default(),
            ),
            model_load_duration: add_in(
                r,
                "model_load_duration",
                Unit::Seconds,
                "From starting the engine process to ready",
                load_buckets(),
            ),
            unload_deadline: add_in(
                r,
                "model_unload_deadline_timestamp",
                Unit::Seconds,
                "Unix time when the models go if no work is seen until then; 0 while there is no such time",
                Gauge::default(),
            ),
            engine_restarts: add(
                r,
                "inference_child_restarts",
                "Engine processes that ended and that nobody had asked to",
                Counter::default(),
            ),
            batch_halvings: add(
                r,
                "batch_halvings",
                "Batches for which a card's memory did not suffice, and which were run in halves",
                Counter::default(),
            ),
            provider: add(
                r,
                "execution_provider_info",
                "1 for the execution provider that was asked for and the one that runs, as of the last load",
                Family::default(),
            ),
            resident: add_in(
                r,
                "rss",
                Unit::Bytes,
                "Resident memory; 0 for an engine that is not there",
                Gauges::default(),
            ),
            private: add_in(
                r,
                "private_memory",
                Unit::Bytes,
                "Resident memory shared with no other process: what would come back if it ended",
                Gauges::default(),
            ),
            peak: add_in(
                r,
                "rss_peak",
                Unit::Bytes,
                "The most resident memory since the process started; 0 for an engine that is not there",
                Gauges::default(),
            ),
            memory_used: add_in(
                r,
                "memory_used",
                Unit::Bytes,
                "What counts against memory_limit: of the cgroup without page cache that is not in use, else of the machine",
                Gauge::default(),
            ),
            memory_limit: add_in(
                r,
                "memory_limit",
                Unit::Bytes,
                "The smaller of the cgroup's limit and the machine's memory",
                Gauge::default(),
            ),
            memory_budget: add_in(
                r,
                "memory_budget",
                Unit::Bytes,
                "What decoded photos may hold in the engine at the same time; others wait",
                Gauge::default(),
            ),
            memory_admitted: add_in(
                r,
                "memory_admitted",
                Unit::Bytes,
                "What photos take of memory_budget now, by their headers; one that is larger than all of it goes alone",
                Gauge::default(),
            ),
            memory_waiting: add(
                r,
                "memory_waiting_photos",
                "Photos that lanes of the engine have taken and that wait for room in memory_budget now",
                Gauge::default(),
            ),
            cards: Cards::new(r),
            memory_floor: add_in(
                r,
                "memory_floor",
                Unit::Bytes,
                "Private memory that the worker has written and keeps without models; 0 before the first unload",
                Gauge::default(),
            ),
            residue: add_in(
                r,
                "model_residual",
                Unit::Bytes,
                "Private memory that was written and stayed above the floor after the last unload",
                Gauge::default(),
            ),
            residues: add(
                r,
                "model_residual_unloads",
                "Unloads after which more than a tenth of the floor, and more than 2 MB, remained above it",
                Counter::default(),
            ),
            broker: Broker::new(r),
            registry,
        };
        metrics.begin();
        metrics
    }

    /// Everything that can be counted appears, as zero.
    fn begin(&self) {
        for &queue in PhotoQueue::ALL {
            for &outcome in PhotoOutcome::ALL {
                drop(
                    self.photos
                        .get_or_create(&[("queue", queue.word()), ("outcome", outcome.word())]),
                );
            }
            for &result in DeliveryResult::ALL {
                drop(
                    self.deliveries
                        .get_or_create(&[("queue", queue.word()), ("result", result.word())]),
                );
            }
            drop(self.queue_wait.get_or_create(&[("queue", queue.word())]));
            drop(self.photo_duration.get_or_create(&[("queue", queue.word())]));
        }
        for code in failure_codes().chain([OTHER]) {
            drop(self.failures.get_or_create(&[("code", code)]));
        }
        for stage in STAGES {
            drop(self.stage_duration.get_or_create(&[("stage", stage)]));
        }
        for &resource in Resource::ALL {
            drop(
                self.admission_wait
                    .get_or_create(&[("resource", resource.word())]),
            );
        }
        for outcome in ["ok", "failed"] {
            drop(self.model_loads.get_or_create(&[("outcome", outcome)]));
        }
        for reason in UnloadReason::ALL {
            drop(self.model_unloads.get_or_create(&[("reason", reason.word())]));
        }
        for &process in Process::ALL {
            self.set_memory(process, Held::default());
        }
        self.set_model_state(State::Cold);
        self.set_worker_state(WorkerState::Idle);
    }

    /// A photo is settled for good.
    pub fn photo(&self, queue: PhotoQueue, outcome: PhotoOutcome) {
        self.photos
            .get_or_create(&[("queue", queue.word()), ("outcome", outcome.word())])
            .inc();
    }

    /// A photo failed for good with this code.
    pub fn failure(&self, code: &str) {
        let known = failure_codes().find(|known| *known == code).unwrap_or(OTHER);
        self.failures.get_or_create(&[("code", known)]).inc();
    }

    /// A message is settled.
    pub fn delivery(&self, queue: PhotoQueue, result: DeliveryResult) {
        self.deliveries
            .get_or_create(&[("queue", queue.word()), ("result", result.word())])
            .inc();
    }

    /// A photo was analysed.
    pub fn timing(&self, queue: PhotoQueue, timing: &TimingMs) {
        let TimingMs {
            queued,
            fetch,
            decode,
            detect,
            surface,
            classify,
            overlays,
            store,
            total,
        } = *timing;
        let stages = [fetch, decode, detect, surface, classify, overlays, store];
        for (stage, time) in STAGES.into_iter().zip(stages) {
            observe(&self.stage_duration, ("stage", stage), time);
        }
        observe(&self.queue_wait, ("queue", queue.word()), queued);
        observe(&self.photo_duration, ("queue", queue.word()), total);
    }

    /// A photo that was analysed waited so long for a lane of the engine, and then for memory.
    pub fn admission(&self, lane: Duration, memory: Duration) {
        for (resource, wait) in [(Resource::Lane, lane), (Resource::Memory, memory)] {
            let labels = [("resource", resource.word())];
            self.admission_wait
                .get_or_create(&labels)
                .observe(wait.as_secs_f64());
        }
    }

    /// The models were loaded in so many seconds; `None` when they could not be.
    pub fn load(&self, seconds: Option<f64>) {
        let outcome = if seconds.is_some() { "ok" } else { "failed" };
        self.model_loads.get_or_create(&[("outcome", outcome)]).inc();
        if let Some(seconds) = seconds {
            self.model_load_duration.observe(seconds);
        }
    }

    /// The models were unloaded.
    pub fn unload(&self, reason: UnloadReason) {
        self.model_unloads
            .get_or_create(&[("reason", reason.word())])
            .inc();
    }

    /// Photos in hand, now.
    pub fn set_in_hand(&self, photos: u64) {
        self.in_hand.set(whole(photos));
    }

    /// What the worker is doing, now.
    pub fn set_worker_state(&self, state: WorkerState) {
        set_one(&self.worker_state, "state", state);
    }

    /// Where the models are, now.
    pub fn set_model_state(&self, state: State) {
        set_one(&self.model_state, "state", state);
    }

    /// When the models go, seconds of Unix time.
    pub fn set_unload_deadline(&self, at: Option<f64>) {
        self.unload_deadline.set(at.unwrap_or(0.0));
    }

    /// Engine processes that ended by themselves, since the start.
    pub fn set_restarts(&self, count: u64) {
        self.engine_restarts.inner().fetch_max(count, Ordering::Relaxed);
    }

    /// Batches that were halved because a card's memory did not suffice, since the start.
    pub fn set_batch_halvings(&self, count: u64) {
        self.batch_halvings.inner().fetch_max(count, Ordering::Relaxed);
    }

    /// The execution provider that was asked for, and the one that runs.
    pub fn set_provider(&self, requested: &str, actual: &str) {
        let labels = vec![("requested", requested.to_owned()), ("actual", actual.to_owned())];
        let known = self.provider.get(&labels).is_some();
        if !known {
            self.provider.clear();
            self.provider.get_or_create(&labels).set(1);
        }
    }

    /// Bytes of a process.
    pub fn set_memory(&self, process: Process, held: Held) {
        let labels = [("process", process.word())];
        self.resident.get_or_create(&labels).set(whole(held.resident));
        self.private.get_or_create(&labels).set(whole(held.private));
        self.peak.get_or_create(&labels).set(whole(held.peak));
    }

    /// Bytes that count against what worker and engine may use, and that.
    pub fn set_limit(&self, used: u64, limit: u64) {
        self.memory_used.set(whole(used));
        self.memory_limit.set(whole(limit));
    }

    /// What the engine may hold of decoded photos, and what it holds.
    pub fn set_budget(&self, budget: Budget) {
        self.memory_budget.set(whole(budget.total));
        self.memory_admitted.set(whole(budget.admitted));
        self.memory_waiting.set(whole(budget.waiting));
    }

    /// How the card is that the models run on, or ran on; `None` when there is none, or when its driver does not tell.
    pub fn set_card(&self, card: Option<Card>) {
        self.cards.set(card);
    }

    /// What the last unload gave back, and how many since the start left too much.
    pub fn set_receipt(&self, last: Receipt, over: u64) {
        self.memory_floor.set(whole(last.floor_bytes));
        self.residue.set(whole(last.residue_bytes));
        self.residues.inner().fetch_max(over, Ordering::Relaxed);
    }

    /// How the broker is, and connections made again since the start.
    pub fn set_broker(&self, connected: bool, reconnects: u64) {
        self.broker.set(connected, reconnects);
    }

    /// The page in the format that an `Accept` header asks for.
    ///
    /// # Errors
    /// Never in practice: a string takes all that is written into it.
    pub fn page(&self, accept: Option<&str>) -> Result<Page, fmt::Error> {
        Page::of(&self.registry, accept)
    }
}

fn failure_codes() -> impl Iterator<Item = &'static str> {
    let ours = FailureCode::ALL.into_iter().map(FailureCode::code);
    ours.chain(PhotoErrorKind::ALL.into_iter().map(PhotoErrorKind::code))
}

#[cfg(test)]
mod tests;
