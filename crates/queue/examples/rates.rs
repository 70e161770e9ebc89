//! How fast jobs are published with confirms, and taken and settled: `cargo run --release -p queue --example rates`
//! beside a broker that `PITCHFLEET_TEST_AMQP` names (`scripts/servers.sh` starts one and sets it).

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::num::NonZeroU16;
use std::time::Instant;

use queue::rabbit::{RabbitConfig, RabbitQueue};
use queue::{Destination, Lane, Message, Outcome, Queue, Topology};

/// A set of the size that the fleet is built for.
const JOBS: usize = 10_000;
/// About what a job weighs: batch, index, key, size, tag, options.
const BODY: usize = 400;
const PREFETCH: NonZeroU16 = NonZeroU16::new(64).unwrap();

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("PITCHFLEET_TEST_AMQP").map_err(|_| "PITCHFLEET_TEST_AMQP names no broker")?;
    let mut config = RabbitConfig::new(url.parse()?);
    config.topology = Topology::new(format!("rates-{}", std::process::id()))?;
    let queue = RabbitQueue::connect(config).await?;
    let jobs: Vec<_> = (0..JOBS).map(|_| Message::new(vec![b'x'; BODY])).collect();

    let began = Instant::now();
    queue.publish(Destination::Lane(Lane::Bulk), &jobs).await?;
    tell("published and confirmed", began);

    let mut consumer = queue.consume(Lane::Bulk, PREFETCH).await?;
    let began = Instant::now();
    for _ in 0..JOBS {
        let delivery = consumer.next().await.ok_or("the queue was closed")?;
        delivery.settle(Outcome::Done).await?;
    }
    tell("taken and settled", began);
    queue.close().await;
    Ok(())
}

fn tell(what: &str, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{JOBS} jobs of {BODY} bytes {what} in {seconds:.2} s: {:.0}/s",
        JOBS as f64 / seconds
    );
}
