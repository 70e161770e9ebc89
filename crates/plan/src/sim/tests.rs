use fastrand::Rng;

use super::*;
use crate::pool::Scaling;

fn pool(replicas: u32, lanes: usize, service: f64) -> Pool {
    Pool {
        lanes,
        service,
        node_start: 90.0,
        pod_start: 5.0,
        node_linger: 600.0,
        load: 0.0,
        unload_grace: 30.0,
        scaling: Scaling {
            min_replicas: replicas,
            max_replicas: replicas,
            photos_per_replica: 100.0,
            activation_photos: 0,
            polling: 10.0,
            cooldown: 300.0,
            stabilization: 120.0,
        },
    }
}

/// Arrivals of a Poisson process with `rate` a second over a whole day.
fn poisson(rate: f64, seed: u64) -> Vec<f64> {
    let mut random = Rng::with_seed(seed);
    let mut at = 0.0;
    let next = std::iter::from_fn(|| {
        at -= (1.0 - random.f64()).ln() / rate;
        (at < SECONDS).then_some(at)
    });
    next.collect()
}

fn near(value: f64, expected: f64, part: f64) {
    assert!(
        (value / expected - 1.0).abs() < part,
        "{value} is not near {expected}"
    );
}

#[test]
fn a_set_takes_its_turns() {
    // 10 photos at once, 2 workers with 2 lanes, 3 s each: turns end at 3, 6 and 9 s; the last is half empty.
    let outcome = simulate(&[100.0; 10], &pool(2, 2, 3.0));
    assert_eq!(outcome.photos, 10);
    near(outcome.last_result, 109.0, 1e-9);
    near(
        outcome.waits.mean,
        (4.0 * 3.0 + 4.0 * 6.0 + 2.0 * 9.0) / 10.0,
        1e-9,
    );
    assert_eq!((outcome.waits.p50, outcome.waits.max), (6.0, 9.0));
    assert_eq!(outcome.peak_backlog, 10);
    near(outcome.busy_lane_hours, 30.0 / 3600.0, 1e-9);
    // They are there all day.
    near(outcome.node_hours, 48.0, 1e-9);
    assert_eq!((outcome.cold_starts, outcome.node_starts), (0, 0));
}

#[test]
fn the_first_photo_after_nothing_waits_for_a_look_a_node_and_the_models() {
    let mut cold = pool(1, 1, 2.0);
    cold.load = 0.5;
    cold.scaling.min_replicas = 0;
    // The looks are at 0, 10, 20, …: the one at 1000 sees it.
    let outcome = simulate(&[995.0], &cold);
    near(outcome.waits.max, 5.0 + 90.0 + 0.5 + 2.0, 1e-9);
    assert_eq!(
        (outcome.cold_starts, outcome.node_starts, outcome.model_loads),
        (1, 1, 1)
    );
    // Loaded from 1090 until 30 s after the result.
    near(outcome.loaded_hours, (2.5 + 30.0) / 3600.0, 1e-9);
    // Last seen active at 1090; gone at 1390; the node from 1000 to 600 s after that.
    near(outcome.node_hours, (390.0 + 600.0) / 3600.0, 1e-9);
}

#[test]
fn a_node_that_lingers_is_used_again() {
    let mut cold = pool(1, 1, 2.0);
    cold.scaling.min_replicas = 0;
    // Gone at 1390, the node stays until 1990.
    let outcome = simulate(&[995.0, 1495.0], &cold);
    assert_eq!((outcome.cold_starts, outcome.node_starts), (2, 1));
    near(outcome.waits.max, 97.0, 1e-9);
    near(outcome.waits.p50, 5.0 + 5.0 + 2.0, 1e-9);
    // At 1500 it comes back, is last seen active at 1500 (ready at 1505, done at 1507), and gone at 1800.
    near(outcome.node_hours, (1800.0 - 1000.0 + 600.0) / 3600.0, 1e-9);
    // Another node, where it did not stay.
    cold.node_linger = 50.0;
    assert_eq!(simulate(&[995.0, 1495.0], &cold).node_starts, 2);
}

