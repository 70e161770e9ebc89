//! `pitchfleet bench`: what `analyze` costs beyond the analysis itself.
//!
//! Two sides, in turn, on the same photos:
//! - the parts: the stages as the engine times them, in as many lanes as the other side has, each with the next photo
//!   waiting. Lanes that work at the same time share caches and memory and are slower for it, and that is no overhead of
//!   `analyze`. Stage times are wall times; they are multiplied by the share of that time in which the lanes' threads had
//!   a CPU, so that other work on the machine does not count. What a lane waits lowers the share: the parts come out
//!   small rather than large, and the overhead large rather than small.
//! - a whole `pitchfleet analyze` as a process of its own, its CPU time counted by the kernel with everything it
//!   started: listing, reading, frames between the processes, hashing, JSON, the report, loading the models.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use engine::{Engine, PhotoRequest, PhotoSource};
use pitch::analysis::{Options, StageTiming};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::bundles;
use crate::engine_args::EngineArgs;
use crate::exit::{Ending, Fatal};
use crate::samples;
use crate::table;

/// The kernel counts a process's time in hundredths of a second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// What the whole may cost over its parts.
const TARGET_PERCENT: f64 = 10.0;

const EXAMPLES: &str = "\
Examples:
  pitchfleet bench photos/day-1             overhead of analyze over its parts
  pitchfleet bench photos --rounds 5 --json

Loading the models counts: with few photos it is most of the overhead.";

/// Measure what analyze costs beyond decoding, networks and surface.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Photos to work on [default: the samples that come with the program]
    #[arg(value_name = "PATH")]
    photos: Vec<PathBuf>,
    /// Least number of photos in a run; they are repeated to reach it
    #[arg(long, value_name = "N", default_value_t = 1000)]
    count: usize,
    /// Times that both sides are measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Write JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Milliseconds per photo.
#[derive(Clone, Debug, Default, Serialize)]
struct Round {
    decode: f64,
    detect: f64,
    surface: f64,
    classify: f64,
    /// Sum of the parts.
    parts: f64,
    /// CPU time of a whole run, loading the models included.
    whole: f64,
    /// Wall time of that run.
    whole_wall: f64,
    overhead_percent: f64,
}

#[derive(Serialize)]
struct Report {
    photos: usize,
    rounds: Vec<Round>,
    /// By overhead.
    median: Round,
    target_percent: f64,
    holds: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let repeated = Repeated::new(samples::photos(&args.photos)?, args.count)?;
    let bundle = bundles::find(args.engine.bundle.as_deref())?;
    // Removed at the end only: ext4 is slow to hand out the inodes of files that went a moment ago.
    let outputs = tempfile::tempdir()?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let (parts, analysed) = parts_alone(args, &bundle, &repeated)?;
        let (whole, whole_wall) =
            whole_run(args, &bundle, &repeated, &outputs.path().join(number.to_string()))?;
        let count = analysed as f64;
        let mut round = Round {
            decode: parts.decode / count,
            detect: parts.detect / count,
            surface: parts.surface / count,
            classify: parts.classify / count,
            whole: whole / count,
            whole_wall: whole_wall / count,
            ..Round::default()
        };
        round.parts = round.decode + round.detect + round.surface + round.classify;
        round.overhead_percent = (round.whole / round.parts - 1.0) * 100.0;
        rounds.push(round);
    }
    let mut sorted = rounds.clone();
    sorted.sort_by(|a, b| a.overhead_percent.total_cmp(&b.overhead_percent));
    let median = sorted.get(sorted.len() / 2).cloned().unwrap_or_default();
    let report = Report {
        photos: repeated.photos.len(),
        holds: median.overhead_percent <= TARGET_PERCENT,
        median,
        rounds,
        target_percent: TARGET_PERCENT,
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.write(&mut out)?;
    }
    Ok(if report.holds {
        Ending::Done
    } else {
        Ending::Faults
    })
}

/// Photos often enough, in a folder of links: a path that is named twice is analysed once.
struct Repeated {
    photos: Vec<PathBuf>,
    folder: tempfile::TempDir,
}

impl Repeated {
    fn new(photos: Vec<PathBuf>, count: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let wanted = count.max(photos.len());
        let mut links = Vec::with_capacity(wanted);
        for (number, photo) in photos.iter().cycle().take(wanted).enumerate() {
            let extension = photo.extension().unwrap_or_default().display();
            let link = folder.path().join(format!("{number:06}.{extension}"));
            std::os::unix::fs::symlink(photo.canonicalize()?, &link)?;
            links.push(link);
        }
        Ok(Self {
            photos: links,
            folder,
        })
    }
}

