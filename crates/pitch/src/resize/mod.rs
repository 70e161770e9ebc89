//! Resampling, each kind exactly as the library that the networks were trained with does it.

pub mod linear;
pub mod pillow;
