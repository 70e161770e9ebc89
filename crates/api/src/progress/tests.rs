use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet::batch::{Active, BatchState, Counts, Expanded, Finished, Stage};
use fleet::layout::active_key;
use fleet::manifest::{BatchOptions, BundleRef, MANIFEST_SCHEMA, Manifest, Source};
use fleet::result::Outcome;
use store::{FolderStore, Store};
use tempfile::TempDir;

use super::*;

#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Bench {
    progress: Progress,
    home: Arc<dyn Store>,
    clock: Arc<Hand>,
    tenant: Tenant,
    batch: BatchId,
    keys: BatchKeys,
    _folder: TempDir,
}

impl Bench {
    async fn with_photos(photos: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home: Arc<dyn Store> = Arc::new(FolderStore::new(folder.path()));
        let clock = Arc::new(Hand(AtomicU64::new(1_700_000_000_000)));
        let (tenant, batch) = (Tenant::local(), "01KB2Z3C9Q4T7V8W5X6Y0A1B2C".parse().unwrap());
        let bench = Self {
            progress: Progress::new(Buckets::new(Arc::clone(&home)), clock.clone()),
            keys: BatchKeys::new(&tenant, batch),
            home,
            clock,
            tenant,
            batch,
            _folder: folder,
        };
        let options = BatchOptions::default();
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            id: batch.to_string(),
            tenant: bench.tenant.clone(),
            name: None,
            created_at: "2023-11-14T22:13:20Z".to_owned(),
            program: "0.0.0".to_owned(),
            digest: options.result_digest("sha256:0"),
            options,
            bundle: BundleRef {
                name: "demo".to_owned(),
                digest: "sha256:0".to_owned(),
            },
            source: Source::Upload,
            webhook: None,
            request_digest: None,
        };
        bench.put(&bench.keys.manifest(), &manifest).await;
        if photos > 0 {
            bench.put(&active_key(&bench.tenant, batch), &"").await;
            let expanded = Expanded {
                photos,
                ..Expanded::default()
            };
            bench.put(&bench.keys.expanded(), &expanded).await;
        }
        bench
    }

    async fn put(&self, key: &str, document: &(impl serde::Serialize + Sync)) {
        crate::objects::write(&self.home, key, document).await.unwrap();
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn photo(&self, index: u64, outcome: Outcome) {
        self.progress.record(&Event::Photo {
            tenant: self.tenant.clone(),
            batch: self.batch,
            index,
            outcome,
            class: None,
            code: None,
            worker: "w".to_owned(),
            total_ms: 1.0,
            reused: false,
        });
    }

    async fn status(&self) -> BatchStatus {
        self.progress
            .status(&self.tenant, self.batch)
            .await
            .unwrap()
            .expect("a batch")
    }
}

fn active(stage: Stage) -> Active {
    Active {
        chain: "c".to_owned(),
        touched_ms: 0,
        stage,
        done: 0,
        since_ms: 0,
        traceparent: None,
        begun_ms: 0,
    }
}

fn counts(photos: u64, ok: u64, failed: u64) -> Counts {
    Counts { photos, ok, failed }
}

#[tokio::test]
async fn a_batch_is_counted_once_and_then_follows_events() {
    let bench = Bench::with_photos(4).await;
    bench.put(&bench.keys.result(0), &"").await;
    bench.put(&bench.keys.failure(1), &"").await;
    bench.put(&bench.keys.result(1), &"").await;
    let status = bench.status().await;
    assert_eq!(
        (status.state, status.counts),
        (BatchState::Running, counts(4, 1, 1))
    );
    let mut changes = bench.progress.changes(&bench.tenant, bench.batch);
    changes.mark_unchanged();
    bench.pass(1_000);
    bench.photo(2, Outcome::Failed);
    bench.photo(2, Outcome::Failed);
    assert!(changes.has_changed().unwrap());
    let status = bench.status().await;
    assert_eq!(status.counts, counts(4, 1, 2));
    assert_eq!((status.rate, status.eta_seconds), (Some(1.0), Some(1.0)));
    bench.photo(3, Outcome::Ok);
    let status = bench.status().await;
    assert_eq!(
        (status.state, status.counts),
        (BatchState::Finalising, counts(4, 2, 2))
    );
}

