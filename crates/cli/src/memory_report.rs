//! `pitchfleet memory-report`: what analysing costs in memory on this machine, and whether it all comes back.

pub(crate) mod chart;
mod sampler;
mod targets;
mod timeline;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use engine::{Analysed, Engine, EngineFacts, PhotoFailure, PhotoRequest, PhotoSource};
use pitch::analysis::Options;
use serde::Serialize;
use tokio::task::JoinSet;

use self::chart::Mark;
use self::sampler::Sampler;
use self::targets::Target;
use crate::bundles;
use crate::client::{self, ServerArgs};
use crate::engine_args::EngineArgs;
use crate::exit::{Ending, Fatal};
use crate::memory::{self, Memory, megabytes};
use crate::samples;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  pitchfleet memory-report                               with the sample photos, 50 cycles
  pitchfleet memory-report photos/day-1 --jobs 1         with your own photos, one at a time
  pitchfleet memory-report --json --picture memory.svg   for machines, with a timeline
  pitchfleet memory-report --worker ground-3 --picture hour.svg
                                                         of a worker in the fleet: the last hour

Figures are those of the kernel for the whole process tree: resident (RSS; what it shares counts in
full), proportional (PSS) and private (USS; what would come back if it ended). A target that is
missed gives exit code 1.";

/// Measure memory over load, work and unload, on this machine.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Photos to work on [default: the samples that come with the program]
    #[arg(value_name = "PATH")]
    photos: Vec<PathBuf>,
    /// Times to load, analyse and unload
    #[arg(long, value_name = "N", default_value_t = 50)]
    cycles: usize,
    /// Photos analysed in each of them
    #[arg(long, value_name = "N", default_value_t = 1)]
    cycle_photos: usize,
    /// Least number of photos in the busy stage; they are repeated to reach it
    #[arg(long, value_name = "N", default_value_t = 24)]
    busy: usize,
    /// Load the models before the first photo, not with it
    #[arg(long)]
    preload: bool,
    /// Write JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write a timeline as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Instead, what a fleet's API knows of this worker: the last hour, and what its unloads gave back
    #[arg(long, value_name = "ID", conflicts_with_all = ["photos", "cycles", "cycle_photos", "busy", "preload"])]
    worker: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Unloads until the floor stands, as in a worker's receipts.
const SETTLING: usize = 3;

/// What was measured.
#[derive(Serialize)]
struct Report {
    device: String,
    precision: String,
    lanes: usize,
    photos: usize,
    /// Pixels of the largest photo.
    largest_photo_pixels: usize,
    stages: Vec<Stage>,
    cycles: Cycles,
    /// Milliseconds from spawning to ready, one a load.
    load_ms: Vec<f64>,
    targets: Vec<Target>,
}

/// Memory at one moment.
#[derive(Clone, Serialize)]
struct Stage {
    name: &'static str,
    /// Seconds since the start.
    at: f64,
    memory: Memory,
}

impl Stage {
    fn mark(&self) -> Mark {
        Mark {
            name: self.name.to_owned(),
            at: self.at,
            bytes: self.memory.resident,
        }
    }
}

/// Memory after each unload.
#[derive(Default, Serialize)]
struct Cycles {
    count: usize,
    first: Memory,
    last: Memory,
    largest: Memory,
    /// Resident bytes of the last less those of the first.
    difference: i64,
    /// Private bytes above the most that was left by any of the first three, at most.
    residue: u64,
    /// Milliseconds from nothing loaded to the first result, one a cycle.
    first_result_ms: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    if let Some(worker) = &args.worker {
        return client::memory::report(&args.server, worker, args.json, args.picture.as_deref());
    }
    let started = Instant::now();
    let at_start = memory::of_tree();
    let photos = samples::photos(&args.photos)?;
    let engine = args
        .engine
        .engine(&bundles::find(args.engine.bundle.as_deref())?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let sampler = Sampler::start(started);
    let mut measure = Measure {
        engine,
        photos,
        started,
        stages: Vec::new(),
        load_ms: Vec::new(),
        largest: 0,
        ran: None,
    };
    measure.stages.push(Stage {
        name: "process start",
        at: 0.0,
        memory: at_start,
    });
    let cycles = runtime.block_on(measure.all(args, &sampler))?;
    let samples = sampler.finish();

    let report = measure.report(cycles);
    if let Some(path) = &args.picture {
        let svg = {
            let marks: Vec<_> = report.stages.iter().map(Stage::mark).collect();
            chart::draw(&samples, &marks)?
        };
        std::fs::write(path, svg).map_err(|error| Fatal::output(format!("{}: {error}", path.display())))?;
    }
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.write(&mut out)?;
    }
    let held = report.targets.iter().all(|target| target.holds);
    Ok(if held { Ending::Done } else { Ending::Faults })
}

struct Measure {
    engine: Engine,
    photos: Vec<PathBuf>,
    started: Instant,
    stages: Vec<Stage>,
    load_ms: Vec<f64>,
    /// Pixels of the largest photo seen.
    largest: usize,
    /// What ran.
    ran: Option<Arc<EngineFacts>>,
}

