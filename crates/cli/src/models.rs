//! `pitchfleet models`: the bundles of this machine.

mod hub;
mod pull;
mod reference;
mod show;

use std::io::IsTerminal;

use clap::Subcommand;

use crate::exit::Ending;

const EXAMPLES: &str = "\
Examples:
  pitchfleet models list
  pitchfleet models inspect demo
  pitchfleet models verify models/club
  pitchfleet models pull hf:acme/pitch-models@v3/bundle

A bundle is a folder with a bundle.toml; docs/models.md says how to make one from your own weights.";

/// List, look into, check and fetch model bundles.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    List(show::ListArgs),
    Inspect(show::InspectArgs),
    Verify(show::VerifyArgs),
    Pull(pull::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    match &args.action {
        Action::List(_) => show::list(),
        Action::Inspect(args) => show::inspect(args),
        Action::Verify(args) => show::verify(args),
        Action::Pull(args) => pull::run(args, std::io::stderr().is_terminal()),
    }
}
