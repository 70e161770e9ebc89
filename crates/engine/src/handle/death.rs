//! How an engine process came to its end.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a process died that nobody had asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// A photo was over its deadline, and the process was ended for that.
    Deadline { after: Duration },
    /// Memory ran out.
    OutOfMemory { how: String },
    /// Anything else.
    Crashed { how: String },
}

impl Death {
    /// Reads it from the exit status and the last words on standard error.
    pub(super) fn of(status: Option<ExitStatus>, last_words: &str) -> Self {
        /// What Rust's allocator and C++'s say before they abort.
        const ALLOCATION_FAILURES: [&str; 3] = ["memory allocation of", "bad_alloc", "out of memory"];
        const SIGKILL: i32 = 9;
        let signal = status.and_then(|status| status.signal());
        let mut how = match (signal, status.and_then(|status| status.code())) {
            (Some(signal), _) => format!("ended by signal {signal} ({})", signal_name(signal)),
            (None, Some(code)) => format!("ended with exit code {code}"),
            (None, None) => "ended".to_owned(),
        };
        let words = last_words.trim();
        if let Some(line) = words.lines().next_back() {
            how = format!("{how}, saying `{line}`");
        }
        let lower = words.to_lowercase();
        if ALLOCATION_FAILURES.iter().any(|phrase| lower.contains(phrase)) {
            return Self::OutOfMemory { how };
        }
        if signal == Some(SIGKILL) {
            return Self::OutOfMemory {
                how: format!("{how}, as the kernel does when memory runs out"),
            };
        }
        Self::Crashed { how }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { after } => write!(f, "stopped after {} s", after.as_secs_f64()),
            Self::OutOfMemory { how } | Self::Crashed { how } => f.write_str(how),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => "illegal instruction",
        6 => "abort",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "kill",
        11 => "segmentation fault",
        31 => "forbidden system call",
        _ => "unexpected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_and_signals_tell_the_cause() {
        let by_signal = |signal| Some(ExitStatus::from_raw(signal));
        for (status, words, expected) in [
            (by_signal(6), "memory allocation of 12 bytes failed\n", "memory"),
            (
                by_signal(6),
                "terminate called after throwing an instance of 'std::bad_alloc'",
                "memory",
            ),
            (by_signal(9), "", "memory"),
            (by_signal(11), "", "crash"),
            (by_signal(6), "assertion failed", "crash"),
            (Some(ExitStatus::from_raw(101 << 8)), "", "crash"),
            (None, "", "crash"),
        ] {
            let is_memory = matches!(Death::of(status, words), Death::OutOfMemory { .. });
            assert_eq!(is_memory, expected == "memory", "{status:?} {words}");
        }
        let death = Death::of(by_signal(11), "first\nlast\n").to_string();
        assert_eq!(death, "ended by signal 11 (segmentation fault), saying `last`");
    }
}
