//! What a worker says on the events fanout: photos that are done, a few at a time, and how it is. Nothing depends on
//! it, so nothing waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet::event::{Done, Event, Heartbeat, ModelReport, WorkerState};
use queue::{Destination, Fanout, Message};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::context::Context;
use crate::monitor;

/// Events that wait to be told; what does not fit is not told.
const BACKLOG: usize = 256;
/// How long the first of some events waits for more.
const LINGER: Duration = Duration::from_millis(100);
/// Longest wait for the broker to take them.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time over which the rate is taken.
const RATE_OVER: Duration = Duration::from_secs(60);

/// Where events are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Events(mpsc::Sender<Event>);

impl Events {
    /// And where they come out.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self(sender), receiver)
    }

    /// Hands an event in, or drops it when too many wait.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.0.try_send(event);
    }
}

/// Says things until it is dropped; what it had not said by then is among its last words.
pub(crate) struct Teller {
    events: mpsc::Receiver<Event>,
    /// Taken and not told yet.
    batch: Vec<Event>,
    pulse: Pulse,
}

impl Teller {
    pub(crate) fn new(events: mpsc::Receiver<Event>) -> Self {
        Self {
            events,
            batch: Vec::new(),
            pulse: Pulse::new(),
        }
    }

    /// Tells whatever is handed in, and heartbeats. Cancel-safe.
    pub(crate) async fn tell(&mut self, context: &Context) {
        let mut beat = interval(context.config.heartbeat.max(Duration::from_millis(10)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    let heartbeat = self.pulse.heartbeat(context, doing(context));
                    publish(context, &[heartbeat]).await;
                }
                count = self.events.recv_many(&mut self.batch, BACKLOG) => {
                    if count == 0 {
                        return;
                    }
                    sleep(LINGER).await;
                    self.take_rest();
                    publish(context, &self.batch).await;
                    self.batch.clear();
                }
            }
        }
    }

    /// The last words: what is still to be told, and that the worker is gone.
    pub(crate) async fn say_goodbye(&mut self, context: &Context) {
        self.take_rest();
        let gone = self.pulse.heartbeat(context, WorkerState::Gone);
        self.batch.push(gone);
        publish(context, &self.batch).await;
    }

    fn take_rest(&mut self) {
        while self.batch.len() < BACKLOG
            && let Ok(event) = self.events.try_recv()
        {
            self.batch.push(event);
        }
    }
}

async fn publish(context: &Context, events: &[Event]) {
    // While the broker is away, publishing would wait for it.
    if !context.queue.connection().borrow().is_ready() {
        return;
    }
    let messages: Result<Vec<_>, _> = events.iter().map(Message::json).collect();
    let Ok(messages) = messages else {
        return;
    };
    let publishing = context
        .queue
        .publish(Destination::Fanout(Fanout::Events), &messages);
    if let Ok(Err(error)) = timeout(PATIENCE, publishing).await {
        tracing::debug!(%error, "events are not told");
    }
}

pub(crate) fn doing(context: &Context) -> WorkerState {
    if context.draining.is_cancelled() || context.models.is_held() {
        WorkerState::Draining
    } else if context.tally.in_hand() > 0 {
        WorkerState::Busy
    } else {
        WorkerState::Idle
    }
}

/// What heartbeats remember of each other.
#[derive(Debug)]
struct Pulse {
    started_ms: u64,
    /// Photos settled by when, over the last minute.
    looks: VecDeque<(Instant, u64)>,
}

impl Pulse {
    fn new() -> Self {
        Self {
            started_ms: unix_ms(),
            looks: VecDeque::new(),
        }
    }

    fn heartbeat(&mut self, context: &Context, state: WorkerState) -> Event {
        let done = context.tally.done();
        let stats = context.engines.stats();
        let own = context.engines.own();
        let manifest = own.bundle().manifest();
        let mut model = ModelReport {
            bundle: format!("{} {}", manifest.name, manifest.version),
            digest: context.engines.bundle_digest(),
            state: context.models.state(),
            loaded: stats.pid.is_some(),
            loads: stats.loads,
            restarts: stats.restarts,
            lanes: own.lanes() as u64,
            ..ModelReport::default()
        };
        let last = || context.engines.last_facts(&context.engines.own_choice());
        if let Some(facts) = stats.facts.clone().or_else(last) {
            let facts = Arc::unwrap_or_clone(facts);
            model.precision = facts.precision();
            model.device = facts.device;
            model.execution_provider_requested = facts.execution_provider_requested;
            model.execution_provider = facts.execution_provider;
            model.lanes = facts.lanes as u64;
        }
        Event::Heartbeat(Box::new(Heartbeat {
            worker: context.config.id.clone(),
            program: context.config.program.clone(),
            at_ms: unix_ms(),
            started_ms: self.started_ms,
            period_ms: u64::try_from(context.config.heartbeat.as_millis()).unwrap_or(u64::MAX),
            state,
            model,
            in_hand: context.tally.in_hand(),
            done,
            rate: self.rate(Instant::now(), settled(done)),
            memory: monitor::report(context),
        }))
    }

    /// Photos a second, when `settled` are settled at `now`.
    fn rate(&mut self, now: Instant, settled: u64) -> f64 {
        while self.looks.len() > 1 && now - self.looks[1].0 >= RATE_OVER {
            self.looks.pop_front();
        }
        self.looks.push_back((now, settled));
        let (then, before) = self.looks[0];
        let seconds = (now - then).as_secs_f64();
        if seconds > 0.0 {
            settled.saturating_sub(before) as f64 / seconds
        } else {
            0.0
        }
    }
}

fn settled(done: Done) -> u64 {
    done.ok + done.reused + done.failed
}

/// Milliseconds of Unix time.
pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let (mut pulse, start) = (Pulse::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pulse.rate(at(0), 0), 0.0);
        assert_eq!(pulse.rate(at(5), 100), 20.0);
        for second in (10..=120).step_by(5) {
            pulse.rate(at(second), 100);
        }
        assert_eq!(pulse.rate(at(125), 100), 0.0, "what is long past does not count");
        assert_eq!(pulse.rate(at(130), 160), 1.0);
        assert!(pulse.looks.len() < 20);
    }
}
