//! Surface features of a crop, equal to OpenCV's 8-bit results.

mod dominant;
mod plain;

pub use plain::{Maps, measure};
