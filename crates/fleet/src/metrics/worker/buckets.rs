//! The bounds that times are counted in.

use prometheus_client::metrics::histogram::Histogram;

/// Seconds: from what a classifier takes to what a large photo does.
pub(super) fn stage_buckets() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

/// Seconds: from a photo that finds an idle worker to a night's backlog.
pub(super) fn wait_buckets() -> Histogram {
    Histogram::new([
        0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0,
    ])
}

/// Seconds: from no wait at all to as long as others may take.
pub(super) fn admission_buckets() -> Histogram {
    Histogram::new([0.001, 0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0])
}

/// Seconds: from a warm page cache to a card that has to be woken.
pub(super) fn load_buckets() -> Histogram {
    Histogram::new([0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}
