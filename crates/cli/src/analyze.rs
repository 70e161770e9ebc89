//! `pitchfleet analyze`: photos in, a folder of results and a report out.

mod archived;
mod batch;
mod finalise;
mod pipeline;
mod plan;
mod progress;
mod summary;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use engine::bundle::Bundle;
use fleet::layout;
use fleet::manifest::{BatchOptions, BundleRef};
use fleet::result::PhotoResult;
use pitch::analysis::{Options, OverlayKind};

use self::batch::Draft;
use self::pipeline::Pipeline;
use self::progress::Progress;
use self::summary::{Ended, MemoryStory};
use crate::bundles;
use crate::engine_args::EngineArgs;
use crate::exit::{Ending, Fatal};
use crate::interrupt::Interrupt;
use crate::memory;
use crate::out_dir::OutDir;
use crate::sources::{Skipped, Sources};

const DEFAULT_OUT: &str = "pitchfleet-out";

const EXAMPLES: &str = "\
Examples:
  pitchfleet analyze photos/day-1                    a folder, with everything below it
  pitchfleet analyze day-1.zip --out day-1           an archive, read in place
  pitchfleet analyze 'photos/*/IMG_*.jpg'            a pattern
  pitchfleet analyze crops --full-frame              photos that are crops of a pitch already
  pitchfleet analyze photos --overlays grass,cracks  with pictures
  pitchfleet analyze photos --json | jq .photo.key   a line of JSON a photo, for pipes

The folder that a photo lies in, below the PATH given, is its group (a pitch, an end, a session);
every group gets a verdict of its own. With several PATHs their names are the groups.

Run again with the same --out, an analysis continues: only photos that are new, changed or failed
are analysed. Bytes of a file name that are not UTF-8 stand as %XX in the results.";

/// Analyse photos: files, folders, globs and zip archives.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files, folders (with everything below), globs and zip archives
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder for the results [default: pitchfleet-out, or -2, -3 … when that is taken; with --json
    /// none]
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the results to standard output, one JSON object a line, as they come
    #[arg(long)]
    json: bool,
    /// End with code 1 if a photo failed
    #[arg(long)]
    fail_on_error: bool,
    #[command(flatten)]
    analysis: AnalysisArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What is done with each photo.
#[derive(clap::Args)]
#[command(next_help_heading = "Analysis")]
pub(crate) struct AnalysisArgs {
    /// The photos are crops of a pitch already: look for none
    #[arg(long)]
    full_frame: bool,
    /// Pictures to make: none, all, or a list of grass, cracks, moisture, crop, box, report
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "none",
        hide_possible_values = true
    )]
    overlays: Vec<Overlay>,
    /// Least score of a pitch, 0 to 1 [default: the bundle's]
    #[arg(long, value_name = "SCORE", value_parser = score)]
    detection_threshold: Option<f32>,
    /// Longest side at which the surface is read, in pixels; 0 is the photo's own size
    #[arg(long, value_name = "PIXELS", default_value_t = Options::default().analysis_max_side)]
    max_side: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Overlay {
    None,
    All,
    Grass,
    Cracks,
    Moisture,
    Crop,
    Box,
    Report,
}

fn score(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("not within 0 and 1".to_owned())
    }
}

impl AnalysisArgs {
    /// The choice as results record it.
    pub(crate) fn options(&self) -> Options {
        let wanted = |kind: OverlayKind| {
            self.overlays.iter().any(|overlay| match overlay {
                Overlay::None => false,
                Overlay::All => true,
                Overlay::Grass => kind == OverlayKind::Grass,
                Overlay::Cracks => kind == OverlayKind::Cracks,
                Overlay::Moisture => kind == OverlayKind::Moisture,
                Overlay::Crop => kind == OverlayKind::Crop,
                Overlay::Box => kind == OverlayKind::Box,
                Overlay::Report => kind == OverlayKind::Report,
            })
        };
        Options {
            detection_threshold: self.detection_threshold,
            full_frame: self.full_frame,
            analysis_max_side: self.max_side,
            overlays: OverlayKind::ALL
                .into_iter()
                .filter(|&kind| wanted(kind))
                .collect(),
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let options = args.analysis.options();
    let out = match (&args.out, args.json) {
        (Some(folder), _) => Destination::Kept(folder.clone()),
        (None, false) => Destination::Kept(batch::default_folder(DEFAULT_OUT, &args.paths)),
        (None, true) if !options.overlays.is_empty() => {
            return Err(Fatal::usage("--overlays makes files: say where with --out").into());
        }
        (None, true) => Destination::Passing(
            tempfile::tempdir()
                .map_err(|error| Fatal::output(format!("no temporary folder can be made: {error}")))?,
        ),
    };
    let interrupt = Interrupt::install()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(analyze(args, options, &out, &interrupt))
}

/// Where results go.
enum Destination {
    /// A folder that stays.
    Kept(PathBuf),
    /// One that is gone when the run is: only the lines on standard output are wanted.
    Passing(tempfile::TempDir),
}

impl Destination {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Passing(folder) => folder.path(),
        }
    }
}

