//! `pitchfleet workers`: who analyses, and with what.

use std::io::{self, Write};
use std::time::Duration;

use ::fleet::api::{WorkerStatus, Workers};
use ::fleet::event::{ModelReport, WorkerState};

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
        "worker",
        "state",
        "models",
        "runs on",
        "in hand",
        "done",
        "failed",
        "photos/s",
        "memory",
        "last unload",
        "heard",
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
    let digest = said.model.digest.trim_start_matches("sha256:");
    let models = [
        said.model.state.name(),
        &said.model.bundle,
        digest.get(..8).unwrap_or(digest),
        &said.model.precision,
    ];
    let models = models.map(printable).join(" ");
    let unload = said.memory.last_unload.map_or_else(String::new, |receipt| {
        let left = match receipt.is_over() {
            true => format!(", {} left", megabytes(receipt.residue_bytes)),
            false => String::new(),
        };
        format!("{}{left}", receipt.reason.name())
    });
    vec![
        printable(&said.worker),
        state.to_owned(),
        models.trim().to_owned(),
        runs_on(&said.model),
        said.in_hand.to_string(),
        (said.done.ok + said.done.reused).to_string(),
        said.done.failed.to_string(),
        format!("{:.1}", said.rate),
        megabytes(said.memory.worker_bytes + said.memory.engine_bytes),
        unload,
        format!("{} ago", clock(Duration::from_millis(worker.silent_ms))),
    ]
}

/// The device, with what was asked for where that is something else.
fn runs_on(model: &ModelReport) -> String {
    let short = |provider: &str| printable(provider.trim_end_matches("ExecutionProvider"));
    let (requested, actual) = (
        short(&model.execution_provider_requested),
        short(&model.execution_provider),
    );
    let device = printable(&model.device);
    if requested == actual {
        device
    } else {
        format!("{device} ({actual} instead of {requested})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_was_not_asked_for_shows() {
        let model = |requested: &str, actual: &str, device: &str| ModelReport {
            execution_provider_requested: requested.into(),
            execution_provider: actual.into(),
            device: device.into(),
            ..ModelReport::default()
        };
        let (cpu, cuda) = ("CPUExecutionProvider", "CUDAExecutionProvider");
        assert_eq!(runs_on(&model(cuda, cuda, "cuda:0")), "cuda:0");
        assert_eq!(runs_on(&model(cuda, cpu, "cpu")), "cpu (CPU instead of CUDA)");
        assert_eq!(runs_on(&ModelReport::default()), "");
    }
}
