//! Is RabbitMQ there, does it let us in, are its queues ours, and does it wait for long enough?

use std::time::Duration;

use queue::QueueError;
use queue::rabbit::{Inspection, RabbitConfig, inspect};

use super::finding::Finding;
use crate::roles::parts;
use crate::settings::{Settings, Span};

const WHAT: &str = "broker";
const QUEUES: &str = "queues";
const PATIENCE: &str = "consumer timeout";

/// The first with at-least-once dead lettering, without which a restart of the broker may lose what waits for a retry.
const OLDEST: (u32, u32) = (3, 10);

pub(super) async fn check(settings: &Settings, limit: Duration) -> Vec<Finding> {
    let mut config = match parts::broker_config(settings, "doctor") {
        Ok(config) => config,
        Err(error) => {
            return vec![
                Finding::fail(WHAT, error.to_string())
                    .with("`pitchfleet config --example` shows how the keys of [broker] are written"),
            ];
        }
    };
    config.connect_timeout = config.connect_timeout.min(limit);
    match inspect(&config).await {
        Ok(seen) => {
            let timeout = consumer_timeout(&seen);
            vec![
                version(&config, &seen),
                queues(&config, &seen),
                patience(settings, timeout),
            ]
        }
        Err(error) => vec![absent(&error)],
    }
}

fn absent(error: &QueueError) -> Finding {
    let remedy = match error {
        QueueError::Refused(_) => {
            "correct broker.user and broker.password (or those in broker.url) and the virtual host; the user needs \
             permission to configure, write and read there: `rabbitmqctl set_permissions -p VHOST USER '.*' '.*' '.*'`"
        }
        QueueError::Url(_) => "correct broker.url: amqp[s]://user:password@host:port/vhost",
        _ => {
            "start RabbitMQ, or correct host and port in broker.url (5672, with TLS 5671; inside a container localhost \
             is the container itself); for certificates of a private authority set broker.certificates"
        }
    };
    Finding::fail(WHAT, error.to_string()).with(remedy)
}

fn version(config: &RabbitConfig, seen: &Inspection) -> Finding {
    let found = format!("{} {} at {}", seen.product, seen.version, config.url);
    if seen.product != "RabbitMQ" {
        return Finding::warn(WHAT, found).with(
            "pitchfleet is tested with RabbitMQ only: see that this broker has quorum queues with delivery limits and \
             at-least-once dead lettering",
        );
    }
    match numbers(&seen.version) {
        Some((major, minor, _)) if (major, minor) < OLDEST => Finding::fail(WHAT, found).with(format!(
            "upgrade to RabbitMQ {}.{} or newer: older ones may lose what waits for a retry",
            OLDEST.0, OLDEST.1
        )),
        _ => Finding::ok(WHAT, found),
    }
}

fn queues(config: &RabbitConfig, seen: &Inspection) -> Finding {
    let all = config.topology.queues().len() + config.topology.exchanges().len();
    if !seen.conflicts.is_empty() {
        let conflicts: Vec<_> = seen.conflicts.iter().map(ToString::to_string).collect();
        return Finding::fail(QUEUES, conflicts.join("; ")).with(
            "an older or a newer pitchfleet made them: let those queues run empty, delete them, and start again; or set \
             another broker.prefix",
        );
    }
    let missing = seen.missing.len();
    if missing == 0 {
        Finding::ok(
            QUEUES,
            format!("all {all} queues and exchanges are as they should be"),
        )
    } else {
        Finding::ok(
            QUEUES,
            format!(
                "{missing} of {all} queues and exchanges are not there yet; the first role that starts makes them"
            ),
        )
    }
}

/// How long the broker leaves a message with a consumer, by its version's default: what its own configuration or a
/// policy says is not told to clients. `None`: for ever.
fn consumer_timeout(seen: &Inspection) -> Option<Duration> {
    // https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
    match numbers(&seen.version)? {
        version if version < (3, 8, 15) => None,
        version if version < (3, 8, 17) => Some(Duration::from_secs(15 * 60)),
        _ => Some(Duration::from_secs(30 * 60)),
    }
}

