//! The lanes and what waits for them: plain data, moved by calls that say what time it is.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;

use crate::message::{self, Death, Envelope, Message, Undecodable};
use crate::port::{Depths, Lane, LaneDepth};
use crate::topology::{DELIVERY_LIMIT, Topology};

/// A message at rest.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) body: Bytes,
    pub(super) envelope: Result<Envelope, Undecodable>,
    pub(super) redeliveries: u32,
    pub(super) death: Option<Death>,
}

impl Stored {
    pub(super) fn new(message: Message) -> Self {
        Self {
            body: message.body,
            envelope: Ok(message.envelope),
            redeliveries: 0,
            death: None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    lanes: BTreeMap<Lane, VecDeque<Stored>>,
    /// By the time that a message falls due, then in the order of arrival.
    delayed: BTreeMap<(Instant, u64), (Lane, Stored)>,
    arrivals: u64,
    pub(super) consumers: BTreeMap<Lane, u64>,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn push(&mut self, lane: Lane, stored: Stored) {
        self.lanes.entry(lane).or_default().push_back(stored);
    }

    pub(super) fn push_later(&mut self, due: Instant, lane: Lane, stored: Stored) {
        self.arrivals += 1;
        self.delayed.insert((due, self.arrivals), (lane, stored));
    }

    /// Takes the oldest of `lane`.
    pub(super) fn pop(&mut self, lane: Lane) -> Option<Stored> {
        self.lanes.get_mut(&lane)?.pop_front()
    }

    /// Back where it was taken from, no harm done.
    pub(super) fn requeue(&mut self, lane: Lane, stored: Stored) {
        self.lanes.entry(lane).or_default().push_front(stored);
    }

    /// Back, as a suspect; beyond the delivery limit to the dead letters, as a broker does it.
    pub(super) fn abandon(&mut self, lane: Lane, mut stored: Stored, topology: &Topology) {
        stored.redeliveries += 1;
        if stored.redeliveries > DELIVERY_LIMIT && lane != Lane::Parked {
            self.bury(lane, stored, "delivery_limit", topology);
        } else {
            self.requeue(lane, stored);
        }
    }

    /// To the dead letters of `lane`.
    pub(super) fn bury(&mut self, lane: Lane, mut stored: Stored, reason: &str, topology: &Topology) {
        stored.death = Some(Death {
            reason: message::shorten(reason).to_owned(),
            queue: topology.queue(lane),
        });
        stored.redeliveries = 0;
        self.push(lane.dead_letters(), stored);
    }

    /// Moves what has fallen due by `now` to its lane; tells when the next falls due.
    pub(super) fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let (lane, stored) = entry.remove();
            self.push(lane, stored);
        }
        None
    }

    /// What waits at `now`. Delays are told as what remains, rounded up to one of the topology's.
    pub(super) fn depths(&self, now: Instant, topology: &Topology) -> Depths {
        let lane = |lane| {
            let ready = self.lanes.get(&lane).map_or(0, |queue| queue.len() as u64);
            (
                lane,
                LaneDepth {
                    ready,
                    consumers: self.consumers.get(&lane).copied().unwrap_or(0),
                },
            )
        };
        let mut delayed: BTreeMap<_, u64> = topology.retry_delays().map(|delay| (delay, 0)).collect();
        let mut put_off = delayed.clone();
        for ((due, _), (lane, _)) in &self.delayed {
            let waits = if lane.is_work() {
                &mut delayed
            } else {
                &mut put_off
            };
            *waits
                .entry(topology.delay_for(due.saturating_duration_since(now)))
                .or_default() += 1;
        }
        Depths {
            lanes: Lane::ALL.into_iter().map(lane).collect(),
            delayed,
            put_off,
        }
    }
}
