//! A batch of 10,000 objects by prefix, through RabbitMQ and an S3 server: what it costs to expand.

#![expect(clippy::unwrap_used, reason = "a test, which tells what it measured")]

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{ApiConfig, Shared, coordinator};
use fleet::batch::{Active, Stage};
use fleet::ids::{BatchId, Tenant};
use fleet::job::Job;
use fleet::layout::BatchKeys;
use fleet::manifest::{BatchOptions, BundleRef, MANIFEST_SCHEMA, Manifest, Source};
use futures_util::{StreamExt, stream};
use queue::rabbit::{RabbitConfig, RabbitQueue};
use queue::{Lane, Outcome, Queue};
use store::{Buckets, PrefixedStore, S3Config, S3Store, Store};
use testkit::{Bucket, PATIENCE, Vhost};
use tokio_util::sync::CancellationToken;

const PHOTOS: u64 = 10_000;

async fn bucket(bucket: &Bucket) -> Arc<dyn Store> {
    let config = S3Config {
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        endpoint: Some(bucket.endpoint.clone()),
        public_endpoint: None,
        path_style: true,
        credentials: Some((bucket.access_key.clone(), bucket.secret_key.clone())),
        attempts: 3,
        stall_timeout: Duration::from_secs(60),
    };
    Arc::new(S3Store::new(config).await)
}

fn below(store: &Arc<dyn Store>, prefix: &str) -> Arc<dyn Store> {
    Arc::new(PrefixedStore::new(Arc::clone(store), prefix).unwrap())
}

/// Resident bytes of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_objects_become_ten_thousand_jobs() {
    let (vhost, part) = (Vhost::shared(), Bucket::shared());
    let store = bucket(&part).await;
    let home = below(&store, &format!("{}/home", part.prefix));
    let photos = below(&store, &format!("{}/photos", part.prefix));
    stream::iter(0..PHOTOS)
        .for_each_concurrent(32, |n| {
            let photos = &photos;
            async move {
                let key = format!("day/{}/{n:05}.jpg", n % 7);
                photos.put(&key, "jpeg".into(), "image/jpeg").await.unwrap();
            }
        })
        .await;
    let queue = Arc::new(
        RabbitQueue::connect(RabbitConfig::new(vhost.url().parse().unwrap()))
            .await
            .unwrap(),
    );
    let buckets = Buckets::new(Arc::clone(&home)).with_source("photos", photos);
    let shared = Shared::new(buckets, queue.clone(), ApiConfig::default());
    let (tenant, batch) = (Tenant::local(), BatchId::of_key(&Tenant::local(), &part.prefix));
    let keys = BatchKeys::new(&tenant, batch);
    let options = BatchOptions::default();
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        id: batch.to_string(),
        tenant: tenant.clone(),
        name: None,
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        program: "0.0.0".to_owned(),
        digest: options.result_digest("sha256:0"),
        options,
        bundle: BundleRef {
            name: "demo".to_owned(),
            digest: "sha256:0".to_owned(),
        },
        source: Source::Prefix {
            bucket: "photos".to_owned(),
            prefix: "day/".to_owned(),
        },
        webhook: None,
        request_digest: None,
    };
    let text = serde_json::to_vec(&manifest).unwrap();
    home.put(&keys.manifest(), text.into(), "application/json")
        .await
        .unwrap();

    let stop = CancellationToken::new();
    let coordinator = tokio::spawn(coordinator::run(Arc::clone(&shared), stop.clone()));
    let before = resident_kib();
    let began = Instant::now();
    coordinator::begin(&shared, &tenant, batch, Stage::Expand)
        .await
        .unwrap();
    // The marker says when every job is published, and confirmed.
    let marker_key = fleet::layout::active_key(&tenant, batch);
    let is_published = async || {
        let marker = home.get(&marker_key).await.unwrap().into_bytes().await.unwrap();
        serde_json::from_slice::<Active>(&marker).unwrap().stage == Stage::Finalise
    };
    until(async || home.head(&keys.expanded()).await.unwrap().is_some()).await;
    let listed = began.elapsed();
    until(is_published).await;
    let publishing = began.elapsed() - listed;
    eprintln!(
        "10,000 photos: listed in {listed:?}, published in {publishing:?} ({:.0}/s); resident {before} KiB before, {} KiB \
         after",
        10_000.0 / publishing.as_secs_f64(),
        resident_kib(),
    );
    let mut consumer = queue
        .consume(Lane::Bulk, NonZeroU16::new(500).unwrap())
        .await
        .unwrap();
    let mut seen = vec![false; usize::try_from(PHOTOS).unwrap()];
    let take = async {
        while seen.contains(&false) {
            let delivery = consumer.next().await.unwrap();
            let job: Job = delivery.open().unwrap();
            seen[usize::try_from(job.item.index).unwrap()] = true;
            delivery.settle(Outcome::Done).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, take)
        .await
        .expect("a job for every photo");
    stop.cancel();
    coordinator.await.unwrap().unwrap();
    queue.close().await;
}
