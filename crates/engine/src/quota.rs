//! What this process may use of the machine: cores and memory, by the cgroup (v1 and v2), not by what the host has.

use std::fs;
use std::path::{Path, PathBuf};

/// Least budget for decoded photos in bytes: below it not even a 12-megapixel photo is decoded at its size.
const LEAST_BUDGET: u64 = 64 << 20;

/// Whole cores that this process may use, at least 1: the smaller of the CPU affinity and the cgroup's quota.
pub fn cores() -> usize {
    let affinity = std::thread::available_parallelism().map_or(1, usize::from);
    match Cgroup::of_this_process().cpu_quota() {
        // Half a core is one lane, two and a half are two: a third would only wait.
        Some(quota) => affinity.min((quota as usize).max(1)),
        None => affinity,
    }
}

/// Memory that a process may use, and what counts against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes.
    pub limit: u64,
    /// Bytes.
    pub used: u64,
}

/// Bytes of memory that this process may use: the smaller of the machine's memory and the cgroup's limit.
pub fn memory_limit() -> Option<u64> {
    allowance().map(|allowance| allowance.limit)
}

/// [`memory_limit`] with what is used of it: by the cgroup, without page cache that the kernel takes back first (as the
/// kubelet counts), else by the whole machine.
pub fn allowance() -> Option<Allowance> {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| machine_memory(&text));
    [machine, Cgroup::of_this_process().memory()]
        .into_iter()
        .flatten()
        .min_by_key(|allowance| allowance.limit)
}

/// Bytes that decoded photos may hold at the same time: half of what there is.
pub fn memory_budget() -> u64 {
    memory_limit().map_or(LEAST_BUDGET, |limit| (limit / 2).max(LEAST_BUDGET))
}

/// What the cgroup that this process is in allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CgroupLimits {
    /// 1 or 2; `None` where there are no cgroups. On hybrid systems that of the memory controller.
    pub version: Option<u8>,
    /// CPU time per wall time, in cores; `None` without a quota.
    pub cpu: Option<f64>,
    /// Bytes of memory; `None` without a limit.
    pub memory: Option<u64>,
}

/// Reads them.
pub fn cgroup_limits() -> CgroupLimits {
    let cgroup = Cgroup::of_this_process();
    CgroupLimits {
        version: cgroup.version(),
        cpu: cgroup.cpu_quota(),
        memory: cgroup.memory().map(|allowance| allowance.limit),
    }
}

/// `MemTotal` of `/proc/meminfo`, less `MemAvailable`, in bytes.
fn machine_memory(meminfo: &str) -> Option<Allowance> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    let limit = bytes("MemTotal:")?;
    let available = bytes("MemAvailable:").unwrap_or(limit);
    Some(Allowance {
        limit,
        used: limit.saturating_sub(available),
    })
}

/// Where the cgroup file systems are, and this process's place in them.
struct Cgroup {
    root: PathBuf,
    /// Content of `/proc/self/cgroup`.
    places: String,
}

impl Cgroup {
    fn of_this_process() -> Self {
        let places = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            root: PathBuf::from("/sys/fs/cgroup"),
            places,
        }
    }

    fn version(&self) -> Option<u8> {
        let lists = self.places.lines().filter_map(|line| line.split(':').nth(1));
        let lists: Vec<&str> = lists.collect();
        if lists
            .iter()
            .any(|list| list.split(',').any(|name| name == "memory"))
        {
            return Some(1);
        }
        lists.contains(&"").then_some(2)
    }

    /// CPU time per wall time, in cores; the strictest of this group and those above it.
    fn cpu_quota(&self) -> Option<f64> {
        let v2 = |folder: &Path| {
            let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            ratio(quota, period)
        };
        let v1 = |folder: &Path| {
            let read = |name| fs::read_to_string(folder.join(name)).ok();
            ratio(
                read("cpu.cfs_quota_us")?.trim(),
                read("cpu.cfs_period_us")?.trim(),
            )
        };
        self.strictest("cpu", v2, v1, f64::min)
    }

    /// Bytes; the strictest of this group and those above it.
    fn memory(&self) -> Option<Allowance> {
        let number = |folder: &Path, name| {
            fs::read_to_string(folder.join(name))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        };
        let used = |folder: &Path, usage, inactive: &str| {
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let cache = stat.lines().find_map(|line| line.strip_prefix(inactive));
            let cache = cache.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
            number(folder, usage).unwrap_or(0).saturating_sub(cache)
        };
        let v2 = |folder: &Path| {
            Some(Allowance {
                limit: number(folder, "memory.max")?,
                used: used(folder, "memory.current", "inactive_file "),
            })
        };
        let v1 = |folder: &Path| {
            Some(Allowance {
                // Without a limit v1 shows the largest page-aligned number.
                limit: number(folder, "memory.limit_in_bytes").filter(|&limit| limit < 1 << 60)?,
                used: used(folder, "memory.usage_in_bytes", "total_inactive_file "),
            })
        };
        let least = |a: Allowance, b: Allowance| if b.limit < a.limit { b } else { a };
        self.strictest("memory", v2, v1, least)
    }

    fn strictest<T>(
        &self,
        controller: &str,
        v2: impl Fn(&Path) -> Option<T>,
        v1: impl Fn(&Path) -> Option<T>,
        least: impl Fn(T, T) -> T,
    ) -> Option<T> {
        let mut strictest = None;
        for line in self.places.lines() {
            // hierarchy-ID:controllers:path, see cgroups(7).
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            let is_v2 = controllers.is_empty();
            if !is_v2 && !controllers.split(',').any(|name| name == controller) {
                continue;
            }
            let mount = if is_v2 {
                self.root.clone()
            } else {
                self.root.join(controller)
            };
            // In a container the path may be the host's, and the group itself is mounted at the root.
            let here = mount.join(path.trim_start_matches('/'));
            for folder in here.ancestors().take_while(|folder| folder.starts_with(&mount)) {
                let found = if is_v2 { v2(folder) } else { v1(folder) };
                strictest = match (strictest, found) {
                    (Some(a), Some(b)) => Some(least(a, b)),
                    (a, b) => a.or(b),
                };
            }
        }
        strictest
    }
}

