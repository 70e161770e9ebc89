//! The `pitchfleet` executable: one subcommand per role, each in its own file.

mod analyze;
mod exit;
mod out_dir;
mod path_key;
mod sources;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Analyses cricket-pitch photographs in bulk.
#[derive(Parser)]
#[command(name = "pitchfleet", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Analyze(analyze::Args),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Analyze(args) => analyze::run(args),
    };
    match ended {
        Ok(ending) => ending.code(),
        Err(error) => {
            eprintln!("pitchfleet: {error:#}");
            exit::code_of(&error)
        }
    }
}
