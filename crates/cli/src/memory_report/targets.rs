//! What memory and loading may cost: the project's promises, judged on this machine.

use serde::Serialize;

use super::{Cycles, Stage};

const MB: f64 = 1_048_576.0;
/// Up to this size a photo counts as a small one (1920x1080 is 2.1 megapixels).
const SMALL_PHOTO: usize = 2_500_000;
/// Up to this size a photo counts as a large one (6000x4000 is 24 megapixels).
const LARGE_PHOTO: usize = 25_000_000;

/// A promise and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Target {
    pub(super) name: String,
    limit: f64,
    measured: f64,
    unit: &'static str,
    /// Whether it is kept.
    pub(super) holds: bool,
}

impl Target {
    fn new(name: impl Into<String>, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            limit,
            measured,
            unit,
            holds: measured <= limit,
        }
    }

    pub(super) fn limit_text(&self) -> String {
        format!("{:.0} {}", self.limit, self.unit)
    }

    pub(super) fn measured_text(&self) -> String {
        format!("{:.1} {}", self.measured, self.unit)
    }
}

/// Judges what was measured. Busy memory has a promise for the lanes and photo sizes that were agreed on, else none.
pub(super) fn judge(
    stages: &[Stage],
    cycles: &Cycles,
    lanes: usize,
    pixels: usize,
    load_ms: &[f64],
) -> Vec<Target> {
    let resident = |name: &str| {
        let stage = stages.iter().find(|stage| stage.name == name);
        stage.map(|stage| stage.memory.resident as f64 / MB)
    };
    let mut targets = Vec::new();
    for name in [
        "engine made, not loaded",
        "unloaded",
        "unloaded, after the cycles",
    ] {
        targets.extend(resident(name).map(|measured| Target::new(name, measured, 20.0, "MB")));
    }
    if cycles.count > 0 {
        let name = format!("growth over {} cycles", cycles.count);
        targets.push(Target::new(name, cycles.difference as f64 / MB, 1.0, "MB"));
        targets.push(Target::new(
            "residue, at most",
            cycles.residue as f64 / MB,
            2.0,
            "MB",
        ));
    }
    let limit = match (lanes, pixels) {
        (1, ..=SMALL_PHOTO) => Some(150.0),
        (2, ..=SMALL_PHOTO) => Some(230.0),
        (1..=2, ..=LARGE_PHOTO) => Some(330.0),
        _ => None,
    };
    if let (Some(limit), Some(measured)) = (limit, resident("busy, at most")) {
        targets.push(Target::new(
            format!("busy with {lanes} lane(s)"),
            measured,
            limit,
            "MB",
        ));
    }
    if let Some(median) = median(&cycles.first_result_ms)
        && pixels <= SMALL_PHOTO
    {
        targets.push(Target::new("first result from cold, median", median, 350.0, "ms"));
    }
    if let Some(median) = median(load_ms) {
        targets.push(Target::new("spawn to ready, median", median, 150.0, "ms"));
    }
    targets
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some(f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;

    fn stage(name: &'static str, megabytes: u64) -> Stage {
        Stage {
            name,
            at: 0.0,
            memory: Memory {
                resident: megabytes << 20,
                ..Memory::default()
            },
        }
    }

    #[test]
    fn promises_are_judged_by_lanes_and_photo_size() {
        let stages = [stage("unloaded", 21), stage("busy, at most", 200)];
        let cycles = Cycles {
            count: 50,
            difference: 512 << 10,
            ..Cycles::default()
        };
        let judged = |lanes, pixels| -> Vec<(String, bool)> {
            let targets = judge(&stages, &cycles, lanes, pixels, &[140.0, 100.0, 400.0]);
            targets
                .into_iter()
                .map(|target| (target.name, target.holds))
                .collect()
        };
        let expected = |busy: Option<(&str, bool)>| {
            let mut all = vec![
                ("unloaded", false),
                ("growth over 50 cycles", true),
                ("residue, at most", true),
            ];
            all.extend(busy);
            all.push(("spawn to ready, median", true));
            all.into_iter()
                .map(|(name, holds)| (name.to_owned(), holds))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            judged(1, 2_000_000),
            expected(Some(("busy with 1 lane(s)", false)))
        );
        assert_eq!(
            judged(2, 2_000_000),
            expected(Some(("busy with 2 lane(s)", true)))
        );
        assert_eq!(
            judged(2, 24_000_000),
            expected(Some(("busy with 2 lane(s)", true)))
        );
        assert_eq!(judged(8, 2_000_000), expected(None));
    }
}
