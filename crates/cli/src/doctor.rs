//! `pitchfleet doctor`: whether this machine, with these settings, can do its part, and what to do where it cannot.
//!
//! Each check is a file of its own. They run at the same time, each with a limit, and none changes anything but a probe
//! object of its own in the store.

mod broker;
mod bucket;
mod finding;
mod limits;
mod models;
mod timers;
mod web;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use tokio::task::JoinHandle;

use self::finding::{Finding, Level, Redaction};
use crate::exit::Ending;
use crate::settings::{Loaded, Settings, SettingsArgs, Span};
use crate::table;

const EXAMPLES: &str = "\
Examples:
  pitchfleet doctor                                 everything that the settings name
  pitchfleet doctor --role worker --json            what a worker needs, as JSON
  pitchfleet doctor --role worker --keda-cooldown 5m --stop-timeout 60s

Exit codes: 0 when nothing failed, 1 when something did (with --strict, also for a warning), 2 when the command line
cannot be used. In the store an object `pitchfleet-doctor/…` is written and deleted; nothing else is changed.";

/// Check settings, servers, models and this machine, and say what to do.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What this machine is to run [default: `up` without a broker.url, else both others]
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Write one JSON document
    #[arg(long)]
    json: bool,
    /// Take warnings for failures
    #[arg(long)]
    strict: bool,
    /// Longest time for one check
    #[arg(long, value_name = "TIME", default_value = "20s")]
    limit: Span,
    /// The `cooldownPeriod` of KEDA's ScaledObject, to see whether the timers nest
    #[arg(long, value_name = "TIME")]
    keda_cooldown: Option<Span>,
    /// How long a role has between SIGTERM and SIGKILL: `terminationGracePeriodSeconds`, `stop_grace_period`,
    /// `TimeoutStopSec`
    #[arg(long, value_name = "TIME")]
    stop_timeout: Option<Span>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Up,
    Api,
    Worker,
}

/// Which parts there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    broker: bool,
    api: bool,
    worker: bool,
}

impl Parts {
    fn of(role: Option<Role>, settings: &Settings) -> Self {
        let (broker, api, worker) = match role {
            Some(Role::Up) => (false, true, true),
            Some(Role::Api) => (true, true, false),
            Some(Role::Worker) => (true, false, true),
            None => (settings.broker.url.is_some(), true, true),
        };
        Self { broker, api, worker }
    }
}

/// What was found, as `--json` writes it.
#[derive(Serialize)]
struct Report {
    /// The worst of all.
    level: Level,
    findings: Vec<Finding>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let findings = match args.settings.load() {
        Ok(loaded) => examine(args, &loaded)?,
        Err(error) => vec![
            Finding::fail("settings", error.to_string())
                .with("correct that first: nothing else can be checked without settings"),
        ],
    };
    let level = findings.iter().map(|finding| finding.level).max();
    let report = Report {
        level: level.unwrap_or(Level::Ok),
        findings,
    };
    show(&report, args.json)?;
    let is_bad = match report.level {
        Level::Ok => false,
        Level::Warn => args.strict,
        Level::Fail => true,
    };
    Ok(if is_bad { Ending::Faults } else { Ending::Done })
}

fn examine(args: &Args, loaded: &Loaded) -> anyhow::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime can be started")?;
    let parts = Parts::of(args.role, &loaded.settings);
    let mut findings = settings(loaded);
    findings.extend(timers::check(
        &loaded.settings,
        parts,
        args.keda_cooldown.map(|span| span.0),
        args.stop_timeout.map(|span| span.0),
    ));
    findings.extend(runtime.block_on(ask_around(&loaded.settings, parts, args.limit.0)));
    // A check that did not end in time may still be in a call that blocks.
    runtime.shutdown_background();
    let redaction = Redaction::of(&loaded.settings);
    for finding in &mut findings {
        redaction.apply(finding);
    }
    Ok(findings)
}

