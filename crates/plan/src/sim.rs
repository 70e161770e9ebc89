//! A day of the fleet, event by event: photos wait, workers come and go, models are loaded and unloaded.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::Serialize;

use crate::day::SECONDS;
use crate::pool::Pool;
use crate::scaler::Scaler;

/// What came of a day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Photos analysed: all that came.
    pub photos: u64,
    /// Seconds from a photo's arrival to its result.
    pub waits: Waits,
    /// Seconds after midnight of the last result.
    pub last_result: f64,
    /// Photos waiting or in hand, at most.
    pub peak_backlog: u64,
    /// Photos waiting or in hand, on average over the day.
    pub mean_backlog: f64,
    /// Workers at most.
    pub peak_replicas: u32,
    /// Times that the pool came up from nothing.
    pub cold_starts: u64,
    /// Nodes that were started.
    pub node_starts: u64,
    /// Times that a worker loaded its models.
    pub model_loads: u64,
    /// Hours of nodes that were paid, booting and lingering included; one worker fills a node, or its part of one.
    pub node_hours: f64,
    /// Hours in which a lane was busy.
    pub busy_lane_hours: f64,
    /// Hours in which a worker's models were in memory.
    pub loaded_hours: f64,
    /// The day at each look of the autoscaler at which something was different.
    pub timeline: Vec<Sample>,
}

/// Seconds that photos waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// On average.
    pub mean: f64,
    /// Half waited less.
    pub p50: f64,
    /// 95 of 100 waited less.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

impl Waits {
    /// By rank, the nearest above.
    fn of(mut waits: Vec<f64>) -> Self {
        waits.sort_by(f64::total_cmp);
        let Some(&max) = waits.last() else {
            return Self::default();
        };
        let rank = |part: f64| {
            let rank = (part * waits.len() as f64).ceil() as usize;
            waits[rank.clamp(1, waits.len()) - 1]
        };
        Self {
            mean: waits.iter().sum::<f64>() / waits.len() as f64,
            p50: rank(0.5),
            p95: rank(0.95),
            max,
        }
    }
}

/// One moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds after midnight.
    pub at: f64,
    /// Photos waiting or in hand.
    pub backlog: u64,
    /// Workers that are wanted.
    pub wanted: u32,
    /// Workers that can take photos.
    pub ready: u32,
}

/// Follows `arrivals` (seconds after midnight, in order) through `pool`, for a day and until the last result. A pool that
/// keeps workers begins with them, ready and cold. One that cannot have any analyses nothing.
pub fn simulate(arrivals: &[f64], pool: &Pool) -> Outcome {
    let mut day = Day::new(arrivals, pool);
    day.run();
    day.outcome()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Arrival,
    /// A worker can take photos.
    Ready(usize),
    /// A worker has a result of a photo that came at the time.
    Result(usize, f64),
    /// The autoscaler looks.
    Look,
    /// Nothing came since the fleet was last idle, the so-manieth time.
    Unload(u64),
}

/// What is due, earliest first, then as it was put in.
#[derive(Debug, PartialEq)]
struct Due {
    at: f64,
    order: u64,
    event: Event,
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.total_cmp(&other.at).then(self.order.cmp(&other.order))
    }
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    is_ready: bool,
    is_leaving: bool,
    is_gone: bool,
    busy: usize,
    /// When its models are ready to use, of one that has any.
    loaded: Option<f64>,
    /// Since when its node is paid.
    node_since: f64,
}

struct Day<'a> {
    arrivals: &'a [f64],
    pool: &'a Pool,
    scaler: Scaler,
    now: f64,
    due: BinaryHeap<Reverse<Due>>,
    order: u64,
    next_arrival: usize,
    waiting: VecDeque<f64>,
    in_hand: u64,
    workers: Vec<Worker>,
    wanted: u32,
    /// Nodes without a worker: since when they are paid, and until when they stay.
    lingering: Vec<(f64, f64)>,
    idle_times: u64,
    waits: Vec<f64>,
    backlog_seconds: f64,
    busy_seconds: f64,
    node_seconds: f64,
    loaded_seconds: f64,
    outcome: Outcome,
}

