//! `pitchfleet plan`: what a fleet needs for a day, before anything is paid for.

mod tables;

use std::io::{self, Write};
use std::path::PathBuf;

use ::plan::card::{Card, Comparison, compare};
use ::plan::day::{Break, Day};
use ::plan::search::{Advice, Cluster, Decided, Prices, Question, Worker};
use ::plan::work::{Precision, Work};
use anyhow::Context;
use serde::Serialize;

use crate::exit::{Ending, Fatal};
use crate::settings::Span;

const EXAMPLES: &str = "\
Examples:
  pitchfleet plan --photos 12000 --megapixels 24           a day of a Test, results within ten minutes
  pitchfleet plan --within 2m --picture day.svg            faster; the day as a picture
  pitchfleet plan --break 13:00=0.5 --break 18:00=0.5      other breaks of play
  pitchfleet plan --cores 8 --card-cores 8 --card-hour 0.6 with your prices; a card beside it
  pitchfleet plan --cooldown 5m --photos-per-replica 200   what settings that you have lead to

Costs of photos are those of docs/benchmarks.md. Prices, start times of nodes and everything about cards are
assumptions: give yours. docs/scaling.md has the arithmetic.";

/// Recommend workers, memory and scaling for a day of photos, and say what it costs.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Photos of the day
    #[arg(long, value_name = "N", default_value_t = 12_000)]
    photos: u64,
    /// Size of a photo in millions of pixels
    #[arg(long, value_name = "MP", default_value_t = 24.0, value_parser = positive)]
    megapixels: f64,
    /// Side in pixels at which the detector looks (bundle.toml: image_size)
    #[arg(long, value_name = "PIXELS", default_value_t = 640.0, value_parser = positive)]
    detector: f64,
    /// Number format of the models
    #[arg(long, value_enum, default_value_t = Format::Int8)]
    precision: Format,
    /// A break of play at which its share of the photos comes; may be given several times [default:
    /// 10:15=0.1, 13:00=0.25, 15:40=0.2, 18:00=0.4]
    #[arg(long = "break", value_name = "HH:MM=SHARE", value_parser = break_of_play)]
    breaks: Vec<Break>,
    /// Time over which the photos of a break are uploaded
    #[arg(long, value_name = "TIME", default_value = "15m")]
    over: Span,
    /// Of 100 photos 95 are to have their result within this time of their upload
    #[arg(long, value_name = "TIME", default_value = "10m")]
    within: Span,
    /// Which of the days that are alike: small sets come at random times
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write backlog and workers over the day as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    prices: PriceArgs,
    #[command(flatten)]
    decided: DecidedArgs,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Workers and nodes")]
struct ClusterArgs {
    /// Cores of a worker, each with a lane
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=512))]
    cores: u16,
    /// Speed of a core; 1 is the one of docs/benchmarks.md
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = positive)]
    core_speed: f64,
    /// Time to a worker on a new node: node, image and process
    #[arg(long, value_name = "TIME", default_value = "90s")]
    node_start: Span,
    /// Time to a worker on a node that is there
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pod_start: Span,
    /// Time that an empty node stays, and is paid
    #[arg(long, value_name = "TIME", default_value = "10m")]
    node_linger: Span,
    /// Time between two looks at the queue (pollingSeconds)
    #[arg(long, value_name = "TIME", default_value = "10s")]
    polling: Span,
    /// Workers that there can be at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    most: u32,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Prices, in one currency")]
struct PriceArgs {
    /// An hour of a core
    #[arg(long, value_name = "PRICE", default_value_t = 0.04, value_parser = price)]
    core_hour: f64,
    /// An hour of a gigabyte of memory
    #[arg(long, value_name = "PRICE", default_value_t = 0.005, value_parser = price)]
    gigabyte_hour: f64,
    /// An hour of a card, without cores and memory
    #[arg(long, value_name = "PRICE", default_value_t = 0.5, value_parser = price)]
    card_hour: f64,
    /// Milliseconds that a card takes for the networks of one photo; an assumption, no card was measured
    #[arg(long, value_name = "MS", default_value_t = 3.0, value_parser = positive)]
    card_ms: f64,
    /// Time that a worker with a card takes to load its models; an assumption
    #[arg(long, value_name = "TIME", default_value = "5s")]
    card_load: Span,
    /// Cores of a worker with a card
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=512))]
    card_cores: u16,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Settings that are decided (the others are searched for)")]
struct DecidedArgs {
    /// Workers that are always there (minReplicas)
    #[arg(long, value_name = "N")]
    min_replicas: Option<u32>,
    /// Workers at most (maxReplicas)
    #[arg(long, value_name = "N")]
    max_replicas: Option<u32>,
    /// Backlog that is one worker's (photosPerReplica)
    #[arg(long, value_name = "N", value_parser = positive)]
    photos_per_replica: Option<f64>,
    /// Time from the last photo to no workers (cooldownSeconds)
    #[arg(long, value_name = "TIME")]
    cooldown: Option<Span>,
    /// Time without work until the models go (unloadGraceSeconds)
    #[arg(long, value_name = "TIME")]
    unload_grace: Option<Span>,
}

/// As `--precision` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Fp32,
    Int8,
}

