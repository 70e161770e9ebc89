//! One engine process, from spawning to its end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pitch::analysis::Options;
use tokio::io::{AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::counts::Counts;
use super::death::Death;
use super::keeper::{Answer, Keeper, Waiting, Ward};
use super::lock;
use super::opened::{Opened, fill};
use crate::config::EngineConfig;
use crate::descriptors;
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure};
use crate::frames::{self, CHUNK, FrameError, FromEngine, LoadRequest, ToEngine};
use crate::request::{Analysed, EngineFacts, PhotoReader, PhotoRequest};
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
    frames: mpsc::Sender<Outgoing>,
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
        let opened = match Opened::from(&request.source).await {
            Ok(opened) => opened,
            Err(error) => return Outcome::Failed(PhotoFailure::unreadable(&error)),
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

        let options = request.options.clone();
        let mut fetching = Duration::ZERO;
        let sent = match opened {
            Opened::File(file) => self.send_file(id, options, file).await,
            Opened::Stream(mut source, bytes) => {
                let begin = ToEngine::Photo { id, options, bytes };
                self.send_photo(id, &begin, &mut source, &mut fetching).await
            }
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Source(error)) => {
                return Outcome::Failed(PhotoFailure::unreadable(&error));
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
                // A file is read in the process, which has told how long that took.
                analysis.timing.fetch += (opening + fetching).as_secs_f64() * 1e3;
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

    /// Hands an open file to the process.
    async fn send_file(&self, id: u64, options: Options, file: Arc<File>) -> Result<(), SendError> {
        let header = ToEngine::File { id, options };
        let bytes = frames::head(&header, 0).map_err(|_| SendError::Process)?;
        let file = Some(file);
        self.queue(Outgoing { bytes, file })
            .await
            .map_err(|_| SendError::Process)
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
        let mut bytes = frames::head(header, body.len())?;
        bytes.extend_from_slice(body);
        let file = None;
        Ok(self.queue(Outgoing { bytes, file }).await?)
    }

    async fn queue(&self, frame: Outgoing) -> io::Result<()> {
        let gone = |_| io::ErrorKind::BrokenPipe.into();
        self.frames.send(frame).await.map_err(gone)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ward.kill.notify_one();
    }
}

enum SendError {
    Source(io::Error),
    Process,
}

/// A frame, and the open file that goes with it.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    file: Option<Arc<File>>,
}

/// Writes whole frames until there are no more, or nobody reads them.
async fn write_frames(mut write: OwnedWriteHalf, mut frames: mpsc::Receiver<Outgoing>) {
    while let Some(frame) = frames.recv().await {
        if write_frame(&mut write, frame).await.is_err() {
            return;
        }
    }
}

async fn write_frame(write: &mut OwnedWriteHalf, Outgoing { bytes, file }: Outgoing) -> io::Result<()> {
    let sent = match file {
        Some(file) => {
            let socket: &UnixStream = write.as_ref();
            let send = || descriptors::send(socket, &bytes, &file);
            socket.async_io(Interest::WRITABLE, send).await?
        }
        None => 0,
    };
    write.write_all(bytes.get(sent..).unwrap_or_default()).await
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
            let frame = Outgoing {
                bytes: frame,
                file: None,
            };
            // Behind whatever of the photo waits to be written.
            runtime.spawn(async move { frames.send(frame).await });
        }
    }
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
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (answer, _) = frames::read_async(reader).await?.ok_or_else(ended)?;
    Ok(answer)
}

fn spawn(config: &EngineConfig, lanes: usize) -> io::Result<(Child, UnixStream)> {
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
/// 27379). And how glibc's allocator is to behave: an arena for each lane (left alone it makes one for every thread there
/// is; lanes that share one wait for each other, which took 7 % of the time and saved 5 to 30 MB). Blocks from 32 MB on
/// (its greatest threshold) are mapped each for itself: below it that costs more time, in page faults, than the networks'
/// arithmetic (figures in `docs/benchmarks.md`).
fn environment(lanes: usize) -> Vec<(&'static str, OsString)> {
    let mut variables: Vec<(&'static str, OsString)> = vec![
        ("ORT_DISABLE_TELEMETRY", "1".into()),
        ("MALLOC_ARENA_MAX", lanes.to_string().into()),
        ("MALLOC_MMAP_THRESHOLD_", (32 << 20).to_string().into()),
        ("MALLOC_TRIM_THRESHOLD_", (128 << 20).to_string().into()),
    ];
    variables.extend(std::env::var_os("LD_LIBRARY_PATH").map(|folders| ("LD_LIBRARY_PATH", folders)));
    variables
}
