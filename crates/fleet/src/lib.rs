//! What every role of pitchfleet agrees on: results, failure codes, the bucket's layout. Pure: no I/O, no runtime.

pub mod canonical;
pub mod failure;
pub mod layout;
pub mod manifest;
pub mod result;
