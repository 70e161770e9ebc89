//! The progress bar: on a terminal one line that moves, in a pipe nothing.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleet::result::{Outcome, PhotoResult};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::duration::clock;

const TEMPLATE: &str = "{bar:32} {pos}/{len}  {speed}  {msg}";

/// How far the photos are.
pub(super) struct Progress {
    bar: ProgressBar,
    pace: Arc<Mutex<Pace>>,
}

/// What was done by this run; photos of an earlier one say nothing about how fast it goes.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    done: u64,
    failed: u64,
}

impl Progress {
    /// A bar for `photos` photos on standard error, if it is wanted and that is a terminal.
    pub(super) fn new(photos: u64, wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(photos), target);
        let pace = Arc::new(Mutex::new(Pace::default()));
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            let pace = Arc::clone(&pace);
            let speed = move |state: &ProgressState, out: &mut dyn Write| {
                let left = state.len().unwrap_or_default().saturating_sub(state.pos());
                let pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
                // A bar that cannot be written is not worth an error.
                let _ = out.write_str(&pace.text(left));
            };
            bar.set_style(style.with_key("speed", speed).progress_chars("━╸─"));
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Self { bar, pace }
    }

    /// The first photo is about to be handed to the models.
    pub(super) fn begin(&self) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.since.get_or_insert_with(Instant::now);
    }

    /// A photo that was done before.
    pub(super) fn reused(&self) {
        self.bar.inc(1);
    }

    /// A photo that is done.
    pub(super) fn done(&self, result: &PhotoResult) {
        // Drawing asks for the pace while it holds the bar: never the other way round.
        let failed = {
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.done += 1;
            pace.failed += u64::from(result.outcome == Outcome::Failed);
            pace.failed
        };
        if result.outcome == Outcome::Failed {
            self.bar.set_message(format!("{failed} failed"));
        }
        self.bar.inc(1);
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

impl Pace {
    /// Rate and time left; empty before there is a rate.
    fn text(&self, left: u64) -> String {
        let seconds = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        if self.done == 0 || seconds <= 0.0 {
            return String::new();
        }
        let rate = self.done as f64 / seconds;
        let wait = Duration::from_secs_f64(left as f64 / rate);
        format!("{rate:.1} photos/s  {} left", clock(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_this_run() {
        let since = Instant::now().checked_sub(Duration::from_secs(10));
        let pace = Pace {
            since,
            done: 50,
            failed: 0,
        };
        assert_eq!(pace.text(500), "5.0 photos/s  1 min 40 s left");
        assert_eq!(Pace::default().text(500), "");
    }
}
