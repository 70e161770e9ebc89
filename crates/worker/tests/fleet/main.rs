//! A worker in a fleet of its own.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests may fail, too")]

mod delivery;
mod failures;
mod harness;
mod life;
mod reuse;
mod servers;
