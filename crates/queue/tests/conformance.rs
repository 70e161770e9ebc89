//! One suite for every adapter: whatever holds for the broker holds in one process. The broker is the RabbitMQ that
//! `scripts/test.sh` starts; each test has a virtual host of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the functions beside the tests may fail, too"
)]

use std::num::NonZeroU16;
use std::time::Duration;

use queue::memory::MemoryQueue;
use queue::priority::ExpressFirst;
use queue::rabbit::{RabbitConfig, RabbitQueue};
use queue::{Consumer, Delivery, Destination, Fanout, Lane, Message, Outcome, Queue, QueueError, Topology};
use testkit::Vhost;

const DELAYS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(600)];
/// Far beyond what anything here takes; only a failure waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn topology(prefix: &str) -> Topology {
    Topology::new(prefix).unwrap().with_retry_delays(DELAYS).unwrap()
}

async fn rabbit() -> (Vhost, RabbitQueue) {
    let vhost = Vhost::shared();
    let mut config = RabbitConfig::new(vhost.url().parse().unwrap());
    config.topology = topology("pitchfleet");
    let queue = RabbitQueue::connect(config).await.unwrap();
    (vhost, queue)
}

fn at_most(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

async fn put(queue: &dyn Queue, lane: Lane, bodies: &[&str]) {
    let messages: Vec<_> = bodies
        .iter()
        .map(|body| Message::new(body.as_bytes().to_vec()))
        .collect();
    queue.publish(Destination::Lane(lane), &messages).await.unwrap();
}

async fn take(consumer: &mut Box<dyn Consumer>) -> Delivery {
    tokio::time::timeout(PATIENCE, consumer.next())
        .await
        .expect("a delivery in time")
        .expect("an open consumer")
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.body().to_vec()).unwrap()
}

async fn finish(delivery: Delivery) {
    delivery.settle(Outcome::Done).await.unwrap();
}

/// Waits until `lane` has `ready` messages: brokers count a moment later.
async fn until_ready(queue: &dyn Queue, lane: Lane, ready: u64) {
    let count = async {
        while queue.depths().await.unwrap().ready(lane) != ready {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, count)
        .await
        .unwrap_or_else(|_| panic!("{lane:?} never had {ready} ready"));
}

async fn what_is_published_comes_in_order(queue: &dyn Queue) {
    let bodies: Vec<String> = (0..500).map(|i| i.to_string()).collect();
    put(
        queue,
        Lane::Bulk,
        &bodies.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(20)).await.unwrap();
    for body in bodies {
        let delivery = take(&mut consumer).await;
        assert_eq!(
            (text(&delivery), delivery.attempt(), delivery.redeliveries()),
            (body, 1, 0)
        );
        finish(delivery).await;
    }
    until_ready(queue, Lane::Bulk, 0).await;
}

async fn a_message_that_is_dropped_comes_again(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["a"]).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(1)).await.unwrap();
    drop(take(&mut consumer).await);
    let again = take(&mut consumer).await;
    assert_eq!((text(&again), again.attempt()), ("a".to_owned(), 1));
    assert!(again.redeliveries() >= 1);
    finish(again).await;
}

async fn a_retry_comes_back_with_its_attempt_and_reason(queue: &dyn Queue) {
    put(queue, Lane::Express, &["a"]).await;
    let mut consumer = queue.consume(Lane::Express, at_most(1)).await.unwrap();
    for attempt in 1..=3 {
        let delivery = take(&mut consumer).await;
        assert_eq!((text(&delivery), delivery.attempt()), ("a".to_owned(), attempt));
        let last = delivery.envelope().unwrap().last_failure.clone();
        assert_eq!(last, (attempt > 1).then(|| format!("failure {}", attempt - 1)));
        if attempt == 3 {
            finish(delivery).await;
        } else {
            let reason = format!("failure {attempt}");
            delivery
                .settle(Outcome::Retry {
                    after: DELAYS[0],
                    reason,
                })
                .await
                .unwrap();
        }
    }
}

