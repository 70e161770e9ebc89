//! What only a real broker and a real S3 server can show.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod server;

use std::sync::Arc;
use std::time::Duration;

use api::ImportRule;
use queue::rabbit::{RabbitConfig, RabbitQueue};
use serde_json::json;
use server::{Server, config};
use store::{Buckets, PrefixedStore, S3Config, S3Store, Store};
use testkit::{Bucket, Vhost};

async fn s3(bucket: &Bucket, name: &str) -> Arc<dyn Store> {
    let store = S3Store::new(S3Config {
        bucket: name.to_owned(),
        region: bucket.region.clone(),
        endpoint: Some(bucket.endpoint.clone()),
        public_endpoint: None,
        path_style: true,
        credentials: Some((bucket.access_key.clone(), bucket.secret_key.clone())),
        attempts: 3,
        stall_timeout: Duration::from_secs(30),
    })
    .await;
    Arc::new(PrefixedStore::new(Arc::new(store), &bucket.prefix).unwrap())
}

/// Photos may be imported from a bucket that does not exist: whoever lists it fails.
async fn start() -> (Vhost, Server) {
    let (vhost, bucket) = (Vhost::shared(), Bucket::shared());
    let queue = RabbitQueue::connect(RabbitConfig::new(vhost.url().parse().unwrap()))
        .await
        .unwrap();
    let absent = s3(&bucket, "absent").await;
    let buckets = Buckets::new(s3(&bucket, &bucket.name).await).with_source("absent", absent);
    let mut config = config();
    config.imports = vec![ImportRule {
        bucket: "absent".into(),
        prefix: String::new(),
        tenants: Vec::new(),
    }];
    let folder = tempfile::tempdir().unwrap();
    let server = Server::over(config, buckets, Arc::new(queue), folder).await;
    (vhost, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_takes_an_upload_of_the_declared_size_only() {
    let (_vhost, server) = start().await;
    let batch = server.create("k", &json!({"source": {"kind": "upload"}})).await;
    let path = batch.header("location").to_owned();
    let photos = json!({"photos": [{"index": 0, "name": "a photo.jpg", "size": 3}]});
    let tickets = server.post(&format!("{path}/uploads"), &photos).await.json();
    let ticket = &tickets["uploads"][0];
    let url = ticket["url"].as_str().unwrap();
    assert!(
        !url.starts_with(&server.url),
        "the bucket takes the photo itself: {url}"
    );
    let headers: Vec<_> = ticket["headers"].as_object().unwrap().iter().collect();
    let headers: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name != "content-length")
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let below = format!("local/batches/{}/photos/", &path[12..]);
    for wrong in ["abcd", "ab", ""] {
        let answer = server.send("PUT", url, &headers, wrong).await;
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    let moved = url.replace("00000000", "00000001");
    assert_eq!(server.send("PUT", &moved, &headers, "abc").await.status, 403);
    let photos = server.shared.buckets.home().list(&below, None, 10);
    assert_eq!(photos.await.unwrap().objects, []);
    assert_eq!(server.send("PUT", url, &headers, "abc").await.status, 200);
    let photos = server.shared.buckets.home().list(&below, None, 10);
    assert_eq!(photos.await.unwrap().objects[0].size, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_by_prefix_is_accepted_without_a_look_at_its_bucket_and_can_be_cancelled() {
    let (_vhost, server) = start().await;
    let body = json!({"source": {"kind": "prefix", "bucket": "absent", "prefix": "day-1/"}});
    let answer = server.create("k", &body).await;
    assert_eq!(
        (answer.status, answer.json()["state"].as_str()),
        (202, Some("expanding")),
        "{answer:?}"
    );
    let again = server.create("k", &body).await;
    assert_eq!(again.json(), answer.json());
    let path = answer.header("location").to_owned();
    assert_eq!(server.get(&path).await.json()["state"], "expanding");
    let cancelled = server.send("POST", &format!("{path}/cancel"), &[], []).await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let (shared, shutdown) = (Arc::clone(&server.shared), server.shutdown.clone());
    tokio::spawn(async move { api::coordinator::run(shared, shutdown).await });
    assert_eq!(server.follow(&path).await["state"], "cancelled");
    assert_eq!(server.send("DELETE", &path, &[], []).await.status, 204);
    let left = server.shared.buckets.home().list("", None, 10).await.unwrap();
    assert_eq!(left.objects, []);
}
