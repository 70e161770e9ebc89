//! A fleet in one process: bucket, queue, a worker that pretends, and coordinators that can be stopped anywhere.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::batch::{Finished, Stage};
use fleet::event::Event;
use fleet::failure::FailureCode;
use fleet::ids::{BatchId, Tenant};
use fleet::job::Job;
use fleet::layout::{BatchKeys, active_key};
use fleet::manifest::{BatchOptions, BundleRef, MANIFEST_SCHEMA, Manifest, Source};
use fleet::result::{Outcome as PhotoOutcome, PhotoRecord, PhotoResult, RESULT_SCHEMA};
use queue::memory::MemoryQueue;
use queue::priority::ExpressFirst;
use queue::{Destination, Fanout, Lane, Message, Outcome, Queue, Topology};
use store::{Buckets, FolderStore, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use ulid::Ulid;

use crate::clock::Clock;
use crate::config::ApiConfig;
use crate::coordinator;
use crate::shared::Shared;

/// By the paused clock: longer than any recovery takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// tokio's clock as the time of day.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

pub(super) struct Fleet {
    pub(super) home: Arc<dyn Store>,
    pub(super) photos: Arc<dyn Store>,
    pub(super) queue: Arc<MemoryQueue>,
    pub(super) tenant: Tenant,
    clock: Arc<dyn Clock>,
    /// How often each photo was analysed.
    pub(super) analysed: Arc<Mutex<BTreeMap<(BatchId, u64), u64>>>,
    /// Photos whose key has this in it fail, until it is cleared.
    pub(super) bad: Arc<Mutex<Option<&'static str>>>,
    tasks: Vec<JoinHandle<()>>,
    _folders: [TempDir; 2],
}

impl Fleet {
    /// Without coordinators and workers.
    pub(super) fn new() -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        Self {
            home: Arc::new(FolderStore::new(folders[0].path())),
            photos: Arc::new(FolderStore::new(folders[1].path())),
            queue: Arc::new(MemoryQueue::new(Topology::default())),
            tenant: Tenant::local(),
            clock: Arc::new(PausedClock(Instant::now())),
            analysed: Arc::default(),
            bad: Arc::new(Mutex::new(Some("bad"))),
            tasks: Vec::new(),
            _folders: folders,
        }
    }

    /// What a process has, over `home` and `queue`.
    pub(super) fn shared_over(
        &self,
        home: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        config: ApiConfig,
    ) -> Arc<Shared> {
        let buckets = Buckets::new(home).with_source("photos", Arc::clone(&self.photos));
        Shared::with_clock(buckets, queue, config, Arc::clone(&self.clock))
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared_over(Arc::clone(&self.home), self.queue.clone(), ApiConfig::default())
    }

    /// Starts a coordinator, which goes with the answer.
    pub(super) fn coordinate(&self, shared: &Arc<Shared>) -> Coordinator {
        let stop = CancellationToken::new();
        let (shared, token) = (Arc::clone(shared), stop.clone());
        let task = tokio::spawn(async move {
            let ears = crate::listener::run(&shared, &token);
            let (run, _) = tokio::join!(coordinator::run(Arc::clone(&shared), token.clone()), ears);
            run.unwrap();
        });
        Coordinator {
            task,
            stop: stop.drop_guard(),
        }
    }

    /// Starts a worker.
    pub(super) fn work(&mut self) {
        let prefetch = NonZeroU16::new(4).unwrap();
        let (queue, home) = (Arc::clone(&self.queue), Arc::clone(&self.home));
        let (analysed, bad) = (Arc::clone(&self.analysed), Arc::clone(&self.bad));
        self.tasks.push(tokio::spawn(async move {
            let express = queue.consume(Lane::Express, prefetch).await.unwrap();
            let bulk = queue.consume(Lane::Bulk, prefetch).await.unwrap();
            let mut lanes = ExpressFirst::new(express, bulk);
            while let Some(delivery) = lanes.next().await {
                if let Ok(job) = delivery.open::<Job>() {
                    let bad = *bad.lock().unwrap();
                    pretend(&queue, &home, &job, bad, &analysed).await;
                    delivery.settle(Outcome::Done).await.unwrap();
                } else {
                    let reason = "not a job".to_owned();
                    delivery.settle(Outcome::Reject { reason }).await.unwrap();
                }
            }
        }));
    }

    /// Puts photos into the bucket that is imported from.
    pub(super) async fn photograph(&self, keys: &[&str]) {
        for key in keys {
            self.photos
                .put(key, (*key).to_owned().into(), "image/jpeg")
                .await
                .unwrap();
        }
    }

    pub(super) fn manifest(&self, batch: BatchId, source: Source) -> Manifest {
        let options = BatchOptions::default();
        Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            id: batch.to_string(),
            tenant: self.tenant.clone(),
            name: None,
            created_at: "2023-11-14T22:13:20Z".to_owned(),
            program: "0.0.0".to_owned(),
            digest: options.result_digest("sha256:0"),
            options,
            bundle: BundleRef {
                name: "demo".to_owned(),
                digest: "sha256:0".to_owned(),
            },
            source,
            webhook: None,
            request_digest: None,
        }
    }

    /// Writes the manifest of a new batch.
    pub(super) async fn declare(&self, source: Source) -> (BatchId, BatchKeys) {
        let batch = BatchId::from(Ulid::generate());
        let keys = BatchKeys::new(&self.tenant, batch);
        self.put(&keys.manifest(), &self.manifest(batch, source)).await;
        (batch, keys)
    }

    pub(super) async fn put(&self, key: &str, document: &impl serde::Serialize) {
        let text = serde_json::to_vec(document).unwrap();
        self.home.put(key, text.into(), "application/json").await.unwrap();
    }

    /// Submits every photo below `prefix` of the bucket that is imported from.
    pub(super) async fn submit(&self, prefix: &str) -> (BatchId, BatchKeys) {
        let source = Source::Prefix {
            bucket: "photos".to_owned(),
            prefix: prefix.to_owned(),
        };
        let (batch, keys) = self.declare(source).await;
        self.begin(batch, Stage::Expand).await;
        (batch, keys)
    }

    pub(super) async fn begin(&self, batch: BatchId, stage: Stage) {
        coordinator::begin(&self.shared(), &self.tenant, batch, stage)
            .await
            .unwrap();
    }

    /// Waits until the batch has its final state and nobody is responsible for it any more.
    pub(super) async fn finished(&self, batch: BatchId) -> Finished {
        let keys = BatchKeys::new(&self.tenant, batch);
        let end = async {
            let marker = active_key(&self.tenant, batch);
            while self.home.head(&marker).await.unwrap().is_some()
                || self.home.head(&keys.finished()).await.unwrap().is_none()
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("the batch ends");
        self.get(&keys.finished()).await.expect("a final state")
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        crate::objects::read(&self.home, key).await.unwrap()
    }

    /// The keys below `prefix`, without it.
    pub(super) async fn names(&self, prefix: &str) -> Vec<String> {
        let page = self.home.list(prefix, None, 1000).await.unwrap();
        page.objects
            .into_iter()
            .map(|object| object.key[prefix.len()..].to_owned())
            .collect()
    }

    pub(super) fn analyses(&self, batch: BatchId) -> Vec<u64> {
        let analysed = self.analysed.lock().unwrap();
        analysed
            .iter()
            .filter(|((of, _), _)| *of == batch)
            .map(|(_, times)| *times)
            .collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Dropped, it stops in good order; [killed](Self::kill), in the middle of whatever it does.
pub(super) struct Coordinator {
    task: JoinHandle<()>,
    #[expect(dead_code, reason = "stops the task when it is dropped")]
    stop: DropGuard,
}

impl Coordinator {
    pub(super) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// What a worker does, without looking at the photo.
async fn pretend(
    queue: &MemoryQueue,
    home: &Arc<dyn Store>,
    job: &Job,
    bad: Option<&str>,
    analysed: &Mutex<BTreeMap<(BatchId, u64), u64>>,
) {
    let keys = BatchKeys::new(&job.tenant, job.batch);
    let index = job.item.index;
    let gone = home.head(&keys.cancelled()).await.unwrap().is_some();
    if gone || home.head(&keys.result(index)).await.unwrap().is_some() {
        return;
    }
    *analysed.lock().unwrap().entry((job.batch, index)).or_default() += 1;
    let failed = bad.is_some_and(|bad| job.item.key.contains(bad));
    let failure = failed.then(|| FailureCode::EngineCrashed.failure("as the test wants it"));
    let result = PhotoResult {
        schema: RESULT_SCHEMA.to_owned(),
        batch: job.batch.to_string(),
        index,
        group: job.item.group.clone(),
        photo: PhotoRecord {
            key: job.item.key.clone(),
            bytes: job.item.size,
            ..PhotoRecord::default()
        },
        outcome: if failed {
            PhotoOutcome::Failed
        } else {
            PhotoOutcome::Ok
        },
        failure: failure.clone(),
        detection: None,
        surface: None,
        classification: None,
        advice: None,
        overlays: BTreeMap::default(),
        digest: job.digest.clone(),
        worker: Default::default(),
        timing_ms: Default::default(),
    };
    if let Some(failure) = failure {
        crate::objects::write(home, &keys.failure(index), &failure)
            .await
            .unwrap();
    }
    crate::objects::write(home, &keys.result(index), &result)
        .await
        .unwrap();
    let event = Event::Photo {
        tenant: job.tenant.clone(),
        batch: job.batch,
        index,
        outcome: result.outcome,
        class: None,
        code: None,
        worker: "test".to_owned(),
        total_ms: 1.0,
        reused: false,
    };
    let to = Destination::Fanout(Fanout::Events);
    queue
        .publish(to, &[Message::json(&event).unwrap()])
        .await
        .unwrap();
}

/// Counts calls, for tests that stop a coordinator at each of them.
#[derive(Debug, Default)]
pub(super) struct Calls(AtomicU64);

impl Calls {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn so_far(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
