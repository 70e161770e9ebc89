//! What the API and the coordinator count and measure.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Standing, Word};
use super::{
    BatchEnd, Broker, Counters, DeadLetter, Gauges, Labels, Page, PhotoEnd, PhotoQueue, Submission,
    WebhookEnd, add, add_in, whole,
};
use crate::api::WorkerStatus;
use crate::batch::Counts;

/// Of what is not always known: NaN then, for which no comparison holds and a dashboard shows a gap.
type Number = Gauge<f64, AtomicU64>;
type Numbers<const N: usize> = Family<Labels<N>, Number>;
/// Labels of a request. Routes are templates of ours, not what was asked for.
type OfRequest<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// The route of a request that leads nowhere.
const UNMATCHED: &str = "unmatched";
/// The method of a request that no route takes.
const OTHER: &str = "other";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Seconds: from a look at a batch to an export.
fn request_buckets() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0])
}

/// Seconds: from one photo on a warm fleet to a hundred thousand.
fn batch_buckets() -> Histogram {
    Histogram::new([
        1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0,
    ])
}

/// What waits in the broker, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The queue of big sets.
    pub bulk: QueueDepth,
    /// The queue of small sets and single photos.
    pub express: QueueDepth,
    /// Messages that wait for a delay to pass.
    pub delayed: u64,
    /// Messages that are not ours.
    pub parked: u64,
}

/// One queue of photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Photos that no worker was given.
    pub ready: u64,
    /// Workers that take from it.
    pub consumers: u64,
}

/// What one process with the API and the coordinator counts and measures.
#[derive(Debug)]
pub struct ApiMetrics {
    registry: Registry,
    submitted: Counters<1>,
    batches: Counters<1>,
    batch_photos: Counters<1>,
    batch_duration: Histogram,
    active: Number,
    oldest_age: Number,
    backlog: Numbers<1>,
    consumers: Numbers<1>,
    delayed: Number,
    parked: Number,
    workers: Gauges<1>,
    workers_in_hand: Gauge,
    dead_letters: Counters<1>,
    webhooks: Counters<1>,
    requests: Family<OfRequest<3>, Counter>,
    request_duration: Family<OfRequest<2>, Histogram, fn() -> Histogram>,
    streams: Gauge,
    resident: Gauges<1>,
    broker: Broker,
}

