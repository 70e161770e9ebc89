//! One stretch of being connected: two connections, the declared topology, channels that confirm.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::config::RabbitConfig;
use super::wire;
use crate::port::QueueError;
use crate::topology::{Argument, QueueSpec, Topology};

/// How long to wait for a goodbye.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle publishing channels that are kept.
const PUBLISHERS: usize = 16;
/// How long an answer about queues may take before the connection counts as dead.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections and channels that live and die together. Whoever sees one of them fail calls [`Session::fail`], and the
/// supervisor makes the next session.
pub(super) struct Session {
    /// Deliveries and settlements. Apart from what publishes: a broker under a memory alarm stops reading from
    /// connections that publish, and acknowledgements must get through.
    pub(super) consuming: Connection,
    pub(super) publishing: Connection,
    /// Idle channels of `publishing`, in confirm mode.
    publishers: StdMutex<Vec<Channel>>,
    /// For questions about queues: a wrong one closes its channel, and nothing else hangs on this one.
    probe: Mutex<Option<Channel>>,
    lost: CancellationToken,
}

impl Session {
    pub(super) async fn open(config: &RabbitConfig) -> Result<Self, QueueError> {
        let consuming = connect(config, "consume").await?;
        let publishing = connect(config, "publish").await?;
        let declared = timeout(config.connect_timeout, declare(&consuming, &config.topology));
        declared.await.map_err(|_| slow(config))??;
        Ok(Self {
            consuming,
            publishing,
            publishers: StdMutex::default(),
            probe: Mutex::default(),
            lost: CancellationToken::new(),
        })
    }

    /// A channel for one window and nobody else: when a message is returned, the client library tells it with the
    /// next confirm on the channel, whosever that is.
    pub(super) async fn publisher(&self) -> lapin::Result<Channel> {
        let idle = self
            .publishers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = self.publishing.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Keeps `channel`, which has no confirm outstanding, for the next window.
    pub(super) fn keep_publisher(&self, channel: Channel) {
        let mut idle = self.publishers.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < PUBLISHERS {
            idle.push(channel);
        }
    }

    /// This session is of no more use.
    pub(super) fn fail(&self) {
        self.lost.cancel();
    }

    /// As far as the client library knows.
    pub(super) fn is_connected(&self) -> bool {
        self.consuming.status().connected() && self.publishing.status().connected()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Cancelled when the session is of no more use.
    pub(super) fn life(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Returns when [`Self::fail`] has been called.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Makes again what somebody deleted. No answer in time fails the session.
    pub(super) async fn redeclare(&self, topology: &Topology) -> Result<(), QueueError> {
        let declared = timeout(PROBE_TIMEOUT, declare(&self.consuming, topology)).await;
        declared.unwrap_or_else(|_| Err(self.no_answer()))
    }

    fn no_answer(&self) -> QueueError {
        self.fail();
        QueueError::Lost(format!("no answer in {PROBE_TIMEOUT:?}"))
    }

    /// Ready messages and consumers of `queue`. No answer in time fails the session.
    pub(super) async fn inspect(&self, queue: &str) -> Result<(u32, u32), QueueError> {
        let ask = async {
            let mut probe = self.probe.lock().await;
            let channel = match probe.take().filter(|channel| channel.status().connected()) {
                Some(channel) => channel,
                None => self.consuming.create_channel().await.map_err(lost)?,
            };
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let found = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await;
            let found = found.map_err(lost)?;
            *probe = Some(channel);
            Ok((found.message_count(), found.consumer_count()))
        };
        let answer = timeout(PROBE_TIMEOUT, ask).await;
        answer.unwrap_or_else(|_| Err(self.no_answer()))
    }

    /// Says goodbye if anybody listens. What is unacknowledged goes back to its queues.
    pub(super) async fn close(&self) {
        self.fail();
        for connection in [&self.consuming, &self.publishing] {
            // A connection that is already gone has nothing to close.
            let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "bye".into())).await;
        }
    }
}

pub(super) async fn connect(config: &RabbitConfig, purpose: &str) -> Result<Connection, QueueError> {
    let properties =
        ConnectionProperties::default().with_connection_name(format!("{} {purpose}", config.name).into());
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: config.certificates.clone(),
    };
    let runtime = lapin::runtime::default_runtime().map_err(lost)?;
    let uri = config.url.to_uri(config.heartbeat);
    let attempt = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    let connected = timeout(config.connect_timeout, attempt)
        .await
        .map_err(|_| slow(config))?;
    connected.map_err(|error| match error.kind() {
        ErrorKind::ProtocolError(answer) if is_refusal(answer.kind()) => {
            QueueError::Refused(answer.to_string())
        }
        _ => QueueError::Unreachable(format!("{}: {error}", config.url)),
    })
}

