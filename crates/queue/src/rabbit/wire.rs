//! Envelopes as AMQP properties and headers.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::message::{self, Death, Envelope, Undecodable};

/// The `app-id` of every message of a fleet; whatever has another is a stranger's.
const APP_ID: &str = "pitchfleet";
const ATTEMPT: &str = "pitchfleet-attempt";
const LAST_FAILURE: &str = "pitchfleet-last-failure";
const DEATH_REASON: &str = "pitchfleet-death-reason";
const DEATH_QUEUE: &str = "pitchfleet-death-queue";
/// W3C Trace Context, under its own name so that other tools follow it.
const TRACEPARENT: &str = "traceparent";

/// RabbitMQ's count on quorum queues, and its history of dead-lettering, latest first.
const DELIVERY_COUNT: &str = "x-delivery-count";
const X_DEATH: &str = "x-death";

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Properties of one of our messages, kept by the broker across restarts.
pub(super) fn durable(envelope: &Envelope) -> BasicProperties {
    properties(envelope, PERSISTENT)
}

/// Properties of one of our messages that matters only now.
pub(super) fn transient(envelope: &Envelope) -> BasicProperties {
    properties(envelope, TRANSIENT)
}

fn properties(envelope: &Envelope, mode: u8) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(ATTEMPT.into(), AMQPValue::LongUInt(envelope.attempt));
    let mut text = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            headers.insert(name.into(), long(message::shorten(value)));
        }
    };
    text(TRACEPARENT, &envelope.traceparent);
    text(LAST_FAILURE, &envelope.last_failure);
    BasicProperties::default()
        .with_app_id(APP_ID.into())
        .with_content_type("application/json".into())
        .with_delivery_mode(mode)
        .with_headers(headers)
}

/// Properties of a copy that goes on waiting or to the dead letters. Of a stranger's message only the origin is kept,
/// not its headers: among them are ones that expire, re-route or outgrow a frame.
pub(super) fn copy(envelope: &Result<Envelope, Undecodable>, death: Option<&Death>) -> BasicProperties {
    let properties = match envelope {
        Ok(envelope) => durable(envelope),
        Err(Undecodable::Foreign { app_id }) => {
            let kept = BasicProperties::default().with_delivery_mode(PERSISTENT);
            match app_id {
                Some(id) => kept.with_app_id(short(id)),
                None => kept,
            }
        }
        // Ours, with a header that we cannot read: without an attempt it stays unreadable.
        Err(_) => BasicProperties::default()
            .with_app_id(APP_ID.into())
            .with_delivery_mode(PERSISTENT),
    };
    let Some(death) = death else { return properties };
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(DEATH_REASON.into(), long(message::shorten(&death.reason)));
    headers.insert(DEATH_QUEUE.into(), long(&death.queue));
    properties.with_headers(headers)
}

/// Reads the envelope of a message.
pub(super) fn envelope(properties: &BasicProperties) -> Result<Envelope, Undecodable> {
    let app_id = properties.app_id().as_ref().map(ToString::to_string);
    if app_id.as_deref() != Some(APP_ID) {
        return Err(Undecodable::Foreign { app_id });
    }
    let headers = properties.headers().as_ref();
    let header = |name: &str| headers.and_then(|table| table.inner().get(name));
    let text = |name: &'static str| match header(name) {
        None => Ok(None),
        Some(value) => string(value).map(Some).ok_or(Undecodable::Header { name }),
    };
    let attempt = header(ATTEMPT)
        .and_then(number)
        .and_then(|attempt| u32::try_from(attempt).ok());
    Ok(Envelope {
        attempt: attempt
            .filter(|&attempt| attempt > 0)
            .ok_or(Undecodable::Header { name: ATTEMPT })?,
        traceparent: text(TRACEPARENT)?,
        last_failure: text(LAST_FAILURE)?,
    })
}

/// How often the broker handed the message out before.
pub(super) fn redeliveries(properties: &BasicProperties, redelivered: bool) -> u32 {
    let count = properties
        .headers()
        .as_ref()
        .and_then(|table| table.inner().get(DELIVERY_COUNT));
    let count = count
        .and_then(number)
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0);
    count.max(u32::from(redelivered))
}

