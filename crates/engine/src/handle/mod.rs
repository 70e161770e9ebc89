//! The parent's side of an engine process.

mod counts;
mod death;
mod keeper;
mod opened;
mod process;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use self::counts::Counts;
use self::death::Death;
use self::process::{Outcome, Process};
use crate::bundle::Bundle;
use crate::config::{Device, EngineConfig, PrecisionChoice};
use crate::failure::{EngineError, EngineErrorKind, PhotoFailure, code};
use crate::frames::LoadRequest;
use crate::request::{self, Analysed, EngineFacts, EngineStats, PhotoRequest};
use crate::suspects::{Company, Next, Suspicion};
use crate::{device, precision, quota, runtime};

/// Longest pause before a process that keeps dying is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An engine: a child process that is started when it is needed and ended when it is not. Clones are the same engine.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: EngineConfig,
    bundle: Bundle,
    request: LoadRequest,
    /// One for each photo that may be with the process.
    places: Semaphore,
    /// The lock makes sure that only one process is started, however many photos arrive together.
    process: tokio::sync::Mutex<Option<Arc<Process>>>,
    record: Mutex<Record>,
    counts: Counts,
}

/// What [`Engine::stats`] tells.
#[derive(Debug, Default)]
struct Record {
    stats: EngineStats,
    /// Processes that died since one last analysed a photo.
    deaths_in_a_row: u32,
}

