//! Which workers there are, from their heartbeats. Nothing is counted on: a worker that nobody heard of still works.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet::api::WorkerStatus;
use fleet::event::{Heartbeat, WorkerState};
use fleet::manifest::BundleRef;

/// A worker is forgotten after it was silent for this long.
const FORGET_MS: u64 = 3_600_000;
/// More are not remembered: ids are what strangers in the broker could send.
const MOST: usize = 10_000;
/// So many heartbeats missed mean that a worker is gone.
const MISSED: u64 = 3;

/// Every worker that was heard of in the last hour.
#[derive(Debug, Default)]
pub struct Roster {
    workers: Mutex<BTreeMap<String, Heard>>,
}

#[derive(Debug)]
struct Heard {
    at_ms: u64,
    last: Heartbeat,
}

impl Roster {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a heartbeat that was heard at `now_ms`.
    pub fn record(&self, heartbeat: &Heartbeat, now_ms: u64) {
        let mut workers = self.workers();
        workers.retain(|_, heard| now_ms.saturating_sub(heard.at_ms) < FORGET_MS);
        if workers.len() < MOST || workers.contains_key(&heartbeat.worker) {
            let heard = Heard {
                at_ms: now_ms,
                last: heartbeat.clone(),
            };
            workers.insert(heartbeat.worker.clone(), heard);
        }
    }

    /// Every worker by id, as it was last heard of. By when it was heard, not by its own clock.
    pub fn workers_at(&self, now_ms: u64) -> Vec<WorkerStatus> {
        let workers = self.workers();
        let silent = |heard: &Heard| now_ms.saturating_sub(heard.at_ms);
        workers
            .values()
            .filter(|heard| silent(heard) < FORGET_MS)
            .map(|heard| WorkerStatus {
                vanished: heard.last.state != WorkerState::Gone
                    && silent(heard) > MISSED.saturating_mul(heard.last.period_ms),
                silent_ms: silent(heard),
                last: heard.last.clone(),
            })
            .collect()
    }

    /// The models of the worker that was heard of last. One that is gone counts, too: a fleet may be scaled to zero
    /// between two batches.
    pub fn bundle(&self) -> Option<BundleRef> {
        let workers = self.workers();
        let known = workers
            .values()
            .filter(|heard| !heard.last.model.digest.is_empty());
        let newest = known.max_by_key(|heard| heard.at_ms)?;
        Some(BundleRef {
            name: newest.last.model.bundle.clone(),
            digest: newest.last.model.digest.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use fleet::event::{Done, MemoryReport, ModelReport};

    use super::*;

    fn heartbeat(worker: &str, state: WorkerState, digest: &str) -> Heartbeat {
        Heartbeat {
            worker: worker.into(),
            program: "0".into(),
            at_ms: 0,
            started_ms: 0,
            period_ms: 5_000,
            state,
            model: ModelReport {
                digest: digest.into(),
                ..ModelReport::default()
            },
            in_hand: 0,
            done: Done::default(),
            rate: 0.0,
            memory: MemoryReport::default(),
        }
    }

    #[test]
    fn a_worker_vanishes_after_three_missed_heartbeats() {
        let roster = Roster::default();
        roster.record(&heartbeat("a", WorkerState::Busy, ""), 1_000);
        roster.record(&heartbeat("b", WorkerState::Gone, ""), 1_000);
        let vanished = |now| {
            let workers = roster.workers_at(now);
            workers.iter().map(|w| w.vanished).collect::<Vec<_>>()
        };
        assert_eq!(vanished(16_000), [false, false]);
        assert_eq!(vanished(16_001), [true, false]);
        assert!(vanished(1_000 + FORGET_MS).is_empty());
    }

    #[test]
    fn the_models_are_those_heard_of_last() {
        let roster = Roster::default();
        assert_eq!(roster.bundle(), None);
        roster.record(&heartbeat("a", WorkerState::Idle, "sha256:2"), 2);
        roster.record(&heartbeat("b", WorkerState::Gone, "sha256:3"), 3);
        roster.record(&heartbeat("c", WorkerState::Idle, ""), 4);
        assert_eq!(roster.bundle().unwrap().digest, "sha256:3");
    }
}