fn settings(loaded: &Loaded) -> Vec<Finding> {
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "no file".to_owned(),
    };
    let read: Vec<_> = std::iter::once(file).chain(loaded.variables.clone()).collect();
    let good = Finding::ok("settings", format!("understood: {}", read.join(", ")));
    let doubts = loaded
        .doubts
        .iter()
        .map(|doubt| Finding::warn("settings", doubt).with("correct its name, or remove it"));
    std::iter::once(good).chain(doubts).collect()
}

/// Everything that has to wait for somebody.
async fn ask_around(settings: &Settings, parts: Parts, limit: Duration) -> Vec<Finding> {
    let settings = Arc::new(settings.clone());
    // What a check knows of the way an answer failed to come says more, so it is given the time to.
    let longest = limit + Duration::from_secs(1);
    let mut checks: Vec<(&'static str, JoinHandle<Vec<Finding>>)> = Vec::new();
    let mut start = |name, check: Check| checks.push((name, tokio::spawn(limited(name, longest, check))));
    if parts.broker {
        let settings = Arc::clone(&settings);
        start(
            "broker",
            Box::pin(async move { broker::check(&settings, limit).await }),
        );
    }
    {
        let settings = Arc::clone(&settings);
        start(
            "store",
            Box::pin(async move { bucket::check(&settings, parts.broker, limit).await }),
        );
    }
    if parts.api {
        let settings = Arc::clone(&settings);
        start("api", Box::pin(async move { web::check(&settings).await }));
    }
    if parts.worker || settings.models.bundle.is_some() {
        let settings = Arc::clone(&settings);
        let run = parts.worker;
        start(
            "models",
            Box::pin(async move { models::check(&settings, run, limit).await }),
        );
    }
    if parts.worker {
        let settings = Arc::clone(&settings);
        start("machine", Box::pin(async move { limits::check(&settings).await }));
    }
    let mut findings = Vec::new();
    for (name, check) in checks {
        match check.await {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(
                Finding::fail(name, format!("the check itself broke: {error}"))
                    .with("please report this as a bug"),
            ),
        }
    }
    findings
}

type Check = std::pin::Pin<Box<dyn Future<Output = Vec<Finding>> + Send>>;

async fn limited(name: &'static str, limit: Duration, check: Check) -> Vec<Finding> {
    match tokio::time::timeout(limit, check).await {
        Ok(found) => found,
        Err(_) => vec![
            Finding::fail(name, format!("no answer in {}", Span(limit)))
                .with("see whether the machine or the network hangs; --limit gives it more time"),
        ],
    }
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    let mut table = table::new(&["", "what", "found", "what to do"]);
    for Finding {
        what,
        level,
        found,
        remedy,
    } in &report.findings
    {
        table.add_row([level.name(), what, found, remedy.as_deref().unwrap_or_default()]);
    }
    writeln!(out, "{table}")?;
    let count = |level| {
        report
            .findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (ok, warn, fail) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
    writeln!(out, "{ok} ok, {warn} to look at, {fail} failed")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_hangs_is_told_of_and_keeps_nobody() {
        let found = limited(
            "broker",
            Duration::from_millis(20),
            Box::pin(std::future::pending()),
        )
        .await;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].what, found[0].level), ("broker", Level::Fail));
        assert!(found[0].found.contains("20ms"), "{found:?}");
    }

    #[test]
    fn without_a_role_the_settings_say_what_there_is_to_be() {
        let mut settings = Settings::default();
        assert!(!Parts::of(None, &settings).broker, "`up` has its queue inside");
        assert!(Parts::of(Some(Role::Worker), &settings).broker);
        settings.broker.url = Some("amqp://h".to_owned().into());
        let parts = Parts::of(None, &settings);
        assert!(parts.broker && parts.api && parts.worker);
        assert!(!Parts::of(Some(Role::Api), &settings).worker);
        assert!(!Parts::of(Some(Role::Up), &settings).broker);
    }
}
