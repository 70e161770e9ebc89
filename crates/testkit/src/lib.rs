//! What tests share. Of the servers that `scripts/test.sh` starts, each test takes a part of its own: a [`Vhost`] of the
//! broker, a [`Bucket`] prefix of the S3 server. A test that stops, starts or kills a server starts its own:
//! [`Server`]. [`Process`] runs an executable and ends it with the test; [`Proxy`] is a network that goes wrong.
//!
//! Everything here panics when it cannot go on, with what to do, and cleans up when dropped. Calls block: they are short.
//! A dev-dependency only; it knows none of the other crates.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod bucket;
pub mod http;
mod process;
mod proxy;
mod server;
mod vhost;
mod wait;

pub use bucket::Bucket;
pub use process::{Process, freeze, kill};
pub use proxy::Proxy;
pub use server::Server;
pub use vhost::{QueueStatus, Vhost};
pub use wait::{PATIENCE, wait_until};

use std::sync::atomic::{AtomicU32, Ordering};

/// A name that no other test has, in this process or in those beside it.
pub fn unique_name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let started = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis());
    format!(
        "test-{}-{started}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// A variable that `scripts/test.sh` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, or `make servers` and set what it prints")
    })
}
