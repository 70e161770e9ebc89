//! A fleet of one: in-process queue, folder, and an engine whose process is this test executable.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::child::{Lane as EngineLane, LoadRequest, Loaded};
use engine::{
    Bundle, Engine, EngineConfig, EngineError, EngineFacts, PhotoFailure, Precision, PrecisionChoice,
};
use fleet::ids::{BatchId, Tenant};
use fleet::job::{Command, Job};
use fleet::layout::BatchKeys;
use fleet::manifest::{BatchOptions, Item};
use fleet::result::PhotoResult;
use pitch::analysis::{Analysis, Options, OverlayKind, Picture};
use queue::memory::MemoryQueue;
use queue::{Destination, Fanout, Lane, Message, Queue, RetryPolicy, Topology};
use store::{Buckets, FolderStore, Store};
use tokio_util::sync::CancellationToken;
use worker::{Farewell, Worker, WorkerConfig, WorkerError};

/// Bytes that decoded photos may hold.
pub(crate) const BUDGET: u64 = 512 << 20;

/// The engine process's side, with the demo models.
#[test]
#[ignore = "run by the other tests as the engine process"]
fn as_child() {
    let code = engine::child::run();
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
}

/// The engine process's side, with lanes that do what the bytes of the "photo" say.
#[test]
#[ignore = "run by the other tests as the engine process"]
fn as_obedient_child() {
    let code = engine::child::serve(load);
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
}

fn load(request: &LoadRequest) -> Result<Loaded, EngineError> {
    let precision = match request.precision {
        PrecisionChoice::Int8 => Precision::Int8,
        PrecisionChoice::Auto | PrecisionChoice::Fp32 => Precision::Fp32,
    };
    let facts = EngineFacts {
        bundle: "test".into(),
        bundle_digest: Bundle::open(&request.bundle)?.digest(),
        device: "cpu".into(),
        execution_provider_requested: "CPUExecutionProvider".into(),
        execution_provider: "CPUExecutionProvider".into(),
        device_reason: String::new(),
        detector_precision: precision,
        classifier_precision: precision,
        precision_reason: String::new(),
        lanes: request.lanes,
        runtime_version: "none".into(),
        isolation: String::new(),
    };
    let lanes = (0..request.lanes)
        .map(|_| Box::new(Obedient) as Box<dyn EngineLane>)
        .collect();
    Ok(Loaded { facts, lanes })
}

struct Obedient;

impl EngineLane for Obedient {
    fn cost(&self, photo: &[u8], _options: &Options) -> u64 {
        // As much as the whole budget: one after the other.
        if photo.starts_with(b"until ") { BUDGET } else { 0 }
    }

    fn analyse(&mut self, photo: &[u8], options: &Options) -> Result<(Analysis, Vec<Picture>), PhotoFailure> {
        let text = String::from_utf8_lossy(photo);
        let mut words = text.split(' ');
        match words.next() {
            Some("slow") => {
                let time: u64 = words.next().unwrap().parse().unwrap();
                std::thread::sleep(Duration::from_millis(time));
            }
            // Holds its memory until the file is there.
            Some("until") => {
                let gate = Path::new(words.next().unwrap());
                while !gate.exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Some("crash") => std::process::abort(),
            Some("hang") => loop {
                std::thread::park();
            },
            _ => {}
        }
        let pictures = options.overlays.iter().map(|&kind| Picture {
            kind,
            jpeg: format!("{} of {text}", kind.name()).into_bytes(),
        });
        Ok((analysis(), pictures.collect()))
    }
}

pub(crate) fn analysis() -> Analysis {
    serde_json::from_str(include_str!("../../../engine/tests/fixtures/analysis.json")).unwrap()
}

pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bundles/demo")
}

/// An engine whose process runs `child` of this executable.
fn engine_of(child: &str, lanes: usize, bundle: &Path) -> Engine {
    let mut config = EngineConfig::new(bundle);
    config.program = Some(std::env::current_exe().unwrap());
    let exact = format!("harness::{child}");
    config.arguments = ["--exact", &exact, "--ignored", "--nocapture", "--test-threads=1"]
        .map(OsString::from)
        .into();
    config.lanes = NonZeroUsize::new(lanes);
    config.memory_budget = Some(BUDGET);
    config.photo_deadline = Duration::from_secs(20);
    Engine::new(config).unwrap()
}

pub(crate) fn demo_engine() -> Engine {
    engine_of("as_child", 1, &demo())
}

pub(crate) fn obedient_engine(lanes: usize) -> Engine {
    engine_of("as_obedient_child", lanes, &demo())
}

/// [`obedient_engine`] with the bundle in the folder `bundle`.
pub(crate) fn obedient_engine_with(bundle: &Path) -> Engine {
    engine_of("as_obedient_child", 1, bundle)
}

/// With delays that a test can wait for.
pub(crate) fn topology() -> Topology {
    let delays = [1, 2, 3].map(Duration::from_millis);
    Topology::default().with_retry_delays(delays).unwrap()
}

pub(crate) struct Fleet {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) home: Arc<dyn Store>,
    pub(crate) engine: Engine,
    pub(crate) tenant: Tenant,
    pub(crate) batch: BatchId,
    pub(crate) options: BatchOptions,
    pub(crate) config: WorkerConfig,
}

