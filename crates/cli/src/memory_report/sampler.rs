//! Memory over time, looked at by a thread of its own, so that work does not hide its own peaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::timeline::{Sample, Timeline};
use crate::memory::{self, Memory};

const PERIOD: Duration = Duration::from_millis(25);

struct State {
    timeline: Timeline,
    peak: Memory,
    ended: bool,
}

/// The thread.
pub(super) struct Sampler {
    state: Arc<Mutex<State>>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Looks until it is told to finish.
    pub(super) fn start(origin: Instant) -> Self {
        let state = Arc::new(Mutex::new(State {
            timeline: Timeline::new(),
            peak: Memory::default(),
            ended: false,
        }));
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            loop {
                let memory = memory::of_tree();
                let mut state = locked(&shared);
                if state.ended {
                    break;
                }
                state.timeline.add((origin.elapsed().as_secs_f64(), memory));
                state.peak = state.peak.max(memory);
                drop(state);
                thread::sleep(PERIOD);
            }
        });
        Self { state, thread }
    }

    /// Begins a new peak.
    pub(super) fn forget_peak(&self) {
        locked(&self.state).peak = Memory::default();
    }

    /// The most since then.
    pub(super) fn peak(&self) -> Memory {
        locked(&self.state).peak
    }

    /// Ends the thread, and gives what it saw.
    pub(super) fn finish(self) -> Vec<Sample> {
        locked(&self.state).ended = true;
        // It holds nothing that could be lost.
        let _ = self.thread.join();
        locked(&self.state).timeline.take()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