/// Why a message is in a dead-letter lane: our word, else the broker's.
pub(super) fn death(properties: &BasicProperties) -> Option<Death> {
    let headers = properties.headers().as_ref()?;
    let text = |table: &FieldTable, name: &str| table.inner().get(name).and_then(string);
    if let Some(reason) = text(headers, DEATH_REASON) {
        return Some(Death {
            reason,
            queue: text(headers, DEATH_QUEUE).unwrap_or_default(),
        });
    }
    let AMQPValue::FieldArray(history) = headers.inner().get(X_DEATH)? else {
        return None;
    };
    let AMQPValue::FieldTable(latest) = history.as_slice().first()? else {
        return None;
    };
    Some(Death {
        reason: text(latest, "reason")?,
        queue: text(latest, "queue")?,
    })
}

pub(super) fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text.as_bytes()))
}

fn short(text: &str) -> ShortString {
    ShortString::from(&text[..text.floor_char_boundary(255)])
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(n) => Some(n.into()),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => Some(n.into()),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => Some(n.into()),
        AMQPValue::LongUInt(n) => Some(n.into()),
        AMQPValue::LongLongInt(n) => Some(n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Envelope {
        Envelope {
            attempt: 3,
            traceparent: Some("00-ab-cd-01".into()),
            last_failure: Some("s3: 503 é".into()),
        }
    }

    #[test]
    fn an_envelope_survives_the_wire() {
        assert_eq!(envelope(&durable(&ours())), Ok(ours()));
        assert_eq!(
            envelope(&transient(&Envelope::default())),
            Ok(Envelope::default())
        );
        assert_eq!(*durable(&ours()).delivery_mode(), Some(PERSISTENT));
    }

    #[test]
    fn strangers_and_unreadable_headers_are_told_apart() {
        let foreign = Undecodable::Foreign { app_id: None };
        assert_eq!(envelope(&BasicProperties::default()), Err(foreign));
        let other = BasicProperties::default().with_app_id("celery".into());
        assert_eq!(
            envelope(&other),
            Err(Undecodable::Foreign {
                app_id: Some("celery".into())
            })
        );

        for bad in [
            long("three"),
            AMQPValue::LongInt(0),
            AMQPValue::LongInt(-1),
            AMQPValue::LongLongInt(1 << 40),
        ] {
            let mut headers = FieldTable::default();
            headers.insert(ATTEMPT.into(), bad);
            let properties = BasicProperties::default()
                .with_app_id(APP_ID.into())
                .with_headers(headers);
            assert_eq!(envelope(&properties), Err(Undecodable::Header { name: ATTEMPT }));
        }
        let mut headers = FieldTable::default();
        headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(2));
        headers.insert(
            TRACEPARENT.into(),
            AMQPValue::LongString(LongString::from(vec![0xff, 0xfe])),
        );
        let properties = BasicProperties::default()
            .with_app_id(APP_ID.into())
            .with_headers(headers);
        assert_eq!(
            envelope(&properties),
            Err(Undecodable::Header { name: TRACEPARENT })
        );
    }

    #[test]
    fn a_copy_of_what_is_not_ours_stays_not_ours_and_loses_its_headers() {
        let cause = Err(Undecodable::Foreign {
            app_id: Some("celery".into()),
        });
        let death = Death {
            reason: "not ours".into(),
            queue: "q".into(),
        };
        let properties = copy(&cause, Some(&death));
        assert_eq!(envelope(&properties), cause);
        assert_eq!(super::death(&properties), Some(death));
        let unreadable = Err(Undecodable::Header { name: TRACEPARENT });
        assert_eq!(
            envelope(&copy(&unreadable, None)),
            Err(Undecodable::Header { name: ATTEMPT })
        );
    }

    #[test]
    fn the_latest_death_of_the_brokers_history_counts() {
        let event = |reason: &str, queue: &str| {
            let mut table = FieldTable::default();
            table.insert("reason".into(), long(reason));
            table.insert("queue".into(), long(queue));
            AMQPValue::FieldTable(table)
        };
        let history = vec![
            event("delivery_limit", "pitchfleet.jobs"),
            event("expired", "pitchfleet.retry.1s"),
        ];
        let mut headers = FieldTable::default();
        headers.insert(X_DEATH.into(), AMQPValue::FieldArray(history.into()));
        let properties = BasicProperties::default().with_headers(headers);
        let expected = Death {
            reason: "delivery_limit".into(),
            queue: "pitchfleet.jobs".into(),
        };
        assert_eq!(death(&properties), Some(expected));
        assert_eq!(death(&BasicProperties::default()), None);
    }
}
