//! One engine process, from spawning to its end.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pitch::analysis::{Analysis, Picture};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::death::Death;
use super::lock;
use crate::config::EngineConfig;
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure, code};
use crate::frames::{self, CHUNK, FrameError, FromEngine, LoadRequest, ToEngine};
use crate::request::{Analysed, EngineFacts, PhotoReader, PhotoRequest, PhotoSource};
use crate::suspects::Part;

/// Longest time from asking a process to end to making it.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);
/// Bytes of standard error that are kept: the last ones.
const LAST_WORDS: usize = 4 << 10;
/// Frames that wait to be written.
const FRAMES_AHEAD: usize = 2;

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    pid: Option<u32>,
    photo_deadline: Duration,
    max_bytes: u64,
    next_id: AtomicU64,
    /// To the task that writes: whoever sends a photo may give it up at any time, and must not leave half a frame.
    frames: mpsc::Sender<Vec<u8>>,
    ward: Arc<Ward>,
}

/// What the process's keeper (the task that reads its answers and buries it) shares with those who wait for answers.
#[derive(Debug)]
struct Ward {
    /// What runs, now: a lane may turn out not to.
    facts: Mutex<Arc<EngineFacts>>,
    photos: Mutex<Photos>,
    kill: Notify,
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Photos {
    waiting: HashMap<u64, Waiting>,
    /// Set when a photo was over its deadline.
    overdue: Option<(u64, Duration)>,
    death: Option<Death>,
}

/// Somebody who waits for a photo's answer.
#[derive(Debug)]
struct Waiting {
    /// Whether a lane has it in hand.
    in_hand: watch::Sender<bool>,
    pictures: Vec<Picture>,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
enum Answer {
    Done {
        analysis: Box<Analysis>,
        pictures: Vec<Picture>,
        sha256: String,
        bytes: u64,
    },
    Failed(PhotoFailure),
    Died(Part, Death),
}

/// What came of a photo.
pub(super) enum Outcome {
    Analysed(Box<Analysed>),
    Failed(PhotoFailure),
    /// The process died; what the photo was doing then.
    Died(Part, Death),
}

impl Process {
    /// Spawns a process and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be spawned, says why it cannot load, ends, or takes too long.
    pub(super) async fn start(config: &EngineConfig, request: &LoadRequest) -> Result<Self, EngineError> {
        let (child, stream) = spawn(config, request.lanes)
            .map_err(|error| failed(format!("the engine process cannot be started: {error}")))?;
        let mut keeper = Keeper::new(child);
        let (read, mut write) = stream.into_split();
        let mut reader = BufReader::with_capacity(64 << 10, read);
        let loaded = timeout(config.load_deadline, load(&mut write, &mut reader, request)).await;
        let facts = match loaded {
            Ok(Ok(FromEngine::Ready(facts))) => facts,
            Ok(Ok(FromEngine::LoadFailed(error))) => return Err(error),
            Ok(Ok(_) | Err(_)) => {
                let death = keeper.bury().await;
                return Err(failed(format!(
                    "the engine process did not become ready: {death}"
                )));
            }
            Err(_) => {
                let message = format!(
                    "the engine process was not ready after {} s",
                    config.load_deadline.as_secs_f64()
                );
                return Err(EngineError::new(EngineErrorKind::StartTimeout, message));
            }
        };
        let pid = keeper.child.id();
        let ward = Arc::new(Ward {
            facts: Mutex::new(Arc::new(facts)),
            photos: Mutex::default(),
            kill: Notify::new(),
            ended: watch::Sender::new(false),
        });
        tokio::spawn(keeper.keep(reader, ward.clone()));
        let (frames, to_write) = mpsc::channel(FRAMES_AHEAD);
        tokio::spawn(write_frames(write, to_write));
        Ok(Self {
            pid,
            photo_deadline: config.photo_deadline,
            max_bytes: config.limits.max_bytes,
            next_id: AtomicU64::new(0),
            frames,
            ward,
        })
    }

