//! Photos are admitted by what they cost decoded, not by count: eight huge ones wait for each other, two hundred small
//! ones don't.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A budget of bytes that lanes take from, first come, first served: a large photo cannot be overtaken forever.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: u64,
    next_ticket: u64,
    now_serving: u64,
}

/// A share of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<'b> {
    budget: &'b Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Takes `bytes` if they are free and nobody waits.
    pub(crate) fn try_admit(&self, bytes: u64) -> Option<Share<'_>> {
        let mut state = self.lock();
        if state.now_serving != state.next_ticket || !self.fits(&state, bytes) {
            return None;
        }
        state.held = state.held.saturating_add(bytes);
        Some(Share { budget: self, bytes })
    }

    /// Waits until `bytes` are free. What is larger than the whole budget is admitted when it is the only one.
    pub(crate) fn admit(&self, bytes: u64) -> Share<'_> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.now_serving != ticket || !self.fits(&state, bytes) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.now_serving += 1;
        state.held = state.held.saturating_add(bytes);
        drop(state);
        self.changed.notify_all();
        Share { budget: self, bytes }
    }

    fn fits(&self, state: &State, bytes: u64) -> bool {
        state.held == 0 || state.held.saturating_add(bytes) <= self.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, so a poisoned state is a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.held = state.held.saturating_sub(self.bytes);
        drop(state);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_but_by_one_alone() {
        let budget = Budget::new(100);
        let held = AtomicU64::new(0);
        thread::scope(|scope| {
            for bytes in [60, 50, 30, 10, 250, 40, 100, 1] {
                let (budget, held) = (&budget, &held);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let share = budget.admit(bytes);
                        let now = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(now <= 100 || now == bytes, "{now}");
                        thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
    }

    #[test]
    fn a_large_photo_is_not_overtaken() {
        let budget = Budget::new(100);
        let (sender, order) = mpsc::channel();
        let first = budget.try_admit(50).unwrap();
        thread::scope(|scope| {
            let (budget, large_order) = (&budget, sender.clone());
            scope.spawn(move || {
                let _share = budget.admit(80);
                large_order.send("large").unwrap();
            });
            while budget.lock().next_ticket < 1 {
                thread::yield_now();
            }
            scope.spawn(move || {
                // It would fit beside the first one, and not beside the large one.
                let _share = budget.admit(30);
                sender.send("small").unwrap();
            });
            while budget.lock().next_ticket < 2 {
                thread::yield_now();
            }
            assert!(budget.try_admit(1).is_none(), "it would overtake");
            assert!(order.recv_timeout(Duration::from_millis(20)).is_err());
            drop(first);
            assert_eq!(order.recv().unwrap(), "large");
            assert_eq!(order.recv().unwrap(), "small");
        });
    }
}
