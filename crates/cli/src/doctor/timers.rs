//! Do the timers nest? Each is to have run out before the next one does.

use std::time::Duration;

use super::Parts;
use super::finding::Finding;
use crate::settings::{Grace, Settings, Span};

const WHAT: &str = "timers";

/// What ending the engine and saying goodbye to the servers may take after the drain.
const GOODBYE: Duration = Duration::from_secs(5);

/// `cooldown`: KEDA's; `stop`: from SIGTERM to SIGKILL.
pub(super) fn check(
    settings: &Settings,
    parts: Parts,
    cooldown: Option<Duration>,
    stop: Option<Duration>,
) -> Vec<Finding> {
    let mut troubles: Vec<Finding> = Vec::new();
    if parts.worker {
        troubles.extend(unloading(
            settings.worker.batch_linger.0,
            settings.worker.unload_grace,
            cooldown,
        ));
    }
    troubles.extend(stop.into_iter().flat_map(|stop| stopping(settings, parts, stop)));
    let (stall, transfer) = (
        settings.store.stall_timeout.0,
        settings.worker.transfer_deadline.0,
    );
    if stall >= transfer {
        troubles.push(
            Finding::warn(
                WHAT,
                format!(
                    "store.stall_timeout ({}) is not below worker.transfer_deadline ({}): a transfer that stands still \
                     is never tried again",
                    Span(stall),
                    Span(transfer)
                ),
            )
            .with("make store.stall_timeout a third of worker.transfer_deadline or less"),
        );
    }
    if troubles.is_empty() {
        let worker = &settings.worker;
        let mut chain = vec![
            format!("batch linger {}", worker.batch_linger),
            format!("unload grace {}", grace_text(worker.unload_grace)),
        ];
        chain.extend(cooldown.map(|cooldown| format!("KEDA cooldown {}", Span(cooldown))));
        let found = match stop {
            Some(stop) => format!("{}; drains end before {}", chain.join(" < "), Span(stop)),
            None => chain.join(" < "),
        };
        return vec![Finding::ok(WHAT, format!("they nest: {found}"))];
    }
    troubles
}

fn grace_text(grace: Grace) -> String {
    match grace {
        Grace::After(span) => span.to_string(),
        Grace::Never => "never".to_owned(),
    }
}

fn unloading(linger: Duration, grace: Grace, cooldown: Option<Duration>) -> Option<Finding> {
    let Grace::After(Span(grace)) = grace else {
        return cooldown.map(|cooldown| {
            Finding::warn(
                WHAT,
                format!(
                    "worker.unload_grace is never: only KEDA, after {}, gives memory back",
                    Span(cooldown)
                ),
            )
            .with("fine where every worker goes to zero; else set a grace below the cooldown, such as 30s")
        });
    };
    if grace.is_zero() {
        return Some(
            Finding::warn(
                WHAT,
                "worker.unload_grace is 0s: every pause between two photos loads the models again",
            )
            .with("set it above the pauses of your photographers, such as 30s, unless memory matters more"),
        );
    }
    if grace <= linger {
        return Some(
            Finding::fail(
                WHAT,
                format!(
                    "worker.unload_grace ({}) is not above worker.batch_linger ({})",
                    Span(grace),
                    Span(linger)
                ),
            )
            .with("photos wait milliseconds for others to share a card with, models seconds for more photos: 2ms and 30s"),
        );
    }
    let cooldown = cooldown?;
    (grace >= cooldown).then(|| {
        Finding::fail(
            WHAT,
            format!(
                "worker.unload_grace ({}) is not below KEDA's cooldown ({}): the pod goes before the models ever do",
                Span(grace),
                Span(cooldown)
            ),
        )
        .with(format!(
            "set cooldownPeriod to {} or more, or lower worker.unload_grace",
            Span(grace.saturating_mul(2))
        ))
    })
}

fn stopping(settings: &Settings, parts: Parts, stop: Duration) -> Vec<Finding> {
    let drains = [
        (parts.worker, "worker.drain_time", settings.worker.drain_time.0),
        (parts.api, "api.drain_time", settings.api.drain_time.0),
    ];
    let drains = drains.into_iter().filter(|(is_there, ..)| *is_there);
    let drains = drains.map(|(_, name, drain)| (name, drain));
    let too_long = drains.filter(|(_, drain)| drain.saturating_add(GOODBYE) > stop);
    let finding = |(name, drain): (&str, Duration)| {
        Finding::fail(
            WHAT,
            format!(
                "{name} ({}) and some seconds for the end do not fit into the {} before SIGKILL",
                Span(drain),
                Span(stop)
            ),
        )
        .with(format!(
            "raise that (terminationGracePeriodSeconds, stop_grace_period, TimeoutStopSec) to {} or more, or lower {name}",
            Span(drain.saturating_add(GOODBYE))
        ))
    };
    too_long.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    const BOTH: Parts = Parts {
        broker: true,
        api: true,
        worker: true,
    };

    fn worst(settings: &Settings, cooldown: Option<Duration>, stop: Option<Duration>) -> Level {
        let findings = check(settings, BOTH, cooldown, stop);
        assert!(
            findings
                .iter()
                .all(|finding| finding.level == Level::Ok || finding.remedy.is_some()),
            "{findings:?}"
        );
        findings.iter().map(|finding| finding.level).max().unwrap()
    }

    #[test]
    fn the_defaults_nest() {
        let settings = Settings::default();
        assert_eq!(worst(&settings, None, None), Level::Ok);
        assert_eq!(worst(&settings, seconds(300), seconds(60)), Level::Ok);
    }

    #[test]
    fn a_grace_that_never_ends_before_the_pod_does_fails() {
        let mut settings = Settings::default();
        assert_eq!(worst(&settings, seconds(30), None), Level::Fail);
        assert_eq!(worst(&settings, seconds(31), None), Level::Ok);
        settings.worker.unload_grace = Grace::Never;
        assert_eq!(worst(&settings, None, None), Level::Ok);
        assert_eq!(worst(&settings, seconds(300), None), Level::Warn);
        settings.worker.unload_grace = Grace::After(Span::from_secs(0));
        assert_eq!(worst(&settings, None, None), Level::Warn);
        settings.worker.unload_grace = Grace::After(Span::from_secs(1));
        settings.worker.batch_linger = Span::from_secs(1);
        assert_eq!(worst(&settings, None, None), Level::Fail);
    }

    #[test]
    fn a_drain_that_is_cut_off_fails() {
        let settings = Settings::default();
        // The API's 25 s and 5 s for the end.
        assert_eq!(worst(&settings, None, seconds(30)), Level::Ok);
        assert_eq!(worst(&settings, None, seconds(29)), Level::Fail);
        assert_eq!(
            check(&settings, BOTH, None, seconds(10)).len(),
            2,
            "the worker's, too"
        );
        let worker = Parts { api: false, ..BOTH };
        assert_eq!(check(&settings, worker, None, seconds(25))[0].level, Level::Ok);
        assert_eq!(check(&settings, worker, seconds(30), None)[0].level, Level::Fail);
        let api = Parts {
            worker: false,
            ..BOTH
        };
        assert_eq!(check(&settings, api, seconds(30), None)[0].level, Level::Ok);
    }

    #[test]
    fn a_transfer_that_stands_still_has_time_for_another() {
        let mut settings = Settings::default();
        settings.store.stall_timeout = Span::from_secs(600);
        assert_eq!(worst(&settings, None, None), Level::Warn);
    }
}
