//! Which workers there are, from their heartbeats. Nothing is counted on: a worker that nobody heard of still works.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet::api::{MemorySample, WorkerMemory, WorkerStatus};
use fleet::event::{Heartbeat, Receipt, WorkerState};
use fleet::manifest::BundleRef;

/// A worker is forgotten after it was silent for this long.
const FORGET_MS: u64 = 3_600_000;
/// More are not remembered: ids are what strangers in the broker could send.
const MOST: usize = 10_000;
/// So many heartbeats missed mean that a worker is gone.
const MISSED: u64 = 3;
/// Time between two samples of a worker's memory that are kept, at least.
const SAMPLE_MS: u64 = 10_000;
/// Samples that are kept of one worker: an hour's.
const SAMPLES: usize = (FORGET_MS / SAMPLE_MS) as usize;
/// Receipts that are kept of one worker.
const RECEIPTS: usize = 100;
/// Workers whose memory is kept: some 20 MB at most.
const MOST_REMEMBERED: usize = 1_000;

/// Every worker that was heard of in the last hour.
#[derive(Debug, Default)]
pub struct Roster {
    workers: Mutex<BTreeMap<String, Heard>>,
}

#[derive(Debug)]
struct Heard {
    at_ms: u64,
    last: Heartbeat,
    samples: VecDeque<MemorySample>,
    receipts: VecDeque<Receipt>,
}

impl Heard {
    fn sample(&mut self) {
        let memory = &self.last.memory;
        let sample = MemorySample {
            at_ms: self.at_ms,
            worker_bytes: memory.worker_bytes,
            engine_bytes: memory.engine_bytes,
            private_bytes: memory
                .worker_private_bytes
                .saturating_add(memory.engine_private_bytes),
            gpu_bytes: memory.gpu.map_or(0, |gpu| gpu.process_bytes),
        };
        let last_ms = self.samples.back().map(|last| last.at_ms);
        // What came between two samples is not lost when the engine came or went in it.
        let is_news = self
            .samples
            .back()
            .is_some_and(|last| (last.engine_bytes == 0) != (sample.engine_bytes == 0));
        if is_news || last_ms.is_none_or(|last_ms| sample.at_ms.saturating_sub(last_ms) >= SAMPLE_MS) {
            push_bounded(&mut self.samples, sample, SAMPLES);
        }
        if let Some(receipt) = memory.last_unload {
            self.receipt(receipt);
        }
    }

    fn receipt(&mut self, receipt: Receipt) {
        if self.receipts.back() != Some(&receipt) {
            push_bounded(&mut self.receipts, receipt, RECEIPTS);
        }
    }
}

fn push_bounded<T>(kept: &mut VecDeque<T>, next: T, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(next);
}

impl Roster {
    fn workers(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a heartbeat that was heard at `now_ms`.
    pub fn record(&self, heartbeat: &Heartbeat, now_ms: u64) {
        let mut workers = self.workers();
        workers.retain(|_, heard| now_ms.saturating_sub(heard.at_ms) < FORGET_MS);
        let remembered = workers.len() < MOST_REMEMBERED;
        let is_known = workers.contains_key(&heartbeat.worker);
        if workers.len() >= MOST && !is_known {
            return;
        }
        let heard = workers.entry(heartbeat.worker.clone()).or_insert_with(|| Heard {
            at_ms: now_ms,
            last: heartbeat.clone(),
            samples: VecDeque::new(),
            receipts: VecDeque::new(),
        });
        heard.at_ms = now_ms;
        heard.last = heartbeat.clone();
        if remembered || !heard.samples.is_empty() {
            heard.sample();
        }
    }

    /// Takes in what an unload gave back.
    pub fn record_unload(&self, worker: &str, receipt: Receipt) {
        if let Some(heard) = self.workers().get_mut(worker) {
            heard.receipt(receipt);
        }
    }

    /// What is known of a worker's memory; `None` when nobody heard of it.
    pub fn memory(&self, worker: &str) -> Option<WorkerMemory> {
        let workers = self.workers();
        let heard = workers.get(worker)?;
        Some(WorkerMemory {
            samples: heard.samples.iter().copied().collect(),
            unloads: heard.receipts.iter().copied().collect(),
        })
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
    fn memory_is_kept_for_an_hour_and_not_longer() {
        let roster = Roster::default();
        let mut said = heartbeat("a", WorkerState::Busy, "");
        for second in (0..8_000).step_by(5) {
            said.memory.worker_bytes = second;
            said.memory.engine_bytes = u64::from(second >= 7_995);
            roster.record(&said, 1_000 * second);
        }
        let memory = roster.memory("a").unwrap();
        assert_eq!(memory.samples.len(), SAMPLES);
        let last: Vec<_> = memory
            .samples
            .iter()
            .rev()
            .map(|sample| sample.at_ms / 1_000)
            .collect();
        assert_eq!(last[..3], [7_995, 7_990, 7_980], "an engine that came is news");
        assert!(roster.memory("b").is_none());
    }

    #[test]
    fn a_receipt_that_is_heard_twice_is_kept_once() {
        let roster = Roster::default();
        let receipt = |at_ms| Receipt {
            at_ms,
            reason: fleet::lifecycle::UnloadReason::Drained,
            before_bytes: 9,
            after_bytes: 1,
            floor_bytes: 1,
            residue_bytes: 0,
            gpu_before_bytes: None,
            gpu_after_bytes: None,
        };
        let mut said = heartbeat("a", WorkerState::Idle, "");
        roster.record_unload("a", receipt(0));
        roster.record(&said, 0);
        roster.record_unload("a", receipt(1));
        said.memory.last_unload = Some(receipt(1));
        roster.record(&said, 1);
        roster.record_unload("a", receipt(2));
        assert_eq!(roster.memory("a").unwrap().unloads, [receipt(1), receipt(2)]);
        for at_ms in 3..1_000 {
            roster.record_unload("a", receipt(at_ms));
        }
        assert_eq!(roster.memory("a").unwrap().unloads.len(), RECEIPTS);
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
