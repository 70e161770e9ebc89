//! The engine process's side: its main loop.

use std::process::ExitCode;

/// Runs this process as an engine: reads frames on standard input, a Unix socket, until it closes.
pub fn run() -> ExitCode {
    ExitCode::FAILURE
}