async fn a_retry_waits_for_its_delay(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["a"]).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(1)).await.unwrap();
    let began = tokio::time::Instant::now();
    let reason = "slow".to_owned();
    take(&mut consumer)
        .await
        .settle(Outcome::Retry {
            after: DELAYS[1],
            reason,
        })
        .await
        .unwrap();
    finish(take(&mut consumer).await).await;
    assert!(began.elapsed() >= DELAYS[1]);
}

async fn a_snooze_costs_no_attempt(queue: &dyn Queue) {
    put(queue, Lane::Control, &["finalise"]).await;
    let mut consumer = queue.consume(Lane::Control, at_most(1)).await.unwrap();
    for _ in 0..2 {
        let delivery = take(&mut consumer).await;
        assert_eq!(delivery.attempt(), 1);
        delivery
            .settle(Outcome::Snooze {
                after: Duration::ZERO,
            })
            .await
            .unwrap();
    }
    finish(take(&mut consumer).await).await;
}

async fn what_is_rejected_is_dead_with_its_reason(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["broken"]).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(1)).await.unwrap();
    take(&mut consumer)
        .await
        .settle(Outcome::Reject {
            reason: "corrupt".into(),
        })
        .await
        .unwrap();
    let mut dead = queue.consume(Lane::Dead, at_most(1)).await.unwrap();
    let delivery = take(&mut dead).await;
    assert_eq!(text(&delivery), "broken");
    let death = delivery.death().unwrap();
    assert_eq!(death.reason, "corrupt");
    assert!(death.queue.ends_with("jobs"), "{}", death.queue);
    delivery
        .settle(Outcome::Reject {
            reason: "nobody's".into(),
        })
        .await
        .unwrap();
    until_ready(queue, Lane::Parked, 1).await;
}

async fn a_requeue_costs_no_attempt(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["a"]).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(1)).await.unwrap();
    take(&mut consumer).await.settle(Outcome::Requeue).await.unwrap();
    let again = take(&mut consumer).await;
    assert_eq!(again.attempt(), 1);
    finish(again).await;
}

async fn prefetch_bounds_what_is_in_hand(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["a", "b", "c", "d"]).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(2)).await.unwrap();
    let (a, _b) = (take(&mut consumer).await, take(&mut consumer).await);
    let third = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(third.is_err(), "a third one before the first was settled");
    finish(a).await;
    let c = take(&mut consumer).await;
    assert_eq!(text(&c), "c");
}

async fn cancelling_gives_back_what_was_not_taken(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["a", "b", "c"]).await;
    let mut consumer = queue.consume(Lane::Bulk, at_most(10)).await.unwrap();
    let a = take(&mut consumer).await;
    consumer.cancel().await;
    assert!(consumer.next().await.is_none());
    finish(a).await;
    until_ready(queue, Lane::Bulk, 2).await;
    let mut other = queue.consume(Lane::Bulk, at_most(10)).await.unwrap();
    // Redelivery may change the order.
    let mut rest = Vec::new();
    for _ in 0..2 {
        let delivery = take(&mut other).await;
        assert_eq!(delivery.attempt(), 1);
        rest.push(text(&delivery));
        finish(delivery).await;
    }
    rest.sort();
    assert_eq!(rest, ["b", "c"]);
}

async fn express_overtakes_bulk(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["b1", "b2"]).await;
    put(queue, Lane::Express, &["e1", "e2"]).await;
    until_ready(queue, Lane::Express, 2).await;
    let express = queue.consume(Lane::Express, at_most(5)).await.unwrap();
    let bulk = queue.consume(Lane::Bulk, at_most(5)).await.unwrap();
    let mut both = ExpressFirst::new(express, bulk);
    let first = tokio::time::timeout(PATIENCE, both.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text(&first), "e1");
    finish(first).await;
    let mut rest = Vec::new();
    for _ in 0..3 {
        let delivery = tokio::time::timeout(PATIENCE, both.next())
            .await
            .unwrap()
            .unwrap();
        rest.push(text(&delivery));
        finish(delivery).await;
    }
    rest.sort();
    assert_eq!(rest, ["b1", "b2", "e2"]);
}

