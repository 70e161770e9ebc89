//! Keeps what the C library's allocator holds small in the processes that run for months.
//!
//! glibc gives each thread an arena of its own, and gives nothing below a free block's top back by itself: an API that
//! followed six batches of 10,000 photos grew by 2 MB with each (`docs/benchmarks.md`). With one arena, trimmed now and
//! then, bursts are given back. The engine's process, where threads allocate side by side, keeps glibc's defaults.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// How often memory that is free goes back to the system. A trim of a few MB takes well under a millisecond.
const EVERY: Duration = Duration::from_secs(2);

/// To be called before there are other threads, which would have their arenas already.
pub(super) fn keep_small() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a setting of the C library's allocator, mallopt(3)")]
        // SAFETY: it takes two numbers and changes nothing but the allocator's own settings.
        let _taken = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

/// Gives free memory back every few seconds, until the runtime ends.
pub(super) fn trim_now_and_then() {
    tokio::spawn(async {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            engine::memory::trim();
        }
    });
}
