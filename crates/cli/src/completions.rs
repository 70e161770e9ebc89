//! `pitchfleet completions`: what a shell needs to complete the command line, and the manual page.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap_complete::Shell;

use crate::exit::{Ending, Fatal};

const EXAMPLES: &str = "\
Examples:
  pitchfleet completions bash > ~/.local/share/bash-completion/completions/pitchfleet
  pitchfleet completions zsh > ~/.zfunc/_pitchfleet
  pitchfleet completions man | man -l -                the page of pitchfleet itself
  pitchfleet completions man --to ~/.local/share/man/man1   a page for each command, too";

/// Write completions for a shell, or the manual pages.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What to write
    #[arg(value_enum)]
    kind: Kind,
    /// Folder for the manual pages, one for each command, as pitchfleet-submit.1
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
    Man,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<Ending> {
    if let Some(folder) = &args.to {
        if !matches!(args.kind, Kind::Man) {
            return Err(
                Fatal::usage("--to is for manual pages: `pitchfleet completions man --to DIR`").into(),
            );
        }
        write_pages(command, folder)
            .map_err(|error| Fatal::output(format!("{}: {error}", folder.display())))?;
        return Ok(Ending::Done);
    }
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

/// A page for every command that is not hidden, those below others included.
fn write_pages(command: clap::Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_that_is_shown_has_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("man1");
        write_pages(crate::Cli::command(), &folder).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name));
        assert!(read("pitchfleet.1").unwrap().contains("pitchfleet\\-submit(1)"));
        for command in crate::Cli::command().get_subcommands() {
            let page = read(&format!("pitchfleet-{}.1", command.get_name()));
            assert_eq!(page.is_ok(), !command.is_hide_set(), "{}", command.get_name());
        }
        assert!(read("pitchfleet-token-create.1").unwrap().contains("tenant"));
    }
}
