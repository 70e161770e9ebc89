//! `pitchfleet analyze`: photos in, a folder of results and a report out.

mod plan;

use std::path::PathBuf;

use crate::exit::Ending;
use crate::sources::Sources;

const EXAMPLES: &str = "\
Examples:
  pitchfleet analyze photos/day-1                       a folder, with everything below it
  pitchfleet analyze day-1.zip --out day-1              an archive, read in place
  pitchfleet analyze 'photos/*/IMG_*.jpg'               a pattern
  pitchfleet analyze crops --full-frame                 photos that are crops of a pitch already
  pitchfleet analyze photos --overlays grass,cracks     with pictures
  pitchfleet analyze photos --json | jq .classification a line of JSON a photo, for pipes

Run again with the same --out, an interrupted analysis continues: only photos that are new, changed or
failed are analysed.";

/// Analyse photos: files, folders, globs and zip archives.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (with everything below), globs and zip archives
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Ending> {
    let _ = Sources::new(&args.paths)?;
    Ok(Ending::Done)
}