impl Fleet {
    pub(crate) fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Arc::new(FolderStore::new(folder.path()));
        Self::on(engine, folder, home)
    }

    pub(crate) fn on(engine: Engine, folder: tempfile::TempDir, home: Arc<dyn Store>) -> Self {
        let topology = topology();
        Self {
            folder,
            queue: Arc::new(MemoryQueue::new(topology.clone())),
            home,
            engine,
            tenant: "acme".parse().unwrap(),
            batch: batch(1),
            options: BatchOptions::default(),
            config: WorkerConfig {
                id: "w".into(),
                retry: RetryPolicy {
                    delays: topology.retry_delays().collect(),
                },
                heartbeat: Duration::from_millis(50),
                ..WorkerConfig::default()
            },
        }
    }

    pub(crate) async fn put(&self, key: &str, photo: impl Into<Bytes>) {
        self.home.put(key, photo.into(), "image/jpeg").await.unwrap();
    }

    pub(crate) fn job(&self, index: u64, key: &str) -> Job {
        Job {
            tenant: self.tenant.clone(),
            batch: self.batch,
            item: Item {
                index,
                key: key.into(),
                bucket: None,
                size: None,
                etag: None,
                group: Some("g".into()),
                sha256: None,
                archive: None,
            },
            options: self.options.clone(),
            digest: self.options.result_digest(&self.engine.bundle().digest()),
            published_ms: 1_700_000_000_000,
        }
    }

    pub(crate) async fn publish(&self, lane: Lane, jobs: &[Job]) {
        for job in jobs {
            let keys = BatchKeys::new(&job.tenant, job.batch);
            self.put(&keys.manifest(), "{}").await;
        }
        let messages: Vec<_> = jobs.iter().map(|job| Message::json(job).unwrap()).collect();
        self.queue
            .publish(Destination::Lane(lane), &messages)
            .await
            .unwrap();
    }

    /// Says it to every worker.
    pub(crate) async fn broadcast(&self, command: &Command) {
        let message = Message::json(command).unwrap();
        self.queue
            .publish(Destination::Fanout(Fanout::Fleet), &[message])
            .await
            .unwrap();
    }

    /// One photo for each command, published as jobs 0, 1, 2, …
    pub(crate) async fn tell(&self, commands: &[impl AsRef<str>]) {
        for (index, job) in self.jobs(commands).await.into_iter().enumerate() {
            assert_eq!(job.item.index, index as u64);
            self.publish(Lane::Bulk, &[job]).await;
        }
    }

    /// One photo for each command.
    pub(crate) async fn jobs(&self, commands: &[impl AsRef<str>]) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (index, command) in (0..).zip(commands) {
            let key = format!("{}/photos/{index}.jpg", self.tenant);
            self.put(&key, command.as_ref().as_bytes().to_vec()).await;
            jobs.push(self.job(index, &key));
        }
        jobs
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_in(Buckets::new(Arc::clone(&self.home)))
    }

    pub(crate) fn worker_in(&self, buckets: Buckets) -> Worker {
        Worker::new(
            self.config.clone(),
            Arc::clone(&self.queue),
            buckets,
            self.engine.clone(),
        )
    }

    /// Runs a worker until `done` is, and ends it.
    pub(crate) async fn run_until(&self, done: impl Future<Output = ()>) -> Farewell {
        run_until(self.worker(), done).await.unwrap()
    }

    pub(crate) fn keys(&self) -> BatchKeys {
        BatchKeys::new(&self.tenant, self.batch)
    }

    pub(crate) async fn read(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.home.get(key).await.ok()?;
        Some(object.into_bytes().await.unwrap())
    }

    pub(crate) async fn result(&self, index: u64) -> Option<PhotoResult> {
        let body = self.read(&self.keys().result(index)).await?;
        Some(serde_json::from_slice(&body).unwrap())
    }

    /// Waits for the results of photos 0..count, and for their messages to be settled.
    pub(crate) async fn results(&self, count: u64) -> Vec<PhotoResult> {
        let mut results = Vec::new();
        for index in 0..count {
            let mut found = None;
            until(async || {
                found = self.result(index).await;
                found.is_some()
            })
            .await;
            results.push(found.unwrap());
        }
        results
    }

    pub(crate) async fn ready(&self, lane: Lane) -> u64 {
        self.queue.depths().await.unwrap().ready(lane)
    }

    pub(crate) fn overlays(&mut self, kinds: &[OverlayKind]) {
        self.options.analysis.overlays = kinds.to_vec();
    }
}

pub(crate) fn batch(number: u128) -> BatchId {
    ulid::Ulid::from_parts(1_700_000_000_000, number).into()
}

/// Runs `worker` until `done` is, and ends it.
pub(crate) async fn run_until(
    worker: Worker,
    done: impl Future<Output = ()>,
) -> Result<Farewell, WorkerError> {
    let stop = CancellationToken::new();
    let worked = worker.run(stop.clone().cancelled_owned());
    let ending = async {
        done.await;
        stop.cancel();
    };
    tokio::join!(worked, ending).0
}

/// Waits for `condition`, with a limit that only a broken worker reaches.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap();
}