impl ApiMetrics {
    /// What can be counted is zero, what has not been looked at is NaN.
    ///
    /// `version` is the program's.
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::with_prefix("pitchfleet");
        let build = Info::new([("version", version.to_owned())]);
        registry.register("build", "The program's version", build);
        let r = &mut registry;
        let metrics = Self {
            submitted: add(
                r,
                "batches_submitted",
                "Batches that this API took, single photos included",
                Counters::default(),
            ),
            batches: add(
                r,
                "batches",
                "Batches that reached their end here, each retry once more",
                Counters::default(),
            ),
            batch_photos: add(
                r,
                "batch_photos",
                "Photos of batches that reached their end here, counted then; skipped: cancelled before their turn",
                Counters::default(),
            ),
            batch_duration: add_in(
                r,
                "batch_duration",
                Unit::Seconds,
                "From submission, or from the order to retry, to the documents, of completed batches",
                batch_buckets(),
            ),
            active: add(
                r,
                "active_batches",
                "Batches that are submitted and not finished, of the whole fleet; looked at about once a minute",
                Number::default(),
            ),
            oldest_age: add_in(
                r,
                "backlog_oldest_age",
                Unit::Seconds,
                "How long ago the oldest of the active batches was submitted; 0 when there is none",
                Number::default(),
            ),
            backlog: add(
                r,
                "backlog_photos",
                "Photos in the queue that no worker was given, of the whole fleet",
                Numbers::default(),
            ),
            consumers: add(
                r,
                "queue_consumers",
                "Workers that take from the queue, of the whole fleet",
                Numbers::default(),
            ),
            delayed: add(
                r,
                "delayed_messages",
                "Messages that wait for a delay to pass: photos to be tried again, and the coordinator's own",
                Number::default(),
            ),
            parked: add(
                r,
                "parked_messages",
                "Messages that nobody understood, kept for people to see",
                Number::default(),
            ),
            workers: add(
                r,
                "workers",
                "Workers that were heard of in the last hour, without those that said goodbye",
                Gauges::default(),
            ),
            workers_in_hand: add(
                r,
                "workers_inflight_photos",
                "Photos in hand of all workers, as of their last heartbeats",
                Gauge::default(),
            ),
            dead_letters: add(
                r,
                "dead_letters",
                "Dead letters that were dealt with here: photos that were given up, control messages, messages that are \
                 not ours",
                Counters::default(),
            ),
            webhooks: add(
                r,
                "webhook_deliveries",
                "Tries to tell a webhook, by what became of them",
                Counters::default(),
            ),
            requests: add(
                r,
                "http_requests",
                "Requests answered, by the template of their route",
                Family::default(),
            ),
            request_duration: add_in(
                r,
                "http_request_duration",
                Unit::Seconds,
                "From a request's head to its answer's head: what is streamed after that is not in it",
                Family::new_with_constructor(request_buckets),
            ),
            streams: add(
                r,
                "event_stream_clients",
                "Clients that follow a batch by server-sent events",
                Gauge::default(),
            ),
            resident: add_in(r, "rss", Unit::Bytes, "Resident memory", Gauges::default()),
            broker: Broker::new(r),
            registry,
        };
        metrics.begin();
        metrics
    }

    /// Everything that can be counted appears, as zero.
    fn begin(&self) {
        each::<Submission>(&self.submitted, "kind");
        each::<BatchEnd>(&self.batches, "outcome");
        each::<PhotoEnd>(&self.batch_photos, "outcome");
        each::<DeadLetter>(&self.dead_letters, "kind");
        each::<WebhookEnd>(&self.webhooks, "outcome");
        self.serves(UNMATCHED, "GET");
        self.set_workers(&[]);
        self.set_backlog(None);
        self.set_active(None, None);
        self.set_resident(0);
    }

    /// A batch was taken, or is to be taken up again.
    pub fn submitted(&self, kind: Submission) {
        count(&self.submitted, "kind", kind, 1);
    }

    /// A batch reached its end. `seconds` since its submission, when that is known.
    pub fn finished(&self, end: BatchEnd, counts: Counts, seconds: Option<f64>) {
        count(&self.batches, "outcome", end, 1);
        count(&self.batch_photos, "outcome", PhotoEnd::Ok, counts.ok);
        count(&self.batch_photos, "outcome", PhotoEnd::Failed, counts.failed);
        let skipped = counts.photos.saturating_sub(counts.done());
        count(&self.batch_photos, "outcome", PhotoEnd::Skipped, skipped);
        if let (BatchEnd::Completed, Some(seconds)) = (end, seconds) {
            self.batch_duration.observe(seconds);
        }
    }

    /// A dead letter was dealt with.
    pub fn dead_letter(&self, kind: DeadLetter) {
        count(&self.dead_letters, "kind", kind, 1);
    }

    /// Dead letters of this kind that were dealt with.
    pub fn dead_letters(&self, kind: DeadLetter) -> u64 {
        self.dead_letters.get_or_create(&[("kind", kind.word())]).get()
    }

    /// A webhook was told, or was to be.
    pub fn webhook(&self, end: WebhookEnd) {
        count(&self.webhooks, "outcome", end, 1);
    }

    /// Requests may come for `route`, a template.
    pub fn serves(&self, route: &str, method: &str) {
        for status in [200, 400, 500] {
            drop(self.requests.get_or_create(&request(route, method, status)));
        }
        drop(self.request_duration.get_or_create(&timed(route, method)));
    }

    /// A request got the head of its answer. `route` is the template that it matched, `None` when it leads nowhere.
    pub fn request(&self, route: Option<&str>, method: &str, status: u16, seconds: f64) {
        let route = route.unwrap_or(UNMATCHED);
        self.requests.get_or_create(&request(route, method, status)).inc();
        self.request_duration
            .get_or_create(&timed(route, method))
            .observe(seconds);
    }

    /// A client follows a batch, for as long as the answer lives.
    pub fn follower(&self) -> Follower {
        self.streams.inc();
        Follower(self.streams.clone())
    }

    /// What waits in the broker; `None` while nobody tells.
    pub fn set_backlog(&self, seen: Option<Backlog>) {
        let number = |of: fn(Backlog) -> u64| seen.map_or(f64::NAN, |seen| of(seen) as f64);
        for &queue in PhotoQueue::ALL {
            let (ready, consumers) = match queue {
                PhotoQueue::Bulk => (number(|seen| seen.bulk.ready), number(|seen| seen.bulk.consumers)),
                PhotoQueue::Express => (
                    number(|seen| seen.express.ready),
                    number(|seen| seen.express.consumers),
                ),
            };
            let labels = [("queue", queue.word())];
            self.backlog.get_or_create(&labels).set(ready);
            self.consumers.get_or_create(&labels).set(consumers);
        }
        self.delayed.set(number(|seen| seen.delayed));
        self.parked.set(number(|seen| seen.parked));
    }

    /// How many batches are not finished, and how many seconds ago the oldest of them was submitted; `None` before
    /// anybody looked.
    pub fn set_active(&self, batches: Option<u64>, oldest: Option<f64>) {
        self.active.set(batches.map_or(f64::NAN, |count| count as f64));
        let age = batches.map_or(f64::NAN, |_| oldest.unwrap_or_default());
        self.oldest_age.set(age);
    }

    /// Which workers there are.
    pub fn set_workers(&self, workers: &[WorkerStatus]) {
        for &standing in Standing::ALL {
            let count = workers
                .iter()
                .filter(|worker| Standing::of(worker) == Some(standing))
                .count();
            self.workers
                .get_or_create(&[("state", standing.word())])
                .set(whole(count as u64));
        }
        let alive = workers
            .iter()
            .filter(|worker| !matches!(Standing::of(worker), None | Some(Standing::Vanished)));
        let in_hand = alive.map(|worker| worker.last.in_hand);
        self.workers_in_hand
            .set(whole(in_hand.fold(0, u64::saturating_add)));
    }

    /// Bytes of this process that are resident.
    pub fn set_resident(&self, bytes: u64) {
        self.resident
            .get_or_create(&[("process", "api")])
            .set(whole(bytes));
    }

    /// How the broker is, and connections made again since the start.
    pub fn set_broker(&self, connected: bool, reconnects: u64) {
        self.broker.set(connected, reconnects);
    }

    /// The page in the format that an `Accept` header asks for: OpenMetrics, else Prometheus's own (0.0.4).
    ///
    /// # Errors
    /// Never in practice: a string takes all that is written into it.
    pub fn page(&self, accept: Option<&str>) -> Result<Page, fmt::Error> {
        Page::of(&self.registry, accept)
    }
}

/// Counts a client that follows a batch until it is dropped.
#[derive(Debug)]
pub struct Follower(Gauge);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn count<W: Word>(counters: &Counters<1>, label: &'static str, word: W, by: u64) {
    counters.get_or_create(&[(label, word.word())]).inc_by(by);
}

fn each<W: Word>(counters: &Counters<1>, label: &'static str) {
    for &word in W::ALL {
        count(counters, label, word, 0);
    }
}

fn request(route: &str, method: &str, status: u16) -> OfRequest<3> {
    let [route, method] = timed(route, method);
    let class = match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    [route, method, ("status", class.into())]
}

fn timed(route: &str, method: &str) -> OfRequest<2> {
    let known = METHODS.into_iter().find(|known| *known == method);
    [
        ("route", route.to_owned().into()),
        ("method", known.unwrap_or(OTHER).into()),
    ]
}

#[cfg(test)]
mod tests;