async fn a_fanout_reaches_everybody_who_listens(queue: &dyn Queue) {
    queue
        .publish(Destination::Fanout(Fanout::Events), &[Message::new("too early")])
        .await
        .unwrap();
    let mut listeners = [
        queue.subscribe(Fanout::Events).await.unwrap(),
        queue.subscribe(Fanout::Events).await.unwrap(),
    ];
    let mut other = queue.subscribe(Fanout::Fleet).await.unwrap();
    queue
        .publish(Destination::Fanout(Fanout::Events), &[Message::new("progress")])
        .await
        .unwrap();
    queue
        .publish(Destination::Fanout(Fanout::Fleet), &[Message::new("drain")])
        .await
        .unwrap();
    for listener in &mut listeners {
        assert_eq!(
            tokio::time::timeout(PATIENCE, listener.next())
                .await
                .unwrap()
                .unwrap(),
            "progress"
        );
    }
    assert_eq!(
        tokio::time::timeout(PATIENCE, other.next())
            .await
            .unwrap()
            .unwrap(),
        "drain"
    );
}

async fn depths_count_what_waits_and_what_is_delayed(queue: &dyn Queue) {
    put(queue, Lane::Bulk, &["a", "b", "c"]).await;
    until_ready(queue, Lane::Bulk, 3).await;
    queue
        .publish(
            Destination::Later(Lane::Control, DELAYS[1]),
            &[Message::new("later")],
        )
        .await
        .unwrap();
    let depths = queue.depths().await.unwrap();
    assert_eq!(depths.ready(Lane::Express), 0);
    assert!(depths.put_off.values().sum::<u64>() <= 1);
    assert_eq!(depths.delayed_within(DELAYS[1]), 0, "it is no photo");
    until_ready(queue, Lane::Control, 1).await;
    let photo = [Message::new("photo")];
    // The broker counts a moment after it confirms, and the delay may have passed by then.
    for _ in 0..100 {
        queue
            .publish(Destination::Later(Lane::Express, DELAYS[1]), &photo)
            .await
            .unwrap();
        let depths = queue.depths().await.unwrap();
        assert_eq!(depths.put_off.values().sum::<u64>(), 0, "it is a photo");
        if depths.delayed_within(DELAYS[1]) > 0 {
            return;
        }
    }
    panic!("a photo that waits for its next try was never counted");
}

async fn a_closed_queue_says_so(queue: &dyn Queue) {
    let mut consumer = queue.consume(Lane::Bulk, at_most(1)).await.unwrap();
    queue.close().await;
    assert!(consumer.next().await.is_none());
    let refused = queue
        .publish(Destination::Lane(Lane::Bulk), &[Message::new("x")])
        .await;
    assert!(matches!(refused, Err(QueueError::Closed)), "{refused:?}");
}

macro_rules! conformance {
    ($($case:ident),+ $(,)?) => {
        mod in_process {
            $(#[tokio::test(start_paused = true)]
            async fn $case() {
                super::$case(&super::MemoryQueue::new(super::topology("memory"))).await;
            })+
        }

        mod rabbitmq {
            $(#[tokio::test]
            async fn $case() {
                let (_vhost, queue) = super::rabbit().await;
                super::$case(&queue).await;
            })+
        }
    };
}

conformance!(
    what_is_published_comes_in_order,
    a_message_that_is_dropped_comes_again,
    a_retry_comes_back_with_its_attempt_and_reason,
    a_retry_waits_for_its_delay,
    a_snooze_costs_no_attempt,
    what_is_rejected_is_dead_with_its_reason,
    a_requeue_costs_no_attempt,
    prefetch_bounds_what_is_in_hand,
    cancelling_gives_back_what_was_not_taken,
    express_overtakes_bulk,
    a_fanout_reaches_everybody_who_listens,
    depths_count_what_waits_and_what_is_delayed,
    a_closed_queue_says_so,
);
