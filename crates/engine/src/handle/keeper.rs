//! The keeper of an engine process: the task that reads its answers, ends it when asked, and buries it.

use std::collections::HashMap;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pitch::analysis::{Analysis, Picture};
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, ChildStderr};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use super::counts::{Counted, Counts};
use super::death::Death;
use super::lock;
use crate::failure::PhotoFailure;
use crate::frames::{self, FromEngine};
use crate::request::{Admission, EngineFacts};
use crate::suspects::Part;

/// Bytes of standard error that are kept: the last ones.
const LAST_WORDS: usize = 4 << 10;

/// What the keeper shares with those who wait for answers.
#[derive(Debug)]
pub(super) struct Ward {
    /// What runs, now: a lane may turn out not to.
    pub(super) facts: Mutex<Arc<EngineFacts>>,
    pub(super) photos: Mutex<Photos>,
    /// Of this process and those before it.
    counts: Counts,
    pub(super) kill: Notify,
    pub(super) ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Photos {
    pub(super) waiting: HashMap<u64, Waiting>,
    /// What photos hold of the budget, or that they wait for it. Of those, too, whom nobody waits for any more: a lane has
    /// them until it is done.
    shares: HashMap<u64, Counted>,
    /// Set when a photo was over its deadline.
    pub(super) overdue: Option<(u64, Duration)>,
    pub(super) death: Option<Death>,
}

/// Somebody who waits for a photo's answer.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Whether a lane has it in hand.
    pub(super) in_hand: watch::Sender<bool>,
    pictures: Vec<Picture>,
    admission: Admission,
    answer: oneshot::Sender<Answer>,
}

impl Waiting {
    pub(super) fn new(in_hand: watch::Sender<bool>, answer: oneshot::Sender<Answer>) -> Self {
        Self {
            in_hand,
            pictures: Vec::new(),
            admission: Admission::default(),
            answer,
        }
    }
}

#[derive(Debug)]
pub(super) enum Answer {
    Done {
        analysis: Box<Analysis>,
        pictures: Vec<Picture>,
        sha256: String,
        bytes: u64,
        admission: Admission,
    },
    Failed(PhotoFailure),
    Died(Part, Death),
}

impl Ward {
    /// Of a process that is ready.
    pub(super) fn new(facts: EngineFacts, counts: Counts) -> Self {
        Self {
            facts: Mutex::new(Arc::new(facts)),
            photos: Mutex::default(),
            counts,
            kill: Notify::new(),
            ended: watch::Sender::new(false),
        }
    }
}

/// Owns the child: reads its answers, ends it when asked, buries it, and tells everybody who still waits.
pub(super) struct Keeper {
    pub(super) child: Child,
    stderr: Option<ChildStderr>,
}

impl Keeper {
    pub(super) fn new(mut child: Child) -> Self {
        let stderr = child.stderr.take();
        Self { child, stderr }
    }

    pub(super) async fn keep(mut self, mut reader: BufReader<OwnedReadHalf>, ward: Arc<Ward>) {
        let stderr = self.stderr.take();
        let last_words = tokio::spawn(last_words(stderr));
        tokio::select! {
            () = answers(&mut reader, &ward) => {}
            () = ward.kill.notified() => {}
        }
        // Whether it hung, broke the protocol or is already gone: after this it is gone.
        let status = self.end().await;
        let words = last_words.await.unwrap_or_default();
        let mut photos = lock(&ward.photos);
        let death = match photos.overdue {
            Some((_, after)) => Death::Deadline { after },
            None => Death::of(status, &words),
        };
        let overdue = photos.overdue.map(|(id, _)| id);
        photos.death = Some(death.clone());
        photos.shares.clear();
        for (id, waiting) in photos.waiting.drain() {
            let part = match (*waiting.in_hand.borrow(), overdue) {
                (false, _) => Part::Waiting,
                (true, Some(overdue)) if overdue != id => Part::Bystander,
                (true, _) => Part::InHand,
            };
            let _ = waiting.answer.send(Answer::Died(part, death.clone()));
        }
        drop(photos);
        ward.ended.send_replace(true);
    }

