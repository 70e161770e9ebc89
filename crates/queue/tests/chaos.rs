//! Brokers that stop, start, die and freeze; connections that are cut and that go silent. Nothing is lost, and nobody
//! has to help.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions beside the tests may fail, too"
)]

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queue::rabbit::{AmqpUrl, RabbitConfig, RabbitQueue};
use queue::{Connection, Consumer, Delivery, Destination, Lane, Message, Outcome, Queue, QueueError};
use testkit::{Proxy, Server, Vhost};
use tokio::sync::mpsc;

/// Far beyond what anything here takes; only a failure waits for so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Times of a test's scale. The broker gives up a silent connection after two heartbeats, and so do we.
fn config(url: &str) -> RabbitConfig {
    let mut config = RabbitConfig::new(url.parse().unwrap());
    config.heartbeat = Duration::from_secs(1);
    config.connect_timeout = Duration::from_secs(2);
    config.backoff_min = Duration::from_millis(50);
    config.backoff_max = Duration::from_millis(500);
    config.watchdog = Duration::from_millis(500);
    config.publish_timeout = PATIENCE;
    config
}

async fn connect(url: &str) -> RabbitQueue {
    RabbitQueue::connect(config(url)).await.unwrap()
}

fn at_most(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

fn numbers(from: u32, to: u32) -> Vec<Message> {
    (from..to).map(|n| Message::new(n.to_string())).collect()
}

fn number(delivery: &Delivery) -> u32 {
    std::str::from_utf8(delivery.body()).unwrap().parse().unwrap()
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain: {what}"))
}

async fn take(consumer: &mut Box<dyn Consumer>) -> Delivery {
    in_time("a delivery", consumer.next()).await.unwrap()
}

async fn until(queue: &RabbitQueue, what: &str, holds: impl FnMut(&Connection) -> bool) {
    let mut connection = queue.connection();
    in_time(what, connection.wait_for(holds)).await.unwrap();
}

async fn until_connected(queue: &RabbitQueue) {
    until(queue, "connected", Connection::is_ready).await;
}

async fn until_disconnected(queue: &RabbitQueue) {
    until(queue, "disconnected", |connection| {
        matches!(connection, Connection::Connecting { .. })
    })
    .await;
}

/// Does what blocks elsewhere, so that this runtime goes on.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A broker's bad day, and its recovery.
fn disturb(server: &Server, how: &str) {
    match how {
        "stop" => server.stop(),
        "kill" => server.kill(),
        _ => server.freeze(),
    }
}

fn recover(server: &mut Server, how: &str) {
    match how {
        "stop" | "kill" => server.start(),
        _ => server.thaw(),
    }
}

/// Publishes small windows until told to stop; returns how many numbers were published.
async fn publish_until(queue: Arc<RabbitQueue>, enough: Arc<AtomicBool>) -> u32 {
    let mut published = 0;
    while !enough.load(Ordering::Relaxed) {
        let window = numbers(published, published + 20);
        queue
            .publish(Destination::Lane(Lane::Bulk), &window)
            .await
            .unwrap();
        published += 20;
        // A trickle, so that every disturbance meets some in flight; the rate is measured elsewhere.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    published
}

/// Settles whatever comes, and tells about it.
async fn consume_into(queue: Arc<RabbitQueue>, seen: mpsc::UnboundedSender<u32>) {
    let mut consumer = queue.consume(Lane::Bulk, at_most(20)).await.unwrap();
    while let Some(delivery) = consumer.next().await {
        let number = number(&delivery);
        delivery.settle(Outcome::Done).await.unwrap();
        let _ = seen.send(number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_the_broker_stops_dies_and_freezes() {
    let mut server = aside(Server::rabbitmq).await;
    let url = server.variable("PITCHFLEET_TEST_AMQP");
    let publisher = Arc::new(connect(&url).await);
    let readers = [Arc::new(connect(&url).await), Arc::new(connect(&url).await)];
    let (tell, mut told) = mpsc::unbounded_channel();
    for reader in &readers {
        tokio::spawn(consume_into(Arc::clone(reader), tell.clone()));
    }
    let enough = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publish_until(Arc::clone(&publisher), Arc::clone(&enough)));

    let everybody = [&publisher, &readers[0], &readers[1]];
    let mut seen = BTreeSet::new();
    for how in ["stop", "kill", "freeze"] {
        // Only what comes from now on says that all work again.
        while let Ok(number) = told.try_recv() {
            seen.insert(number);
        }
        seen.insert(
            in_time("a delivery before the next disturbance", told.recv())
                .await
                .unwrap(),
        );
        server = aside(move || {
            disturb(&server, how);
            server
        })
        .await;
        for queue in everybody {
            until_disconnected(queue).await;
        }
        server = aside(move || {
            recover(&mut server, how);
            server
        })
        .await;
        for queue in everybody {
            until_connected(queue).await;
        }
    }
    enough.store(true, Ordering::Relaxed);
    let published = in_time("the last confirm", publishing).await.unwrap();
    while seen.len() < published as usize {
        seen.insert(in_time("every message", told.recv()).await.unwrap());
    }
    assert!(
        seen.into_iter().eq(0..published),
        "what was published, and nothing else"
    );
    for queue in everybody {
        assert!(queue.counters().reconnects >= 3);
        // In good order: nothing is in hand any more, so that the queue has run empty when it says so.
        queue.close().await;
    }
    let after = connect(&url).await;
    assert_eq!(after.depths().await.unwrap().ready(Lane::Bulk), 0);
}

/// A broker's virtual host behind a network that goes wrong.
async fn behind_a_proxy() -> (Vhost, Proxy, RabbitConfig) {
    let vhost = aside(Vhost::shared).await;
    let direct: AmqpUrl = vhost.url().parse().unwrap();
    let (host, port) = direct.address();
    let proxy = Proxy::to(format!("{host}:{port}"));
    let mut config = config(vhost.url());
    config.url = direct.clone().with_address("127.0.0.1", proxy.address().port());
    (vhost, proxy, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_from_before_a_cut_is_stale_and_comes_again() {
    let (_vhost, proxy, config) = behind_a_proxy().await;
    let queue = RabbitQueue::connect(config).await.unwrap();
    queue
        .publish(Destination::Lane(Lane::Bulk), &numbers(0, 3))
        .await
        .unwrap();
    let mut consumer = queue.consume(Lane::Bulk, at_most(3)).await.unwrap();
    let in_hand = take(&mut consumer).await;
    proxy.cut();
    // The two that were prefetched are the broker's again, and all three come anew, in whatever order.
    let mut again: Vec<_> = Vec::new();
    while again.len() < 3 {
        let delivery = take(&mut consumer).await;
        if delivery.redeliveries() > 0 {
            again.push(delivery);
        } else {
            // Taken in the moment before the cut was noticed.
            drop(delivery);
        }
    }
    let stale = queue.counters().stale;
    in_hand.settle(Outcome::Done).await.unwrap();
    assert_eq!(
        queue.counters().stale,
        stale + 1,
        "settling it does nothing but count"
    );
    let mut numbers: Vec<_> = again.iter().map(number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
    for delivery in again {
        delivery.settle(Outcome::Done).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_while_the_broker_is_away_waits_for_it() {
    let (_vhost, proxy, config) = behind_a_proxy().await;
    let queue = Arc::new(RabbitQueue::connect(config).await.unwrap());
    proxy.refuse();
    proxy.cut();
    until_disconnected(&queue).await;
    let publishing = Arc::clone(&queue);
    let publish = tokio::spawn(async move {
        publishing
            .publish(Destination::Lane(Lane::Express), &numbers(0, 10))
            .await
    });
    let not_now = queue.depths().await.unwrap_err();
    assert!(
        matches!(not_now, QueueError::Lost(_)),
        "not knowing is not the same as empty: {not_now:?}"
    );
    proxy.restore();
    in_time("the confirm", publish).await.unwrap().unwrap();
    let mut consumer = queue.consume(Lane::Express, at_most(1)).await.unwrap();
    for expected in 0..10 {
        let delivery = take(&mut consumer).await;
        assert_eq!(number(&delivery), expected);
        delivery.settle(Outcome::Done).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_that_has_no_time_left_says_what_stood_in_the_way() {
    let (_vhost, proxy, mut config) = behind_a_proxy().await;
    config.publish_timeout = Duration::from_millis(200);
    let queue = RabbitQueue::connect(config).await.unwrap();
    proxy.refuse();
    proxy.cut();
    until_disconnected(&queue).await;
    let late = queue
        .publish(Destination::Lane(Lane::Bulk), &numbers(0, 7))
        .await
        .unwrap_err();
    assert!(
        matches!(
            late,
            QueueError::Unconfirmed {
                unconfirmed: 7,
                total: 7,
                ..
            }
        ),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_is_noticed_by_its_heartbeat() {
    let (vhost, proxy, mut config) = behind_a_proxy().await;
    config.watchdog = PATIENCE;
    let queue = RabbitQueue::connect(config).await.unwrap();
    let mut consumer = queue.consume(Lane::Bulk, at_most(5)).await.unwrap();
    proxy.silence();
    until_disconnected(&queue).await;
    proxy.cut();
    proxy.restore();
    let other = connect(vhost.url()).await;
    other
        .publish(Destination::Lane(Lane::Bulk), &numbers(0, 1))
        .await
        .unwrap();
    take(&mut consumer).await.settle(Outcome::Done).await.unwrap();
}

/// As far as the client can tell all is well (heartbeats are as good as off), and yet nothing comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_hangs_is_noticed_by_the_watchdog() {
    let (vhost, proxy, mut config) = behind_a_proxy().await;
    config.heartbeat = Duration::from_secs(3600);
    let queue = RabbitQueue::connect(config).await.unwrap();
    let mut consumer = queue.consume(Lane::Bulk, at_most(5)).await.unwrap();
    proxy.silence();
    let other = connect(vhost.url()).await;
    other
        .publish(Destination::Lane(Lane::Bulk), &numbers(0, 1))
        .await
        .unwrap();
    until_disconnected(&queue).await;
    proxy.restore();
    take(&mut consumer).await.settle(Outcome::Done).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_only_the_publishing_connection_strands_nothing() {
    let (_vhost, proxy, config) = behind_a_proxy().await;
    let queue = RabbitQueue::connect(config).await.unwrap();
    queue
        .publish(Destination::Lane(Lane::Bulk), &numbers(0, 30))
        .await
        .unwrap();
    let mut consumer = queue.consume(Lane::Bulk, at_most(10)).await.unwrap();
    let in_hand = take(&mut consumer).await;
    proxy.cut_newest();
    let lost = |_: &Connection| queue.counters().reconnects == 1;
    until(&queue, "a new session", lost).await;
    let mut seen = BTreeSet::new();
    // The other half is closed, so that the broker waits for nothing there: what is in hand comes again, too.
    while seen.len() < 30 {
        let delivery = take(&mut consumer).await;
        seen.insert(number(&delivery));
        delivery.settle(Outcome::Done).await.unwrap();
    }
    assert!(seen.into_iter().eq(0..30));
    in_hand.settle(Outcome::Done).await.unwrap();
    assert!(queue.counters().stale >= 1, "somebody else had it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_arguments_is_a_conflict_with_a_remedy() {
    let vhost = aside(Vhost::shared).await;
    let name = vhost.url().rsplit_once('/').unwrap().1.to_owned();
    let path = format!("queues/{name}/pitchfleet.jobs");
    let vhost = aside(move || {
        assert_eq!(
            vhost.ask("PUT", &path).status,
            201,
            "a classic queue of that name"
        );
        vhost
    })
    .await;
    let conflict = RabbitQueue::connect(config(vhost.url())).await.unwrap_err();
    assert!(
        matches!(&conflict, QueueError::Conflict { name, .. } if name == "pitchfleet.jobs"),
        "{conflict:?}"
    );
    let text = conflict.to_string();
    assert!(
        text.contains("rabbitmqctl delete_queue pitchfleet.jobs"),
        "{text}"
    );

    // A process that is already waiting for its broker says the same, and goes on when somebody has helped.
    let waiting = RabbitQueue::start(config(vhost.url())).unwrap();
    let told = |connection: &Connection| {
        matches!(connection, Connection::Connecting { error: Some(error), .. }
            if matches!(**error, QueueError::Conflict { .. }))
    };
    until(&waiting, "the conflict", told).await;
    let _vhost = aside(move || {
        vhost.ask("DELETE", &format!("queues/{name}/pitchfleet.jobs"));
        vhost
    })
    .await;
    until_connected(&waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_deletes_is_made_again() {
    let vhost = aside(Vhost::shared).await;
    let queue = connect(vhost.url()).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(5)).await.unwrap();
    let name = vhost.url().rsplit_once('/').unwrap().1.to_owned();
    let _vhost = aside(move || {
        vhost.ask("DELETE", &format!("queues/{name}/pitchfleet.jobs"));
        vhost
    })
    .await;
    queue
        .publish(Destination::Lane(Lane::Bulk), &numbers(0, 1))
        .await
        .unwrap();
    take(&mut consumer).await.settle(Outcome::Done).await.unwrap();
}