impl<'a> Day<'a> {
    fn new(arrivals: &'a [f64], pool: &'a Pool) -> Self {
        let mut day = Self {
            arrivals,
            pool,
            scaler: Scaler::new(pool.scaling),
            now: 0.0,
            due: BinaryHeap::new(),
            order: 0,
            next_arrival: 0,
            waiting: VecDeque::new(),
            in_hand: 0,
            workers: Vec::new(),
            wanted: pool.scaling.min_replicas.min(pool.scaling.max_replicas),
            lingering: Vec::new(),
            idle_times: 0,
            waits: Vec::with_capacity(arrivals.len()),
            backlog_seconds: 0.0,
            busy_seconds: 0.0,
            node_seconds: 0.0,
            loaded_seconds: 0.0,
            outcome: Outcome {
                photos: 0,
                waits: Waits::default(),
                last_result: 0.0,
                peak_backlog: 0,
                mean_backlog: 0.0,
                peak_replicas: 0,
                cold_starts: 0,
                node_starts: 0,
                model_loads: 0,
                node_hours: 0.0,
                busy_lane_hours: 0.0,
                loaded_hours: 0.0,
                timeline: Vec::new(),
            },
        };
        for _ in 0..day.wanted {
            day.workers.push(Worker {
                is_ready: true,
                is_leaving: false,
                is_gone: false,
                busy: 0,
                loaded: None,
                node_since: 0.0,
            });
        }
        if let Some(&first) = arrivals.first() {
            day.schedule(first, Event::Arrival);
        }
        day.schedule(0.0, Event::Look);
        day
    }

    fn schedule(&mut self, at: f64, event: Event) {
        self.order += 1;
        let order = self.order;
        self.due.push(Reverse(Due { at, order, event }));
    }

    fn backlog(&self) -> u64 {
        self.waiting.len() as u64 + self.in_hand
    }

    fn run(&mut self) {
        while let Some(Reverse(Due { at, event, .. })) = self.due.pop() {
            let over = at >= SECONDS && self.backlog() == 0 && self.next_arrival == self.arrivals.len();
            if over || (self.pool.scaling.max_replicas == 0 && at >= SECONDS) {
                break;
            }
            self.backlog_seconds += (at - self.now) * self.backlog() as f64;
            self.now = at;
            match event {
                Event::Arrival => self.arrive(),
                Event::Ready(worker) => self.workers[worker].is_ready = true,
                Event::Result(worker, came) => self.result(worker, came),
                Event::Look => self.look(),
                Event::Unload(times) if times == self.idle_times => self.unload_all(),
                Event::Unload(_) => {}
            }
            self.hand_out();
            self.outcome.peak_backlog = self.outcome.peak_backlog.max(self.backlog());
        }
        self.now = self.now.max(SECONDS);
    }

    fn arrive(&mut self) {
        self.waiting.push_back(self.now);
        self.idle_times += 1;
        self.next_arrival += 1;
        if let Some(&next) = self.arrivals.get(self.next_arrival) {
            self.schedule(next.max(self.now), Event::Arrival);
        }
    }

    /// Gives what waits to whoever has room, the one with the most room first.
    fn hand_out(&mut self) {
        while !self.waiting.is_empty() {
            let free =
                self.workers.iter().enumerate().filter(|(_, worker)| {
                    worker.is_ready && !worker.is_leaving && worker.busy < self.pool.lanes
                });
            let Some(which) = free.min_by_key(|(_, worker)| worker.busy).map(|(which, _)| which) else {
                return;
            };
            let Some(came) = self.waiting.pop_front() else {
                return;
            };
            let worker = &mut self.workers[which];
            if worker.loaded.is_none() {
                worker.loaded = Some(self.now + self.pool.load);
                self.outcome.model_loads += 1;
            }
            let start = worker.loaded.map_or(self.now, |loaded| loaded.max(self.now));
            worker.busy += 1;
            self.in_hand += 1;
            self.busy_seconds += self.pool.service;
            self.schedule(start + self.pool.service, Event::Result(which, came));
        }
    }

