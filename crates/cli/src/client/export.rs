//! `pitchfleet export`: a document of a batch as a file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use report::ExportFormat;
use tempfile::NamedTempFile;

use super::http::Patience;
use super::{Named, ServerArgs};
use crate::exit::{Ending, Fatal};

const EXAMPLES: &str = "\
Examples:
  pitchfleet export last html                     into report.html here
  pitchfleet export last parquet -o day-1.parquet
  pitchfleet export last csv -o -                 to standard output
  duckdb -c \"select class, count(*) from 'day-1.parquet' group by class\"

While a batch runs, a document holds what is done so far.";

/// Fetch a document of a batch.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its id, or `last`
    #[arg(value_name = "BATCH")]
    batch: Named,
    /// ndjson, csv, parquet, coco, verdict or html
    #[arg(value_name = "FORMAT")]
    format: ExportFormat,
    /// File to write, `-` for standard output [default: the document's own
    /// name, such as results.parquet]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let client = args.server.client()?;
    let batch = args.batch.find(&client)?;
    let path = format!("/v1/batches/{batch}/export/{}", args.format);
    let response = client.open(&path, &[], Patience::Short)?;
    let mut content = response.into_body().into_with_config().limit(u64::MAX).reader();
    let broken =
        |error: io::Error| Fatal::server(format!("the document broke off: {error}; nothing was written"));
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(args.format.file_name()));
    if output == Path::new("-") {
        io::copy(&mut content, &mut io::stdout().lock()).map_err(broken)?;
        return Ok(Ending::Done);
    }
    // Beside its place and then into it: a file that is there is whole.
    let folder = output
        .parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."));
    let unwritable =
        |error: io::Error| Fatal::output(format!("{} cannot be written: {error}", output.display()));
    let mut file = NamedTempFile::new_in(folder).map_err(unwritable)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = io::Read::read(&mut content, &mut buffer).map_err(broken)?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(unwritable)?;
    }
    let file = file.persist(&output).map_err(|error| unwritable(error.error))?;
    readable(&file).map_err(unwritable)?;
    eprintln!("{}", output.display());
    Ok(Ending::Done)
}

/// A temporary file is its owner's alone; a document is as other files are.
fn readable(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}
