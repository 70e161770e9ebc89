//! Beside a real broker and a real S3 server, through a network that goes wrong.

use std::sync::Arc;
use std::time::Duration;

use fleet::result::Outcome;
use queue::rabbit::{AmqpUrl, RabbitConfig, RabbitQueue};
use queue::{Lane, Queue, RetryPolicy, Topology};
use store::{Buckets, PrefixedStore, S3Config, S3Store, Store};
use testkit::{Bucket, Proxy, Vhost};
use worker::Worker;

use crate::harness::{Fleet, obedient_engine, run_until, until};

async fn home(bucket: &Bucket, endpoint: &str) -> Arc<dyn Store> {
    let config = S3Config {
        bucket: bucket.name.clone(),
        region: bucket.region.clone(),
        endpoint: Some(endpoint.to_owned()),
        public_endpoint: None,
        path_style: true,
        credentials: Some((bucket.access_key.clone(), bucket.secret_key.clone())),
        attempts: 2,
        stall_timeout: Duration::from_secs(10),
    };
    let all = Arc::new(S3Store::new(config).await);
    Arc::new(PrefixedStore::new(all, &bucket.prefix).unwrap())
}

fn broker(url: AmqpUrl, topology: &Topology) -> Arc<dyn Queue> {
    let mut config = RabbitConfig::new(url);
    config.topology = topology.clone();
    Arc::new(RabbitQueue::start(config).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_workers_and_servers_come_and_go() {
    const PHOTOS: usize = 80;
    let (vhost, bucket) = (Vhost::shared(), Bucket::shared());
    let second = Duration::from_secs(1);
    let topology = Topology::default().with_retry_delays([second]).unwrap();
    let to_store = Proxy::to(bucket.endpoint.trim_start_matches("http://"));
    let endpoint = format!("http://{}", to_store.address());
    let direct: AmqpUrl = vhost.url().parse().unwrap();
    let (host, port) = direct.address();
    let to_broker = Proxy::to(format!("{host}:{port}"));
    let address = to_broker.address();
    let through = direct
        .clone()
        .with_address(address.ip().to_string(), address.port());

    let mut fleet = Fleet::new(obedient_engine(2));
    fleet.queue = broker(direct, &topology);
    fleet.home = home(&bucket, &bucket.endpoint).await;
    fleet.config.retry = RetryPolicy {
        delays: vec![second; 30],
    };
    let commands: Vec<_> = (0..PHOTOS).map(|n| format!("slow 30 {n}")).collect();
    let jobs = fleet.jobs(&commands).await;
    fleet.publish(Lane::Bulk, &jobs).await;
    let stored = async || {
        let page = fleet
            .home
            .list(&fleet.keys().results(), None, 1000)
            .await
            .unwrap();
        page.objects.len()
    };

    // A worker that is killed with photos in hand.
    let its_queue = broker(through.clone(), &topology);
    let buckets = Buckets::new(home(&bucket, &endpoint).await);
    let killed = Worker::new(
        fleet.config.clone(),
        Arc::clone(&its_queue),
        buckets.clone(),
        obedient_engine(2),
    );
    let killed = tokio::spawn(killed.run(std::future::pending()));
    until(async || stored().await >= 5).await;
    killed.abort();
    its_queue.close().await;

    let survivor = Worker::new(
        fleet.config.clone(),
        broker(through, &topology),
        buckets,
        fleet.engine.clone(),
    );
    let trouble = async {
        let before = stored().await;
        until(async || stored().await >= before + 10).await;
        // The S3 server goes away and comes back.
        to_store.refuse();
        to_store.cut();
        tokio::time::sleep(2 * second).await;
        to_store.restore();
        let before = stored().await;
        until(async || stored().await >= before + 10).await;
        // The broker goes away and comes back.
        to_broker.refuse();
        to_broker.cut();
        tokio::time::sleep(second).await;
        to_broker.restore();
        until(async || stored().await == PHOTOS).await;
        until(async || {
            fleet
                .queue
                .depths()
                .await
                .is_ok_and(|depths| depths.ready(Lane::Bulk) == 0)
        })
        .await;
    };
    let farewell = run_until(survivor, trouble).await.unwrap();

    for result in fleet.results(PHOTOS as u64).await {
        assert_eq!(result.outcome, Outcome::Ok, "{:?}", result.failure);
    }
    assert_eq!(farewell.done.failed, 0);
    let depths = fleet.queue.depths().await.unwrap();
    assert_eq!(depths.ready(Lane::Dead), 0);
}