fn is_refusal(kind: &AMQPErrorKind) -> bool {
    matches!(
        kind,
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED)
            | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH)
    )
}

pub(super) fn slow(config: &RabbitConfig) -> QueueError {
    QueueError::Unreachable(format!(
        "{}: no answer in {:?}",
        config.url, config.connect_timeout
    ))
}

/// Sends a settlement; false when it did not get out.
///
/// The client library's promise is not kept when the connection dies at the wrong moment, so it is not waited for
/// longer than the session lives. A settlement that does not get out in time ends the session, and the broker gives the
/// message to somebody else.
pub(super) async fn settlement(
    life: &CancellationToken,
    sending: impl Future<Output = lapin::Result<bool>>,
) -> bool {
    tokio::select! {
        sent = timeout(PROBE_TIMEOUT, sending) => sent.map_or_else(
            |_| {
                life.cancel();
                false
            },
            |sent| sent.unwrap_or(false),
        ),
        () = life.cancelled() => false,
    }
}

pub(super) fn lost(error: lapin::Error) -> QueueError {
    QueueError::Lost(error.to_string())
}

async fn declare(connection: &Connection, topology: &Topology) -> Result<(), QueueError> {
    let channel = connection.create_channel().await.map_err(lost)?;
    for exchange in topology.exchanges() {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let name = ShortString::from(exchange.as_str());
        let made = channel.exchange_declare(name, ExchangeKind::Fanout, options, FieldTable::default());
        made.await.map_err(|error| conflict(&exchange, error))?;
    }
    for queue in topology.queues() {
        let name = ShortString::from(queue.name.as_str());
        let made = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments(&queue));
        made.await.map_err(|error| conflict(&queue.name, error))?;
        if let Some(exchange) = &queue.exchange {
            let key = ShortString::default();
            let options = QueueBindOptions::default();
            let bound = channel.queue_bind(
                name,
                exchange.as_str().into(),
                key,
                options,
                FieldTable::default(),
            );
            bound.await.map_err(lost)?;
        }
    }
    channel.close(200, "declared".into()).await.map_err(lost)
}

pub(super) fn arguments(queue: &QueueSpec) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in &queue.arguments {
        let value = match value {
            Argument::Text(text) => wire::long(text),
            Argument::Number(number) => AMQPValue::LongLongInt((*number).into()),
        };
        table.insert((*name).into(), value);
    }
    table
}

pub(super) fn conflict(name: &str, error: lapin::Error) -> QueueError {
    match error.kind() {
        ErrorKind::ProtocolError(answer)
            if *answer.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) =>
        {
            QueueError::Conflict {
                name: name.to_owned(),
                detail: answer.to_string(),
            }
        }
        ErrorKind::ProtocolError(answer) if is_refusal(answer.kind()) => {
            QueueError::Refused(format!("{answer} (declaring `{name}`)"))
        }
        _ => lost(error),
    }
}

/// What the supervisor tells everybody else.
#[derive(Clone)]
pub(super) enum Link {
    Down,
    Up(Arc<Session>),
    Closed,
}
