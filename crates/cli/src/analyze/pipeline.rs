//! Photos through the engine: a few in hand at a time, results to disk as they come.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::failure::code;
use engine::{Analysed, Engine, EngineFacts, PhotoFailure, PhotoRequest, PhotoSource};
use fleet::failure::FailureCode;
use fleet::layout;
use fleet::manifest::{Item, Manifest};
use fleet::result::{Failure, Outcome, PhotoResult, WorkerFacts};
use tokio::task::{self, JoinSet};
use tokio::time::{self, MissedTickBehavior};

use super::archived::{ArchivedPhoto, OpenArchive, Reopen};
use super::plan;
use super::progress::Progress;
use crate::exit::Fatal;
use crate::interrupt::Interrupt;
use crate::memory::{self, Memory};
use crate::out_dir::{OutDir, WriteError};
use crate::path_key;

/// Photos in hand beyond those with the engine, so that one goes there the moment another comes back.
const AHEAD: usize = 1;
/// Reading the memory of a process costs the kernel a walk over its pages.
const MEMORY_PERIOD: Duration = Duration::from_secs(1);
const INTERRUPT_PERIOD: Duration = Duration::from_millis(100);

/// What went through.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Analysed now.
    pub(super) analysed: u64,
    /// Analysed by an earlier run, and taken as they are.
    pub(super) reused: u64,
    /// Failed.
    pub(super) failed: u64,
    /// The most memory that the process tree held while photos were in hand.
    pub(super) peak: Memory,
    /// What ran; `None` when no photo needed it.
    pub(super) ran: Option<Arc<EngineFacts>>,
    /// A signal, or a reader that went away, ended it before the last photo.
    pub(super) interrupted: bool,
}

/// Tells a result to whoever listens.
pub(super) type WriteLine<'a> = dyn FnMut(&PhotoResult) -> io::Result<()> + 'a;

/// What the photos of a batch go through.
pub(super) struct Pipeline<'a> {
    pub(super) out: &'a OutDir,
    pub(super) manifest: &'a Manifest,
    pub(super) engine: &'a Engine,
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: &'a Progress,
    /// Writes a line of JSON a photo; an error of kind `BrokenPipe` ends the run.
    pub(super) lines: Option<&'a mut WriteLine<'a>>,
    pub(super) run: Run,
}

/// How far a run is.
#[derive(Default)]
pub(super) struct Run {
    tally: Tally,
    in_hand: JoinSet<Answer>,
    archive: OpenArchive,
    /// No more photos are taken.
    ended: bool,
    measured: Option<Instant>,
}

/// A photo that the engine answered.
struct Answer {
    item: Item,
    taken: Instant,
    outcome: Result<Analysed, PhotoFailure>,
    archived: Option<Arc<ArchivedPhoto>>,
}

