//! `pitchfleet batches`, `cancel` and `retry`.

use std::io::{self, Write};

use fleet::api::{BatchPage, BatchStatus, Retried};

use super::http::Patience;
use super::{Named, ServerArgs, in_query};
use crate::exit::Ending;
use crate::path_key::printable;
use crate::table;

/// Batches asked for at a time.
const PAGE: usize = 100;

const LIST_EXAMPLES: &str = "\
Examples:
  pitchfleet batches                the newest twenty
  pitchfleet batches --limit 500
  pitchfleet batches --json | jq -r 'select(.state == \"running\").id'";

const CANCEL_EXAMPLES: &str = "\
Examples:
  pitchfleet cancel 01KB2Z3C9Q4T7V8W5X6Y0A1B2C
  pitchfleet cancel last

Photos that are being analysed are finished; the others are not begun. What was analysed stays, with a report.";

const RETRY_EXAMPLES: &str = "\
Examples:
  pitchfleet retry last             once more what failed, then `pitchfleet watch last`

Photos that have an analysis are not touched.";

/// List batches, newest first.
#[derive(clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Write one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// End a batch early.
#[derive(clap::Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelArgs {
    /// Its id, or `last`
    #[arg(value_name = "BATCH")]
    batch: Named,
    #[command(flatten)]
    server: ServerArgs,
}

/// Take up the failed photos of a batch once more.
#[derive(clap::Args)]
#[command(after_help = RETRY_EXAMPLES)]
pub(crate) struct RetryArgs {
    /// Its id, or `last`
    #[arg(value_name = "BATCH")]
    batch: Named,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn list(args: &ListArgs) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let mut batches: Vec<BatchStatus> = Vec::new();
    let mut cursor: Option<String> = None;
    while batches.len() < args.limit {
        let limit = (args.limit - batches.len()).min(PAGE);
        let mut path = format!("/v1/batches?limit={limit}");
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", in_query(cursor)));
        }
        let page: BatchPage = client.get(&path, Patience::Short)?;
        batches.extend(page.batches);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    batches.truncate(args.limit);
    let mut out = io::stdout().lock();
    if args.json {
        for batch in &batches {
            writeln!(out, "{}", serde_json::to_string(batch)?)?;
        }
        return Ok(Ending::Done);
    }
    let mut rows = table::new(&["batch", "name", "state", "photos", "done", "failed", "made"]);
    for batch in &batches {
        rows.add_row([
            batch.id.to_string(),
            printable(batch.name.as_deref().unwrap_or_default()),
            batch.state.name().to_owned(),
            batch.counts.photos.to_string(),
            batch.counts.done().to_string(),
            batch.counts.failed.to_string(),
            minutes(&batch.created_at).to_owned(),
        ]);
    }
    table::align_numbers(&mut rows, &[3, 4, 5]);
    writeln!(out, "{rows}")?;
    Ok(Ending::Done)
}

pub(crate) fn cancel(args: &CancelArgs) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let batch = args.batch.find(&client)?;
    let path = format!("/v1/batches/{batch}/cancel");
    let status: BatchStatus = client.post(&path, None::<&()>, &[], Patience::Short)?;
    writeln!(io::stdout(), "{batch} {}", status.state.name())?;
    Ok(Ending::Done)
}

pub(crate) fn retry(args: &RetryArgs) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let batch = args.batch.find(&client)?;
    let path = format!("/v1/batches/{batch}/retry");
    let retried: Retried = client.post(&path, None::<&()>, &[], Patience::Short)?;
    writeln!(
        io::stdout(),
        "{batch} {} photos are taken up again",
        retried.photos
    )?;
    Ok(Ending::Done)
}

/// RFC 3339 without seconds, as a person reads it.
fn minutes(time: &str) -> &str {
    time.get(..16).unwrap_or(time)
}
