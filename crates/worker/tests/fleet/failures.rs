//! Failures: the photo's, recorded at once; somebody else's, tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet::manifest::ArchiveEntry;
use fleet::result::{Failure, Outcome};
use queue::Lane;
use store::{ByteStream, FolderPage, FolderStore, Object, ObjectInfo, Page, PresignedPut, Store, StoreError};

use crate::harness::{Fleet, demo_engine, obedient_engine, until};

#[tokio::test]
async fn what_no_try_can_help_is_recorded_at_once() {
    let fleet = Fleet::new(demo_engine());
    let whole = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../engine/tests/fixtures/reference/landscape-640x480.jpg"
    ))
    .unwrap();
    let limit = fleet.engine.config().limits.max_bytes;
    fleet.put("acme/empty.jpg", "").await;
    fleet.put("acme/text.jpg", "not a picture at all").await;
    fleet.put("acme/cut.jpg", whole[..whole.len() / 2].to_vec()).await;
    let large = std::fs::File::create(fleet.folder.path().join("acme/large.jpg")).unwrap();
    large.set_len(limit + 1).unwrap();

    let elsewhere = |index, key: &str| {
        let mut job = fleet.job(index, key);
        job.item.bucket = Some("nobody-allowed-it".into());
        job
    };
    let archived = |index, key: &str| {
        let mut job = fleet.job(index, key);
        job.item.archive = Some(ArchiveEntry {
            key: key.into(),
            entry: 0,
        });
        job
    };
    let jobs = [
        (fleet.job(0, "acme/empty.jpg"), "empty_file"),
        (fleet.job(1, "acme/text.jpg"), "unsupported_format"),
        (fleet.job(2, "acme/cut.jpg"), "truncated"),
        (fleet.job(3, "acme/large.jpg"), "too_many_bytes"),
        (fleet.job(4, "acme/absent.jpg"), "not_found"),
        (fleet.job(5, "acme/../../etc/passwd"), "not_found"),
        (elsewhere(6, "acme/p.jpg"), "access_denied"),
        (archived(7, "acme/a.zip"), "unreadable"),
    ];
    let only: Vec<_> = jobs.iter().map(|(job, _)| job.clone()).collect();
    fleet.publish(Lane::Bulk, &only).await;
    let farewell = fleet.run_until(async { drop(fleet.results(8).await) }).await;
    assert_eq!((farewell.done.failed, farewell.done.retried), (8, 0));
    for (job, code) in &jobs {
        let index = job.item.index;
        let result = fleet.result(index).await.unwrap();
        let failure = result.failure.unwrap();
        assert_eq!((failure.code.as_str(), result.outcome), (*code, Outcome::Failed));
        let name = job.item.key.rsplit('/').next().unwrap();
        assert!(
            failure.message.starts_with(&format!("{name}: ")),
            "{}",
            failure.message
        );
        let marker = fleet.read(&fleet.keys().failure(index)).await.unwrap();
        assert_eq!(serde_json::from_slice::<Failure>(&marker).unwrap(), failure);
    }
    assert_eq!(fleet.ready(Lane::Dead).await, 0);
}

#[tokio::test]
async fn a_photo_that_kills_the_engine_fails_and_its_neighbours_do_not() {
    let fleet = Fleet::new(obedient_engine(2));
    let commands = [
        "ok", "slow 20", "ok 2", "crash", "ok 3", "slow 21", "ok 4", "slow 22",
    ];
    fleet.tell(&commands).await;
    let farewell = fleet.run_until(async { drop(fleet.results(8).await) }).await;
    for (command, result) in commands.iter().zip(fleet.results(8).await) {
        let code = result.failure.map(|failure| failure.code);
        let expected = (*command == "crash").then(|| "engine_crashed".to_owned());
        assert_eq!(code, expected, "{command}");
    }
    assert_eq!(
        (farewell.done.ok, farewell.done.failed, farewell.done.retried),
        (7, 1, 0)
    );
}

/// Fails the next so many reads or writes whose key has the part.
struct Flaky {
    inner: FolderStore,
    part: &'static str,
    reads: AtomicU32,
    writes: AtomicU32,
}

impl Flaky {
    fn fails(&self, left: &AtomicU32, key: &str) -> bool {
        key.contains(self.part)
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok()
    }

    fn away(operation: &'static str, key: &str) -> StoreError {
        StoreError {
            kind: store::StoreErrorKind::Unavailable,
            operation,
            key: key.to_owned(),
            source: None,
        }
    }
}

