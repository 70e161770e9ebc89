//! Requests and answers.

mod analyze;
mod app;
mod batches;
pub(crate) mod connections;
mod cursor;
mod events;
mod export;
mod extract;
mod gate;
mod health;
mod openapi;
mod problem;
mod requests;
mod results;
mod router;
mod serve;
mod submission;
mod tickets;
pub mod tokens;
mod uploads;
mod validate;
mod workers;

pub use problem::Code;
pub use serve::{Api, ServeError};