/// CPU milliseconds of the stages of every photo, summed, and how many were analysed.
fn parts_alone(args: &Args, bundle: &Path, repeated: &Repeated) -> anyhow::Result<(StageTiming, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let engine = Engine::new(args.engine.config(bundle)).map_err(Fatal::from)?;
        // Every lane builds its sessions and has its caches filled before anything counts.
        let warm_up = engine.lanes() * 8;
        stages(&engine, repeated.photos.iter().cycle().take(warm_up)).await?;
        let pid = engine.stats().pid.unwrap_or_default();
        let before = cpu_of_lanes(pid)?;
        let started = Instant::now();
        let (mut sum, analysed) = stages(&engine, repeated.photos.iter()).await?;
        let wall = started.elapsed().as_secs_f64() * 1e3 * engine.lanes() as f64;
        let share = ((cpu_of_lanes(pid)? - before) / wall).min(1.0);
        engine.stop().await;
        if analysed == 0 {
            return Err(Fatal::usage("none of the photos could be analysed").into());
        }
        for stage in [
            &mut sum.decode,
            &mut sum.detect,
            &mut sum.surface,
            &mut sum.classify,
        ] {
            *stage *= share;
        }
        Ok((sum, analysed))
    })
}

/// Analyses the photos, so many at a time that no lane waits for the next; gives the sum of their stage times, and how
/// many were analysed.
async fn stages(
    engine: &Engine,
    mut photos: impl Iterator<Item = &PathBuf>,
) -> anyhow::Result<(StageTiming, u64)> {
    let mut sum = StageTiming::default();
    let mut analysed = 0;
    let mut in_hand = JoinSet::new();
    loop {
        while in_hand.len() <= engine.places()
            && let Some(path) = photos.next()
        {
            let engine = engine.clone();
            let request = PhotoRequest {
                source: PhotoSource::File(path.clone()),
                options: Options::default(),
            };
            in_hand.spawn(async move { engine.analyse(request).await });
        }
        let Some(answer) = in_hand.join_next().await else {
            return Ok((sum, analysed));
        };
        let Ok(done) = answer? else {
            continue;
        };
        let timing = done.analysis.timing;
        sum.decode += timing.decode;
        sum.detect += timing.detect;
        sum.surface += timing.surface;
        sum.classify += timing.classify;
        analysed += 1;
    }
}

/// CPU milliseconds of the lanes' threads of an engine process.
fn cpu_of_lanes(pid: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = thread?.path();
        if fs::read_to_string(folder.join("comm"))?.starts_with("lane ") {
            sum += cpu_fields(&folder, 14)?;
        }
    }
    Ok(sum)
}

/// CPU and wall milliseconds of `pitchfleet analyze` on the photos.
fn whole_run(args: &Args, bundle: &Path, repeated: &Repeated, out: &Path) -> anyhow::Result<(f64, f64)> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("analyze")
        .arg(repeated.folder.path())
        .arg("--out")
        .arg(out)
        .arg("--bundle")
        .arg(bundle);
    command.args([
        "--device",
        &args.engine.device.to_string(),
        "--precision",
        &args.engine.precision.to_string(),
    ]);
    if let Some(jobs) = args.engine.jobs {
        command.args(["--jobs", &jobs.to_string()]);
    }
    let before = cpu_of_children()?;
    let started = Instant::now();
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let wall = started.elapsed().as_secs_f64() * 1e3;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fatal::set_up(format!("the analysis failed: {}", said.trim())).into());
    }
    Ok((cpu_of_children()? - before, wall))
}

/// CPU milliseconds of every child that has ended, with those that it waited for: fields 16 and 17 of
/// `/proc/self/stat` (proc_pid_stat(5)).
fn cpu_of_children() -> io::Result<f64> {
    cpu_fields(Path::new("/proc/self"), 16)
}

/// The sum of field `first` of a process's or thread's `stat`, counted from 1, and the one after it. Fields 14 and 15 are
/// its own time.
fn cpu_fields(folder: &Path, first: usize) -> io::Result<f64> {
    let stat = fs::read_to_string(folder.join("stat"))?;
    // The second field is a name in parentheses that may hold anything.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = after_name.split_whitespace().skip(first - 3).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_PER_SECOND * 1e3)
}

impl Report {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut rows = table::new(&[
            "round", "decode", "detect", "surface", "classify", "parts", "whole", "overhead",
        ]);
        for (number, round) in self.rounds.iter().enumerate() {
            let figures = [
                round.decode,
                round.detect,
                round.surface,
                round.classify,
                round.parts,
                round.whole,
            ];
            let mut row = vec![(number + 1).to_string()];
            row.extend(figures.iter().map(|figure| format!("{figure:.1} ms")));
            row.push(format!("{:.1} %", round.overhead_percent));
            rows.add_row(row);
        }
        table::align_numbers(&mut rows, &[1, 2, 3, 4, 5, 6, 7]);
        writeln!(out, "{rows}")?;
        writeln!(
            out,
            "{} photos; overhead {:.1} % (median), at most {:.0} % is the target: {}",
            self.photos,
            self.median.overhead_percent,
            self.target_percent,
            if self.holds { "holds" } else { "MISSED" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_that_of_the_process() {
        let started = Instant::now();
        while started.elapsed().as_millis() < 60 {}
        assert!(cpu_fields(Path::new("/proc/self"), 14).unwrap() > 0.0);
    }

    #[test]
    fn cpu_time_of_children_is_counted() {
        let before = cpu_of_children().unwrap();
        let status = Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"])
            .status();
        assert!(status.unwrap().success());
        assert!(cpu_of_children().unwrap() > before);
    }
}
