//! Memory of this process and of what it started, and how it is written.

pub(crate) use engine::memory::Memory;

/// Of this process with everything below it.
pub(crate) fn of_tree() -> Memory {
    engine::memory::of_tree(std::process::id())
}

/// `12.3 MB`, a MB being 1024 times 1024 bytes as in the targets.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}
