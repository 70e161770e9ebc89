//! What the other workers of the fleet have in hand: each of their photos may come back to the queue, and as long as
//! there is one, this worker has reason to stay warm. Brokers do not tell; heartbeats do.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleet::event::{Event, Heartbeat, WorkerState};
use queue::Fanout;
use tokio::time::Instant;

use crate::context::Context;

/// How heartbeats begin, so that the many events about photos are not even parsed.
const HEARTBEAT: &[u8] = br#"{"event":"heartbeat""#;
/// Heartbeats that a worker may miss before it counts as gone.
const MISSED: u32 = 3;
/// Workers that are kept in mind: more than a fleet has, and an end to what a stranger can make this one keep.
const MOST: usize = 10_000;

/// Who has how much.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    heard: Mutex<BTreeMap<String, Heard>>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    in_hand: u64,
    until: Instant,
}

impl Neighbours {
    /// A worker told how it is.
    pub(crate) fn hear(&self, heartbeat: &Heartbeat, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|_, heard| heard.until > now);
        if heartbeat.state == WorkerState::Gone {
            heard.remove(&heartbeat.worker);
        } else if heard.len() < MOST {
            let period = Duration::from_millis(heartbeat.period_ms).min(Duration::from_secs(60));
            let heard_now = Heard {
                in_hand: heartbeat.in_hand,
                until: now + period * MISSED,
            };
            heard.insert(heartbeat.worker.clone(), heard_now);
        }
    }

    /// Photos in hand of all that are alive.
    pub(crate) fn in_hand(&self, now: Instant) -> u64 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = heard.values().filter(|heard| heard.until > now);
        alive.map(|heard| heard.in_hand).fold(0, u64::saturating_add)
    }
}

/// Listens to the others as long as the queue is there.
pub(crate) async fn listen(context: &Context) {
    let Ok(mut events) = context.queue.subscribe(Fanout::Events).await else {
        return;
    };
    while let Some(body) = events.next().await {
        if !body.starts_with(HEARTBEAT) {
            continue;
        }
        if let Ok(Event::Heartbeat(heartbeat)) = serde_json::from_slice(&body)
            && heartbeat.worker != context.config.id
        {
            context.neighbours.hear(&heartbeat, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(worker: &str, state: WorkerState, in_hand: u64) -> Heartbeat {
        Heartbeat {
            worker: worker.into(),
            program: "1".into(),
            at_ms: 0,
            started_ms: 0,
            period_ms: 5_000,
            state,
            model: fleet::event::ModelReport::default(),
            in_hand,
            done: fleet::event::Done::default(),
            rate: 0.0,
            memory: fleet::event::MemoryReport::default(),
        }
    }

    #[test]
    fn the_last_word_counts_until_three_beats_are_missed() {
        let (neighbours, start) = (Neighbours::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        neighbours.hear(&heartbeat("a", WorkerState::Busy, 3), at(0));
        neighbours.hear(&heartbeat("b", WorkerState::Busy, 2), at(1));
        assert_eq!(neighbours.in_hand(at(1)), 5);
        neighbours.hear(&heartbeat("b", WorkerState::Busy, 1), at(6));
        assert_eq!(neighbours.in_hand(at(14)), 4);
        assert_eq!(neighbours.in_hand(at(15)), 1, "a missed three beats");
        neighbours.hear(&heartbeat("b", WorkerState::Gone, 1), at(16));
        assert_eq!(neighbours.in_hand(at(16)), 0);
    }

    #[test]
    fn heartbeats_begin_as_they_are_recognised() {
        let event = Event::Heartbeat(Box::new(heartbeat("a", WorkerState::Idle, 0)));
        assert!(serde_json::to_vec(&event).unwrap().starts_with(HEARTBEAT));
    }
}
