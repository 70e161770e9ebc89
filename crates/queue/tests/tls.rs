//! A broker behind TLS, with the certificate of a private authority.

use std::num::NonZeroU16;

use queue::rabbit::{RabbitConfig, RabbitQueue};
use queue::{Destination, Lane, Message, Outcome, Queue, QueueError};
use testkit::Server;

#[tokio::test]
async fn a_private_authority_is_believed_when_it_is_named_and_not_otherwise() {
    let server = Server::rabbitmq_with_tls();
    let mut config = RabbitConfig::new(server.variable("PITCHFLEET_TEST_AMQPS").parse().unwrap());
    let stranger = RabbitQueue::connect(config.clone()).await.unwrap_err();
    assert!(matches!(stranger, QueueError::Unreachable(_)), "{stranger:?}");
    assert!(stranger.to_string().contains("certificate"), "{stranger}");

    let authority = server.variable("PITCHFLEET_TEST_AMQPS_AUTHORITY");
    config.certificates = Some(std::fs::read_to_string(authority).unwrap());
    let queue = RabbitQueue::connect(config).await.unwrap();
    let jobs = [Message::new("job")];
    queue.publish(Destination::Lane(Lane::Bulk), &jobs).await.unwrap();
    let mut consumer = queue.consume(Lane::Bulk, NonZeroU16::MIN).await.unwrap();
    let delivery = consumer.next().await.unwrap();
    assert_eq!(delivery.body(), b"job".as_slice());
    delivery.settle(Outcome::Done).await.unwrap();
    queue.close().await;
}
