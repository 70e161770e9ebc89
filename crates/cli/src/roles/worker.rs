//! `pitchfleet worker`: takes photos from the queue and analyses them.

use std::convert::Infallible;
use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use tokio_util::task::AbortOnDropHandle;

use super::{allocator, begin, parts, shutdown};
use crate::exit::{Ending, Fatal};
use crate::settings::{Settings, SettingsArgs};

const EXAMPLES: &str = "\
Examples:
  pitchfleet worker                                    as pitchfleet.toml and the variables say
  pitchfleet worker --config /etc/pitchfleet/pitchfleet.toml
  PITCHFLEET_BROKER_URL=amqp://fleet:secret@rabbitmq PITCHFLEET_STORE_BUCKET=photos pitchfleet worker

SIGTERM or Ctrl-C: what is in hand is finished, the rest goes back to the queue. Again: it ends at once, and the
broker hands what was in hand to another worker. Start as many as there are machines.";

/// Run one worker of a fleet: RabbitMQ and a bucket.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let (loaded, _tracing) = begin(&args.settings, "pitchfleet-worker")?;
    // One thread: the work is done in the engine's process, and an idle worker is to be small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime can be started")?;
    runtime.block_on(serve(&loaded.settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<Ending> {
    allocator::trim_now_and_then();
    let folder = parts::bundle_folder(settings)?;
    let engine = parts::engine(settings, &folder)?;
    let buckets = parts::buckets(settings, None).await?;
    let queue = parts::broker(settings, "worker")?;
    let config = parts::worker_config(settings);
    let token = shutdown::on_signal()?;
    tracing::info!(worker = config.id, bundle = %folder.display(), "worker started");
    let worker = ::worker::Worker::new(config, Arc::clone(&queue), buckets, engine);
    let _pages = pages(settings, &worker).await?;
    let ended = worker.run(token.cancelled_owned()).await;
    queue.close().await;
    let farewell = ended.map_err(|error| Fatal::server(error.to_string()))?;
    tracing::info!(
        ok = farewell.done.ok,
        reused = farewell.done.reused,
        failed = farewell.done.failed,
        requeued = farewell.requeued,
        in_time = farewell.in_time,
        "worker ended"
    );
    match farewell.recycle {
        true => Err(again().into()),
        false => Ok(Ending::Done),
    }
}

/// Begins this process anew: the same program with the same arguments and the same process id, so that whoever watches
/// over it sees nothing. Returns only when that cannot be.
fn again() -> Fatal {
    let error = match env::current_exe() {
        Ok(program) => Command::new(program).args(env::args_os().skip(1)).exec(),
        Err(error) => error,
    };
    Fatal::server(format!(
        "the worker ends to give its memory back, and cannot begin anew by itself: {error}"
    ))
}

/// The worker's own pages, for as long as this lives; `None` where the settings want none.
///
/// # Errors
/// When nothing can listen there.
pub(super) async fn pages(
    settings: &Settings,
    worker: &::worker::Worker,
) -> Result<Option<AbortOnDropHandle<Infallible>>, Fatal> {
    let Some(place) = &settings.worker.metrics_listen else {
        return Ok(None);
    };
    let listener = parts::listen("worker.metrics_listen", place).await?;
    parts::say_metrics(&listener);
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(
        worker.pages().serve(listener),
    ))))
}