impl Measure {
    async fn all(&mut self, args: &Args, sampler: &Sampler) -> anyhow::Result<Cycles> {
        self.mark("engine made, not loaded");
        if args.preload {
            self.load().await?;
            self.mark("loaded");
        }
        // Without --preload the first photo finds the engine cold, as a lazy worker's does.
        self.first_photo().await?;
        self.mark("first photo done");
        sampler.forget_peak();
        let wanted = args.busy.max(self.photos.len());
        self.analyse(wanted, self.engine.places() + 1).await?;
        self.stages.push(Stage {
            name: "busy, at most",
            at: self.started.elapsed().as_secs_f64(),
            memory: sampler.peak().max(memory::of_tree()),
        });
        self.mark("warm, nothing in hand");
        self.unload().await;
        self.mark("unloaded");

        let mut cycles = Cycles {
            count: args.cycles,
            ..Cycles::default()
        };
        let mut floor = 0;
        for cycle in 0..args.cycles {
            let cold = Instant::now();
            self.analyse(1, 1).await?;
            cycles.first_result_ms.push(cold.elapsed().as_secs_f64() * 1e3);
            self.analyse(args.cycle_photos.saturating_sub(1), self.engine.places() + 1)
                .await?;
            self.unload().await;
            let memory = memory::of_tree();
            if cycle == 0 {
                cycles.first = memory;
            }
            if cycle < SETTLING {
                floor = floor.max(memory.private);
            }
            cycles.residue = cycles.residue.max(memory.private.saturating_sub(floor));
            cycles.last = memory;
            cycles.largest = cycles.largest.max(memory);
        }
        cycles.difference = cycles.last.resident.cast_signed() - cycles.first.resident.cast_signed();
        if args.cycles > 0 {
            self.mark("unloaded, after the cycles");
        }
        Ok(cycles)
    }

    async fn load(&mut self) -> anyhow::Result<()> {
        self.engine.load().await.map_err(Fatal::from)?;
        Ok(())
    }

    async fn unload(&mut self) {
        self.load_ms.extend(self.engine.stats().last_load_ms);
        self.engine.stop().await;
        // As a worker does it.
        engine::memory::trim();
    }

    /// Analyses one photo, leaving out those in front that are broken.
    async fn first_photo(&mut self) -> anyhow::Result<()> {
        while !self.photos.is_empty() {
            if self.analyse(1, 1).await? == 1 {
                return Ok(());
            }
            self.photos.remove(0);
        }
        Err(Fatal::usage("none of the photos could be analysed").into())
    }

    /// Analyses `count` photos, beginning again at the first when there are fewer, `depth` at a time. Gives the number
    /// of those that were not broken.
    async fn analyse(&mut self, count: usize, depth: usize) -> anyhow::Result<usize> {
        let photos = self.photos.clone();
        let mut next = photos.iter().cycle().take(count);
        let mut in_hand: JoinSet<Result<Analysed, PhotoFailure>> = JoinSet::new();
        let mut analysed = 0;
        loop {
            while in_hand.len() < depth
                && let Some(path) = next.next()
            {
                let engine = self.engine.clone();
                let request = PhotoRequest {
                    source: PhotoSource::File(path.clone()),
                    options: Options::default(),
                };
                in_hand.spawn(async move { engine.analyse(request).await });
            }
            let Some(answer) = in_hand.join_next().await else {
                return Ok(analysed);
            };
            match answer? {
                Ok(done) => {
                    analysed += 1;
                    let photo = done.analysis.photo;
                    self.largest = self.largest.max(photo.width * photo.height);
                    self.ran = Some(done.facts);
                }
                Err(failure) if failure.permanent => {}
                Err(failure) => return Err(Fatal::set_up(failure.message).into()),
            }
        }
    }

    fn mark(&mut self, name: &'static str) {
        self.stages.push(Stage {
            name,
            at: self.started.elapsed().as_secs_f64(),
            memory: memory::of_tree(),
        });
    }

    fn report(&self, cycles: Cycles) -> Report {
        let lanes = self.engine.lanes();
        let ran = self.ran.as_deref();
        Report {
            device: ran.map(|facts| facts.device.clone()).unwrap_or_default(),
            precision: ran.map(EngineFacts::precision).unwrap_or_default(),
            lanes,
            photos: self.photos.len(),
            largest_photo_pixels: self.largest,
            stages: self.stages.clone(),
            targets: targets::judge(&self.stages, &cycles, lanes, self.largest, &self.load_ms),
            cycles,
            load_ms: self.load_ms.clone(),
        }
    }
}

impl Report {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut stages = table::new(&["stage", "at", "resident", "proportional", "private"]);
        for Stage { name, at, memory } in &self.stages {
            stages.add_row([
                (*name).to_owned(),
                format!("{at:.1} s"),
                megabytes(memory.resident),
                megabytes(memory.proportional),
                megabytes(memory.private),
            ]);
        }
        table::align_numbers(&mut stages, &[1, 2, 3, 4]);
        writeln!(out, "{stages}")?;
        let Cycles {
            count,
            first,
            last,
            largest,
            residue,
            ..
        } = &self.cycles;
        if *count > 0 {
            writeln!(
                out,
                "{count} cycles of load, work, unload: {} resident after the first, {} after the last, {} at most; residue {}",
                megabytes(first.resident),
                megabytes(last.resident),
                megabytes(largest.resident),
                megabytes(*residue)
            )?;
        }
        let mega = self.largest_photo_pixels as f64 / 1e6;
        writeln!(
            out,
            "{} on {}, {} lane(s), {} photos of up to {mega:.1} megapixels\n",
            self.precision, self.device, self.lanes, self.photos
        )?;
        let mut targets = table::new(&["target", "limit", "measured", "holds"]);
        for target in &self.targets {
            targets.add_row([
                target.name.clone(),
                target.limit_text(),
                target.measured_text(),
                if target.holds {
                    "yes".to_owned()
                } else {
                    "NO".to_owned()
                },
            ]);
        }
        table::align_numbers(&mut targets, &[1, 2]);
        writeln!(out, "{targets}")
    }
}
