//! `pitchfleet completions`: what a shell needs to complete the command line, and the manual page.

use std::io::{self, Write};

use clap::ValueEnum;
use clap_complete::Shell;

use crate::exit::Ending;

const EXAMPLES: &str = "\
Examples:
  pitchfleet completions bash > ~/.local/share/bash-completion/completions/pitchfleet
  pitchfleet completions zsh > ~/.zfunc/_pitchfleet
  pitchfleet completions man | man -l -";

/// Write completions for a shell, or the manual page.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to write
    #[arg(value_enum)]
    kind: Kind,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
    Man,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<Ending> {
    let mut text = Vec::new();
    let shell = match args.kind {
        Kind::Bash => Some(Shell::Bash),
        Kind::Zsh => Some(Shell::Zsh),
        Kind::Fish => Some(Shell::Fish),
        Kind::Man => None,
    };
    match shell {
        Some(shell) => clap_complete::generate(shell, &mut command, "pitchfleet", &mut text),
        None => clap_mangen::Man::new(command).render(&mut text)?,
    }
    io::stdout().write_all(&text)?;
    Ok(Ending::Done)
}
