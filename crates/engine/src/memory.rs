//! Memory of processes as the kernel counts it (proc(5)), and what the allocator keeps of it.

use std::fs;
use std::ops::AddAssign;

use serde::Serialize;

/// Bytes that processes hold, from `/proc/<pid>/smaps_rollup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident: pages in memory, those shared with other processes included (RSS).
    pub resident: u64,
    /// Resident, shared pages divided among those that share them (PSS).
    pub proportional: u64,
    /// Resident and shared with nobody: what would come back if the processes ended (USS).
    pub private: u64,
    /// What was written and is no file's: what only the processes can give back, at their end if not before.
    pub written: u64,
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.private += other.private;
        self.written += other.written;
    }
}

impl Memory {
    /// The larger of both in every figure.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            resident: self.resident.max(other.resident),
            proportional: self.proportional.max(other.proportional),
            private: self.private.max(other.private),
            written: self.written.max(other.written),
        }
    }
}

/// Of one process; nothing when there is no such process.
pub fn of_process(pid: u32) -> Memory {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .map(|text| parse_rollup(&text))
        .unwrap_or_default()
}

/// Of one process with everything below it. A process that ends meanwhile counts as nothing.
pub fn of_tree(root: u32) -> Memory {
    let mut total = Memory::default();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        total += of_process(pid);
        open.extend(children(pid));
    }
    total
}

/// Bytes resident now, as told without a look at every page; 0 when there is no such process.
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most bytes that were ever resident; 0 when there is no such process.
pub fn peak(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Gives back to the kernel what the allocator keeps for later: after a burst that is the burst's peak. A few
/// milliseconds at most where a process holds some tens of MB.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(
            unsafe_code,
            reason = "a call of the C library that takes no pointers, malloc_trim(3)"
        )]
        // SAFETY: it may be called at any time, from any thread.
        let _released = unsafe { libc::malloc_trim(0) };
    }
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

fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status"));
    text.map_or(0, |text| bytes(&text, name))
}

fn parse_rollup(text: &str) -> Memory {
    Memory {
        resident: bytes(text, "Rss:"),
        proportional: bytes(text, "Pss:"),
        private: bytes(text, "Private_Clean:").saturating_add(bytes(text, "Private_Dirty:")),
        // Not `Private_Dirty`: pages of the executable count there, too, as long as the file is not on disk.
        written: bytes(text, "Anonymous:"),
    }
}

/// The value of the line that begins with `name`; 0 when there is none.
fn bytes(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .find_map(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap_or_default()
        .saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read_in_bytes() {
        let text = "\
55d0c0000000-7ffd1b5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:                3456 kB
Pss:                1200 kB
Pss_Dirty:           300 kB
Shared_Clean:       2000 kB
Private_Clean:        56 kB
Private_Dirty:       400 kB
Referenced:         3456 kB
Anonymous:           300 kB
";
        let expected = Memory {
            resident: 3456 << 10,
            proportional: 1200 << 10,
            private: 456 << 10,
            written: 300 << 10,
        };
        assert_eq!(parse_rollup(text), expected);
        assert_eq!(parse_rollup("Rss: much\n"), Memory::default());
        assert_eq!(
            bytes("Name:\tx\nVmHWM:\t    7 kB\nVmRSS: 2048 kB\n", "VmRSS:"),
            2 << 20
        );
    }

    #[test]
    fn a_process_is_told_from_one_that_is_not_there() {
        let own = of_process(std::process::id());
        assert!(
            own.resident >= own.private && own.private >= own.written && own.written > 0,
            "{own:?}"
        );
        let (resident, peak) = (resident(std::process::id()), peak(std::process::id()));
        assert!(peak > 0 && resident > 0, "{resident} {peak}");
        assert_eq!(of_process(u32::MAX), Memory::default());
        assert_eq!((super::resident(u32::MAX), super::peak(u32::MAX)), (0, 0));
    }

    #[test]
    fn a_child_counts_with_its_parent() {
        let alone = of_process(std::process::id());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of_child = of_process(child.id());
        let tree = of_tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(alone.resident > 0 && of_child.resident > 0);
        assert!(
            tree.resident > alone.resident / 2 + of_child.resident / 2,
            "{tree:?}"
        );
    }
}
