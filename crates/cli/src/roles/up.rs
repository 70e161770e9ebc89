//! `pitchfleet up`: a whole fleet in one process, on a folder and a queue inside.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::worker::WorkerConfig;
use anyhow::Context;
use queue::Queue;
use queue::memory::MemoryQueue;

use super::api::Server;
use super::worker::pages;
use super::{allocator, begin, parts, shutdown};
use crate::exit::{Ending, Fatal};
use crate::settings::{Settings, SettingsArgs};

const EXAMPLES: &str = "\
Examples:
  pitchfleet up                                   then, elsewhere: pitchfleet submit photos/day-1
  pitchfleet up --data /srv/pitchfleet --listen 127.0.0.1:9000

Nothing else is needed: no broker, no bucket. Batches lie in the folder; one that was not finished goes on when `up`
starts again, also after a crash. SIGTERM or Ctrl-C: what is in hand is finished. Again: it ends at once.";

/// Run a whole fleet on this machine: API, coordinator and worker in one process.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder for photos, results and reports [default: store.folder, else
    /// ~/.local/share/pitchfleet/store]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    listen: parts::ListenArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let (loaded, _tracing) = begin(&args.settings, "pitchfleet-up")?;
    let mut settings = loaded.settings;
    args.listen.apply(&mut settings);
    if let Some(folder) = &args.data {
        settings.store.bucket = None;
        settings.store.folder = Some(folder.clone());
    }
    parts::serving_runtime()?.block_on(serve(&settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<Ending> {
    allocator::trim_now_and_then();
    let bundle = parts::bundle_folder(settings)?;
    let engine = parts::engine(settings, &bundle)?;
    let fallback = parts::default_folder();
    let folder = settings.store.folder.as_deref().unwrap_or(&fallback);
    // With a bucket there is no folder of ours; one process at a time is then the operator's care.
    let _lock = match &settings.store.bucket {
        Some(_) => None,
        None => Some(lock(folder)?),
    };
    let buckets = parts::buckets(settings, Some(folder)).await?;
    let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::new(parts::topology(settings)?));
    let mut config = parts::api_config(settings)?;
    config.bundle = Some(parts::bundle_ref(&bundle)?);
    // What was in the queue is gone with the process before this one.
    config.coordinator.volatile_queue = true;
    let server = Server::new(config, buckets.clone(), Arc::clone(&queue))?
        .with_metrics(settings)
        .await?;
    // Its process is everybody's, and the queue's.
    let working = WorkerConfig {
        recycle_after: None,
        ..parts::worker_config(settings)
    };
    let worker = ::worker::Worker::new(working, Arc::clone(&queue), buckets, engine);
    let listener = parts::listen("api.listen", &settings.api.listen).await?;
    let _pages = pages(settings, &worker).await?;
    let token = shutdown::on_signal()?;

    let working = {
        let token = token.clone();
        async move {
            let _rest = token.clone().drop_guard();
            let worked = worker.run(token.cancelled()).await;
            worked.map_err(|error| Fatal::set_up(error.to_string()))
        }
    };
    let (served, worked) = tokio::join!(server.run(listener, token.clone()), tokio::spawn(working));
    queue.close().await;
    served?;
    worked.context("the worker ended abnormally")??;
    tracing::info!("ended; what is not finished goes on at the next start");
    Ok(Ending::Done)
}

/// Keeps a second `up` out of the folder for as long as the file is open.
fn lock(folder: &Path) -> Result<File, Fatal> {
    let unusable =
        |error: std::io::Error| Fatal::output(format!("{} cannot be used: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(unusable)?;
    let file = File::create(folder.join(".pitchfleet-lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Fatal::usage(format!(
            "another `pitchfleet up` works in {}: stop it, or choose another folder with --data",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}