impl Pipeline<'_> {
    /// Takes every photo through.
    ///
    /// # Errors
    /// When a result cannot be written, or the engine does not start any more. What was written stays.
    pub(super) async fn run(mut self) -> anyhow::Result<Tally> {
        let mut items = plan::items(self.out);
        let mut look = time::interval(INTERRUPT_PERIOD);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.heed_interrupt();
            self.watch_memory();
            let room = self.run.in_hand.len() < self.engine.places() + AHEAD;
            if room && !self.run.ended {
                match items.next() {
                    Some(item) => self.take(item).await?,
                    None => self.run.ended = true,
                }
                task::yield_now().await;
            } else if self.run.in_hand.is_empty() {
                return Ok(self.run.tally);
            } else {
                tokio::select! {
                    Some(answer) = self.run.in_hand.join_next() => self.record(answer?)?,
                    _ = look.tick() => {}
                }
            }
        }
    }

    fn heed_interrupt(&mut self) {
        if self.interrupt.asked() && !self.run.ended {
            self.run.ended = true;
            self.run.tally.interrupted = true;
            self.progress.stopping(self.run.in_hand.len());
        }
    }

    fn watch_memory(&mut self) {
        let due = self
            .run
            .measured
            .is_none_or(|last| last.elapsed() > MEMORY_PERIOD);
        if due && !self.run.in_hand.is_empty() {
            self.run.tally.peak = self.run.tally.peak.max(memory::of_tree());
            self.run.measured = Some(Instant::now());
        }
    }

    /// Keeps the result that a photo has, or hands the photo to the engine.
    async fn take(&mut self, item: Item) -> anyhow::Result<()> {
        let precision = self.engine.expected_precision();
        if let Some(result) = plan::reusable(self.out, &item, &self.manifest.digest, precision.as_deref()) {
            self.run.tally.reused += 1;
            self.progress.reused();
            return self.tell(&result);
        }
        if self.run.tally.ran.is_none() {
            self.run.tally.ran = Some(self.engine.load().await.map_err(Fatal::from)?);
            self.progress.begin();
        }
        let taken = Instant::now();
        let opened = match &item.archive {
            Some(entry) => self.run.archive.photo(entry).map(|photo| {
                let reopen = Reopen(Arc::clone(&photo));
                (PhotoSource::Open(Arc::new(reopen)), Some(photo))
            }),
            None => readable(&item).map(|source| (source, None)),
        };
        let (source, archived) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                let failed = self.failed(&item, taken, None, failure);
                return self.settle(&failed);
            }
        };
        let request = PhotoRequest {
            source,
            options: self.manifest.options.analysis.clone(),
        };
        let engine = self.engine.clone();
        self.run.in_hand.spawn(async move {
            let outcome = engine.analyse(request).await;
            Answer {
                item,
                taken,
                outcome,
                archived,
            }
        });
        Ok(())
    }

    /// Writes what came of a photo.
    fn record(&mut self, answer: Answer) -> anyhow::Result<()> {
        let Answer {
            item,
            taken,
            outcome,
            archived,
        } = answer;
        let result = match outcome {
            Ok(analysed) => self
                .analysed(&item, taken, analysed)
                .map_err(|error| self.cannot_write(error))?,
            Err(failure) if failure.code == code::ENGINE_STOPPED => {
                self.run.ended = true;
                return Ok(());
            }
            Err(failure) if failure.code == code::ENGINE_UNAVAILABLE => {
                let message = format!("the engine does not start any more: {}", failure.message);
                return Err(Fatal::set_up(message).into());
            }
            Err(failure) => {
                let PhotoFailure {
                    code,
                    message,
                    sha256,
                    ..
                } = failure;
                let told = match archived.and_then(|photo| photo.fault()) {
                    Some((code, message)) => code.failure(message),
                    None => Failure { code, message },
                };
                let named = Failure {
                    message: name(&item, &told.message),
                    ..told
                };
                self.failed(&item, taken, sha256, named)
            }
        };
        self.settle(&result)
    }

    /// The result of an analysis, its pictures written.
    fn analysed(&self, item: &Item, taken: Instant, analysed: Analysed) -> Result<PhotoResult, WriteError> {
        let mut result = self.blank(item);
        result.photo.sha256 = Some(analysed.sha256);
        result.photo.bytes = Some(analysed.bytes);
        result.fill(analysed.analysis);
        let storing = Instant::now();
        for picture in &analysed.pictures {
            let key = layout::overlay_key(item.index, picture.kind);
            self.out.write(&key, &picture.jpeg)?;
            result.overlays.insert(picture.kind.name().to_owned(), key);
        }
        result.timing_ms.store = Some(milliseconds(storing));
        result.timing_ms.total = Some(milliseconds(taken));
        Ok(result)
    }

    fn failed(&self, item: &Item, taken: Instant, sha256: Option<String>, failure: Failure) -> PhotoResult {
        let mut result = self.blank(item);
        result.photo.sha256 = sha256;
        result.failure = Some(failure);
        result.timing_ms.total = Some(milliseconds(taken));
        result
    }

    fn blank(&self, item: &Item) -> PhotoResult {
        let manifest = self.manifest;
        PhotoResult::blank(&manifest.id, item, manifest.digest.clone(), self.worker())
    }

    fn worker(&self) -> WorkerFacts {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut worker = WorkerFacts {
            id: host.trim().to_owned(),
            ..WorkerFacts::default()
        };
        if let Some(facts) = &self.run.tally.ran {
            worker.device = facts.device.clone();
            worker.execution_provider = facts.execution_provider.clone();
            worker.precision = facts.precision();
        }
        worker
    }

    /// Writes a result and counts it.
    fn settle(&mut self, result: &PhotoResult) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(result)?;
        text.push(b'\n');
        let written = self.out.write(&layout::result_key(result.index), &text);
        written.map_err(|error| self.cannot_write(error))?;
        match result.outcome {
            Outcome::Ok => self.run.tally.analysed += 1,
            Outcome::Failed => self.run.tally.failed += 1,
        }
        self.progress.done(result);
        self.tell(result)
    }

    /// Tells whoever listens; when nobody does any more, the run ends.
    fn tell(&mut self, result: &PhotoResult) -> anyhow::Result<()> {
        let Some(lines) = &mut self.lines else {
            return Ok(());
        };
        match lines(result) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.run.ended = true;
                self.run.tally.interrupted = true;
                Ok(())
            }
            Err(error) => Err(Fatal::output(format!("standard output cannot be written: {error}")).into()),
        }
    }

    fn cannot_write(&self, error: WriteError) -> Fatal {
        let done = self.run.tally.analysed + self.run.tally.reused;
        Fatal::output(format!("{error} ({done} photos are done)"))
    }
}

/// The file of `item`, if reading it can be tried: opening a pipe or a device might never come back.
fn readable(item: &Item) -> Result<PhotoSource, Failure> {
    let path = path_key::to_path(&item.key);
    let fault = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => return Ok(PhotoSource::File(path)),
        Ok(metadata) if metadata.is_dir() => match fs::read_dir(&path) {
            Ok(_) => "it is a folder".to_owned(),
            Err(error) => format!(
                "the folder cannot be read ({error}): the photos in it are missing from this analysis"
            ),
        },
        Ok(_) => {
            "it is no regular file but a pipe, a socket or a device: copy the photo into a file".to_owned()
        }
        Err(error) => {
            format!("it cannot be read ({error}): look at its permissions, or where the link leads")
        }
    };
    Err(FailureCode::Unreadable.failure(name(item, &fault)))
}

/// A message with the photo's name in front.
fn name(item: &Item, message: &str) -> String {
    let name = item.key.rsplit('/').next().unwrap_or(&item.key);
    format!("{}: {message}", path_key::printable(name))
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e5).round() / 100.0
}