#[test]
fn models_stay_loaded_as_long_as_the_grace_says() {
    let mut warm = pool(1, 1, 1.0);
    warm.load = 0.1;
    let arrivals = [100.0, 120.0, 200.0];
    // 20 s between the first two, 80 s between the others.
    for (grace, loads) in [(10.0, 3), (30.0, 2), (90.0, 1)] {
        warm.unload_grace = grace;
        assert_eq!(simulate(&arrivals, &warm).model_loads, loads, "{grace}");
    }
}

/// Little's law: photos in the system = rate times time in the system, whatever the rest.
#[test]
fn little_s_law_holds() {
    let mut settings = pool(3, 2, 4.0);
    settings.scaling.min_replicas = 0;
    settings.scaling.photos_per_replica = 5.0;
    settings.load = 2.0;
    for (pool, rate) in [(pool(2, 2, 3.0), 1.0), (settings, 0.9)] {
        let arrivals = poisson(rate, 3);
        let outcome = simulate(&arrivals, &pool);
        assert_eq!(outcome.photos, arrivals.len() as u64);
        let over = outcome.last_result.max(SECONDS);
        let through = outcome.photos as f64 / over;
        near(outcome.mean_backlog, through * outcome.waits.mean, 1e-3);
    }
}

/// M/D/1: the wait is service × ρ / 2(1 − ρ) (Pollaczek and Khinchine).
#[test]
fn one_lane_waits_as_m_d_1() {
    for (load, seed) in [(0.5, 1), (0.8, 2)] {
        let service = 0.5;
        let outcome = simulate(&poisson(load / service, seed), &pool(1, 1, service));
        let wait = outcome.waits.mean - service;
        near(wait, service * load / (2.0 * (1.0 - load)), 0.05);
    }
}

/// M/D/c after Cosmetatos (1975): half the wait of M/M/c, times 1 + (1 − ρ)(c − 1)(√(4 + 5c) − 2)/(16 ρ c).
#[test]
fn many_lanes_wait_as_m_d_c() {
    let (lanes, service, load) = (4, 2.0, 0.8);
    let c = lanes as f64;
    let outcome = simulate(&poisson(load * c / service, 5), &pool(1, lanes, service));
    // Erlang C of M/M/4 at 3.2 erlang.
    let offered: f64 = load * c;
    let term = |n: u32| offered.powi(n as i32) / (1..=n).map(f64::from).product::<f64>();
    let last = term(4) / (1.0 - load);
    let waits = last / ((0..4).map(term).sum::<f64>() + last);
    let m_m_c = waits * service / (c * (1.0 - load));
    let factor = 1.0 + (1.0 - load) * (c - 1.0) * ((4.0 + 5.0 * c).sqrt() - 2.0) / (16.0 * load * c);
    near(outcome.waits.mean - service, m_m_c / 2.0 * factor, 0.05);
}

#[test]
fn busy_workers_finish_before_they_go() {
    let mut leaving = pool(4, 1, 200.0);
    leaving.scaling.min_replicas = 0;
    leaving.scaling.photos_per_replica = 1.0;
    leaving.scaling.stabilization = 10.0;
    let outcome = simulate(&[0.0; 8], &leaving);
    assert_eq!(outcome.photos, 8, "nothing is lost");
    assert!(outcome.peak_replicas == 4 && outcome.timeline.last().is_some_and(|last| last.wanted == 0));
}

#[test]
fn a_pool_without_workers_ends_with_the_day() {
    let outcome = simulate(&[100.0, 200.0], &pool(0, 1, 1.0));
    assert_eq!((outcome.photos, outcome.peak_backlog), (0, 2));
    assert_eq!(outcome.waits, Waits::default());
}

#[test]
fn work_that_is_too_much_goes_on_after_midnight() {
    let outcome = simulate(&[SECONDS - 10.0; 100], &pool(1, 1, 1.0));
    near(outcome.last_result, SECONDS + 90.0, 1e-9);
}