/// Everything that is told.
#[derive(Serialize)]
struct Told<'a> {
    question: &'a Question,
    advice: &'a Advice,
    cost_per_thousand: f64,
    utilisation: f64,
    /// The same day with a card in each worker.
    card: &'a Advice,
    card_cost_per_thousand: f64,
    comparison: Comparison,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let question = args.question();
    let unusable = |error: ::plan::day::DayError| Fatal::usage(error.to_string());
    let advice = question.answer().map_err(unusable)?;
    let card = args.card();
    let with_card = Question {
        worker: Worker {
            cores: args.prices.card_cores.into(),
            card: Some(card),
            load: args.prices.card_load.seconds(),
        },
        decided: Decided::default(),
        ..question.clone()
    };
    let card_advice = with_card.answer().map_err(unusable)?;
    let comparison = compare(
        &question.work,
        &card,
        with_card.worker.cores as f64,
        question.prices.core_hour,
    );
    if let Some(path) = &args.picture {
        let svg = ::plan::draw(&advice.best.outcome)?;
        std::fs::write(path, svg)
            .map_err(|error| Fatal::output(format!("{} cannot be written: {error}", path.display())))?;
    }
    let told = Told {
        question: &question,
        cost_per_thousand: advice.best.per_thousand(),
        utilisation: advice.best.utilisation(),
        advice: &advice,
        card_cost_per_thousand: card_advice.best.per_thousand(),
        card: &card_advice,
        comparison,
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &told)?;
        writeln!(out)?;
    } else {
        tables::write(&mut out, &told, &card).context("the tables cannot be written")?;
    }
    Ok(if advice.holds {
        Ending::Done
    } else {
        Ending::Faults
    })
}

impl Args {
    fn question(&self) -> Question {
        let mut day = Day::of_test(self.photos);
        day.over = self.over.seconds();
        if !self.breaks.is_empty() {
            day.breaks.clone_from(&self.breaks);
        }
        let (cluster, decided) = (&self.cluster, &self.decided);
        Question {
            day,
            seed: self.seed,
            work: Work {
                megapixels: self.megapixels,
                detector_side: self.detector,
                precision: match self.precision {
                    Format::Fp32 => Precision::Fp32,
                    Format::Int8 => Precision::Int8,
                },
                core_speed: cluster.core_speed,
            },
            within: self.within.seconds(),
            worker: Worker {
                cores: cluster.cores.into(),
                card: None,
                load: LOAD,
            },
            cluster: Cluster {
                node_start: cluster.node_start.seconds(),
                pod_start: cluster.pod_start.seconds(),
                node_linger: cluster.node_linger.seconds(),
                polling: cluster.polling.seconds(),
                stabilization: STABILIZATION,
                most: cluster.most,
            },
            prices: Prices {
                core_hour: self.prices.core_hour,
                gigabyte_hour: self.prices.gigabyte_hour,
            },
            decided: Decided {
                min_replicas: decided.min_replicas,
                max_replicas: decided.max_replicas,
                photos_per_replica: decided.photos_per_replica,
                cooldown: decided.cooldown.map(Span::seconds),
                unload_grace: decided.unload_grace.map(Span::seconds),
            },
        }
    }

    fn card(&self) -> Card {
        Card {
            photo_ms: self.prices.card_ms,
            hour: self.prices.card_hour,
        }
    }
}

/// Seconds from spawning an engine on cores to ready, as measured (`docs/benchmarks.md`: 103 to 117 ms).
const LOAD: f64 = 0.12;
/// The chart's `stabilizationSeconds`.
const STABILIZATION: f64 = 120.0;

impl Span {
    fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("it is no number above 0".to_owned()),
    }
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        _ => Err("it is no price such as 0.04".to_owned()),
    }
}

fn break_of_play(text: &str) -> Result<Break, String> {
    let read = || {
        let (time, share) = text.split_once('=')?;
        let (hour, minute) = time.split_once(':')?;
        let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
        let share: f64 = share.parse().ok()?;
        (hour < 24 && minute < 60 && (0.0..=1.0).contains(&share)).then_some(Break {
            at: f64::from(hour * 3600 + minute * 60),
            share,
        })
    };
    read().ok_or_else(|| "it is no break such as 13:00=0.25".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        let command = Args::augment_args(clap::Command::new("plan"));
        let matches = command.get_matches_from([&["plan"], arguments].concat());
        Args::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn breaks_are_read_as_people_write_them() {
        assert_eq!(
            break_of_play("13:05=0.25"),
            Ok(Break {
                at: 47_100.0,
                share: 0.25
            })
        );
        for bad in ["13:05", "25:00=0.1", "13:61=0.1", "13:00=1.5", "13=0.1", "noon=1"] {
            assert!(break_of_play(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables_name_what_is_recommended_and_what_is_assumed() {
        let args = parse(&["--photos", "600", "--cooldown", "5m"]);
        let question = args.question();
        assert_eq!(question.decided.cooldown, Some(300.0));
        let advice = question.answer().unwrap();
        let card = args.card();
        let told = Told {
            question: &question,
            advice: &advice,
            cost_per_thousand: advice.best.per_thousand(),
            utilisation: advice.best.utilisation(),
            card: &advice,
            card_cost_per_thousand: 0.0,
            comparison: compare(&question.work, &card, 8.0, question.prices.core_hour),
        };
        let mut text = Vec::new();
        tables::write(&mut text, &told, &card).unwrap();
        let text = String::from_utf8(text).unwrap();
        for expected in [
            "photosPerReplica",
            "cooldownSeconds",
            "300",
            "limits.memory",
            "per 1,000 photos",
            "assumption",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
