//! The progress bar: on a terminal one line that moves, in a pipe nothing.

use std::io::IsTerminal;
use std::time::Duration;

use fleet::result::{Outcome, PhotoResult};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use std::sync::atomic::{AtomicU64, Ordering};

/// How far the photos are.
pub(super) struct Progress {
    bar: ProgressBar,
    failed: AtomicU64,
}

impl Progress {
    /// A bar for `photos` photos on standard error, if that is a terminal.
    pub(super) fn new(photos: u64, wanted: bool) -> Self {
        let target = if wanted && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let hidden = target.is_hidden();
        let bar = ProgressBar::with_draw_target(Some(photos), target);
        let template = "{bar:32} {pos}/{len}  {per_sec:>14}  {eta:>4} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{:.1} photos/s", state.per_sec());
            };
            bar.set_style(style.with_key("per_sec", rate).progress_chars("━╸─"));
        }
        if !hidden {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self {
            bar,
            failed: AtomicU64::new(0),
        }
    }

    /// A photo that was done before.
    pub(super) fn reused(&self) {
        self.bar.inc(1);
        self.bar.reset_eta();
    }

    /// A photo that is done.
    pub(super) fn done(&self, result: &PhotoResult) {
        self.bar.inc(1);
        if result.outcome == Outcome::Failed {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{failed} failed"));
        }
    }

    /// The first signal came.
    pub(super) fn stopping(&self, in_hand: usize) {
        self.bar
            .set_message(format!("stopping, {in_hand} in hand; again to stop at once"));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