    /// What runs.
    pub(super) fn facts(&self) -> Arc<EngineFacts> {
        lock(&self.ward.facts).clone()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(super) fn is_alive(&self) -> bool {
        lock(&self.ward.photos).death.is_none()
    }

    /// Sends a photo and waits for what comes of it.
    pub(super) async fn analyse(&self, request: &PhotoRequest) -> Outcome {
        let (mut source, bytes) = match open(&request.source).await {
            Ok(opened) => opened,
            Err(error) => return Outcome::Failed(unreadable(&error)),
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let (in_hand, is_in_hand) = watch::channel(false);
        {
            let mut photos = lock(&self.ward.photos);
            if let Some(death) = &photos.death {
                return Outcome::Died(Part::Waiting, death.clone());
            }
            let waiting = Waiting {
                in_hand,
                pictures: Vec::new(),
                answer,
            };
            photos.waiting.insert(id, waiting);
        }
        let mut forget = Forget {
            process: self,
            id,
            armed: true,
        };

        let begin = ToEngine::Photo {
            id,
            options: request.options.clone(),
            bytes,
        };
        match self.send_photo(id, &begin, &mut source).await {
            Ok(()) => {}
            Err(SendError::Source(error)) => {
                return Outcome::Failed(unreadable(&error));
            }
            // The process is gone or going: its keeper will answer.
            Err(SendError::Process) => self.ward.kill.notify_one(),
        }
        let answer = self.await_answer(id, answered, is_in_hand).await;
        forget.armed = false;
        match answer {
            Ok(Answer::Done {
                analysis,
                pictures,
                sha256,
                bytes,
            }) => {
                let analysis = *analysis;
                let facts = self.facts();
                Outcome::Analysed(Box::new(Analysed {
                    analysis,
                    pictures,
                    sha256,
                    bytes,
                    facts,
                }))
            }
            Ok(Answer::Failed(failure)) => Outcome::Failed(failure),
            Ok(Answer::Died(part, death)) => Outcome::Died(part, death),
            Err(_) => Outcome::Died(Part::Waiting, Death::of(None, "")),
        }
    }

    /// Waits for the answer; ends the process when the photo is in a lane's hands for longer than the deadline.
    async fn await_answer(
        &self,
        id: u64,
        mut answered: oneshot::Receiver<Answer>,
        mut in_hand: watch::Receiver<bool>,
    ) -> Result<Answer, oneshot::error::RecvError> {
        loop {
            let running = *in_hand.borrow_and_update();
            tokio::select! {
                answer = &mut answered => return answer,
                changed = in_hand.changed() => if changed.is_err() {
                    return answered.await;
                },
                () = tokio::time::sleep(self.photo_deadline), if running => {
                    lock(&self.ward.photos).overdue.get_or_insert((id, self.photo_deadline));
                    self.ward.kill.notify_one();
                    return answered.await;
                }
            }
        }
    }

    /// Asks the process to finish and end; makes it when it does not.
    pub(super) async fn shut_down(&self) {
        let mut ended = self.ward.ended.subscribe();
        let asked = self.send(&ToEngine::Shutdown, &[]).await;
        if asked.is_err()
            || timeout(LONGEST_FAREWELL, ended.wait_for(|&ended| ended))
                .await
                .is_err()
        {
            self.ward.kill.notify_one();
            let _ = ended.wait_for(|&ended| ended).await;
        }
    }

    async fn send_photo(&self, id: u64, begin: &ToEngine, source: &mut PhotoReader) -> Result<(), SendError> {
        self.send(begin, &[]).await.map_err(|_| SendError::Process)?;
        let mut chunk = vec![0; CHUNK];
        let mut sent = 0;
        loop {
            let length = fill(source, &mut chunk).await.map_err(SendError::Source)?;
            if length > 0 {
                self.send(&ToEngine::Chunk { id }, &chunk[..length])
                    .await
                    .map_err(|_| SendError::Process)?;
            }
            sent += length as u64;
            // Past the limit the decoder refuses the photo whatever follows.
            if length < chunk.len() || sent > self.max_bytes {
                return self
                    .send(&ToEngine::End { id }, &[])
                    .await
                    .map_err(|_| SendError::Process);
            }
        }
    }

    async fn send(&self, header: &ToEngine, body: &[u8]) -> Result<(), FrameError> {
        let mut frame = frames::head(header, body.len())?;
        frame.extend_from_slice(body);
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        Ok(self.frames.send(frame).await.map_err(gone)?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ward.kill.notify_one();
    }
}

enum SendError {
    Source(std::io::Error),
    Process,
}

/// Writes whole frames until there are no more, or nobody reads them.
async fn write_frames(mut write: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    while let Some(frame) = frames.recv().await {
        if write.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Takes a photo off the list when nobody waits for it any more, here and in the process.
struct Forget<'a> {
    process: &'a Process,
    id: u64,
    armed: bool,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        lock(&self.process.ward.photos).waiting.remove(&self.id);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if let Ok(frame) = frames::head(&ToEngine::Abandon { id: self.id }, 0) {
            let frames = self.process.frames.clone();
            // Behind whatever of the photo waits to be written.
            runtime.spawn(async move { frames.send(frame).await });
        }
    }
}

async fn fill(source: &mut PhotoReader, chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match source.read(&mut chunk[length..]).await? {
            0 => break,
            n => length += n,
        }
    }
    Ok(length)
}

async fn open(source: &PhotoSource) -> std::io::Result<(PhotoReader, Option<u64>)> {
    match source {
        PhotoSource::Bytes(bytes) => {
            let reader = std::io::Cursor::new(bytes.clone());
            Ok((
                Box::pin(reader) as Pin<Box<dyn AsyncRead + Send>>,
                Some(bytes.len() as u64),
            ))
        }
        PhotoSource::File(path) => {
            let file = tokio::fs::File::open(path).await?;
            let metadata = file.metadata().await?;
            // Opening a folder succeeds; a pipe may never end.
            if !metadata.is_file() {
                return Err(std::io::Error::other("it is no regular file"));
            }
            Ok((Box::pin(file), Some(metadata.len())))
        }
        PhotoSource::Open(source) => Ok((source.open().await?, None)),
    }
}

fn unreadable(error: &std::io::Error) -> PhotoFailure {
    // Whether another try helps depends on where the photo is; whoever reads it from a network tries again.
    PhotoFailure::new(
        code::UNREADABLE,
        true,
        format!("the photo cannot be read: {error}"),
    )
}

fn failed(message: String) -> EngineError {
    EngineError::new(EngineErrorKind::StartFailed, message)
}

async fn load(
    write: &mut OwnedWriteHalf,
    reader: &mut BufReader<OwnedReadHalf>,
    request: &LoadRequest,
) -> Result<FromEngine, FrameError> {
    write
        .write_all(&frames::head(&ToEngine::Load(request.clone()), 0)?)
        .await?;
    let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (answer, _) = frames::read_async(reader).await?.ok_or_else(ended)?;
    Ok(answer)
}

fn spawn(config: &EngineConfig, lanes: usize) -> std::io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let program = match &config.program {
        Some(program) => program.clone(),
        // Names the file that runs even when it was replaced meanwhile.
        None => std::env::current_exe()?,
    };
    let mut command = Command::new(program);
    command
        .args(&config.arguments)
        .env_clear()
        .envs(environment(lanes))
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A terminal's Ctrl-C is for the parent, which lets the engine finish what is in hand.
        .process_group(0)
        .kill_on_drop(true);
    Ok((command.spawn()?, UnixStream::from_std(ours)?))
}

/// No variable of the parent's but where to find CUDA's libraries. ONNX Runtime from 1.29 on writes what it runs into a
/// database in the user's home and sends it to its makers, unless it is told not to before it is loaded (its pull request
/// 27379). And how glibc's allocator is to behave: left alone it makes an arena for each lane, none of which gives back what another could use. Blocks from 32 MB on (its greatest
/// threshold) are mapped each for itself: below it that costs more time, in page faults, than the networks' arithmetic
/// (figures in `docs/benchmarks.md`).
fn environment(lanes: usize) -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&'static str, OsString)> = vec![
        ("ORT_DISABLE_TELEMETRY", "1".into()),
        ("MALLOC_ARENA_MAX", lanes.div_ceil(4).to_string().into()),
        ("MALLOC_MMAP_THRESHOLD_", (32 << 20).to_string().into()),
        ("MALLOC_TRIM_THRESHOLD_", (128 << 20).to_string().into()),
    ];
    variables.extend(std::env::var_os("LD_LIBRARY_PATH").map(|folders| ("LD_LIBRARY_PATH", folders)));
    variables
}

/// Owns the child: reads its answers, ends it when asked, buries it, and tells everybody who still waits.
struct Keeper {
    child: Child,
    stderr: Option<ChildStderr>,
}

impl Keeper {
    fn new(mut child: Child) -> Self {
        let stderr = child.stderr.take();
        Self { child, stderr }
    }

    async fn keep(mut self, mut reader: BufReader<OwnedReadHalf>, ward: Arc<Ward>) {
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
    async fn bury(&mut self) -> Death {
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
            FromEngine::Started { id, .. } => {
                if let Some(waiting) = photos.waiting.get(&id) {
                    waiting.in_hand.send_replace(true);
                }
            }
            FromEngine::Waits { id } => {
                if let Some(waiting) = photos.waiting.get(&id) {
                    waiting.in_hand.send_replace(false);
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
                if let Some(Waiting { pictures, answer, .. }) = photos.waiting.remove(&id) {
                    let _ = answer.send(Answer::Done {
                        analysis,
                        pictures,
                        sha256,
                        bytes,
                    });
                }
            }
            FromEngine::Failed { id, failure } => {
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
