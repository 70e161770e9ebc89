//! Memory of a process, as the kernel counts it.

/// Bytes that a process holds, of `/proc/<pid>/smaps_rollup` and `/proc/<pid>/status` (proc(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident: pages in memory, those shared with other processes included (RSS).
    pub(crate) resident: u64,
    /// Resident and shared with nobody: what would come back if the process ended (USS).
    pub(crate) private: u64,
    /// Of the private what was written: what only the end of the process gives back.
    pub(crate) written: u64,
    /// The most that was ever resident (`VmHWM`).
    pub(crate) peak: u64,
}

/// Of a process; nothing when there is no such process.
pub(crate) fn of(pid: u32) -> Memory {
    std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .map(|text| Memory {
            peak: status(pid, "VmHWM:").unwrap_or(0),
            ..rollup(&text)
        })
        .unwrap_or_default()
}

fn rollup(text: &str) -> Memory {
    let bytes = |name: &str| -> u64 {
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .find_map(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default()
            .saturating_mul(1024)
    };
    Memory {
        resident: bytes("Rss"),
        private: bytes("Private_Clean").saturating_add(bytes("Private_Dirty")),
        written: bytes("Private_Dirty"),
        peak: 0,
    }
}

/// Bytes of `VmRSS`; 0 when there is no such process.
pub(crate) fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:").unwrap_or(0)
}

fn status(pid: u32, name: &str) -> Option<u64> {
    parse(
        &std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        name,
    )
}

fn parse(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Gives back to the kernel what the allocator keeps for later: after a burst that is the burst's peak.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollup_is_read_in_bytes() {
        let text = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss: 3456 kB\nPss: 1200 kB\nPss_Dirty: 300 kB\n\
                    Shared_Clean: 2000 kB\nPrivate_Clean: 56 kB\nPrivate_Dirty: 400 kB\n";
        let memory = rollup(text);
        assert_eq!((memory.resident, memory.private), (3456 << 10, 456 << 10));
        assert_eq!(memory.written, 400 << 10);
        let own = of(std::process::id());
        assert!(own.private > 0 && own.resident >= own.private, "{own:?}");
        assert!(own.peak > 0, "{own:?}");
        assert_eq!(of(u32::MAX), Memory::default());
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(
            parse("Name:\tx\nVmHWM: 7 kB\nVmRSS:\t    2048 kB\n", "VmRSS:"),
            Some(2 << 20)
        );
        assert_eq!(parse("Name:\tx\n", "VmRSS:"), None);
        assert!(resident(std::process::id()) > 0);
        assert_eq!(resident(u32::MAX), 0);
    }
}
