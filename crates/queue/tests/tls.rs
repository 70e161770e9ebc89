//! A broker behind TLS, with the certificate of a private authority.

use std::num::NonZeroU16;

use queue::rabbit::{RabbitConfig, RabbitQueue, inspect};
use queue::{Destination, Lane, Message, Outcome, Queue, QueueError};
use testkit::Server;

#[tokio::test]
async fn a_private_authority_is_believed_when_it_is_named_and_not_otherwise() {
    let server = Server::rabbitmq_with_tls();
    let mut config = RabbitConfig::new(server.variable("PITCHFLEET_TEST_AMQPS").parse().unwrap());
    let stranger = RabbitQueue::connect(config.clone()).await.unwrap_err();
    assert!(matches!(stranger, QueueError::Unreachable(_)), "{stranger:?}");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");
    let unseen = inspect(&config).await.unwrap_err();
    assert!(unseen.to_string().contains("certificate"), "{unseen}");

    let authority = server.variable("PITCHFLEET_TEST_AMQPS_AUTHORITY");
    config.certificates = Some(std::fs::read_to_string(authority).unwrap());
    let seen = inspect(&config).await.unwrap();
    assert_eq!(seen.product, "RabbitMQ");
    assert!(seen.version.starts_with(char::is_numeric), "{seen:?}");
    let (queues, exchanges) = (config.topology.queues(), config.topology.exchanges());
    assert_eq!(seen.missing.len(), queues.len() + exchanges.len());

    let queue = RabbitQueue::connect(config.clone()).await.unwrap();
    let seen = inspect(&config).await.unwrap();
    assert!(seen.missing.is_empty() && seen.conflicts.is_empty(), "{seen:?}");
    let jobs = [Message::new("job")];
    queue.publish(Destination::Lane(Lane::Bulk), &jobs).await.unwrap();
    let mut consumer = queue.consume(Lane::Bulk, NonZeroU16::MIN).await.unwrap();
    let delivery = consumer.next().await.unwrap();
    assert_eq!(delivery.body(), b"job".as_slice());
    delivery.settle(Outcome::Done).await.unwrap();
    queue.close().await;
}