impl Engine {
    /// Makes an engine without starting its process. The bundle's `bundle.toml` is read and the library looked for, so
    /// that what is missing is said at once.
    ///
    /// # Errors
    /// When the bundle or the library is not there.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let want_gpu = config.device != Device::Cpu;
        let library = absolute(runtime::locate(config.runtime_library.as_deref(), want_gpu)?)?;
        let bundle = Bundle::open(&config.bundle)?;
        let lanes = config.lanes.map_or_else(quota::cores, usize::from);
        let request = LoadRequest {
            bundle: absolute(bundle.folder().to_owned())?,
            library,
            device: config.device,
            allow_cpu_fallback: config.allow_cpu_fallback,
            precision: config.precision,
            card: config.card,
            lanes,
            memory_budget: config.memory_budget.unwrap_or_else(quota::memory_budget),
            limits: config.limits.clone(),
            isolate: config.isolate,
        };
        Ok(Self::with(config, bundle, request))
    }

    fn with(config: EngineConfig, bundle: Bundle, request: LoadRequest) -> Self {
        let shared = Shared {
            places: Semaphore::new(places(&request)),
            config,
            bundle,
            request,
            process: tokio::sync::Mutex::default(),
            record: Mutex::default(),
            counts: Counts::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Another engine, not loaded, that differs from this one in its precision only.
    #[must_use]
    pub fn at_precision(&self, precision: PrecisionChoice) -> Self {
        let shared = &self.shared;
        let config = EngineConfig {
            precision,
            ..shared.config.clone()
        };
        let request = LoadRequest {
            precision,
            ..shared.request.clone()
        };
        Self::with(config, shared.bundle.clone(), request)
    }

    /// How it was asked to run.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    /// Its bundle as it was when the engine was made.
    pub fn bundle(&self) -> &Bundle {
        &self.shared.bundle
    }

    /// Starts the process unless it runs, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn load(&self) -> Result<Arc<EngineFacts>, EngineError> {
        Ok(self.running().await?.facts())
    }

    /// Analyses one photo; starts the process if need be. Call it for many photos at once: what the lanes cannot take
    /// waits here. Dropping the future gives the photo up.
    ///
    /// # Errors
    /// Why the photo has no analysis.
    pub async fn analyse(&self, request: PhotoRequest) -> Result<Analysed, PhotoFailure> {
        let mut suspicion = Suspicion::default();
        let _counted = InFlight::new(&self.shared.record);
        loop {
            let _place = self.place(suspicion.company()).await;
            let process = self.running().await?;
            let (part, death) = match process.analyse(&request).await {
                Outcome::Analysed(analysed) => {
                    let mut record = self.record();
                    record.deaths_in_a_row = 0;
                    record.stats.facts = Some(analysed.facts.clone());
                    drop(record);
                    return Ok(*analysed);
                }
                Outcome::Failed(failure) => return Err(failure),
                Outcome::Died(part, death) => (part, death),
            };
            match suspicion.after_loss(part) {
                Next::Again => {}
                Next::Guilty => return Err(guilty(&death)),
                Next::GiveUp => {
                    let message = format!("the engine process keeps ending: {death}");
                    return Err(PhotoFailure::new(code::ENGINE_UNAVAILABLE, false, message));
                }
            }
        }
    }

    /// The precision that will run, as [`EngineFacts::precision`] says it; `None` when that shows only in loading, for a
    /// card may be there.
    pub fn expected_precision(&self) -> Option<String> {
        let config = &self.shared.config;
        if config.device != Device::Cpu && device::has_driver() {
            return None;
        }
        let int8 = precision::int8_instructions();
        let picked = precision::pick(config.precision, &self.shared.bundle, false, int8).ok()?;
        Some(request::precision_text(picked.detector, picked.classifier))
    }

    /// Photos analysed at the same time.
    pub fn lanes(&self) -> usize {
        self.shared.request.lanes
    }

    /// Photos that are with the process at the same time: one in the hands of each lane, and one that it finds when it is
    /// done.
    pub fn places(&self) -> usize {
        places(&self.shared.request)
    }

    /// Finishes what is in hand and ends the process; all its memory is back when this returns. The next photo starts
    /// it again.
    pub async fn stop(&self) {
        let _all = self.place(Company::Alone).await;
        let process = self.shared.process.lock().await.take();
        if let Some(process) = process {
            process.shut_down().await;
        }
        self.record().stats.facts = None;
        self.record().stats.pid = None;
    }

    /// Numbers so far.
    pub fn stats(&self) -> EngineStats {
        let mut stats = self.record().stats.clone();
        let Counts {
            halvings,
            admitted,
            waiting,
        } = &self.shared.counts;
        stats.batch_halvings = halvings.load(Ordering::Relaxed);
        stats.memory_admitted = admitted.load(Ordering::Relaxed);
        stats.waiting_for_memory = waiting.load(Ordering::Relaxed);
        stats.memory_budget = self.shared.request.memory_budget;
        stats
    }

    /// Waits for a place in the process, or for all of them.
    async fn place(&self, company: Company) -> Option<SemaphorePermit<'_>> {
        let count = match company {
            Company::Among => 1,
            Company::Alone => u32::try_from(self.places()).unwrap_or(u32::MAX),
        };
        // The semaphore is never closed.
        self.shared.places.acquire_many(count).await.ok()
    }

    /// The process, started if there is none or the last one died.
    async fn running(&self) -> Result<Arc<Process>, EngineError> {
        let mut slot = self.shared.process.lock().await;
        if let Some(process) = slot.as_ref().filter(|process| process.is_alive()) {
            return Ok(process.clone());
        }
        if slot.take().is_some() {
            let pause = {
                let mut record = self.record();
                record.stats.restarts += 1;
                record.deaths_in_a_row += 1;
                // One death is a photo's; several in a row may be the machine's, which needs time.
                let doublings = record.deaths_in_a_row.saturating_sub(2);
                Duration::from_millis(50)
                    .saturating_mul(2u32.saturating_pow(doublings))
                    .min(LONGEST_PAUSE)
            };
            tokio::time::sleep(pause).await;
        }
        let began = std::time::Instant::now();
        let process =
            Arc::new(Process::start(&self.shared.config, &self.shared.request, &self.shared.counts).await?);
        let mut record = self.record();
        record.stats.loads += 1;
        record.stats.last_load_ms = Some(began.elapsed().as_secs_f64() * 1e3);
        record.stats.facts = Some(process.facts());
        record.stats.pid = process.pid();
        drop(record);
        *slot = Some(process.clone());
        Ok(process)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.shared.record)
    }
}

fn places(request: &LoadRequest) -> usize {
    request.lanes.saturating_mul(2)
}

/// Counts a photo for as long as it is with the engine.
struct InFlight<'a>(&'a Mutex<Record>);

impl<'a> InFlight<'a> {
    fn new(record: &'a Mutex<Record>) -> Self {
        lock(record).stats.in_flight += 1;
        Self(record)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        lock(self.0).stats.in_flight -= 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks, so a poisoned value is a sound one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn absolute(path: PathBuf) -> Result<PathBuf, EngineError> {
    path.canonicalize().map_err(|error| {
        EngineError::new(
            EngineErrorKind::StartFailed,
            format!("{} cannot be resolved: {error}", path.display()),
        )
    })
}

fn guilty(death: &Death) -> PhotoFailure {
    let (code, what) = match death {
        Death::Deadline { .. } => (code::ENGINE_TIMEOUT, "this photo takes too long"),
        Death::OutOfMemory { .. } => (
            code::ENGINE_OUT_OF_MEMORY,
            "this photo takes more memory than there is",
        ),
        Death::Crashed { .. } => (code::ENGINE_CRASHED, "this photo ends the engine process"),
    };
    PhotoFailure::new(
        code,
        true,
        format!("{what}, twice, the second time alone: {death}"),
    )
}
