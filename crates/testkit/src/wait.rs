use std::thread::sleep;
use std::time::{Duration, Instant};

/// Far beyond what anything takes on a busy machine; only a failure waits for so long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Returns when `condition` holds. For async code, `tokio::task::block_in_place` or a `spawn_blocking` keeps a runtime
/// of one thread going.
///
/// # Panics
/// When it does not within [`PATIENCE`], with `what` was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        sleep(Duration::from_millis(20));
    }
}