#[tokio::test]
async fn what_no_event_said_is_found_in_the_bucket_behind_a_later_answer() {
    let bench = Bench::with_photos(2).await;
    assert_eq!(bench.status().await.counts, counts(2, 0, 0));
    bench.put(&bench.keys.result(0), &"").await;
    assert_eq!(bench.status().await.counts, counts(2, 0, 0), "still fresh");
    let mut changes = bench.progress.changes(&bench.tenant, bench.batch);
    changes.mark_unchanged();
    bench.pass(6_000);
    assert_eq!(bench.status().await.counts, counts(2, 0, 0), "from memory");
    changes.changed().await.unwrap();
    assert_eq!(bench.status().await.counts, counts(2, 1, 0));
}

#[tokio::test]
async fn states_are_those_of_the_bucket() {
    let bench = Bench::with_photos(0).await;
    assert_eq!(bench.status().await.state, BatchState::Uploading);
    bench
        .put(&active_key(&bench.tenant, bench.batch), &active(Stage::Expand))
        .await;
    bench.progress.invalidate(&bench.tenant, bench.batch);
    assert_eq!(bench.status().await.state, BatchState::Expanding);
    let finished = Finished {
        state: BatchState::Completed,
        at: "2023-11-14T22:13:21Z".to_owned(),
        counts: counts(3, 2, 1),
        reason: None,
    };
    bench.put(&bench.keys.finished(), &finished).await;
    bench.progress.record(&Event::Batch {
        tenant: bench.tenant.clone(),
        batch: bench.batch,
        state: BatchState::Completed,
    });
    let status = bench.status().await;
    assert_eq!(
        (status.state, status.counts),
        (BatchState::Completed, counts(3, 2, 1))
    );
    assert_eq!(status.exports.len(), 6);
    let retry = active(Stage::Retry);
    bench.put(&active_key(&bench.tenant, bench.batch), &retry).await;
    bench.progress.invalidate(&bench.tenant, bench.batch);
    assert_eq!(
        bench.status().await.state,
        BatchState::Expanding,
        "its failures are taken up"
    );
    bench.home.delete_below(bench.keys.root()).await.unwrap();
    bench.progress.invalidate(&bench.tenant, bench.batch);
    assert_eq!(
        bench.progress.status(&bench.tenant, bench.batch).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn the_last_result_is_reported_once_and_only_while_it_is_waited_for() {
    let bench = Bench::with_photos(2).await;
    let now = bench.clock.now_ms();
    bench
        .progress
        .seed(&bench.tenant, bench.batch, 2, &Census::default());
    bench.photo(0, Outcome::Ok);
    bench
        .progress
        .report_completion(&bench.tenant, bench.batch, now + 1_000);
    bench.photo(1, Outcome::Ok);
    bench.photo(1, Outcome::Ok);
    assert_eq!(
        bench.progress.next_complete().await,
        (bench.tenant.clone(), bench.batch)
    );
    assert!(bench.progress.complete().is_empty());
    // What is complete already is reported at once.
    bench
        .progress
        .report_completion(&bench.tenant, bench.batch, now + 1_000);
    assert_eq!(bench.progress.complete().len(), 1);
}

#[tokio::test]
async fn memory_is_bounded_by_what_is_watched() {
    let bench = Bench::with_photos(1).await;
    let _watch = bench.progress.changes(&bench.tenant, bench.batch);
    for n in 0..3 * TRACKED as u64 {
        let batch = BatchId::of_key(&bench.tenant, &n.to_string());
        bench.progress.seed(&bench.tenant, batch, 1, &Census::default());
    }
    assert!(bench.progress.lock().len() <= TRACKED + 1);
    assert!(
        bench
            .progress
            .lock()
            .contains(&(bench.tenant.clone(), bench.batch))
    );
}