fn patience(settings: &Settings, timeout: Option<Duration>) -> Finding {
    let lanes = settings
        .worker
        .lanes
        .map_or_else(engine::quota::cores, usize::from);
    let ahead = parts::worker_config(settings).ahead;
    let longest = longest_in_hand(settings, lanes, ahead);
    let longest_text = Span(longest);
    match timeout {
        Some(timeout) if longest >= timeout => Finding::fail(
            PATIENCE,
            format!(
                "a photo may be in a worker's hand for {longest_text}, and the broker's default takes it away after {}",
                Span(timeout)
            ),
        )
        .with(format!(
            "lower worker.photo_deadline, worker.transfer_deadline or worker.ahead; or set `consumer_timeout = {}` \
             (milliseconds) in rabbitmq.conf, and pass over this line",
            2 * longest.as_millis()
        )),
        Some(timeout) => Finding::ok(
            PATIENCE,
            format!(
                "a photo is in a worker's hand for {longest_text} at most; the broker's default is {} (what its \
                 configuration says instead, clients are not told)",
                Span(timeout)
            ),
        ),
        None => Finding::ok(PATIENCE, "this broker takes no message away from a consumer"),
    }
}

/// The longest that a worker holds one message: fetching, waiting for those before it, its own turn, storing. Each may
/// be with the engine twice, for it is tried again alone when the engine ends.
fn longest_in_hand(settings: &Settings, lanes: usize, ahead: usize) -> Duration {
    let lanes = lanes.max(1);
    let turns = u32::try_from((lanes + ahead).div_ceil(lanes)).unwrap_or(u32::MAX);
    let transfers = settings.worker.transfer_deadline.0.saturating_mul(2);
    let analyses = settings
        .worker
        .photo_deadline
        .0
        .saturating_mul(2)
        .saturating_mul(turns);
    transfers.saturating_add(analyses)
}

/// `3.13.7`, `4.0.0-rc.1`.
fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split(['.', '-', '+']);
    let mut next = || parts.next()?.parse().ok();
    Some((next()?, next()?, next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn seen(product: &str, version: &str) -> Inspection {
        Inspection {
            product: product.into(),
            version: version.into(),
            missing: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    fn config() -> RabbitConfig {
        RabbitConfig::new("amqp://h".parse().unwrap())
    }

    #[test]
    fn old_and_foreign_brokers_are_told_of() {
        for (product, number, level) in [
            ("RabbitMQ", "3.10.8", Level::Ok),
            ("RabbitMQ", "4.2.0-rc.1", Level::Ok),
            ("RabbitMQ", "3.9.29", Level::Fail),
            ("LavinMQ", "2.1.0", Level::Warn),
            ("", "", Level::Warn),
        ] {
            assert_eq!(
                version(&config(), &seen(product, number)).level,
                level,
                "{product} {number}"
            );
        }
    }

    #[test]
    fn the_consumer_timeout_follows_the_version() {
        for (version, minutes) in [
            ("3.8.14", None),
            ("3.8.15", Some(15)),
            ("3.8.17", Some(30)),
            ("4.1.0", Some(30)),
        ] {
            let timeout = consumer_timeout(&seen("RabbitMQ", version));
            assert_eq!(timeout, minutes.map(|m| Duration::from_secs(m * 60)), "{version}");
        }
    }

    #[test]
    fn a_photo_that_may_take_longer_than_the_broker_waits_fails() {
        let half_an_hour = Some(Duration::from_secs(30 * 60));
        let mut settings = Settings::default();
        // 2 × 2 min for transfers, and (2 + 4) / 2 turns of 2 × 1 min.
        assert_eq!(longest_in_hand(&settings, 2, 4), Duration::from_secs(600));
        assert_eq!(patience(&settings, half_an_hour).level, Level::Ok);
        settings.worker.photo_deadline = Span::from_secs(15 * 60);
        let found = patience(&settings, half_an_hour);
        assert_eq!(found.level, Level::Fail);
        assert!(found.remedy.unwrap().contains("consumer_timeout = "));
        assert_eq!(patience(&settings, None).level, Level::Ok);
    }

    #[test]
    fn queues_of_another_version_fail_with_the_brokers_words() {
        let mut seen = seen("RabbitMQ", "3.13.0");
        assert_eq!(queues(&config(), &seen).level, Level::Ok);
        seen.missing.push("pitchfleet.jobs".into());
        assert!(queues(&config(), &seen).found.starts_with("1 of "));
        seen.conflicts.push(QueueError::Conflict {
            name: "pitchfleet.jobs".into(),
            detail: "inequivalent arg 'x-delivery-limit'".into(),
        });
        let found = queues(&config(), &seen);
        assert_eq!(found.level, Level::Fail);
        assert!(found.found.contains("x-delivery-limit"), "{found:?}");
    }
}
