//! Memory of a process and of what it started, as the kernel counts it.

use std::fs;
use std::ops::AddAssign;

use serde::Serialize;

/// Bytes that processes hold, from `/proc/<pid>/smaps_rollup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Resident: pages in memory, those shared with other processes included (RSS).
    pub(crate) resident: u64,
    /// Resident, shared pages divided among those that share them (PSS).
    pub(crate) proportional: u64,
    /// Resident and shared with nobody: what would come back if the processes ended (USS).
    pub(crate) private: u64,
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.private += other.private;
    }
}

impl Memory {
    /// The larger of both in every figure.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            proportional: self.proportional.max(other.proportional),
            private: self.private.max(other.private),
        }
    }
}

/// Of this process with everything below it.
pub(crate) fn of_tree() -> Memory {
    of_tree_below(std::process::id())
}

/// Of one process with everything below it. A process that ends meanwhile counts as nothing.
pub(crate) fn of_tree_below(root: u32) -> Memory {
    let mut total = Memory::default();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        total += of_process(pid);
        open.extend(children(pid));
    }
    total
}

fn of_process(pid: u32) -> Memory {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .map(|text| parse_rollup(&text))
        .unwrap_or_default()
}

/// Children of every thread of `pid`.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let lists = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn parse_rollup(text: &str) -> Memory {
    let kilobytes = |name: &str| -> u64 {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .find_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default()
            * 1024
    };
    Memory {
        resident: kilobytes("Rss"),
        proportional: kilobytes("Pss"),
        private: kilobytes("Private_Clean") + kilobytes("Private_Dirty"),
    }
}

/// `12.3 MB`, a MB being 1024 times 1024 bytes as in the targets.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read() {
        let text = "\
55d0c0000000-7ffd1b5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:                3456 kB
Pss:                1200 kB
Pss_Dirty:           300 kB
Shared_Clean:       2000 kB
Private_Clean:        56 kB
Private_Dirty:       400 kB
";
        let memory = parse_rollup(text);
        assert_eq!(memory.resident, 3456 << 10);
        assert_eq!(memory.proportional, 1200 << 10);
        assert_eq!(memory.private, 456 << 10);
    }

    #[test]
    fn a_child_counts_with_its_parent() {
        let alone = of_process(std::process::id());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of_child = of_process(child.id());
        let tree = of_tree();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(alone.resident > 0 && of_child.resident > 0);
        assert!(
            tree.resident > alone.resident / 2 + of_child.resident / 2,
            "{tree:?}"
        );
    }
}
