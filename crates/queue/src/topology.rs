//! The only place that names exchanges and queues, and says how they are made.
//!
//! ```text
//!  publish ──► <prefix>.jobs, .jobs.express, .control ──► consumers
//!                      ▲                    │ retry          │ reject, or the delivery limit
//!        delay passed  │                    ▼                ▼
//!                      └── <prefix>.retry.<delay>       <prefix>.dead ──► coordinators ──► <prefix>.parked
//! ```
//!
//! What is no photo waits apart, in `<prefix>.later.<delay>`: whether work is about to come back is asked of the broker,
//! which tells how many messages a queue holds, and not for whom.
//!
//! Everything that holds work is a durable quorum queue. What moves on the broker's own account (a delay that passed,
//! a delivery limit) is moved at least once: without `at-least-once` a broker that stops at the wrong moment loses it.
//!
//! A queue's arguments are fixed when it is first declared. Changing one here means a new prefix, or a queue that is
//! emptied and deleted first; [`QueueError::Conflict`](crate::QueueError::Conflict) says so to whoever meets it.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;

use crate::port::{Fanout, Lane};

/// The delays of [`Topology::new`], short enough at the start for a set's last message, long enough at the end for a
/// server's restart.
pub const DEFAULT_RETRY_DELAYS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
];

/// A message that was handed out this often and never settled leaves its lane for the dead letters. Far above any
/// count of attempts, because a killed worker also spends it on the neighbours in its prefetch: it only ends what
/// nothing else has ended.
pub const DELIVERY_LIMIT: u32 = 50;

/// Parked messages have nowhere left to go; RabbitMQ 4 would drop them at its default limit of 20.
const PARKED_DELIVERY_LIMIT: u32 = 1_000_000_000;

/// What a listener may lag behind before it misses the oldest.
pub const SUBSCRIPTION_BACKLOG: u32 = 10_000;

/// Names may have 255 bytes, and the longest suffix needs 24.
const PREFIX_LIMIT: usize = 200;

/// Names, arguments and delays of one fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    prefix: String,
    retry_delays: BTreeSet<Duration>,
}

/// A prefix or a delay that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopologyError {
    /// The prefix is empty, too long, reserved or has other characters.
    #[error("prefix `{0}`: 1 to {PREFIX_LIMIT} letters, digits, `.`, `-` and `_`, not beginning with `amq.`")]
    Prefix(String),
    /// No delays, or one that is not between 1 ms and 24 h.
    #[error("retry delays: at least one, each from 1 ms to 24 h, in whole milliseconds")]
    Delays,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            prefix: "pitchfleet".into(),
            retry_delays: DEFAULT_RETRY_DELAYS.into(),
        }
    }
}

impl Topology {
    /// A fleet whose names begin with `prefix`: fleets with different prefixes share a broker without meeting.
    ///
    /// # Errors
    /// [`TopologyError::Prefix`].
    pub fn new(prefix: impl Into<String>) -> Result<Self, TopologyError> {
        let prefix = prefix.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let good = (1..=PREFIX_LIMIT).contains(&prefix.len()) && prefix.chars().all(allowed);
        if !good || prefix.starts_with("amq.") {
            return Err(TopologyError::Prefix(prefix));
        }
        Ok(Self {
            prefix,
            ..Self::default()
        })
    }

    /// The same fleet with other delays. A queue per delay stays on the broker when it is no longer used.
    ///
    /// # Errors
    /// [`TopologyError::Delays`].
    pub fn with_retry_delays(
        mut self,
        delays: impl IntoIterator<Item = Duration>,
    ) -> Result<Self, TopologyError> {
        let allowed = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        self.retry_delays = delays.into_iter().collect();
        let whole = |delay: &Duration| delay.subsec_nanos().is_multiple_of(1_000_000);
        if self.retry_delays.is_empty()
            || !self
                .retry_delays
                .iter()
                .all(|delay| allowed.contains(delay) && whole(delay))
        {
            return Err(TopologyError::Delays);
        }
        Ok(self)
    }

