//! The cheapest settings that are fast enough: a handful of candidates, each followed through the whole day.

use serde::Serialize;

use crate::card::Card;
use crate::day::{Day, DayError};
use crate::pool::{Pool, Scaling};
use crate::sim::{Outcome, simulate};
use crate::work::Work;

/// Multiples of the backlog per worker that arithmetic gives.
const BACKLOGS: [f64; 4] = [0.25, 0.5, 1.0, 2.0];
/// Seconds from the last photo to no workers.
const COOLDOWNS: [f64; 6] = [60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];
/// Seconds without work until the models go.
const GRACES: [f64; 4] = [0.0, 5.0, 30.0, 120.0];
/// Of those that cost at most so much more than the cheapest, the one that comes up from nothing least often.
const CALM: f64 = 1.05;
/// Loading the models may take this part of the time that analysing takes.
const LOADING: f64 = 0.01;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    /// When photos come.
    pub day: Day,
    /// Which of the days that are alike.
    pub seed: u64,
    /// What each costs.
    pub work: Work,
    /// Of 100 photos 95 are to have their result within so many seconds.
    pub within: f64,
    /// What a worker is.
    pub worker: Worker,
    /// How soon one comes, and how long what it needs stays.
    pub cluster: Cluster,
    /// What is paid.
    pub prices: Prices,
    /// What is decided already.
    pub decided: Decided,
}

/// A worker's resources.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worker {
    /// Its cores, each with a lane.
    pub cores: usize,
    /// Its card; then the cores do all but the networks.
    pub card: Option<Card>,
    /// Seconds that loading its models takes.
    pub load: f64,
}

impl Worker {
    /// Seconds that a photo keeps a lane; of a card that is shared by too many lanes, with the wait for it.
    pub fn service(&self, work: &Work) -> f64 {
        let milliseconds = match &self.card {
            None => work.worker_ms(),
            Some(card) => work.worker_beside_ms().max(card.photo_ms * self.cores as f64),
        };
        milliseconds / 1e3
    }

    /// Price of an hour with its memory limit.
    pub fn hour(&self, work: &Work, prices: &Prices) -> f64 {
        let gigabytes = work.memory_limit_mib(self.cores as f64) as f64 / 1024.0;
        let card = self.card.map_or(0.0, |card| card.hour);
        self.cores as f64 * prices.core_hour + gigabytes * prices.gigabyte_hour + card
    }
}

/// How a cluster brings workers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// Seconds to a worker on a new node: node, image and process.
    pub node_start: f64,
    /// Seconds to a worker on a node that is there.
    pub pod_start: f64,
    /// Seconds that an empty node stays.
    pub node_linger: f64,
    /// Seconds between two looks at the queue.
    pub polling: f64,
    /// Seconds for which fewer workers must have been enough.
    pub stabilization: f64,
    /// Workers that there can be at most.
    pub most: u32,
}

/// What is paid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prices {
    /// For an hour of a core.
    pub core_hour: f64,
    /// For an hour of 1024 MiB.
    pub gigabyte_hour: f64,
}

/// Settings that are not searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Decided {
    /// See [`Scaling::min_replicas`].
    pub min_replicas: Option<u32>,
    /// See [`Scaling::max_replicas`].
    pub max_replicas: Option<u32>,
    /// See [`Scaling::photos_per_replica`].
    pub photos_per_replica: Option<f64>,
    /// See [`Scaling::cooldown`].
    pub cooldown: Option<f64>,
    /// See [`Pool::unload_grace`].
    pub unload_grace: Option<f64>,
}

/// Settings and what they lead to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The settings.
    pub pool: Pool,
    /// The day with them.
    pub outcome: Outcome,
    /// What it costs.
    pub cost: f64,
}

impl Choice {
    /// Price of a thousand photos; 0 on a day without any.
    pub fn per_thousand(&self) -> f64 {
        if self.outcome.photos == 0 {
            return 0.0;
        }
        self.cost * 1e3 / self.outcome.photos as f64
    }