    /// Ends a process that did not become ready, and reads how it ended.
    pub(super) async fn bury(&mut self) -> Death {
        let last_words = tokio::spawn(last_words(self.stderr.take()));
        let status = self.end().await;
        Death::of(status, &last_words.await.unwrap_or_default())
    }

    async fn end(&mut self) -> Option<ExitStatus> {
        // A process that closed its socket is about to end by itself: its own exit status says more than our signal.
        match timeout(Duration::from_millis(500), self.child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                let _ = self.child.start_kill();
                self.child.wait().await.ok()
            }
        }
    }
}

/// Hands answers to those who wait for them, until the stream ends or is not understood.
async fn answers(reader: &mut BufReader<OwnedReadHalf>, ward: &Ward) {
    let mut halved = 0;
    loop {
        let (message, body) = match frames::read_async::<FromEngine>(reader).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the engine process answers nonsense and is ended");
                return;
            }
        };
        let mut photos = lock(&ward.photos);
        match message {
            FromEngine::LaneFailed { lane, error } => {
                tracing::warn!(lane, %error, "the engine goes on without one of its lanes");
                let mut facts = lock(&ward.facts);
                let facts = Arc::make_mut(&mut facts);
                facts.lanes = facts.lanes.saturating_sub(1).max(1);
            }
            FromEngine::Halved { halvings } => {
                // Each lane tells of all.
                let new = halvings.saturating_sub(halved);
                halved += new;
                ward.counts.halvings.fetch_add(new, Ordering::Relaxed);
                if new > 0 {
                    tracing::warn!(
                        "the card's memory did not suffice for a batch: batches are half as large now"
                    );
                }
            }
            FromEngine::Started { id, .. } => {
                if let Some(waiting) = photos.waiting.get(&id) {
                    waiting.in_hand.send_replace(true);
                }
            }
            FromEngine::Waits { id } => {
                if let Some(waiting) = photos.waiting.get(&id) {
                    waiting.in_hand.send_replace(false);
                    photos.shares.insert(id, Counted::new(&ward.counts.waiting, 1));
                }
            }
            FromEngine::Admitted { id, admission } => {
                if let Some(waiting) = photos.waiting.get_mut(&id) {
                    waiting.admission = admission;
                    // Of one that did not wait nothing has changed, and nobody is to be woken.
                    waiting
                        .in_hand
                        .send_if_modified(|in_hand| !std::mem::replace(in_hand, true));
                }
                // Of photos that were never sent there are none to count.
                if photos.waiting.contains_key(&id) || photos.shares.contains_key(&id) {
                    let share = Counted::new(&ward.counts.admitted, admission.bytes);
                    photos.shares.insert(id, share);
                }
            }
            FromEngine::Picture { id, kind } => {
                if let Some(waiting) = photos.waiting.get_mut(&id) {
                    waiting.pictures.push(Picture { kind, jpeg: body });
                }
            }
            FromEngine::Done {
                id,
                analysis,
                sha256,
                bytes,
            } => {
                // Whoever has the answer finds the budget without its photo.
                photos.shares.remove(&id);
                if let Some(waiting) = photos.waiting.remove(&id) {
                    let _ = waiting.answer.send(Answer::Done {
                        analysis,
                        pictures: waiting.pictures,
                        sha256,
                        bytes,
                        admission: waiting.admission,
                    });
                }
            }
            FromEngine::Failed { id, failure } => {
                photos.shares.remove(&id);
                if let Some(waiting) = photos.waiting.remove(&id) {
                    let _ = waiting.answer.send(Answer::Failed(failure));
                }
            }
            FromEngine::Ready(_) | FromEngine::LoadFailed(_) => return,
        }
    }
}

/// The end of what the process says on standard error.
async fn last_words(stderr: Option<ChildStderr>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..n]);
        if kept.len() > 2 * LAST_WORDS {
            kept.drain(..kept.len() - LAST_WORDS);
        }
    }
    String::from_utf8_lossy(&kept[kept.len().saturating_sub(LAST_WORDS)..]).into_owned()
}