    fn result(&mut self, which: usize, came: f64) {
        self.waits.push(self.now - came);
        self.in_hand -= 1;
        self.outcome.photos += 1;
        self.outcome.last_result = self.now;
        self.workers[which].busy -= 1;
        if self.workers[which].is_leaving && self.workers[which].busy == 0 {
            self.leave(which);
        }
        if self.backlog() == 0 {
            self.idle_times += 1;
            self.schedule(self.now + self.pool.unload_grace, Event::Unload(self.idle_times));
        }
    }

    fn unload_all(&mut self) {
        for which in 0..self.workers.len() {
            self.unload(which);
        }
    }

    fn unload(&mut self, which: usize) {
        if let Some(loaded) = self.workers[which].loaded.take() {
            self.loaded_seconds += (self.now - loaded + self.pool.load).max(0.0);
        }
    }

    fn leave(&mut self, which: usize) {
        self.unload(which);
        let worker = &mut self.workers[which];
        worker.is_gone = true;
        worker.is_ready = false;
        let node = (worker.node_since, self.now + self.pool.node_linger);
        self.lingering.push(node);
    }

    fn look(&mut self) {
        let next = self.scaler.look(self.now, self.backlog(), self.wanted);
        if self.wanted == 0 && next > 0 {
            self.outcome.cold_starts += 1;
        }
        for _ in self.wanted..next {
            self.start();
        }
        for _ in next..self.wanted {
            self.dismiss();
        }
        self.wanted = next;
        self.outcome.peak_replicas = self.outcome.peak_replicas.max(next);
        let sample = Sample {
            at: self.now,
            backlog: self.backlog(),
            wanted: next,
            ready: self.workers.iter().filter(|worker| worker.is_ready).count() as u32,
        };
        let same = |last: &Sample| {
            Sample {
                at: sample.at,
                ..*last
            } == sample
        };
        if !self.outcome.timeline.last().is_some_and(same) {
            self.outcome.timeline.push(sample);
        }
        self.schedule(self.now + self.pool.scaling.polling.max(1.0), Event::Look);
    }

    /// On a node that is still there, else on a new one.
    fn start(&mut self) {
        let now = self.now;
        let mut ended = 0.0;
        self.lingering.retain(|&(since, until)| {
            let stays = until > now;
            ended += if stays { 0.0 } else { until - since };
            stays
        });
        self.node_seconds += ended;
        let (node_since, delay) = match self.lingering.pop() {
            Some((since, _)) => (since, self.pool.pod_start),
            None => {
                self.outcome.node_starts += 1;
                (now, self.pool.node_start)
            }
        };
        self.workers.push(Worker {
            is_ready: false,
            is_leaving: false,
            is_gone: false,
            busy: 0,
            loaded: None,
            node_since,
        });
        self.schedule(now + delay, Event::Ready(self.workers.len() - 1));
    }

    /// One that is still coming, else the one with the least in hand, which it finishes.
    fn dismiss(&mut self) {
        let staying = self
            .workers
            .iter()
            .enumerate()
            .filter(|(_, worker)| !worker.is_leaving && !worker.is_gone);
        let least = staying.min_by_key(|(_, worker)| (worker.is_ready, worker.busy));
        let Some(which) = least.map(|(which, _)| which) else {
            return;
        };
        self.workers[which].is_leaving = true;
        if self.workers[which].busy == 0 {
            self.leave(which);
        }
    }

    fn outcome(mut self) -> Outcome {
        for which in 0..self.workers.len() {
            if !self.workers[which].is_gone {
                self.unload(which);
                self.node_seconds += self.now - self.workers[which].node_since;
            }
        }
        let ended: f64 = self
            .lingering
            .iter()
            .map(|&(since, until)| until.min(self.now.max(since)) - since)
            .sum();
        let mut outcome = self.outcome;
        outcome.node_hours = (self.node_seconds + ended) / 3600.0;
        outcome.busy_lane_hours = self.busy_seconds / 3600.0;
        outcome.loaded_hours = self.loaded_seconds / 3600.0;
        outcome.mean_backlog = self.backlog_seconds / self.now;
        outcome.waits = Waits::of(self.waits);
        outcome
    }
}

#[cfg(test)]
mod tests;
