//! `pitchfleet api`: the HTTP side, and the coordinator behind it.

use std::sync::Arc;

use ::api::{Api, ApiConfig, Shared, coordinator, metrics};
use queue::Queue;
use store::Buckets;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{allocator, begin, parts, shutdown};
use crate::exit::{Ending, Fatal};
use crate::settings::{Settings, SettingsArgs};

const EXAMPLES: &str = "\
Examples:
  pitchfleet api                                       as pitchfleet.toml and the variables say
  pitchfleet api --listen 0.0.0.0:8080                 for other machines: needs tokens (`pitchfleet token create`)

Several may run beside one another. SIGTERM or Ctrl-C: requests in flight are finished. Again: it ends at once; a
batch in its hands is taken up by another, or by itself when it is back.";

/// Run the HTTP API and the coordinator of a fleet: RabbitMQ and a bucket.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    listen: parts::ListenArgs,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let (loaded, _tracing) = begin(&args.settings, "pitchfleet-api")?;
    let mut settings = loaded.settings;
    args.listen.apply(&mut settings);
    parts::serving_runtime()?.block_on(serve(&settings))
}

async fn serve(settings: &Settings) -> anyhow::Result<Ending> {
    allocator::trim_now_and_then();
    let mut config = parts::api_config(settings)?;
    // Where no models lie beside it, the workers say which ones there are.
    if settings.models.bundle.is_some() {
        config.bundle = Some(parts::bundle_ref(&parts::bundle_folder(settings)?)?);
    }
    let buckets = parts::buckets(settings, None).await?;
    let queue = parts::broker(settings, "api")?;
    let listener = parts::listen("api.listen", &settings.api.listen).await?;
    let server = Server::new(config, buckets, Arc::clone(&queue))?
        .with_metrics(settings)
        .await?;
    let token = shutdown::on_signal()?;
    let ended = server.run(listener, token).await;
    queue.close().await;
    ended.map(|()| Ending::Done)
}

/// API and coordinator, which share what they know of batches.
pub(super) struct Server {
    api: Api,
    shared: Arc<Shared>,
    /// Where metrics are shown.
    metrics: Option<TcpListener>,
}

impl Server {
    /// # Errors
    /// When the configuration cannot be served.
    pub(super) fn new(config: ApiConfig, buckets: Buckets, queue: Arc<dyn Queue>) -> Result<Self, Fatal> {
        let shared = Shared::new(buckets, queue, config);
        let api = Api::new(Arc::clone(&shared)).map_err(|error| Fatal::set_up(error.to_string()))?;
        Ok(Self {
            api,
            shared,
            metrics: None,
        })
    }

    /// Shows its metrics, too, where the settings say.
    ///
    /// # Errors
    /// When nothing can listen there.
    pub(super) async fn with_metrics(self, settings: &Settings) -> Result<Self, Fatal> {
        let metrics = match &settings.api.metrics_listen {
            Some(place) => Some(parts::listen("api.metrics_listen", place).await?),
            None => None,
        };
        Ok(Self { metrics, ..self })
    }

    /// Serves until `token` is cancelled. When one of the two ends with an error, so does the other.
    pub(super) async fn run(self, listener: TcpListener, token: CancellationToken) -> anyhow::Result<()> {
        let address = listener.local_addr()?;
        let serving = async {
            let _rest = token.clone().drop_guard();
            let served = self.api.serve(listener, token.clone()).await;
            served.map_err(|error| Fatal::set_up(error.to_string()))
        };
        let coordinating = async {
            let _rest = token.clone().drop_guard();
            let coordinated = coordinator::run(Arc::clone(&self.shared), token.clone()).await;
            coordinated.map_err(|error| Fatal::server(error.to_string()))
        };
        let showing = async {
            let Some(listener) = self.metrics else {
                return;
            };
            parts::say_metrics(&listener);
            metrics::serve(Arc::clone(&self.shared), listener, token.clone()).await;
        };
        tracing::info!("listening on http://{address}");
        let (served, coordinated, ()) = tokio::join!(serving, coordinating, showing);
        served?;
        coordinated?;
        Ok(())
    }
}
