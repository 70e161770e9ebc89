//! Every metric of the program, with its type, its unit, its labels and its help, and the page that shows them:
//! [`worker`] has a worker's, [`api`] an API's.
//!
//! Names are contracts: dashboards and alert rules read them. All begin with `pitchfleet_`, units are base units in the
//! name, counters end in `_total`. Every value of a label is a word of this program, so that no label grows with what
//! people send, except what [`WorkerMetrics::set_provider`] and the version say, which is one at a time, and the routes of
//! requests, of which there are as many as the API has. Whatever can be
//! counted is there from the start as zero. `docs/decisions/metrics.md` says what is not here, and why.

mod api;
#[cfg(test)]
mod conventions;
mod labels;
mod worker;

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use self::api::{ApiMetrics, Backlog, Follower, QueueDepth};
use self::labels::Word;
pub use self::labels::{
    BatchEnd, DeadLetter, DeliveryResult, PhotoEnd, PhotoOutcome, PhotoQueue, Process, Submission, WebhookEnd,
};
pub use self::worker::{Budget, Card, Held, WorkerMetrics};

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metrics page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub body: String,
}

impl Page {
    /// All that is in `registry`, in the format that an `Accept` header asks for: OpenMetrics, else Prometheus's own
    /// (0.0.4).
    fn of(registry: &Registry, accept: Option<&str>) -> Result<Self, fmt::Error> {
        let mut body = String::new();
        let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        let content_type = if open {
            text::encode(&mut body, registry)?;
            OPEN_METRICS
        } else {
            prometheus_text::encode(&mut body, registry)?;
            prometheus_text::CONTENT_TYPE
        };
        Ok(Self { content_type, body })
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn add_in<M: Metric + Clone>(registry: &mut Registry, name: &str, unit: Unit, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// How a process stands with the broker: of workers and APIs alike.
#[derive(Debug)]
struct Broker {
    connected: Gauge,
    reconnects: Counter,
}

impl Broker {
    fn new(registry: &mut Registry) -> Self {
        Self {
            connected: add(
                registry,
                "broker_connected",
                "1 while the broker can be reached and takes messages",
                Gauge::default(),
            ),
            reconnects: add(
                registry,
                "broker_reconnects",
                "Connections to the broker that were lost and made again",
                Counter::default(),
            ),
        }
    }

    fn set(&self, connected: bool, reconnects: u64) {
        self.connected.set(i64::from(connected));
        self.reconnects.inner().fetch_max(reconnects, Ordering::Relaxed);
    }
}

fn set_one<W: Word + PartialEq>(gauges: &Gauges<1>, label: &'static str, now: W) {
    for &word in W::ALL {
        gauges
            .get_or_create(&[(label, word.word())])
            .set(i64::from(word == now));
    }
}

fn observe(histograms: &Histograms<1>, label: (&'static str, &'static str), ms: Option<f64>) {
    if let Some(ms) = ms {
        histograms.get_or_create(&[label]).observe(ms / 1e3);
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
