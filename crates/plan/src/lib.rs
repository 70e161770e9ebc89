//! What a fleet needs for a day of cricket, computed before anything is paid for.
//!
//! ```text
//!  work ── what a photo costs, as measured ──┐
//!  day ─── when photos come ─────────────────┤
//!  pool ── what workers are, how they scale ─┴─► sim ──► search: the cheapest settings that are fast enough
//! ```
//! Nothing here reads a clock or a file: the same question has the same answer. `docs/scaling.md` has the formulas.

pub mod card;
pub mod day;
mod picture;
pub mod pool;
mod scaler;
pub mod search;
mod sim;
pub mod work;

pub use picture::{PictureError, draw};
pub use sim::{Outcome, Sample, Waits, simulate};
