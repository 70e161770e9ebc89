//! Photo bytes in, pitch analysis out.
//!
//! The analysis of one cricket-pitch photograph, step by step in the order in which data flows:
//! [`photo`] decodes it, [`detect`] finds the pitch, [`surface`] reads the crop, [`classify`] names its class,
//! [`rules`] correct that class, [`advice`] says what follows, [`pictures`] show it; [`verdict`] sums up a set.
//! [`analyse()`] is the one function that walks through all of it.
//!
//! No I/O, no async and no ONNX: the two networks are reached through [`networks::Networks`].

pub mod advice;
pub mod analyse;
pub mod analysis;
pub mod classify;
pub mod detect;
pub mod networks;
pub mod photo;
pub mod pictures;
pub mod resize;
pub mod rgb;
pub mod rules;
pub mod surface;
pub mod verdict;

pub use analyse::{AnalyseError, analyse};
pub use analysis::{Analysis, Options};
pub use rgb::RgbImage;
