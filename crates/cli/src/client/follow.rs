//! Watches a batch until it is done: what the server says as it happens, and the batch's state whenever that matters.

use std::io::{BufReader, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fleet::api::BatchStatus;
use fleet::batch::BatchState;
use fleet::ids::BatchId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::http::{Client, Patience};
use super::refusal::Refusal;
use super::server_sent::Messages;
use crate::duration::clock;
use crate::interrupt::Interrupt;

/// After so long a silence the state is asked for: events are for liveness, and may be lost.
const SILENCE: Duration = Duration::from_secs(5);

/// How often a signal is looked for.
const TICK: Duration = Duration::from_millis(100);

/// Wait before listening again after the stream ended.
const RECONNECT: Duration = Duration::from_secs(1);

/// How following ended.
pub(super) enum Followed {
    /// The batch is in a final state.
    Done(Box<BatchStatus>),
    /// A signal came; the batch goes on without us.
    Interrupted,
}

enum News {
    /// The server told it by itself.
    Said(Box<BatchStatus>),
    /// The server was asked.
    Answer(Box<Result<BatchStatus, Refusal>>),
}

/// Shows how far `batch` is, until it is in a final state.
///
/// # Errors
/// When the server does not know the batch, or is away for too long.
pub(super) fn follow(client: &Client, batch: BatchId, interrupt: &Interrupt) -> Result<Followed, Refusal> {
    let (news, told) = mpsc::channel();
    let (ask, asked) = mpsc::channel();
    // Both end when this function's ends of the channels are gone; neither is waited for, since both may hang in a read.
    listen(client.clone(), batch, news.clone());
    answer(client.clone(), batch, asked, news);
    let display = Display::new();
    let ended = watch(&told, &ask, interrupt, &display);
    display.bar.finish_and_clear();
    ended
}

fn watch(
    told: &Receiver<News>,
    ask: &Sender<()>,
    interrupt: &Interrupt,
    display: &Display,
) -> Result<Followed, Refusal> {
    let mut asking = ask.send(()).is_ok();
    let mut heard = Instant::now();
    loop {
        if interrupt.asked() {
            return Ok(Followed::Interrupted);
        }
        let status = match told.recv_timeout(TICK) {
            Ok(News::Said(status)) => Some(status),
            Ok(News::Answer(answer)) => {
                asking = false;
                Some(Box::new((*answer)?))
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(Followed::Interrupted),
        };
        if let Some(status) = status {
            heard = Instant::now();
            display.show(&status);
            if status.state.is_final() {
                return Ok(Followed::Done(status));
            }
        }
        if !asking && heard.elapsed() >= SILENCE {
            asking = ask.send(()).is_ok();
        }
    }
}

/// Asks for the batch's state whenever it is told to.
fn answer(client: Client, batch: BatchId, asked: Receiver<()>, news: Sender<News>) {
    thread::spawn(move || {
        let path = format!("/v1/batches/{batch}");
        while asked.recv().is_ok() {
            let status = client.get(&path, Patience::Long);
            if news.send(News::Answer(Box::new(status))).is_err() {
                break;
            }
        }
    });
}

/// Hears what the server says, and goes on after the last thing heard when the connection breaks.
fn listen(client: Client, batch: BatchId, news: Sender<News>) {
    thread::spawn(move || {
        let path = format!("/v1/batches/{batch}/events");
        let mut last: Option<String> = None;
        loop {
            let mut headers = vec![("accept", "text/event-stream")];
            if let Some(id) = last.as_deref().filter(|id| !id.is_empty()) {
                headers.push(("last-event-id", id));
            }
            // Without it the state is still asked for, only less often.
            let Ok(response) = client.open(&path, &headers, Patience::Long) else {
                return;
            };
            let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
            let mut messages = Messages::new(BufReader::new(reader));
            while let Ok(Some(message)) = messages.next() {
                if message.id.is_some() {
                    last.clone_from(&message.id);
                }
                let Ok(status) = serde_json::from_str(&message.data) else {
                    continue; // A kind of event that is newer than this program.
                };
                if news.send(News::Said(status)).is_err() {
                    return;
                }
            }
            thread::sleep(RECONNECT);
        }
    });
}

/// A bar on a terminal; elsewhere a line for every state.
struct Display {
    bar: ProgressBar,
    shown: bool,
    state: std::cell::Cell<Option<BatchState>>,
}

impl Display {
    fn new() -> Self {
        let shown = std::io::stderr().is_terminal();
        let target = if shown {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}") {
            bar.set_style(style.progress_chars("━╸─"));
        }
        Self {
            bar,
            shown,
            state: std::cell::Cell::new(None),
        }
    }

    fn show(&self, status: &BatchStatus) {
        let counts = status.counts;
        self.bar.set_length(counts.photos);
        self.bar.set_position(counts.done());
        self.bar.set_message(message(status));
        if !self.shown && self.state.replace(Some(status.state)) != Some(status.state) {
            eprintln!("batch {} is {}", status.id, status.state.name());
        }
    }
}

fn message(status: &BatchStatus) -> String {
    let mut parts = Vec::new();
    match status.state {
        BatchState::Running => {
            if let Some(rate) = status.rate.filter(|rate| *rate > 0.0) {
                parts.push(format!("{rate:.1} photos/s"));
            }
            let left = status.eta_seconds.map(Duration::try_from_secs_f64);
            if let Some(Ok(left)) = left {
                parts.push(format!("{} left", clock(left)));
            }
        }
        state => parts.push(state.name().to_owned()),
    }
    if status.counts.failed > 0 {
        parts.push(format!("{} failed", status.counts.failed));
    }
    parts.join("  ")
}
