//! `pitchfleet models list`, `inspect` and `verify`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use engine::bundle::{Bundle, Network, describe};
use engine::{Engine, EngineConfig, Precision, PrecisionChoice};

use crate::bundles;
use crate::exit::{Ending, Fatal};
use crate::memory::megabytes;
use crate::table;

/// List the bundles of this machine.
#[derive(clap::Args)]
pub(crate) struct ListArgs {}

/// Show what is in a bundle: models, licences, thresholds, inputs and outputs.
#[derive(clap::Args)]
pub(crate) struct InspectArgs {
    /// A folder, or a name that `list` knows [default: demo]
    #[arg(env = "PITCHFLEET_BUNDLE", hide_env_values = true)]
    bundle: Option<PathBuf>,
}

/// Check a bundle: every hash, and that every model loads.
#[derive(clap::Args)]
pub(crate) struct VerifyArgs {
    /// A folder, or a name that `list` knows [default: demo]
    #[arg(env = "PITCHFLEET_BUNDLE", hide_env_values = true)]
    bundle: Option<PathBuf>,
}

pub(super) fn list() -> anyhow::Result<Ending> {
    let found = bundles::all();
    if found.is_empty() {
        let places: Vec<_> = bundles::search_path()
            .iter()
            .map(|path| format!("\n  {}", path.display()))
            .collect();
        writeln!(
            io::stderr(),
            "no bundles; fetch one with `pitchfleet models pull`. Searched in:{}",
            places.concat()
        )?;
        return Ok(Ending::Nothing);
    }
    let mut rows = table::new(&["bundle", "version", "detector", "classifier", "formats", "folder"]);
    for (name, folder) in found {
        let row = match Bundle::open(&folder) {
            Ok(bundle) => {
                let manifest = bundle.manifest();
                vec![
                    name,
                    manifest.version.clone(),
                    manifest.detector.architecture.clone(),
                    manifest.classifier.architecture.clone(),
                    formats(&bundle),
                    folder.display().to_string(),
                ]
            }
            Err(error) => vec![name, String::new(), error.to_string()],
        };
        rows.add_row(row);
    }
    writeln!(io::stdout(), "{rows}")?;
    Ok(Ending::Done)
}

fn formats(bundle: &Bundle) -> String {
    let of = |network| {
        let names: Vec<_> = bundle
            .precisions(network)
            .iter()
            .map(|precision| precision.name())
            .collect();
        names.join(", ")
    };
    let (detector, classifier) = (of(Network::Detector), of(Network::Classifier));
    if detector == classifier {
        detector
    } else {
        format!("{detector} / {classifier}")
    }
}

pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<Ending> {
    let bundle = open(args.bundle.as_deref())?;
    let manifest = bundle.manifest();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} {}  in {}",
        manifest.name,
        manifest.version,
        bundle.folder().display()
    )?;
    writeln!(out, "{}\n", bundle.digest())?;

    let mut networks = table::new(&["network", "architecture", "licence", "classes", "thresholds"]);
    let detector = &manifest.detector;
    networks.add_row([
        "detector".to_owned(),
        detector.architecture.clone(),
        detector.licence.clone(),
        detector.classes.join(", "),
        format!(
            "score {}, overlap {}",
            detector.confidence_threshold, detector.iou_threshold
        ),
    ]);
    let classifier = &manifest.classifier;
    networks.add_row([
        "classifier".to_owned(),
        classifier.architecture.clone(),
        classifier.licence.clone(),
        classifier.classes.join(", "),
        String::new(),
    ]);
    writeln!(out, "{networks}\n")?;

    let mut files = table::new(&["network", "format", "size", "inputs", "outputs", "sha256"]);
    let mut metadata: Vec<(Network, String)> = Vec::new();
    let mut faults = false;
    for (network, precision) in models(&bundle) {
        let mut row = vec![network.name().to_owned(), precision.name().to_owned()];
        match bundle.read_model(network, precision) {
            Ok(bytes) => {
                row.push(megabytes(bytes.len() as u64));
                let facts = describe(&bytes)
                    .map_err(|reason| Fatal::set_up(format!("{}: {reason}", network.name())))?;
                row.push(facts.inputs.join("\n"));
                row.push(facts.outputs.join("\n"));
                for (key, value) in &facts.metadata {
                    let told = (network, line(key, value));
                    if !metadata.contains(&told) {
                        metadata.push(told);
                    }
                }
            }
            Err(error) => {
                faults = true;
                row.extend([String::new(), error.to_string(), String::new()]);
            }
        }
        let hash = manifest
            .model(network, precision)
            .map(|model| model.sha256.as_str())
            .unwrap_or_default();
        row.push(hash.chars().take(12).collect());
        files.add_row(row);
    }
    writeln!(out, "{files}")?;
    for network in Network::ALL {
        let mut lines = metadata
            .iter()
            .filter(|(of, _)| *of == network)
            .map(|(_, line)| line)
            .peekable();
        if lines.peek().is_some() {
            writeln!(out, "\nwhat the {} says of itself", network.name())?;
        }
        for line in lines {
            writeln!(out, "  {line}")?;
        }
    }
    let card = bundle.folder().join("MODEL_CARD.md");
    if fs::exists(&card).unwrap_or_default() {
        writeln!(out, "\n{} says what the models can do", card.display())?;
    }
    Ok(if faults { Ending::Faults } else { Ending::Done })
}

/// `key: value`, cut where a line would burst.
fn line(key: &str, value: &str) -> String {
    const LONGEST: usize = 80;
    let value = value.replace('\n', " ");
    if value.chars().count() > LONGEST {
        format!("{key}: {}…", value.chars().take(LONGEST).collect::<String>())
    } else {
        format!("{key}: {value}")
    }
}

pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<Ending> {
    let bundle = open(args.bundle.as_deref())?;
    let mut out = io::stdout().lock();
    let mut faults = 0;
    for (network, precision) in models(&bundle) {
        let name = format!("{} {}", network.name(), precision.name());
        match bundle.read_model(network, precision) {
            Ok(_) => writeln!(out, "{name:<16} hash is right")?,
            Err(error) => {
                faults += 1;
                writeln!(out, "{name:<16} {error}")?;
            }
        }
    }
    for choice in [PrecisionChoice::Fp32, PrecisionChoice::Int8] {
        let there = Network::ALL.iter().all(|&network| {
            let precisions = bundle.precisions(network);
            precisions
                .iter()
                .any(|precision| precision.name() == choice.to_string())
        });
        if !there {
            continue;
        }
        match load(bundle.folder(), choice) {
            Ok(ran) => writeln!(out, "{:<16} {ran}", format!("load {choice}"))?,
            Err(error) => {
                faults += 1;
                writeln!(out, "{:<16} {error}", format!("load {choice}"))?;
            }
        }
    }
    Ok(if faults == 0 { Ending::Done } else { Ending::Faults })
}

/// Loads the models as an analysis would, and says what ran.
fn load(folder: &Path, precision: PrecisionChoice) -> anyhow::Result<String> {
    let mut config = EngineConfig::new(folder);
    config.precision = precision;
    config.lanes = std::num::NonZeroUsize::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let engine = Engine::new(config)?;
        let facts = engine.load().await?;
        engine.stop().await;
        Ok(format!(
            "loads with ONNX Runtime {}, {}, on {}",
            facts.runtime_version, facts.execution_provider, facts.device
        ))
    })
}

fn open(bundle: Option<&Path>) -> Result<Bundle, Fatal> {
    Bundle::open(&bundles::find(bundle)?).map_err(|error| Fatal::set_up(error.to_string()))
}

fn models(bundle: &Bundle) -> Vec<(Network, Precision)> {
    let of = |network| {
        bundle
            .precisions(network)
            .into_iter()
            .map(move |precision| (network, precision))
    };
    Network::ALL.into_iter().flat_map(of).collect()
}
