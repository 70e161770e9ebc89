//! The `pitchfleet` executable: one subcommand per role, each in its own file.

mod analyze;
mod bench;
mod bundles;
mod completions;
mod engine_args;
mod exit;
mod interrupt;
mod memory;
mod memory_report;
mod models;
mod out_dir;
mod path_key;
mod samples;
mod sources;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    MemoryReport(memory_report::Args),
    Bench(bench::Args),
    Completions(completions::Args),
    /// The engine process; started by the other commands.
    #[command(hide = true)]
    Engine,
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Analyze(args) => analyze::run(&args),
        Command::Models(args) => models::run(&args),
        Command::MemoryReport(args) => memory_report::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Engine => return engine::child::run(),
    };
    match ended {
        Ok(ending) => ending.code(),
        Err(error) => {
            eprintln!("pitchfleet: {error:#}");
            exit::code_of(&error)
        }
    }
}