/// `quota / period`; `None` where there is no quota (`max` or -1).
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(places: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let cgroup = Cgroup {
            root: root.path().to_owned(),
            places: places.to_owned(),
        };
        (root, cgroup)
    }

    fn memory_limit(cgroup: &Cgroup) -> Option<u64> {
        cgroup.memory().map(|allowance| allowance.limit)
    }

    #[test]
    fn what_counts_against_a_limit_is_that_of_the_group_that_sets_it() {
        let (_root, cgroup) = tree(
            "0::/pod/main\n",
            &[
                ("pod/memory.max", "1000000\n"),
                ("pod/memory.current", "700000\n"),
                ("pod/memory.stat", "anon 1\ninactive_file 200000\nactive_file 7\n"),
                ("pod/main/memory.max", "max\n"),
                ("pod/main/memory.current", "5\n"),
            ],
        );
        let (limit, used) = (1_000_000, 500_000);
        assert_eq!(cgroup.memory(), Some(Allowance { limit, used }));
        let (_root, cgroup) = tree(
            "2:memory:/x\n",
            &[
                ("memory/x/memory.limit_in_bytes", "1000000\n"),
                ("memory/x/memory.usage_in_bytes", "700000\n"),
                (
                    "memory/x/memory.stat",
                    "inactive_file 3\ntotal_inactive_file 200000\n",
                ),
            ],
        );
        assert_eq!(cgroup.memory(), Some(Allowance { limit, used }));
    }

    #[test]
    fn version_2() {
        let (_root, cgroup) = tree(
            "0::/kubepods/pod1/main\n",
            &[
                ("kubepods/cpu.max", "max 100000\n"),
                ("kubepods/pod1/cpu.max", "350000 100000\n"),
                ("kubepods/pod1/main/cpu.max", "150000 100000\n"),
                ("kubepods/pod1/memory.max", "536870912\n"),
                ("kubepods/pod1/main/memory.max", "max\n"),
            ],
        );
        assert_eq!(cgroup.cpu_quota(), Some(1.5));
        assert_eq!(memory_limit(&cgroup), Some(512 << 20));
        assert_eq!(cgroup.version(), Some(2));
    }

    #[test]
    fn version_1() {
        let (_root, cgroup) = tree(
            "9:name=systemd:/\n4:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n",
            &[
                ("cpu/docker/x/cpu.cfs_quota_us", "50000\n"),
                ("cpu/docker/x/cpu.cfs_period_us", "100000\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
                ("memory/docker/x/memory.limit_in_bytes", "230686720\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
        );
        assert_eq!(cgroup.cpu_quota(), Some(0.5));
        assert_eq!(memory_limit(&cgroup), Some(220 << 20));
        assert_eq!(cgroup.version(), Some(1));
    }

    #[test]
    fn a_container_sees_its_group_at_the_root() {
        let (_root, cgroup) = tree(
            "0::/not/visible/here\n",
            &[("cpu.max", "200000 100000"), ("memory.max", "1073741824")],
        );
        assert_eq!(cgroup.cpu_quota(), Some(2.0));
        assert_eq!(memory_limit(&cgroup), Some(1 << 30));
    }

    #[test]
    fn without_limits_there_are_none() {
        for places in ["", "0::/\n", "nonsense\n", "2:memory:/\n1:cpu:/\n"] {
            let (_root, cgroup) = tree(places, &[("memory.max", "max"), ("cpu.max", "max 100000")]);
            assert_eq!(
                (cgroup.cpu_quota(), memory_limit(&cgroup)),
                (None, None),
                "{places}"
            );
        }
        assert!(cores() >= 1 && super::memory_limit().is_some());
    }

    #[test]
    fn the_machines_memory_is_read_in_bytes() {
        assert_eq!(
            machine_memory("MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:    4 kB\n"),
            Some(Allowance {
                limit: 16_384,
                used: 12_288
            })
        );
        assert_eq!(machine_memory("MemTotal: lots\n"), None);
    }
}