    /// Part of the paid time of lanes in which they had a photo.
    pub fn utilisation(&self) -> f64 {
        let paid = self.outcome.node_hours * self.pool.lanes as f64;
        if paid > 0.0 {
            self.outcome.busy_lane_hours / paid
        } else {
            0.0
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The cheapest of those that are fast enough, or one that is hardly dearer and calmer; else the fastest.
    pub best: Choice,
    /// Whether it is fast enough.
    pub holds: bool,
    /// Others that were tried, cheapest first, without their timelines.
    pub others: Vec<Choice>,
    /// The memory limit of a worker, MiB.
    pub memory_limit_mib: u64,
}

impl Question {
    /// Tries the candidates.
    ///
    /// # Errors
    /// When the day cannot be.
    pub fn answer(&self) -> Result<Advice, DayError> {
        let arrivals = self.day.arrivals(self.seed)?;
        let mut choices: Vec<Choice> = self
            .candidates()
            .into_iter()
            .map(|pool| self.follow(&arrivals, pool))
            .collect();
        choices.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let holds = |choice: &Choice| choice.outcome.waits.p95 <= self.within;
        let place = calmest(&choices, holds).unwrap_or_else(|| {
            let waits = choices.iter().map(|choice| choice.outcome.waits.p95);
            let fastest = waits.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
            fastest.map_or(0, |(place, _)| place)
        });
        let best = choices.remove(place);
        for choice in &mut choices {
            choice.outcome.timeline.clear();
        }
        let best = self.with_grace(&arrivals, best);
        Ok(Advice {
            holds: holds(&best),
            best,
            others: choices,
            memory_limit_mib: self.work.memory_limit_mib(self.worker.cores as f64),
        })
    }

    /// What a worker can take off the backlog in the time that is left when it has come: `rate × (within − start)`.
    pub fn backlog_per_worker(&self) -> f64 {
        let start = self.cluster.polling + self.cluster.node_start + self.worker.load;
        let left = (self.within - start).max(self.within / 4.0);
        let rate = self.worker.cores as f64 / self.worker.service(&self.work);
        (rate * left).max(1.0)
    }

    fn candidates(&self) -> Vec<Pool> {
        let decided = &self.decided;
        let base = self.backlog_per_worker();
        let backlogs = decided.photos_per_replica.map_or_else(
            || BACKLOGS.map(|part| (base * part).round().max(1.0)).to_vec(),
            |own| vec![own.max(1.0)],
        );
        let cooldowns = decided.cooldown.map_or(COOLDOWNS.to_vec(), |own| vec![own]);
        let mut pools = Vec::new();
        for &photos_per_replica in &backlogs {
            let needed = (self.day.largest() as f64 / photos_per_replica).ceil() as u32;
            let max_replicas = decided
                .max_replicas
                .unwrap_or(needed.clamp(1, self.cluster.most.max(1)));
            for &cooldown in &cooldowns {
                for min_replicas in decided.min_replicas.map_or(vec![0, 1], |own| vec![own]) {
                    let scaling = Scaling {
                        min_replicas: min_replicas.min(max_replicas),
                        max_replicas,
                        photos_per_replica,
                        activation_photos: 0,
                        polling: self.cluster.polling,
                        cooldown,
                        stabilization: self.cluster.stabilization,
                    };
                    pools.push(self.pool(scaling));
                }
            }
        }
        pools
    }

    fn pool(&self, scaling: Scaling) -> Pool {
        let longest = scaling.cooldown - scaling.polling;
        let grace = GRACES.into_iter().rfind(|grace| *grace < longest).unwrap_or(0.0);
        Pool {
            lanes: self.worker.cores,
            service: self.worker.service(&self.work),
            node_start: self.cluster.node_start,
            pod_start: self.cluster.pod_start,
            node_linger: self.cluster.node_linger,
            load: self.worker.load,
            unload_grace: self.decided.unload_grace.unwrap_or(grace),
            scaling,
        }
    }

    fn follow(&self, arrivals: &[f64], pool: Pool) -> Choice {
        let outcome = simulate(arrivals, &pool);
        Choice {
            cost: outcome.node_hours * self.worker.hour(&self.work, &self.prices),
            pool,
            outcome,
        }
    }

    /// The same with the shortest grace at which loading is next to nothing: what is unloaded early is memory for others.
    fn with_grace(&self, arrivals: &[f64], best: Choice) -> Choice {
        if self.decided.unload_grace.is_some() {
            return best;
        }
        for grace in GRACES.into_iter().filter(|grace| *grace < best.pool.unload_grace) {
            let pool = Pool {
                unload_grace: grace,
                ..best.pool
            };
            let shorter = self.follow(arrivals, pool);
            let loading = shorter.outcome.model_loads as f64 * pool.load / 3600.0;
            let is_slower = best.outcome.waits.p95 <= self.within && shorter.outcome.waits.p95 > self.within;
            if loading <= LOADING * shorter.outcome.busy_lane_hours && !is_slower {
                return shorter;
            }
        }
        best
    }
}

/// Which of `choices`, cheapest first: of those that hold and cost about as little, the one with the fewest cold starts.
fn calmest(choices: &[Choice], holds: impl Fn(&Choice) -> bool) -> Option<usize> {
    let mut good = choices.iter().enumerate().filter(|(_, choice)| holds(choice));
    let (first, cheapest) = good.next()?;
    good.take_while(|(_, choice)| choice.cost <= cheapest.cost * CALM)
        .fold((first, cheapest.outcome.cold_starts), |best, (place, choice)| {
            let starts = choice.outcome.cold_starts;
            if starts < best.1 { (place, starts) } else { best }
        })
        .0
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Precision;

    fn question() -> Question {
        Question {
            day: Day::of_test(4_000),
            seed: 1,
            work: Work {
                megapixels: 24.0,
                detector_side: 640.0,
                precision: Precision::Int8,
                core_speed: 1.0,
            },
            within: 600.0,
            worker: Worker {
                cores: 2,
                card: None,
                load: 0.12,
            },
            cluster: Cluster {
                node_start: 90.0,
                pod_start: 5.0,
                node_linger: 300.0,
                polling: 10.0,
                stabilization: 120.0,
                most: 50,
            },
            prices: Prices {
                core_hour: 0.05,
                gigabyte_hour: 0.005,
            },
            decided: Decided::default(),
        }
    }

    #[test]
    fn the_backlog_of_a_worker_is_what_it_does_in_the_time_left() {
        // 2 lanes, (9 + 144 + 25.6) × 1.06 = 189.3 ms: 10.56 photos/s; 600 − 10 − 90 − 0.12 s.
        let expected = 2.0 / 0.189_316 * 499.88;
        assert!((question().backlog_per_worker() / expected - 1.0).abs() < 1e-6);
        let hurried = Question {
            within: 60.0,
            ..question()
        };
        let expected = 2.0 / 0.189_316 * 15.0;
        assert!((hurried.backlog_per_worker() / expected - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_recommended_is_fast_enough_and_nothing_cheaper_is() {
        let question = question();
        let advice = question.answer().unwrap();
        assert!(advice.holds);
        assert_eq!(advice.best.outcome.photos, 4_000);
        let cheaper = advice
            .others
            .iter()
            .filter(|other| other.cost < advice.best.cost / CALM - 1e-9);
        assert!(cheaper.into_iter().all(|other| other.outcome.waits.p95 > 600.0));
        let Pool {
            unload_grace,
            scaling,
            ..
        } = advice.best.pool;
        assert!(
            unload_grace + scaling.polling < scaling.cooldown,
            "the timers nest"
        );
        assert_eq!(
            question.answer().unwrap(),
            advice,
            "the same question, the same answer"
        );
    }

    #[test]
    fn what_nobody_can_reach_is_said() {
        let hopeless = Question {
            within: 1.0,
            decided: Decided {
                min_replicas: Some(0),
                ..Decided::default()
            },
            ..question()
        };
        let advice = hopeless.answer().unwrap();
        assert!(!advice.holds);
        let best = advice.best.outcome.waits.p95;
        assert!(advice.others.iter().all(|other| other.outcome.waits.p95 >= best));
    }

    #[test]
    fn what_is_decided_stays() {
        let decided = Decided {
            min_replicas: Some(1),
            max_replicas: Some(3),
            photos_per_replica: Some(250.0),
            cooldown: Some(420.0),
            unload_grace: Some(45.0),
        };
        let advice = Question {
            decided,
            ..question()
        }
        .answer()
        .unwrap();
        assert!(advice.others.is_empty());
        let pool = advice.best.pool;
        let scaling = pool.scaling;
        assert_eq!((scaling.min_replicas, scaling.max_replicas), (1, 3));
        assert_eq!((scaling.photos_per_replica, scaling.cooldown), (250.0, 420.0));
        assert_eq!(pool.unload_grace, 45.0);
    }

    #[test]
    fn a_card_s_worker_costs_its_card_and_waits_for_whichever_is_slower() {
        let card = Card {
            photo_ms: 3.0,
            hour: 0.5,
        };
        let work = question().work;
        let worker = |cores| Worker {
            cores,
            card: Some(card),
            load: 4.0,
        };
        assert!(
            (worker(8).service(&work) - 0.162_18).abs() < 1e-6,
            "the cores are"
        );
        assert!((worker(100).service(&work) - 0.3).abs() < 1e-6, "the card is");
        // 8 × 0.05 + 1.5 × 0.005 + 0.5.
        assert!((worker(8).hour(&work, &question().prices) - 0.9075).abs() < 1e-9);
    }

    #[test]
    fn a_day_without_photos_costs_what_is_kept() {
        let empty = Question {
            day: Day::of_test(0),
            ..question()
        };
        let advice = empty.answer().unwrap();
        assert_eq!((advice.best.cost, advice.best.per_thousand()), (0.0, 0.0));
        assert_eq!(advice.best.utilisation(), 0.0);
    }
}