    /// The delays that exist, shortest first.
    pub fn retry_delays(&self) -> impl Iterator<Item = Duration> + '_ {
        self.retry_delays.iter().copied()
    }

    /// The shortest delay that is at least `after`, else the longest.
    pub fn delay_for(&self, after: Duration) -> Duration {
        let longest = || self.retry_delays.last().copied().unwrap_or(after);
        self.retry_delays
            .range(after..)
            .next()
            .copied()
            .unwrap_or_else(longest)
    }

    /// The queue of `lane`.
    pub fn queue(&self, lane: Lane) -> String {
        let suffix = match lane {
            Lane::Bulk => "jobs",
            Lane::Express => "jobs.express",
            Lane::Control => "control",
            Lane::Dead => "dead",
            Lane::Parked => "parked",
        };
        format!("{}.{suffix}", self.prefix)
    }

    /// The exchange, and the queue behind it, where a message of `lane` waits for `delay` (one of
    /// [`Self::retry_delays`]). The routing key names the lane's queue that it goes to afterwards.
    pub fn later(&self, lane: Lane, delay: Duration) -> String {
        let kind = if lane.is_work() { "retry" } else { "later" };
        let millis = delay.as_millis();
        let (count, unit) = match millis {
            _ if millis.is_multiple_of(60_000) => (millis / 60_000, "m"),
            _ if millis.is_multiple_of(1_000) => (millis / 1_000, "s"),
            _ => (millis, "ms"),
        };
        format!("{}.{kind}.{count}{unit}", self.prefix)
    }

    /// The exchange of `fanout`.
    pub fn fanout(&self, fanout: Fanout) -> String {
        match fanout {
            Fanout::Events => format!("{}.events", self.prefix),
            Fanout::Fleet => format!("{}.fleet", self.prefix),
        }
    }

    /// Every exchange to declare; all are durable fanouts.
    pub fn exchanges(&self) -> Vec<String> {
        let fanouts = Fanout::ALL.into_iter().map(|fanout| self.fanout(fanout));
        fanouts
            .chain(self.delays().map(|(lane, delay)| self.later(lane, delay)))
            .collect()
    }

    /// Every queue to declare.
    pub fn queues(&self) -> Vec<QueueSpec> {
        let lanes = Lane::ALL.into_iter().map(|lane| self.lane_spec(lane));
        lanes
            .chain(self.delays().map(|(lane, delay)| self.later_spec(lane, delay)))
            .collect()
    }

    /// Every delay, once for photos and once for what is none.
    fn delays(&self) -> impl Iterator<Item = (Lane, Duration)> + '_ {
        let lanes = [Lane::Bulk, Lane::Control].into_iter();
        lanes.flat_map(|lane| self.retry_delays().map(move |delay| (lane, delay)))
    }

    fn lane_spec(&self, lane: Lane) -> QueueSpec {
        let mut arguments = vec![("x-queue-type", Argument::Text("quorum".into()))];
        if lane == Lane::Parked {
            arguments.push(("x-delivery-limit", Argument::Number(PARKED_DELIVERY_LIMIT)));
        } else {
            arguments.push(("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)));
            arguments.extend(dead_lettered());
            arguments.push((
                "x-dead-letter-routing-key",
                Argument::Text(self.queue(lane.dead_letters())),
            ));
        }
        QueueSpec {
            name: self.queue(lane),
            arguments,
            exchange: None,
        }
    }

    fn later_spec(&self, lane: Lane, delay: Duration) -> QueueSpec {
        let name = self.later(lane, delay);
        let millis = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        // No dead-letter routing key: the message's own is the queue that it goes back to.
        let mut arguments = vec![
            ("x-queue-type", Argument::Text("quorum".into())),
            ("x-message-ttl", Argument::Number(millis)),
        ];
        arguments.extend(dead_lettered());
        QueueSpec {
            exchange: Some(name.clone()),
            name,
            arguments,
        }
    }
}

/// Dead-lettering to the default exchange, at least once; RabbitMQ wants `reject-publish` for that.
fn dead_lettered() -> [(&'static str, Argument); 3] {
    [
        ("x-dead-letter-exchange", Argument::Text(String::new())),
        ("x-dead-letter-strategy", Argument::Text("at-least-once".into())),
        ("x-overflow", Argument::Text("reject-publish".into())),
    ]
}

/// A durable queue to declare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: String,
    /// Its `x-arguments`.
    pub arguments: Vec<(&'static str, Argument)>,
    /// The exchange of this fleet that it is bound to, if any.
    pub exchange: Option<String>,
}

/// A value in a queue's arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A long string.
    Text(String),
    /// A whole number.
    Number(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_the_contract() {
        let topology = Topology::default();
        let names: Vec<_> = topology.queues().into_iter().map(|queue| queue.name).collect();
        assert_eq!(
            names,
            [
                "pitchfleet.jobs",
                "pitchfleet.jobs.express",
                "pitchfleet.control",
                "pitchfleet.dead",
                "pitchfleet.parked",
                "pitchfleet.retry.1s",
                "pitchfleet.retry.5s",
                "pitchfleet.retry.30s",
                "pitchfleet.retry.2m",
                "pitchfleet.retry.10m",
                "pitchfleet.later.1s",
                "pitchfleet.later.5s",
                "pitchfleet.later.30s",
                "pitchfleet.later.2m",
                "pitchfleet.later.10m",
            ]
        );
        assert_eq!(
            topology.exchanges()[..2],
            ["pitchfleet.events", "pitchfleet.fleet"]
        );
    }

    #[test]
    fn every_queue_is_quorum_and_none_lets_a_broker_drop_what_it_holds() {
        for queue in Topology::default().queues() {
            let argument = |name: &str| {
                queue
                    .arguments
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| value.clone())
            };
            assert_eq!(argument("x-queue-type"), Some(Argument::Text("quorum".into())));
            let parked = queue.name == "pitchfleet.parked";
            assert_eq!(
                argument("x-dead-letter-strategy").is_none(),
                parked,
                "{}",
                queue.name
            );
            assert!(argument("x-delivery-limit").is_some() || argument("x-message-ttl").is_some());
        }
    }

    #[test]
    fn delays_round_up_to_one_that_exists() {
        let topology = Topology::default();
        for (asked, given) in [(0, 1), (1, 1), (2, 5), (29, 30), (31, 120), (9_999, 600)] {
            assert_eq!(
                topology.delay_for(Duration::from_secs(asked)),
                Duration::from_secs(given)
            );
        }
        let millis = Topology::new("t")
            .unwrap()
            .with_retry_delays([Duration::from_millis(250)])
            .unwrap();
        let named = |lane| millis.later(lane, Duration::from_millis(250));
        assert_eq!(named(Lane::Express), "t.retry.250ms");
        assert_eq!(named(Lane::Dead), "t.later.250ms");
    }

    #[test]
    fn prefixes_and_delays_that_a_broker_would_refuse_are_refused_here() {
        for bad in ["", "amq.x", "a b", "a/b", "é", &"x".repeat(201)] {
            assert_eq!(Topology::new(bad), Err(TopologyError::Prefix(bad.into())));
        }
        assert!(Topology::new("tenant-1.pitch_fleet").is_ok());
        let topology = Topology::default();
        for bad in [
            vec![],
            vec![Duration::ZERO],
            vec![Duration::from_micros(1500)],
            vec![Duration::MAX],
        ] {
            assert_eq!(
                topology.clone().with_retry_delays(bad),
                Err(TopologyError::Delays)
            );
        }
    }
}
