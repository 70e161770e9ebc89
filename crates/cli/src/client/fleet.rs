//! `pitchfleet fleet`: what the workers are told.

use std::io::{self, Write};
use std::time::Duration;

use ::fleet::api::{NewOrder, Ordered, WorkerAnswer};
use ::fleet::event::Answer;
use ::fleet::lifecycle::Order;

use super::ServerArgs;
use super::http::Patience;
use crate::exit::Ending;
use crate::path_key::printable;
use crate::settings::Span;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  pitchfleet fleet warm --hold 4h            before a match: loaded now, and for four hours at least
  pitchfleet fleet unload                    all memory back; the next photo loads again
  pitchfleet fleet drain --worker ground-3   before maintenance; `fleet warm` ends it
  pitchfleet fleet reload                    another bundle lies where the old one was

A worker finishes the photos that it has in hand first. One that does not answer within --wait is named, and gives
exit code 1; an order that it heard is carried out nevertheless.";

/// Tell workers what to do with their models: warm, unload, drain, reload.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    order: Word,
}

#[derive(clap::Subcommand)]
enum Word {
    /// Load the models now, and take photos (again).
    Warm {
        /// Stay loaded for at least this long, work or not
        #[arg(long, value_name = "TIME", default_value = "0s")]
        hold: Span,
        #[command(flatten)]
        to: To,
    },
    /// Finish what is in hand and unload; the next photo loads again.
    Unload {
        #[command(flatten)]
        to: To,
    },
    /// Finish what is in hand, unload, and take no more until `warm`.
    Drain {
        #[command(flatten)]
        to: To,
    },
    /// Finish what is in hand, then open the bundle that lies in its place now. Batches keep the bundle that they were
    /// submitted with.
    Reload {
        #[command(flatten)]
        to: To,
    },
}

/// Who is meant, and how long to wait.
#[derive(clap::Args)]
struct To {
    /// This worker only, by the name that `pitchfleet workers` shows
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// How long to wait for answers, at most 55s
    #[arg(long, value_name = "TIME", default_value = "30s")]
    wait: Span,
    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A connection that is silent for a minute counts as broken.
const LONGEST_WAIT: Duration = Duration::from_secs(55);

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let (order, to) = match &args.order {
        Word::Warm { hold, to } => {
            let hold_ms = u64::try_from(hold.0.as_millis()).unwrap_or(u64::MAX);
            (Order::Warm { hold_ms }, to)
        }
        Word::Unload { to } => (Order::Unload, to),
        Word::Drain { to } => (Order::Drain, to),
        Word::Reload { to } => (Order::Reload, to),
    };
    let wait = to.wait.0.min(LONGEST_WAIT).as_secs();
    let new = NewOrder {
        order,
        worker: to.worker.clone(),
        wait_seconds: u32::try_from(wait).ok(),
    };
    let client = to.server.client()?;
    let ordered: Ordered = client.post("/v1/workers:command", Some(&new), &[], Patience::Short)?;
    let mut out = io::stdout().lock();
    if to.json {
        for worker in &ordered.workers {
            writeln!(out, "{}", serde_json::to_string(worker)?)?;
        }
    } else {
        let mut rows = table::new(&["worker", "answer", ""]);
        for worker in &ordered.workers {
            rows.add_row([
                printable(&worker.worker),
                answer(worker).to_owned(),
                printable(&worker.detail),
            ]);
        }
        writeln!(out, "{rows}")?;
    }
    let all_done = ordered
        .workers
        .iter()
        .all(|worker| worker.answer == Some(Answer::Done));
    Ok(if all_done { Ending::Done } else { Ending::Faults })
}

fn answer(worker: &WorkerAnswer) -> &'static str {
    match worker.answer {
        Some(Answer::Done) => "done",
        Some(Answer::Failed) => "FAILED",
        Some(Answer::Heard) => "heard, not done yet",
        None => "no answer",
    }
}
