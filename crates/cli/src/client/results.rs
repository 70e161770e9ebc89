//! `pitchfleet results`: the results of a batch as a table, as JSON lines, as CSV.

use std::io::{self, Write};

use clap::ValueEnum;
use fleet::api::ResultPage;
use fleet::ids::BatchId;
use fleet::result::PhotoResult;
use pitch::analysis::PitchClass;
use report::SummaryCsv;

use super::http::{Client, Patience};
use super::{Named, ServerArgs, in_query, photo_name};
use crate::exit::Ending;
use crate::path_key::printable;
use crate::table;

/// Results asked for at a time.
const PAGE: usize = 200;

const EXAMPLES: &str = "\
Examples:
  pitchfleet results last                           a table
  pitchfleet results last --failed                  only what has no analysis
  pitchfleet results last --class spin --group north
  pitchfleet results last --csv > day-1.csv
  pitchfleet results last --json | jq .classification

While a batch runs these are the results so far.";

/// Show the results of a batch, also while it runs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its id, or `last`
    #[arg(value_name = "BATCH", default_value = "last")]
    batch: Named,
    /// Write one JSON object a line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Write CSV with a header
    #[arg(long)]
    csv: bool,
    /// Only photos of this class
    #[arg(long, value_name = "CLASS")]
    class: Option<Class>,
    /// Only photos without an analysis
    #[arg(long, conflicts_with = "class")]
    failed: bool,
    /// Only photos of this group (the folder that they were in)
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Class {
    Batting,
    Bowling,
    Seam,
    Spin,
}

impl Class {
    fn on_the_wire(self) -> PitchClass {
        match self {
            Self::Batting => PitchClass::Batting,
            Self::Bowling => PitchClass::Bowling,
            Self::Seam => PitchClass::Seam,
            Self::Spin => PitchClass::Spin,
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let batch = args.batch.find(&client)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        args.each(&client, batch, |result| {
            serde_json::to_writer(&mut out, result)?;
            Ok(out.write_all(b"\n")?)
        })?;
    } else if args.csv {
        let mut csv = SummaryCsv::new(&mut out);
        args.each(&client, batch, |result| Ok(csv.add(result)?))?;
        csv.finish()?;
    } else {
        let mut rows = table::new(&[
            "index",
            "photo",
            "group",
            "favours",
            "confidence",
            "grass",
            "cracks",
            "moisture",
        ]);
        args.each(&client, batch, |result| {
            rows.add_row(row(result));
            Ok(())
        })?;
        table::align_numbers(&mut rows, &[0, 4]);
        writeln!(out, "{rows}")?;
    }
    out.flush()?;
    Ok(Ending::Done)
}

impl Args {
    /// Hands every result that is asked for to `take`, by index, a page in memory at a time.
    fn each(
        &self,
        client: &Client,
        batch: BatchId,
        mut take: impl FnMut(&PhotoResult) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut cursor: Option<String> = None;
        while left > 0 {
            let path = self.path(batch, left.min(PAGE), cursor.as_deref());
            let page: ResultPage = client.get(&path, Patience::Short)?;
            for result in page.results.iter().take(left) {
                take(result)?;
            }
            left = left.saturating_sub(page.results.len());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn path(&self, batch: BatchId, limit: usize, cursor: Option<&str>) -> String {
        let mut path = format!("/v1/batches/{batch}/results?limit={limit}");
        if let Some(class) = self.class {
            path.push_str(&format!("&class={}", class.on_the_wire().name()));
        }
        if self.failed {
            path.push_str("&failed=true");
        }
        if let Some(group) = &self.group {
            path.push_str(&format!("&group={}", in_query(group)));
        }
        if let Some(cursor) = cursor {
            path.push_str(&format!("&cursor={}", in_query(cursor)));
        }
        path
    }
}

fn row(result: &PhotoResult) -> Vec<String> {
    let mut row = vec![
        result.index.to_string(),
        printable(photo_name(&result.photo.key)),
        printable(result.group.as_deref().unwrap_or_default()),
    ];
    match (&result.classification, &result.surface, &result.failure) {
        (Some(classification), Some(surface), _) => row.extend([
            classification.corrected.class.name().replace("_friendly", ""),
            format!("{:.0} %", classification.corrected.confidence * 100.0),
            surface.grass.level.name().to_owned(),
            surface.cracks.severity.name().to_owned(),
            surface.moisture.level.name().to_owned(),
        ]),
        (_, _, Some(failure)) => row.push(format!("failed: {}", failure.code)),
        _ => {}
    }
    row
}
