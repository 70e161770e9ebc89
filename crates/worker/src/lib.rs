//! One worker: takes photos from the queue, analyses them, stores what came of it, and settles the message.
//!
//! [`analyse`] is the function to read. What becomes of a message is decided in one place, [`settle`]. The worker knows
//! ports only ([`Queue`](queue::Queue), [`Store`](store::Store)); whoever makes one names the adapters.

mod analyse;
mod config;
mod context;
mod engines;
mod follow;
mod gpu;
mod hands;
mod models;
mod monitor;
mod neighbours;
mod orders;
mod page;
mod pages;
mod places;
mod pressure;
mod receipts;
mod record;
mod reuse;
mod schedule;
mod settle;
mod spool;
mod tally;
mod tell;
mod unwanted;
mod worker;

pub use config::WorkerConfig;
pub use pages::Pages;
pub use schedule::WarmAt;
pub use worker::{Farewell, Worker, WorkerError};