async fn analyze(
    args: &Args,
    options: Options,
    destination: &Destination,
    interrupt: &Interrupt,
) -> anyhow::Result<Ending> {
    let before = memory::of_tree();
    let started = Instant::now();
    let sources = Sources::new(&args.paths)?;
    let folder = bundles::find(args.engine.bundle.as_deref())?;
    let bundle = Bundle::open(&folder).map_err(|error| Fatal::set_up(error.to_string()))?;
    let engine = args.engine.engine(&folder)?;

    let out = OutDir::open(destination.path())?;
    let draft = Draft::open(&out, &args.paths)?;
    for folder in ["", layout::RESULTS, layout::REPORT] {
        out.sweep(folder).map_err(Fatal::from)?;
    }
    let continues = draft.continues();
    let plan = plan::plan(&out, &sources.without(out.root())).map_err(Fatal::from)?;
    if plan.photos == 0 {
        if !continues {
            out.discard();
        }
        eprintln!("pitchfleet: {}", nothing(&args.paths, plan.skipped));
        return Ok(Ending::Nothing);
    }
    let options = BatchOptions {
        analysis: options,
        precision: args.engine.batch_precision(),
    };
    let models = BundleRef {
        name: bundle.manifest().name.clone(),
        digest: bundle.digest(),
    };
    let manifest = draft.begin(&out, options, models)?;

    let progress = Progress::new(plan.photos, !args.json || !io::stdout().is_terminal());
    let mut write_line = |result: &PhotoResult| -> io::Result<()> {
        let mut line = serde_json::to_vec(result)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    };
    let pipeline = Pipeline {
        out: &out,
        manifest: &manifest,
        engine: &engine,
        interrupt,
        progress: &progress,
        lines: args.json.then_some(&mut write_line),
        run: pipeline::Run::default(),
    };
    let outcome = pipeline.run().await;
    // The models go before the report is made, and on every way out.
    engine.stop().await;
    progress.finish();
    let tally = outcome?;
    let after = memory::of_tree();

    if let Destination::Kept(_) = destination {
        let wall = started.elapsed();
        let (verdict, failures) = finalise::finalise(&out, &manifest, &bundle, wall.as_secs_f64())?;
        let ended = Ended {
            verdict: &verdict,
            failures: &failures,
            tally: &tally,
            memory: MemoryStory {
                before,
                during: tally.peak,
                after,
            },
            wall,
            report: &out.path(&layout::report_key(finalise::PAGE)),
            full_frame: args.analysis.full_frame,
            photos: plan.photos,
        };
        let mut text = Vec::new();
        ended.write(&mut text)?;
        let told = if args.json {
            io::stderr().write_all(&text)
        } else {
            io::stdout().write_all(&text)
        };
        match told {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(error).context("standard output cannot be written");
            }
            _ => {}
        }
    }
    Ok(if tally.interrupted {
        Ending::Interrupted
    } else if args.fail_on_error && tally.failed > 0 {
        Ending::Faults
    } else {
        Ending::Done
    })
}

/// What is said when no photo was found.
fn nothing(paths: &[PathBuf], skipped: Skipped) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut text = format!("no photos in {}", crate::path_key::printable(&paths.join(" ")));
    let Skipped {
        other_files,
        archives,
        batches,
    } = skipped;
    for (count, one, many) in [
        (
            archives,
            "zip archive there: name it to have it read",
            "zip archives there: name them to have them read",
        ),
        (
            batches,
            "folder of results was passed over",
            "folders of results were passed over",
        ),
        (
            other_files,
            "file there has no photo's extension",
            "files there have no photo's extension",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("; {count} {}", if count == 1 { one } else { many }));
        }
    }
    text.push_str(" (jpg, png, webp, tiff and heic are photos)");
    text
}