#[async_trait]
impl Store for Flaky {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        if self.fails(&self.reads, key) {
            return Err(Self::away("read", key));
        }
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), StoreError> {
        if self.fails(&self.writes, key) {
            return Err(Self::away("write", key));
        }
        self.inner.put(key, content, content_type).await
    }

    async fn put_stream(&self, key: &str, content: ByteStream, content_type: &str) -> Result<(), StoreError> {
        self.inner.put_stream(key, content, content_type).await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn list_folders(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FolderPage, StoreError> {
        self.inner.list_folders(prefix, after, limit).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.inner.delete(key).await
    }

    async fn presign_put(
        &self,
        key: &str,
        size: u64,
        valid_for: Duration,
    ) -> Result<PresignedPut, StoreError> {
        self.inner.presign_put(key, size, valid_for).await
    }
}

/// A fleet whose store fails `reads` reads and `writes` writes of keys with `part`.
fn flaky(part: &'static str, reads: u32, writes: u32) -> Fleet {
    let folder = tempfile::tempdir().unwrap();
    let home = Arc::new(Flaky {
        inner: FolderStore::new(folder.path()),
        part,
        reads: AtomicU32::new(reads),
        writes: AtomicU32::new(0),
    });
    let fleet = Fleet::on(obedient_engine(1), folder, Arc::clone(&home) as Arc<dyn Store>);
    home.writes.store(writes, Ordering::SeqCst);
    fleet
}

#[tokio::test]
async fn a_store_that_was_away_costs_time_only() {
    for (part, reads, writes) in [("/photos/", 2, 0), ("/results/", 0, 2), ("/cache/", 9, 9)] {
        let fleet = flaky(part, reads, writes);
        fleet.tell(&["ok"]).await;
        let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
        assert_eq!(fleet.result(0).await.unwrap().outcome, Outcome::Ok, "{part}");
        let done = farewell.done;
        let tries = if part == "/cache/" { 0 } else { 2 };
        // What the first try kept for reuse is there for the next.
        let reused = u64::from(part == "/results/");
        assert_eq!(
            (done.ok, done.reused, done.retried),
            (1 - reused, reused, tries),
            "{part}"
        );
    }
}

#[tokio::test]
async fn when_tries_do_not_help_the_photo_fails_with_what_the_last_one_said() {
    let fleet = flaky("/photos/", 99, 0);
    fleet.tell(&["ok"]).await;
    let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
    let failure = fleet.result(0).await.unwrap().failure.unwrap();
    assert_eq!(failure.code, "gave_up");
    assert!(failure.message.contains("cannot read"), "{}", failure.message);
    assert_eq!((farewell.done.failed, farewell.done.retried), (1, 3));
    assert!(fleet.read(&fleet.keys().failure(0)).await.is_some());
}

#[tokio::test]
async fn a_failure_that_cannot_be_written_is_left_to_the_dead_letters() {
    let fleet = flaky("s/0000", 0, 99);
    let job = fleet.job(0, "acme/absent.jpg");
    fleet.publish(Lane::Bulk, &[job]).await;
    fleet
        .run_until(until(async || fleet.ready(Lane::Dead).await == 1))
        .await;
    let mut dead = fleet
        .queue
        .consume(Lane::Dead, std::num::NonZeroU16::MIN)
        .await
        .unwrap();
    let delivery = dead.next().await.unwrap();
    assert_eq!(delivery.attempt(), 4);
    assert!(delivery.death().unwrap().reason.contains("gave up"));
}

#[tokio::test]
async fn another_bundle_is_left_to_others() {
    let fleet = Fleet::new(obedient_engine(1));
    let mut jobs = fleet.jobs(&["ok"]).await;
    jobs[0].digest.bundle = "sha256:another".into();
    fleet.publish(Lane::Bulk, &jobs).await;
    let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
    let failure = fleet.result(0).await.unwrap().failure.unwrap();
    assert_eq!((failure.code.as_str(), farewell.done.retried), ("gave_up", 3));
    assert!(
        failure.message.contains("wants bundle sha256:another"),
        "{}",
        failure.message
    );
    assert_eq!(fleet.engine.stats().loads, 0);
}

#[tokio::test]
async fn a_failure_does_not_replace_an_analysis() {
    let fleet = Fleet::new(obedient_engine(1));
    fleet.tell(&["ok"]).await;
    let done = async {
        fleet.results(1).await;
        // The same job once more, when its photo is gone.
        let job = fleet.job(0, "acme/gone.jpg");
        fleet.publish(Lane::Express, &[job]).await;
        fleet.tell(&["ok", "ok 2"]).await;
        fleet.results(2).await;
    };
    let farewell = fleet.run_until(done).await;
    assert_eq!(fleet.result(0).await.unwrap().outcome, Outcome::Ok);
    assert!(fleet.read(&fleet.keys().failure(0)).await.is_none());
    assert_eq!(farewell.done.failed, 0);
}
