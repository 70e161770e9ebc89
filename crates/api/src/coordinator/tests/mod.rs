//! Batches from submission to their end, on the in-process queue and a folder, by a paused clock.

mod crashes;
mod faults;
mod fleet_of_one;
mod life;
mod traces;
mod webhooks;

use std::sync::Arc;

use fleet::manifest::Source;
use fleet_of_one::{Fleet, PATIENCE};
use queue::Topology;
use queue::memory::MemoryQueue;
