//! One engine process, from spawning to its end.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::counts::Counts;
use super::death::Death;
use super::keeper::{Answer, Keeper, Waiting, Ward};
use super::lock;
use crate::config::EngineConfig;
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure, code};
use crate::frames::{self, CHUNK, FrameError, FromEngine, LoadRequest, ToEngine};
use crate::request::{Analysed, EngineFacts, PhotoReader, PhotoRequest, PhotoSource};
use crate::suspects::Part;

/// Longest time from asking a process to end to making it.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);
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
    pub(super) async fn start(
        config: &EngineConfig,
        request: &LoadRequest,
        counts: &Counts,
    ) -> Result<Self, EngineError> {
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
        let ward = Arc::new(Ward::new(facts, counts.clone()));
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
        let began = Instant::now();
        let (mut source, bytes) = match open(&request.source).await {
            Ok(opened) => opened,
            Err(error) => return Outcome::Failed(unreadable(&error)),
        };
        let opening = began.elapsed();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let (in_hand, is_in_hand) = watch::channel(false);
        {
            let mut photos = lock(&self.ward.photos);
            if let Some(death) = &photos.death {
                return Outcome::Died(Part::Waiting, death.clone());
            }
            photos.waiting.insert(id, Waiting::new(in_hand, answer));
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
        let mut fetching = Duration::ZERO;
        match self.send_photo(id, &begin, &mut source, &mut fetching).await {
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
                admission,
            }) => {
                let mut analysis = *analysis;
                analysis.timing.fetch = (opening + fetching).as_secs_f64() * 1e3;
                let facts = self.facts();
                Outcome::Analysed(Box::new(Analysed {
                    analysis,
                    pictures,
                    sha256,
                    bytes,
                    admission,
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

    /// Streams a photo into the process; adds to `fetching` the time that reading its bytes takes.
    async fn send_photo(
        &self,
        id: u64,
        begin: &ToEngine,
        source: &mut PhotoReader,
        fetching: &mut Duration,
    ) -> Result<(), SendError> {
        self.send(begin, &[]).await.map_err(|_| SendError::Process)?;
        let mut chunk = vec![0; CHUNK];
        let mut sent = 0;
        loop {
            let began = Instant::now();
            let length = fill(source, &mut chunk).await.map_err(SendError::Source)?;
            *fetching += began.elapsed();
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
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || open_file(&path));
            match opened.await.map_err(std::io::Error::other)?? {
                OpenFile::Whole(bytes) => {
                    let length = bytes.len() as u64;
                    Ok((Box::pin(std::io::Cursor::new(bytes)), Some(length)))
                }
                OpenFile::Large(file, length) => {
                    Ok((Box::pin(tokio::fs::File::from_std(file)), Some(length)))
                }
            }
        }
        PhotoSource::Open(source) => Ok((source.open().await?, None)),
    }
}

/// Up to here a photo is read whole: each read of a part goes to another thread and back.
const READ_WHOLE: u64 = 1 << 20;

enum OpenFile {
    Whole(Vec<u8>),
    Large(std::fs::File, u64),
}

fn open_file(path: &Path) -> std::io::Result<OpenFile> {
    let mut file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    // Opening a folder succeeds; a pipe may never end.
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    if metadata.len() > READ_WHOLE {
        return Ok(OpenFile::Large(file, metadata.len()));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // One that grows meanwhile is cut off where it ended; the decoder will say what it thinks of that.
    (&mut file).take(READ_WHOLE).read_to_end(&mut bytes)?;
    Ok(OpenFile::Whole(bytes))
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
