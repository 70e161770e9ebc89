//! What a person sees at the end.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use fleet::result::{Outcome, PhotoResult};
use pitch::verdict::Verdict;

use super::pipeline::Tally;
use crate::duration::clock;
use crate::memory::{Memory, megabytes};
use crate::path_key::printable;
use crate::table;
use crate::verdict_table;

/// Failures that are named one by one.
const LISTED_FAILURES: usize = 10;

/// The first failures of a batch, and how many there are.
#[derive(Default)]
pub(super) struct Failures {
    listed: Vec<(String, String, String)>,
    total: u64,
}

impl Failures {
    /// Notes a result that is a failure.
    pub(super) fn note(&mut self, result: &PhotoResult) {
        let Some(failure) = result
            .failure
            .as_ref()
            .filter(|_| result.outcome == Outcome::Failed)
        else {
            return;
        };
        self.total += 1;
        if self.listed.len() < LISTED_FAILURES {
            self.listed.push((
                result.photo.key.clone(),
                failure.code.clone(),
                failure.message.clone(),
            ));
        }
    }
}

/// Memory of the process tree at the three moments that matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MemoryStory {
    pub(super) before: Memory,
    pub(super) during: Memory,
    pub(super) after: Memory,
}

/// Everything that is told at the end.
pub(super) struct Ended<'a> {
    pub(super) verdict: &'a Verdict,
    pub(super) failures: &'a Failures,
    pub(super) tally: &'a Tally,
    pub(super) memory: MemoryStory,
    pub(super) wall: Duration,
    pub(super) report: &'a Path,
    /// No pitch was looked for.
    pub(super) full_frame: bool,
    /// Photos of the batch, those not taken included.
    pub(super) photos: u64,
}

impl Ended<'_> {
    /// Writes the tables and the closing lines.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", verdict_table::of(self.verdict))?;
        if self.failures.total > 0 {
            writeln!(out, "\n{}", self.failure_table())?;
            let unlisted = self.failures.total - self.failures.listed.len() as u64;
            if unlisted > 0 {
                writeln!(out, "and {unlisted} more; every one is in the report")?;
            }
        }
        writeln!(out)?;
        writeln!(out, "photos   {}", self.photos_line())?;
        if self.tally.analysed > 0 {
            writeln!(out, "time     {}", self.time_line())?;
        }
        if let Some(ran) = &self.tally.ran {
            let lanes = if ran.lanes == 1 {
                "1 lane".to_owned()
            } else {
                format!("{} lanes", ran.lanes)
            };
            writeln!(
                out,
                "models   {}, {} on {}, {lanes}",
                ran.bundle,
                ran.precision(),
                ran.device
            )?;
        }
        let MemoryStory {
            before,
            during,
            after,
        } = self.memory;
        if during.resident > 0 {
            writeln!(
                out,
                "memory   {} before, {} at most, {} after (resident, all processes)",
                megabytes(before.resident),
                megabytes(during.resident),
                megabytes(after.resident)
            )?;
        }
        writeln!(out, "report   {}", self.report.display())?;
        if self.tally.interrupted {
            writeln!(
                out,
                "\nInterrupted. What is done is kept and reported; the same command again continues."
            )?;
        }
        Ok(())
    }

    fn failure_table(&self) -> comfy_table::Table {
        let mut rows = table::new(&["failed", "code", "what happened, and what to do"]);
        for (key, code, message) in &self.failures.listed {
            // The message names the photo for readers that see it alone; here it stands beside it.
            let name = key.rsplit('/').next().unwrap_or(key);
            let message = message
                .strip_prefix(&format!("{}: ", printable(name)))
                .unwrap_or(message);
            rows.add_row([printable(key), code.clone(), printable(message)]);
        }
        rows
    }

    fn photos_line(&self) -> String {
        let &Tally {
            analysed,
            reused,
            failed,
            ..
        } = self.tally;
        let mut line = format!("{analysed} analysed");
        if reused > 0 {
            let _ = write!(line, ", {reused} done before");
        }
        if failed > 0 {
            let _ = write!(line, ", {failed} failed");
        }
        let whole = self.verdict.batch.counts.without_detected_pitch;
        if whole > 0 && !self.full_frame {
            let _ = write!(line, "; no pitch found in {whole}, they were read as a whole");
        }
        let left = self.photos.saturating_sub(analysed + reused + failed);
        if left > 0 {
            let _ = write!(line, ", {left} not taken");
        }
        line
    }

    fn time_line(&self) -> String {
        let seconds = self.wall.as_secs_f64();
        let rate = (self.tally.analysed + self.tally.failed) as f64 / seconds.max(1e-3);
        if seconds < 10.0 {
            format!("{seconds:.1} s, {rate:.1} photos/s")
        } else {
            format!("{}, {rate:.1} photos/s", clock(self.wall))
        }
    }
}
