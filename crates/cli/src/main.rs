//! The `pitchfleet` executable: one subcommand per role, each in its own file.

mod analyze;
mod bench;
mod bundles;
mod client;
mod completions;
mod doctor;
mod duration;
mod engine_args;
mod exit;
mod interrupt;
mod memory;
mod memory_report;
mod models;
mod out_dir;
mod path_key;
mod plan;
mod roles;
mod samples;
mod settings;
mod sources;
mod table;
mod verdict_table;

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
    Submit(client::submit::Args),
    Watch(client::watch::Args),
    Results(client::results::Args),
    Export(client::export::Args),
    Batches(client::batches::ListArgs),
    Cancel(client::batches::CancelArgs),
    Retry(client::batches::RetryArgs),
    Workers(client::workers::Args),
    Fleet(client::fleet::Args),
    Health(client::health::Args),
    Up(roles::up::Args),
    Api(roles::api::Args),
    Worker(roles::worker::Args),
    Token(roles::token::Args),
    Config(settings::command::Args),
    Doctor(doctor::Args),
    Models(models::Args),
    MemoryReport(memory_report::Args),
    Bench(bench::Args),
    Plan(plan::Args),
    Completions(completions::Args),
    /// The engine process; started by the other commands.
    #[command(hide = true)]
    Engine,
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Analyze(args) => analyze::run(&args),
        Command::Submit(args) => client::submit::run(&args),
        Command::Watch(args) => client::watch::run(&args),
        Command::Results(args) => client::results::run(&args),
        Command::Export(args) => client::export::run(&args),
        Command::Batches(args) => client::batches::list(&args),
        Command::Cancel(args) => client::batches::cancel(&args),
        Command::Retry(args) => client::batches::retry(&args),
        Command::Workers(args) => client::workers::run(&args),
        Command::Fleet(args) => client::fleet::run(&args),
        Command::Health(args) => client::health::run(&args),
        Command::Up(args) => roles::up::run(&args),
        Command::Api(args) => roles::api::run(&args),
        Command::Worker(args) => roles::worker::run(&args),
        Command::Token(args) => roles::token::run(&args),
        Command::Config(args) => settings::command::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Models(args) => models::run(&args),
        Command::MemoryReport(args) => memory_report::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Plan(args) => plan::run(&args),
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
