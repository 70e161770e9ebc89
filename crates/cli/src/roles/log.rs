//! Log lines of the roles, on standard error.

use std::env;
use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::Fatal;

/// Chooses what is written: `debug`, or `warn,worker=debug` and the like.
const VARIABLE: &str = "PITCHFLEET_LOG";

/// Our own parts say what they do; libraries only what is wrong.
const DEFAULT: &str = "warn,pitchfleet=info,api=info,worker=info,engine=info,queue=info,store=info";

/// Begins to write.
///
/// # Errors
/// When the variable is no filter.
pub(super) fn init() -> Result<(), Fatal> {
    let chosen = env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter: Targets = chosen.as_deref().unwrap_or(DEFAULT).parse().map_err(|error| {
        Fatal::set_up(format!(
            "{VARIABLE} is no filter such as `debug` or `warn,worker=debug`: {error}"
        ))
    })?;
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    // A second role in one process, as in tests, keeps the first one's.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
    Ok(())
}
