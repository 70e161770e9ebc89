//! `pitchfleet config`: what can be set, whether it is right, what holds.

use std::io::{self, Write};

use super::{SettingsArgs, keys};
use crate::exit::Ending;

const EXAMPLES: &str = "\
Examples:
  pitchfleet config --example > pitchfleet.toml   a file with every key, to edit
  pitchfleet config --check                       whether file and variables are understood
  pitchfleet config --show                        what holds, secrets left out

The file is the one that --config or PITCHFLEET_CONFIG names, else pitchfleet.toml in the current folder,
~/.config/pitchfleet/pitchfleet.toml or /etc/pitchfleet/pitchfleet.toml. Every key is also a variable:
`listen` of [api] is PITCHFLEET_API_LISTEN. Secrets may lie in files: PITCHFLEET_BROKER_PASSWORD_FILE.";

/// Show and check the settings of `up`, `api` and `worker`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Write a file with every key, its meaning, its variable and its default
    #[arg(long)]
    example: bool,
    /// Say whether file and variables are understood
    #[arg(long)]
    check: bool,
    /// Write the settings that hold, secrets left out
    #[arg(long)]
    show: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let mut out = io::stdout().lock();
    if args.what.example {
        out.write_all(keys::example().as_bytes())?;
        return Ok(Ending::Done);
    }
    let loaded = args.settings.load()?;
    for doubt in &loaded.doubts {
        eprintln!("pitchfleet: {doubt}");
    }
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => "no settings file".to_owned(),
    };
    let read = std::iter::once(file).chain(loaded.variables).collect::<Vec<_>>();
    if args.what.show {
        writeln!(out, "# from {}", read.join(", "))?;
        write!(out, "{}", toml::to_string(&loaded.settings)?)?;
        return Ok(Ending::Done);
    }
    writeln!(out, "good: {}", read.join(", "))?;
    Ok(if loaded.doubts.is_empty() {
        Ending::Done
    } else {
        Ending::Faults
    })
}
