//! Memory receipts: what each unload gave back, and what stayed that should not have.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet::event::Receipt;
use fleet::lifecycle::UnloadReason;

/// Unloads until the floor stands. What a worker keeps for itself (connections, buffers, the allocator's reserves)
/// comes with its first photos, not with its start; taken before them, the floor would accuse every unload.
const SETTLING: usize = 3;

/// What is held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Written by worker and engine, and shared with nobody.
    pub(crate) host: u64,
    /// Of the card's memory, by whomever.
    pub(crate) gpu: Option<u64>,
}

/// The receipts of one worker.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    written: usize,
    floor: u64,
    last: Option<Receipt>,
    over: u64,
}

impl Receipts {
    /// Writes one. `before` and `after` the engine ended.
    pub(crate) fn write(&self, at_ms: u64, reason: UnloadReason, before: Bytes, after: Bytes) -> Receipt {
        let mut state = self.state();
        if state.written < SETTLING {
            state.floor = state.floor.max(after.host);
        }
        state.written += 1;
        let receipt = Receipt {
            at_ms,
            reason,
            before_bytes: before.host,
            after_bytes: after.host,
            floor_bytes: state.floor,
            residue_bytes: after.host.saturating_sub(state.floor),
            gpu_before_bytes: before.gpu,
            gpu_after_bytes: after.gpu,
        };
        state.over += u64::from(receipt.is_over());
        state.last = Some(receipt);
        receipt
    }

    /// The last one.
    pub(crate) fn last(&self) -> Option<Receipt> {
        self.state().last
    }

    /// Unloads that left too much, since the start.
    pub(crate) fn over(&self) -> u64 {
        self.state().over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete before its guard goes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn what_stays_above_the_floor_is_residue_and_a_tenth_of_it_is_too_much() {
        let receipts = Receipts::default();
        let host = |host| Bytes { host, gpu: None };
        let write = |after| receipts.write(0, UnloadReason::Drained, host(150 * MB), host(after));
        for after in [18, 20, 19] {
            assert_eq!(write(after * MB).residue_bytes, 0);
        }
        let grown = write(22 * MB);
        assert_eq!((grown.floor_bytes, grown.residue_bytes), (20 * MB, 2 * MB));
        assert!(!grown.is_over(), "a tenth exactly");
        assert!(write(23 * MB).is_over());
        assert_eq!(write(19 * MB).residue_bytes, 0, "less than the floor is no debt");
        assert_eq!(receipts.over(), 1);
        let small = Receipts::default();
        let write = |after| small.write(0, UnloadReason::Drained, host(80 * MB), host(after));
        for _ in 0..3 {
            write(3 * MB);
        }
        assert!(
            !write(5 * MB).is_over(),
            "of a small floor a tenth is less than measuring varies by"
        );
        assert!(write(5 * MB + 1).is_over());
        assert_eq!(receipts.last().map(|last| last.after_bytes), Some(19 * MB));
    }
}
