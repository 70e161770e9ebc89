//! The `pitchfleet` executable.

fn main() {}
