//! From a photo to the detector's input, and from its output back to boxes on the photo.

pub mod boxes;
pub mod letterbox;
