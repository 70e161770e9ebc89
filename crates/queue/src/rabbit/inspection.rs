//! A broker looked at before a fleet relies on it: what it is, and whether its queues are the ones that are wanted.

use std::io::{self, Read, Write};
use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPClass, AMQPErrorKind, AMQPSoftError, connection, parse_class};
use lapin::tcp::{AMQPUriTcpExt, HandshakeError, TLSConfig, TcpStream};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::check;
use super::config::RabbitConfig;
use super::session::{CLOSE_TIMEOUT, arguments, conflict, connect, lost, slow};
use crate::port::QueueError;

/// How AMQP 0-9-1 begins, section 4.2.2 of its specification.
const PROTOCOL_HEADER: &[u8] = b"AMQP\0\0\x09\x01";
/// Bytes of a frame's type, channel and size.
const FRAME_HEADER: usize = 7;
/// Type of the frames that carry methods.
const METHOD: u8 = 1;
/// A broker introduces itself in less than a kilobyte; what is longer is none.
const LONGEST_GREETING: usize = 64 << 10;

/// What a broker is, and what it holds of a fleet.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it calls itself, such as `RabbitMQ`; empty when it does not say.
    pub product: String,
    /// Its version, such as `3.13.7`; empty when it does not say.
    pub version: String,
    /// Queues and exchanges that nobody has declared yet. Whoever connects first does.
    pub missing: Vec<String>,
    /// Queues and exchanges that exist and are not as they are wanted: a fleet does not start with them.
    pub conflicts: Vec<QueueError>,
}

/// Looks at the broker that `config` names. Changes nothing.
///
/// # Errors
/// [`QueueError::Unreachable`], [`QueueError::Refused`] (also when the user may not declare a queue),
/// [`QueueError::Url`], [`QueueError::Lost`].
pub async fn inspect(config: &RabbitConfig) -> Result<Inspection, QueueError> {
    check(config)?;
    // The client library keeps what the broker says of itself to itself.
    let asked = config.clone();
    let greeting = spawn_blocking(move || greet(&asked))
        .await
        .map_err(|error| QueueError::Unreachable(error.to_string()))?;
    let (product, version) =
        greeting.map_err(|error| QueueError::Unreachable(format!("{}: {error}", config.url)))?;
    let connection = connect(config, "inspect").await?;
    let looked = timeout(config.connect_timeout, declared(&connection, config)).await;
    let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "bye".into())).await;
    let (missing, conflicts) = looked.map_err(|_| slow(config))??;
    Ok(Inspection {
        product,
        version,
        missing,
        conflicts,
    })
}

/// What is missing and what conflicts.
async fn declared(
    connection: &Connection,
    config: &RabbitConfig,
) -> Result<(Vec<String>, Vec<QueueError>), QueueError> {
    let (mut missing, mut conflicts) = (Vec::new(), Vec::new());
    let mut note = |name: String, found: Result<(), lapin::Error>| match found {
        Ok(()) => Ok(()),
        Err(error) if is_not_found(&error) => {
            missing.push(name);
            Ok(())
        }
        Err(error) => match conflict(&name, error) {
            error @ QueueError::Conflict { .. } => {
                conflicts.push(error);
                Ok(())
            }
            error => Err(error),
        },
    };
    for name in config.topology.exchanges() {
        // An answer that is an error closes the channel.
        let channel = connection.create_channel().await.map_err(lost)?;
        let found = exchange(&channel, &name).await;
        note(name, found)?;
    }
    for queue in config.topology.queues() {
        let channel = connection.create_channel().await.map_err(lost)?;
        let found = async {
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let name = queue.name.as_str();
            channel
                .queue_declare(name.into(), passive, FieldTable::default())
                .await?;
            // Of a queue that exists, declaring it again compares and makes nothing.
            channel
                .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments(&queue))
                .await
        };
        let found = found.await.map(drop);
        note(queue.name, found)?;
    }
    Ok((missing, conflicts))
}

async fn exchange(channel: &Channel, name: &str) -> Result<(), lapin::Error> {
    for passive in [true, false] {
        let options = ExchangeDeclareOptions {
            passive,
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        channel
            .exchange_declare(name.into(), ExchangeKind::Fanout, options, FieldTable::default())
            .await?;
    }
    Ok(())
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(answer)
        if *answer.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

/// Product and version, from the first thing that a broker says on a connection.
fn greet(config: &RabbitConfig) -> io::Result<(String, String)> {
    let mut uri = config.url.to_uri(config.heartbeat);
    let patience = u64::try_from(config.connect_timeout.as_millis()).unwrap_or(u64::MAX);
    uri.query.connection_timeout.get_or_insert(patience);
    let tls = TLSConfig {
        identity: None,
        cert_chain: config.certificates.as_deref(),
    };
    let mut stream = uri.connect_with_config(tls).map_err(|error| match error {
        HandshakeError::Failure(error) => error,
        HandshakeError::WouldBlock(_) => io::ErrorKind::WouldBlock.into(),
    })?;
    wait_for(&stream, config.connect_timeout)?;
    stream.write_all(PROTOCOL_HEADER)?;
    stream.flush()?;
    read_greeting(&mut stream)
}

fn wait_for(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))
}

fn read_greeting(stream: &mut impl Read) -> io::Result<(String, String)> {
    let stranger = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "what answers there does not speak AMQP 0-9-1",
        )
    };
    let mut header = [0; FRAME_HEADER];
    stream
        .read_exact(&mut header)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => stranger(),
            _ => error,
        })?;
    let [kind, _, _, size @ ..] = header;
    let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if kind != METHOD || size > LONGEST_GREETING {
        return Err(stranger());
    }
    let mut payload = vec![0; size];
    stream.read_exact(&mut payload)?;
    match parse_class(payload.as_slice()) {
        Ok((_, AMQPClass::Connection(connection::AMQPMethod::Start(start)))) => {
            let text = |name: &str| match start.server_properties.inner().get(name) {
                Some(AMQPValue::LongString(text)) => text.to_string(),
                _ => String::new(),
            };
            Ok((text("product"), text("version")))
        }
        _ => Err(stranger()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_speak_amqp_is_told_from_what_does() {
        for bad in [
            &b""[..],
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"AMQP\0\0\x09\x01",
            b"\x01\0\0\xff\xff\xff\xff",
            b"\x01\0\0\0\0\0\x04\0\x0a\0\x0a",
        ] {
            let error = read_greeting(&mut &bad[..]).unwrap_err();
            assert!(
                error.to_string().contains("does not speak AMQP"),
                "{bad:?}: {error}"
            );
        }
    }
}
