//! The `pitchfleet` executable: one subcommand per role, each in its own file.

#![expect(dead_code, reason = "the engine that analyze drives is not there yet")]

mod analyze;
mod bundles;
mod exit;
mod memory;
mod models;
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
    Models(models::Args),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Analyze(args) => analyze::run(args),
        Command::Models(args) => models::run(&args),
    };
    match ended {
        Ok(ending) => ending.code(),
        Err(error) => {
            eprintln!("pitchfleet: {error:#}");
            exit::code_of(&error)
        }
    }
}
