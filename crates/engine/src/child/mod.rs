//! The engine process's side: what it does from its first instruction to its last.
//!
//! One thread reads frames and puts together the photos that come in pieces; each lane is a thread of its own, takes a
//! photo from reading or decoding to its result, and answers. There is no runtime here, and after loading nothing is
//! opened, connected or started any more.

mod analyst;
mod arriving;
mod isolation;

use std::any::Any;
use std::collections::HashMap;
use std::io::{self, BufReader};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pitch::analysis::{Analysis, Options, Picture};
use sha2::{Digest as _, Sha256};

use self::arriving::{Partial, Photo};
use crate::admission::Budget;
use crate::bundle::hex;
use crate::descriptors::Inbox;
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure, code};
use crate::frames::{self, FrameError, FromEngine, ToEngine};
use crate::request::{Admission, EngineFacts};

pub use crate::frames::LoadRequest;

/// What one lane does with photos. The engine's own analyses pitches; tests have others that misbehave.
pub trait Lane: Send {
    /// Called once, on the lane's own thread, before its first photo. Lanes that are ready at once take photos meanwhile.
    ///
    /// # Errors
    /// Why this lane cannot work. The engine goes on with the others.
    fn prepare(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Bytes of address space that [`prepare`](Self::prepare) may take, beyond what the process has when it is called.
    fn preparation_cost(&self) -> u64 {
        0
    }

    /// Times, since loading, that a batch was halved because the card's memory did not suffice; of all lanes together.
    fn batch_halvings(&self) -> u64 {
        0
    }

    /// Bytes that analysing `photo` will hold at its peak, by its header; 0 when it cannot be told.
    fn cost(&self, photo: &[u8], options: &Options) -> u64;

    /// Analyses `photo`.
    ///
    /// # Errors
    /// Why it has no analysis.
    fn analyse(&mut self, photo: &[u8], options: &Options) -> Result<(Analysis, Vec<Picture>), PhotoFailure>;
}

/// What loading gives.
pub struct Loaded {
    /// What runs.
    pub facts: EngineFacts,
    /// As many as there are to be threads.
    pub lanes: Vec<Box<dyn Lane>>,
}

/// Runs this process as an engine: reads frames on standard input, a Unix socket, until it closes.
pub fn run() -> ExitCode {
    serve(analyst::load)
}

/// As [`run`], with lanes that `load` makes. It is called once, before the process fences itself in.
pub fn serve(load: impl FnOnce(&LoadRequest) -> Result<Loaded, EngineError>) -> ExitCode {
    match try_serve(load) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is read by the worker, which tells of it.
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn try_serve(load: impl FnOnce(&LoadRequest) -> Result<Loaded, EngineError>) -> Result<(), FrameError> {
    isolation::close_inherited_files();
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut reader = BufReader::with_capacity(64 << 10, Inbox::new(stream.try_clone()?));
    let Some((ToEngine::Load(request), _)) = frames::read(&mut reader)? else {
        return Err(io::Error::other("the first frame is to say what to load").into());
    };
    let answers = Answers(Arc::new(Mutex::new(stream)));

    isolation::harden();
    let mut loaded = match load(&request) {
        Ok(loaded) => loaded,
        Err(error) => return answers.send(&FromEngine::LoadFailed(error), &[]),
    };
    // Landlock and seccomp hold for this thread and those that it starts: lanes come after.
    if request.isolate {
        let later = loaded.lanes.iter().map(|lane| lane.preparation_cost()).sum();
        match isolation::fence_in(&request, &loaded.facts, later) {
            Ok(fences) => loaded.facts.isolation = fences,
            Err(reason) => {
                let error = EngineError::new(
                    EngineErrorKind::StartFailed,
                    format!("the engine process cannot fence itself in: {reason}"),
                );
                return answers.send(&FromEngine::LoadFailed(error), &[]);
            }
        }
    }

    let (jobs, lanes) = {
        // Whatever a lane says comes after this.
        let stream = answers.lock();
        let started = start_lanes(loaded.lanes, request.memory_budget, &answers)?;
        frames::write(&mut &*stream, &FromEngine::Ready(loaded.facts), &[])?;
        started
    };

    match read_photos(&mut reader, &request, &jobs, &answers)? {
        Ending::Shutdown => {
            drop(jobs);
            for lane in lanes {
                // A lane that panicked outside of a photo has said so on standard error.
                let _ = lane.join();
            }
            Ok(())
        }
        Ending::Orphaned => {
            // Nobody waits for an answer, and a lane may hang: end at once, whatever it does.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            Ok(())
        }
    }
}

/// Why no more photos come.
enum Ending {
    Shutdown,
    Orphaned,
}

/// A photo that waits for a lane.
struct Job {
    id: u64,
    since: Instant,
    photo: Photo,
    options: Options,
}

impl Job {
    fn new(id: u64, photo: Photo, options: Options) -> Self {
        let since = Instant::now();
        Self {
            id,
            since,
            photo,
            options,
        }
    }
}

fn read_photos(
    reader: &mut BufReader<Inbox>,
    request: &LoadRequest,
    jobs: &Sender<Job>,
    answers: &Answers,
) -> Result<Ending, FrameError> {
    let max_bytes = request.limits.max_bytes;
    let mut partial: HashMap<u64, Partial> = HashMap::new();
    let queue = |job| jobs.send(job).map_err(|_| broken("every lane has ended"));
    while let Some((message, body)) = frames::read(reader)? {
        match message {
            ToEngine::Photo { id, options, bytes } => {
                let arriving = Partial::new(options, bytes.unwrap_or(0), max_bytes);
                partial.insert(id, arriving);
            }
            ToEngine::Chunk { id } => {
                if let Some(arriving) = partial.get_mut(&id) {
                    arriving.take(&body);
                }
            }
            ToEngine::End { id } => match partial.remove(&id).map(Partial::complete) {
                Some(Ok((photo, options))) => queue(Job::new(id, photo, options))?,
                Some(Err(failure)) => answers.send(&FromEngine::Failed { id, failure }, &[])?,
                None => {}
            },
            ToEngine::File { id, options } => {
                let file = reader.get_mut().file();
                let file = file.ok_or_else(|| broken("a file was announced and did not come"))?;
                queue(Job::new(id, Photo::in_file(file, max_bytes), options))?;
            }
            ToEngine::Abandon { id } => {
                partial.remove(&id);
            }
            ToEngine::Shutdown => return Ok(Ending::Shutdown),
            ToEngine::Load(_) => return Err(broken("loaded already")),
        }
    }
    Ok(Ending::Orphaned)
}

fn broken(reason: &str) -> FrameError {
    io::Error::other(reason).into()
}

fn start_lanes(
    lanes: Vec<Box<dyn Lane>>,
    memory_budget: u64,
    answers: &Answers,
) -> io::Result<(Sender<Job>, Vec<JoinHandle<()>>)> {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let budget = Arc::new(Budget::new(memory_budget));
    let working = Arc::new(AtomicUsize::new(lanes.len()));
    let start = |(number, mut lane): (usize, Box<dyn Lane>)| {
        let (receiver, budget, answers) = (receiver.clone(), budget.clone(), answers.clone());
        let working = working.clone();
        thread::Builder::new()
            .name(format!("lane {number}"))
            .spawn(move || {
                if let Err(error) = prepare(lane.as_mut()) {
                    give_up_lane(number, error, &working, &answers);
                    return;
                }
                let mut told = 0;
                while let Some(job) = next_job(&receiver) {
                    let worked = work(lane.as_mut(), number, job, &budget, &answers)
                        .and_then(|()| tell_halvings(lane.as_ref(), &mut told, &answers));
                    if let Err(error) = worked {
                        // The worker no longer listens; the reading thread sees that, too.
                        eprintln!("engine: lane {number}: {error}");
                        return;
                    }
                }
            })
    };
    let handles = lanes
        .into_iter()
        .enumerate()
        .map(start)
        .collect::<io::Result<_>>()?;
    Ok((sender, handles))
}

fn tell_halvings(lane: &dyn Lane, told: &mut u64, answers: &Answers) -> Result<(), FrameError> {
    let halvings = lane.batch_halvings();
    if halvings <= *told {
        return Ok(());
    }
    *told = halvings;
    answers.send(&FromEngine::Halved { halvings }, &[])
}

fn prepare(lane: &mut dyn Lane) -> Result<(), EngineError> {
    catch_unwind(AssertUnwindSafe(|| lane.prepare())).unwrap_or_else(|panic| {
        let reason = format!("preparing it panicked: {}", panic_text(&*panic));
        Err(EngineError::new(EngineErrorKind::StartFailed, reason))
    })
}

/// Tells the worker of a lane that cannot work. Without any lane nothing would ever be answered: the process ends.
fn give_up_lane(lane: usize, error: EngineError, working: &AtomicUsize, answers: &Answers) {
    eprintln!("engine: lane {lane} cannot work: {error}");
    if working.fetch_sub(1, Ordering::AcqRel) == 1 {
        process::exit(1);
    }
    // If the worker no longer listens, the reading thread sees that, too.
    let _ = answers.send(&FromEngine::LaneFailed { lane, error }, &[]);
}

fn next_job(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    receiver
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

/// Takes one photo from decode to answer.
fn work(
    lane: &mut dyn Lane,
    number: usize,
    job: Job,
    budget: &Budget,
    answers: &Answers,
) -> Result<(), FrameError> {
    let lane_wait = job.since.elapsed();
    let Job {
        id, photo, options, ..
    } = job;
    // From here on the photo is in hand: reading its header, too, is what a hostile one may crash or hang.
    answers.send(&FromEngine::Started { id, lane: number }, &[])?;
    let began = Instant::now();
    let photo = match photo.read() {
        Ok(photo) => photo,
        Err(failure) => return answers.send(&FromEngine::Failed { id, failure }, &[]),
    };
    let reading = began.elapsed();
    let cost = catch_unwind(AssertUnwindSafe(|| lane.cost(&photo, &options))).unwrap_or(0);
    let cost = cost.saturating_add(photo.len() as u64);
    let (share, memory_wait) = match budget.try_admit(cost) {
        Some(share) => (share, Duration::ZERO),
        None => {
            answers.send(&FromEngine::Waits { id }, &[])?;
            let asked = Instant::now();
            (budget.admit(cost), asked.elapsed())
        }
    };
    let admission = Admission {
        bytes: cost,
        lane_wait,
        memory_wait,
    };
    answers.send(&FromEngine::Admitted { id, admission }, &[])?;

    let sha256 = hex(&Sha256::digest(&photo));
    let bytes = photo.len() as u64;
    let analysed =
        catch_unwind(AssertUnwindSafe(|| lane.analyse(&photo, &options))).unwrap_or_else(|panic| {
            Err(PhotoFailure::new(
                code::ENGINE_PANICKED,
                true,
                format!("the analysis stumbled over this photo: {}", panic_text(&*panic)),
            ))
        });
    drop(photo);
    drop(share);

    match analysed {
        Ok((mut analysis, pictures)) => {
            analysis.timing.fetch = reading.as_secs_f64() * 1e3;
            let stream = answers.lock();
            for picture in pictures {
                let header = FromEngine::Picture {
                    id,
                    kind: picture.kind,
                };
                frames::write(&mut &*stream, &header, &picture.jpeg)?;
            }
            let analysis = Box::new(analysis);
            let done = FromEngine::Done {
                id,
                analysis,
                sha256,
                bytes,
            };
            frames::write(&mut &*stream, &done, &[])
        }
        Err(mut failure) => {
            failure.sha256 = Some(sha256);
            failure.message = shortened(failure.message);
            answers.send(&FromEngine::Failed { id, failure }, &[])
        }
    }
}

/// A panic can quote what it stumbled over, all of it.
fn shortened(message: String) -> String {
    const LONGEST: usize = 2000;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// The way back to the worker, shared by the lanes.
#[derive(Clone)]
struct Answers(Arc<Mutex<UnixStream>>);

impl Answers {
    fn lock(&self) -> std::sync::MutexGuard<'_, UnixStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &FromEngine, body: &[u8]) -> Result<(), FrameError> {
        frames::write(&mut &*self.lock(), message, body)
    }
}
