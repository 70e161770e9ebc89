//! `pitchfleet watch`: how far a batch is, and what came of it.

use std::io::{self, Write};

use fleet::api::{BatchStatus, ResultPage};
use fleet::batch::BatchState;
use pitch::verdict::Verdict;
use report::ExportFormat;

use super::follow::{Followed, follow};
use super::http::{Client, Patience};
use super::{Named, ServerArgs, photo_name};
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::path_key::printable;
use crate::{table, verdict_table};

/// Failures that are named one by one.
const LISTED_FAILURES: u64 = 10;

const EXAMPLES: &str = "\
Examples:
  pitchfleet watch last                          the newest batch
  pitchfleet watch 01KB2Z3C9Q4T7V8W5X6Y0A1B2C
  pitchfleet watch last --fail-on-error && ship  for scripts

Ctrl-C ends the watching, not the batch.";

/// Watch a batch until it is done, then show its verdict.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its id, or `last`
    #[arg(value_name = "BATCH", default_value = "last")]
    batch: Named,
    /// End with code 1 if a photo failed
    #[arg(long)]
    fail_on_error: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let interrupt = Interrupt::install()?;
    let batch = args.batch.find(&client)?;
    match follow(&client, batch, &interrupt)? {
        Followed::Done(status) => tell(&client, &status, args.fail_on_error),
        Followed::Interrupted => Ok(Ending::Interrupted),
    }
}

/// Shows what came of a batch that is in a final state.
///
/// # Errors
/// When the server cannot be asked for it, or nobody reads it.
pub(super) fn tell(client: &Client, status: &BatchStatus, fail_on_error: bool) -> anyhow::Result<Ending> {
    let mut out = io::stdout().lock();
    let id = status.id;
    let counts = status.counts;
    if let Some(reason) = &status.reason {
        eprintln!(
            "pitchfleet: {} ({})",
            printable(&reason.message),
            printable(&reason.code)
        );
    }
    let documents = &status.exports;
    if documents
        .iter()
        .any(|name| name == ExportFormat::Verdict.file_name())
    {
        let path = format!("/v1/batches/{id}/export/{}", ExportFormat::Verdict);
        match client.get::<Verdict>(&path, Patience::Short) {
            Ok(verdict) => writeln!(out, "{}", verdict_table::of(&verdict))?,
            // The batch is as it is, whether its verdict can be shown or not.
            Err(refusal) => eprintln!("pitchfleet: the verdict cannot be shown: {refusal}"),
        }
    }
    if counts.failed > 0 {
        let path = format!("/v1/batches/{id}/results?failed=true&limit={LISTED_FAILURES}");
        let page: ResultPage = client.get(&path, Patience::Short)?;
        let mut rows = table::new(&["failed", "code", "what happened, and what to do"]);
        for result in &page.results {
            if let Some(failure) = &result.failure {
                rows.add_row([
                    printable(photo_name(&result.photo.key)),
                    failure.code.clone(),
                    printable(&failure.message),
                ]);
            }
        }
        writeln!(out, "\n{rows}")?;
        let unlisted = counts.failed.saturating_sub(page.results.len() as u64);
        if unlisted > 0 {
            writeln!(out, "and {unlisted} more: `pitchfleet results {id} --failed`")?;
        }
    }
    writeln!(out, "\nbatch    {id}, {}", status.state.name())?;
    let failed = match counts.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let left = match counts.photos.saturating_sub(counts.done()) {
        0 => String::new(),
        left => format!(", {left} not analysed"),
    };
    writeln!(out, "photos   {} analysed{failed}{left}", counts.ok)?;
    if status.state == BatchState::Completed {
        writeln!(out, "report   pitchfleet export {id} html")?;
    }
    Ok(match status.state {
        BatchState::Completed if fail_on_error && counts.failed > 0 => Ending::Faults,
        BatchState::Completed => Ending::Done,
        _ => Ending::Faults,
    })
}
