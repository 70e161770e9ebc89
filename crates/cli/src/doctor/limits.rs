//! Do the limits of this machine, or of the cgroup that it is seen through, fit what a worker is to do?

use engine::quota::{self, CgroupLimits};
use tokio::task::spawn_blocking;

use super::finding::Finding;
use crate::roles::parts;
use crate::settings::Settings;

const CORES: &str = "cores";
const MEMORY: &str = "memory";
const SPOOL: &str = "spool";

const MIB: u64 = 1 << 20;
/// What a worker and its engine hold without a lane, and for each lane with its networks in fp32, as measured
/// (`docs/benchmarks.md`: 27 MB for the worker, one lane 107 MB, two 165 MB), rounded up.
const BASE: u64 = 80 * MIB;
const LANE: u64 = 60 * MIB;

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let cgroup = quota::cgroup_limits();
    let lanes = settings.worker.lanes.map(usize::from);
    let mut findings = vec![
        cores(lanes, quota::cores(), cgroup),
        memory(
            lanes.unwrap_or_else(quota::cores),
            quota::memory_limit(),
            quota::memory_budget(),
            cgroup,
        ),
    ];
    let folder = parts::worker_config(settings).spool;
    let at = folder.clone();
    let made = spawn_blocking(move || tempfile::tempfile_in(at)).await;
    findings.push(match made {
        Ok(Ok(_)) => Finding::ok(SPOOL, format!("photos can be put down in {}", folder.display())),
        Ok(Err(error)) => Finding::fail(SPOOL, format!("{}: {error}", folder.display())).with(
            "set worker.spool to a folder that the worker may write in; with a read-only root file system mount an \
             emptyDir or a tmpfs there",
        ),
        Err(error) => Finding::fail(SPOOL, error.to_string()).with("please report this as a bug"),
    });
    findings
}

fn group(cgroup: CgroupLimits) -> String {
    cgroup
        .version
        .map_or_else(|| "no cgroup".to_owned(), |version| format!("cgroup v{version}"))
}

fn cores(lanes: Option<usize>, cores: usize, cgroup: CgroupLimits) -> Finding {
    let quota = match cgroup.cpu {
        Some(cpu) => format!("a CPU quota of {cpu:.1}"),
        None => "no CPU quota".to_owned(),
    };
    let lanes_text = lanes.unwrap_or(cores);
    let found = format!("{lanes_text} lanes on {cores} cores ({}, {quota})", group(cgroup));
    match lanes {
        Some(lanes) if lanes > cores => Finding::warn(CORES, found).with(format!(
            "lanes beyond the cores wait for one another and hold memory: set worker.lanes to {cores} or leave it out; or \
             raise the CPU limit"
        )),
        _ => match cgroup.cpu {
            Some(cpu) if cpu < 1.0 => Finding::warn(CORES, found)
                .with("less than a core makes photos wait for the next period: give the worker at least one"),
            _ => Finding::ok(CORES, found),
        },
    }
}

/// `limit`: bytes that there are, `budget`: bytes that decoded photos may hold of them.
fn memory(lanes: usize, limit: Option<u64>, budget: u64, cgroup: CgroupLimits) -> Finding {
    let Some(limit) = limit else {
        return Finding::warn(MEMORY, "it is not known how much memory there is")
            .with("see that /proc is mounted; worker.lanes bounds what is held");
    };
    let models = BASE + LANE * lanes as u64;
    let whose = match cgroup.memory {
        Some(_) => group(cgroup),
        None => format!("the machine's, {} sets no limit", group(cgroup)),
    };
    let found = format!(
        "{} MiB ({whose}): about {} MiB for {lanes} lanes, up to {} MiB for decoded photos",
        limit / MIB,
        models / MIB,
        budget / MIB
    );
    let least = (models + budget.min(64 * MIB)).div_ceil(MIB);
    if models + 64 * MIB > limit {
        Finding::fail(MEMORY, found).with(format!(
            "the engine would be killed: give the worker at least {least} MiB, or fewer lanes (worker.lanes)"
        ))
    } else if models + budget > limit {
        Finding::warn(MEMORY, found).with(format!(
            "many large photos at once may exceed it: give the worker {} MiB, or fewer lanes (worker.lanes)",
            (2 * models).div_ceil(MIB)
        ))
    } else {
        Finding::ok(MEMORY, found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn cgroup(cpu: Option<f64>, memory: Option<u64>) -> CgroupLimits {
        CgroupLimits {
            version: Some(2),
            cpu,
            memory,
        }
    }

    #[test]
    fn lanes_are_held_against_the_quota() {
        for (lanes, available, cpu, level) in [
            (None, 2, None, Level::Ok),
            (Some(2), 2, Some(2.0), Level::Ok),
            (Some(8), 2, Some(2.0), Level::Warn),
            (None, 1, Some(0.5), Level::Warn),
        ] {
            assert_eq!(
                cores(lanes, available, cgroup(cpu, None)).level,
                level,
                "{lanes:?} {cpu:?}"
            );
        }
    }

    #[test]
    fn models_and_photos_are_held_against_the_limit() {
        // Two lanes hold 200 MiB; the budget is half of the limit, at least 64 MiB.
        for (lanes, mebibytes, level) in [
            (2, 1024, Level::Ok),
            (2, 400, Level::Ok),
            (2, 300, Level::Warn),
            (2, 256, Level::Fail),
            (16, 1024, Level::Fail),
        ] {
            let limit = mebibytes * MIB;
            let found = memory(
                lanes,
                Some(limit),
                (limit / 2).max(64 * MIB),
                cgroup(None, Some(limit)),
            );
            assert_eq!(found.level, level, "{found:?}");
        }
        assert_eq!(memory(1, None, 64 * MIB, cgroup(None, None)).level, Level::Warn);
    }
}
