//! `pitchfleet workers`: who analyses, and with what.

use std::io::{self, Write};
use std::time::Duration;

use fleet::api::{WorkerStatus, Workers};
use fleet::event::WorkerState;

use super::ServerArgs;
use super::http::Patience;
use crate::duration::clock;
use crate::exit::Ending;
use crate::memory::megabytes;
use crate::path_key::printable;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  pitchfleet workers
  pitchfleet workers --json | jq '.last.memory'";

/// List the workers that were heard of in the last hour.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let workers: Workers = client.get("/v1/workers", Patience::Short)?;
    let mut out = io::stdout().lock();
    if args.json {
        for worker in &workers.workers {
            writeln!(out, "{}", serde_json::to_string(worker)?)?;
        }
        return Ok(Ending::Done);
    }
    let mut rows = table::new(&[
        "worker", "state", "models", "device", "in hand", "done", "failed", "photos/s", "memory", "heard",
    ]);
    for worker in &workers.workers {
        rows.add_row(row(worker));
    }
    table::align_numbers(&mut rows, &[4, 5, 6, 7, 8]);
    writeln!(out, "{rows}")?;
    Ok(Ending::Done)
}

fn row(worker: &WorkerStatus) -> Vec<String> {
    let said = &worker.last;
    let state = match said.state {
        _ if worker.vanished => "vanished",
        WorkerState::Idle => "idle",
        WorkerState::Busy => "busy",
        WorkerState::Draining => "draining",
        WorkerState::Gone => "gone",
    };
    let models = if said.model.loaded {
        format!("{}, {}", said.model.bundle, said.model.precision)
    } else {
        "not loaded".to_owned()
    };
    vec![
        printable(&said.worker),
        state.to_owned(),
        printable(&models),
        printable(&said.model.device),
        said.in_hand.to_string(),
        (said.done.ok + said.done.reused).to_string(),
        said.done.failed.to_string(),
        format!("{:.1}", said.rate),
        megabytes(said.memory.worker_bytes + said.memory.engine_bytes),
        format!("{} ago", clock(Duration::from_millis(worker.silent_ms))),
    ]
}
