//! `pitchfleet models`: the bundles of this machine.

mod hub;
mod pull;
mod reference;

use std::io::IsTerminal;

use clap::Subcommand;

use crate::exit::Ending;

/// List, check, look into and fetch model bundles.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Pull(pull::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let progress = std::io::stderr().is_terminal();
    match &args.action {
        Action::Pull(args) => pull::run(args, progress),
    }
}
