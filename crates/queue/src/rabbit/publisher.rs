//! Publishing in confirmed windows.

use std::sync::atomic::Ordering;
use std::time::Duration;

use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation};
use tokio::time::{Instant, timeout_at};

use super::session::Session;
use super::{Shared, wire};
use crate::message::Message;
use crate::port::{Destination, QueueError};

/// The wait after a broker refused to store a message: it is short of something.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// The wait before a broken window is sent again, for whatever broke it to be noticed.
const LOST_PAUSE: Duration = Duration::from_millis(20);

/// The wait before a queue that somebody deleted is made again, for its consumers to hear of it. One that is back before
/// they have heard hangs for good (RabbitMQ 3.10, quorum queues).
const REMAKE_PAUSE: Duration = Duration::from_millis(200);

/// Where a publish goes, in the broker's terms.
#[derive(Clone, Debug)]
pub(super) struct Route {
    exchange: ShortString,
    key: ShortString,
    /// Work must find a queue; a fanout need not find a listener.
    mandatory: bool,
}

impl Route {
    pub(super) fn new(shared: &Shared, to: Destination) -> Self {
        let topology = &shared.config.topology;
        let (exchange, key, mandatory) = match to {
            Destination::Lane(lane) => (String::new(), topology.queue(lane), true),
            Destination::Later(lane, after) => (
                topology.later(lane, topology.delay_for(after)),
                topology.queue(lane),
                true,
            ),
            Destination::Fanout(fanout) => (topology.fanout(fanout), String::new(), false),
        };
        Self {
            exchange: exchange.into(),
            key: key.into(),
            mandatory,
        }
    }

    fn name(&self) -> String {
        if self.exchange.as_str().is_empty() {
            self.key.to_string()
        } else {
            self.exchange.to_string()
        }
    }
}

/// A message in the broker's terms.
pub(super) struct Parcel<'a> {
    pub(super) body: &'a [u8],
    pub(super) properties: BasicProperties,
}

pub(super) async fn publish(
    shared: &Shared,
    to: Destination,
    messages: &[Message],
) -> Result<(), QueueError> {
    let route = Route::new(shared, to);
    for window in messages.chunks(shared.config.publish_window.max(1)) {
        let parcels: Vec<_> = window
            .iter()
            .map(|Message { body, envelope }| Parcel {
                body,
                properties: if route.mandatory {
                    wire::durable(envelope)
                } else {
                    wire::transient(envelope)
                },
            })
            .collect();
        send(shared, &route, &parcels).await?;
    }
    Ok(())
}

/// Publishes one window and returns when every message is confirmed. What a lost connection leaves unconfirmed is
/// published again on the next one.
pub(super) async fn send(shared: &Shared, route: &Route, parcels: &[Parcel<'_>]) -> Result<(), QueueError> {
    let started = Instant::now();
    let deadline = started + shared.config.publish_timeout;
    let mut open: Vec<&Parcel<'_>> = parcels.iter().collect();
    let mut detail = String::from("no confirm from the broker");
    let mut redeclared = false;
    loop {
        let round = async {
            let session = shared.session().await?;
            Ok((round(&session, route, &open).await, session))
        };
        let Ok(result) = timeout_at(deadline, round).await else {
            return Err(QueueError::Unconfirmed {
                unconfirmed: open.len(),
                total: parcels.len(),
                waited: started.elapsed(),
                detail,
            });
        };
        let (round, session) = result?;
        open = round.open;
        if open.is_empty() {
            return Ok(());
        }
        match round.trouble {
            Trouble::Lost(error) => {
                shared.republished.fetch_add(open.len() as u64, Ordering::Relaxed);
                detail = error;
                // Only the channel: its exchange may be gone.
                let connected = session.publishing.status().connected();
                if !connected || session.redeclare(&shared.config.topology).await.is_err() {
                    session.fail();
                }
                tokio::time::sleep(LOST_PAUSE).await;
            }
            Trouble::Refused => {
                detail = "the broker refused to store it".into();
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            // Somebody deleted the queue: make it again, once.
            Trouble::Returned if !redeclared => {
                redeclared = true;
                tokio::time::sleep(REMAKE_PAUSE).await;
                if let Err(error) = session.redeclare(&shared.config.topology).await {
                    session.fail();
                    detail = error.to_string();
                }
            }
            Trouble::Returned => return Err(QueueError::Unroutable(route.name())),
        }
    }
}

/// What one try left open, and why.
struct Round<'a, 'b> {
    open: Vec<&'a Parcel<'b>>,
    trouble: Trouble,
}

enum Trouble {
    Refused,
    Returned,
    Lost(String),
}

async fn round<'a, 'b>(session: &Session, route: &Route, parcels: &[&'a Parcel<'b>]) -> Round<'a, 'b> {
    let options = BasicPublishOptions {
        mandatory: route.mandatory,
        ..BasicPublishOptions::default()
    };
    let mut confirms = Vec::with_capacity(parcels.len());
    let mut trouble = Trouble::Refused;
    let channel = match session.publisher().await {
        Ok(channel) => channel,
        Err(error) => {
            return Round {
                open: parcels.to_vec(),
                trouble: Trouble::Lost(error.to_string()),
            };
        }
    };
    for parcel in parcels {
        let (exchange, key) = (route.exchange.clone(), route.key.clone());
        let sent = channel.basic_publish(exchange, key, options, parcel.body, parcel.properties.clone());
        match sent.await {
            Ok(confirm) => confirms.push(confirm),
            Err(error) => {
                trouble = Trouble::Lost(error.to_string());
                break;
            }
        }
    }
    let mut open = parcels[confirms.len()..].to_vec();
    for (parcel, confirm) in parcels.iter().zip(confirms) {
        match confirm.await {
            // Which of several was returned is not told reliably, but all of a window meet the same missing queue.
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                trouble = Trouble::Returned;
                open.push(parcel);
            }
            Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => {}
            Ok(Confirmation::Nack(None)) => open.push(parcel),
            Err(error) => {
                trouble = Trouble::Lost(error.to_string());
                open.push(parcel);
            }
        }
    }
    if !matches!(trouble, Trouble::Lost(_)) {
        session.keep_publisher(channel);
    }
    Round { open, trouble }
}
