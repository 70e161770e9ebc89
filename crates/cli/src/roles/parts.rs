//! Parts of the roles, made as the settings say.

use std::env;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::api::config::{ApiConfig, ApiLimits, ImportRule};
use ::api::http::tokens::Tokens;
use ::api::webhook::SecretError;
use ::worker::WorkerConfig;
use anyhow::Context;
use engine::bundle::Bundle;
use engine::{CardConfig, Engine, EngineConfig};
use fleet::manifest::BundleRef;
use queue::rabbit::{AmqpUrl, RabbitConfig, RabbitQueue};
use queue::{Queue, Topology};
use store::{Buckets, FolderStore, PrefixedStore, S3Config, S3Store};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::bundles;
use crate::exit::Fatal;
use crate::settings::{Secret, Settings, Source, Span};

/// Where the HTTP side listens.
#[derive(clap::Args)]
pub(super) struct ListenArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl ListenArgs {
    /// The flag wins over file and variables.
    pub(super) fn apply(&self, settings: &mut Settings) {
        if let Some(listen) = &self.listen {
            settings.api.listen.clone_from(listen);
        }
    }
}

/// The runtime of the roles that serve HTTP.
///
/// # Errors
/// When the system gives no threads.
pub(super) fn serving_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime can be started")
}

/// Begins to listen.
///
/// # Errors
/// When `place`, the value of `key`, is no address, or is taken.
pub(super) async fn listen(key: &str, place: &str) -> Result<TcpListener, Fatal> {
    let addresses: Vec<SocketAddr> = place
        .to_socket_addrs()
        .map_err(|error| {
            Fatal::set_up(format!(
                "{key}: `{place}` is no address and port such as 127.0.0.1:8080: {error}"
            ))
        })?
        .collect();
    TcpListener::bind(addresses.as_slice()).await.map_err(|error| {
        Fatal::set_up(format!(
            "nothing can listen on {place}: {error}; choose another address for {key}"
        ))
    })
}

/// Says where metrics are shown.
pub(super) fn say_metrics(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("metrics on http://{address}/metrics");
    }
}

/// RabbitMQ; connects in the background, for as long as that takes. `role` is what its overview calls this process.
///
/// # Errors
/// When the settings name no broker, or none that could ever be reached. Needs a runtime.
pub(super) fn broker(settings: &Settings, role: &str) -> Result<Arc<dyn Queue>, Fatal> {
    let config = broker_config(settings, role)?;
    let queue = RabbitQueue::start(config).map_err(|error| Fatal::set_up(format!("broker.url: {error}")))?;
    Ok(Arc::new(queue))
}

/// How RabbitMQ is reached.
///
/// # Errors
/// As [`broker`].
pub(crate) fn broker_config(settings: &Settings, role: &str) -> Result<RabbitConfig, Fatal> {
    let broker = &settings.broker;
    let Some(url) = &broker.url else {
        return Err(Fatal::set_up(
            "no broker is named: set broker.url (or PITCHFLEET_BROKER_URL) to that of a RabbitMQ; `pitchfleet up` \
             needs none",
        ));
    };
    let parsed = url.reveal().parse();
    let mut url: AmqpUrl = parsed.map_err(|error| Fatal::set_up(format!("broker.url: {error}")))?;
    if let (Some(user), Some(password)) = (&broker.user, &broker.password) {
        url = url.with_credentials(user, password.reveal());
    }
    if url.is_default_elsewhere() {
        return Err(Fatal::set_up(format!(
            "broker.url: {url} stands for RabbitMQ's default user and password, which everybody knows: make a user \
             (`rabbitmqctl add_user`, `set_permissions`) and set broker.user and broker.password"
        )));
    }
    let mut config = RabbitConfig::new(url);
    config.topology = topology(settings)?;
    config.name = format!("pitchfleet {role}");
    if let Some(path) = &broker.certificates {
        let read = std::fs::read_to_string(path);
        config.certificates = Some(read.map_err(|error| {
            Fatal::set_up(format!(
                "broker.certificates: {} cannot be read: {error}",
                path.display()
            ))
        })?);
    }
    Ok(config)
}

/// Names and delays of queues.
///
/// # Errors
/// When the prefix cannot be one.
pub(super) fn topology(settings: &Settings) -> Result<Topology, Fatal> {
    Topology::new(&settings.broker.prefix).map_err(|error| Fatal::set_up(format!("broker.prefix: {error}")))
}

/// The store of the fleet, and those that photos may be imported from.
///
/// # Errors
/// When the settings name no store, and there is no folder to fall back on.
pub(crate) async fn buckets(settings: &Settings, fallback: Option<&Path>) -> Result<Buckets, Fatal> {
    let store = &settings.store;
    let home: Arc<dyn store::Store> = match (&store.bucket, store.folder.as_deref().or(fallback)) {
        (Some(bucket), _) => Arc::new(s3(settings, &Source::of_bucket(bucket)).await),
        (None, Some(folder)) => Arc::new(FolderStore::new(folder)),
        (None, None) => {
            return Err(Fatal::set_up(
                "no store is named: set store.bucket (with store.endpoint for servers other than AWS), or \
                 store.folder on one machine",
            ));
        }
    };
    let home = match store.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => {
            let within = PrefixedStore::new(home, prefix);
            Arc::new(within.map_err(|error| Fatal::set_up(format!("store.prefix: {error}")))?)
        }
        None => home,
    };
    let mut buckets = Buckets::new(home);
    for source in &settings.sources {
        let other: Arc<dyn store::Store> = match &source.folder {
            Some(folder) => Arc::new(FolderStore::new(folder)),
            None => Arc::new(s3(settings, source).await),
        };
        buckets = buckets.with_source(&source.bucket, other);
    }
    Ok(buckets)
}

impl Source {
    fn of_bucket(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            ..Self::default()
        }
    }
}

/// The bucket of `source` on its server, or on that of the store.
async fn s3(settings: &Settings, source: &Source) -> S3Store {
    let store = &settings.store;
    let credentials = |access: &Option<Secret>, secret: &Option<Secret>| {
        let (access, secret) = (access.as_ref()?, secret.as_ref()?);
        Some((access.reveal().to_owned(), secret.reveal().to_owned()))
    };
    let endpoint = source.endpoint.clone().or_else(|| store.endpoint.clone());
    let path_style = source.path_style.or(store.path_style);
    S3Store::new(S3Config {
        bucket: source.bucket.clone(),
        region: source.region.clone().unwrap_or_else(|| store.region.clone()),
        path_style: path_style.unwrap_or(endpoint.is_some()),
        endpoint,
        public_endpoint: store.public_endpoint.clone(),
        credentials: credentials(&source.access_key, &source.secret_key)
            .or_else(|| credentials(&store.access_key, &store.secret_key)),
        attempts: store.attempts,
        stall_timeout: store.stall_timeout.0,
    })
    .await
}

/// Folder of the models.
///
/// # Errors
/// When there is none.
pub(crate) fn bundle_folder(settings: &Settings) -> Result<PathBuf, Fatal> {
    bundles::find(settings.models.bundle.as_deref())
}

/// An engine with the models in `bundle`, not loaded.
///
/// # Errors
/// When models or library are missing or do not fit.
pub(super) fn engine(settings: &Settings, bundle: &Path) -> Result<Engine, Fatal> {
    Ok(Engine::new(engine_config(settings, bundle))?)
}

/// How an engine with the models in `bundle` is to run.
pub(crate) fn engine_config(settings: &Settings, bundle: &Path) -> EngineConfig {
    let mut config = EngineConfig::new(bundle);
    config
        .runtime_library
        .clone_from(&settings.models.runtime_library);
    config.precision = settings.models.precision;
    config.device = settings.worker.device;
    config.allow_cpu_fallback = settings.worker.allow_cpu_fallback;
    config.lanes = settings.worker.lanes;
    config.card = CardConfig {
        memory_limit: settings.worker.gpu_memory_bytes,
        largest_batch: settings.worker.batch,
        linger: settings.worker.batch_linger.0,
    };
    config.photo_deadline = settings.worker.photo_deadline.0;
    config
}

/// The models of new batches.
///
/// # Errors
/// When the bundle cannot be read.
pub(super) fn bundle_ref(folder: &Path) -> Result<BundleRef, Fatal> {
    let bundle = Bundle::open(folder).map_err(|error| Fatal::set_up(error.to_string()))?;
    Ok(BundleRef {
        name: bundle.manifest().name.clone(),
        digest: bundle.digest(),
    })
}

/// A worker as the settings want it.
pub(crate) fn worker_config(settings: &Settings) -> WorkerConfig {
    let worker = &settings.worker;
    let mut config = WorkerConfig {
        preload: worker.preload,
        unload_grace: worker.unload_grace.duration(),
        warm_at: worker.warm_at.clone(),
        warm_for: worker.warm_for.0,
        drain_grace: worker.drain_time.0,
        transfer_deadline: worker.transfer_deadline.0,
        ..WorkerConfig::default()
    };
    if let Some(name) = &worker.name {
        config.id.clone_from(name);
    }
    if let Some(spool) = &worker.spool {
        config.spool.clone_from(spool);
    }
    if let Some(ahead) = worker.ahead {
        config.ahead = ahead;
    }
    config
}

/// The HTTP side as the settings want it.
///
/// # Errors
/// When the token file cannot be used.
pub(crate) fn api_config(settings: &Settings) -> Result<ApiConfig, Fatal> {
    let api = &settings.api;
    let defaults = ApiConfig::default();
    let mut config = ApiConfig {
        public_url: api.public_url.clone(),
        imports: settings.sources.iter().map(import).collect(),
        limits: ApiLimits {
            bytes_per_photo: api.megabytes_per_photo.saturating_mul(1 << 20),
            requests_per_second: api.requests_per_second,
            burst: api.burst,
            ..defaults.limits
        },
        request_seconds: seconds(api.request_time),
        analyze_seconds: seconds(api.analyze_time),
        drain_seconds: seconds(api.drain_time),
        ..defaults
    };
    config.coordinator.max_photos = api.photos_per_batch;
    config.webhook.timeout_seconds = seconds(api.webhook_time);
    for webhook in &settings.webhooks {
        let secrets = webhook
            .secrets
            .iter()
            .map(|secret| secret.reveal().to_owned().try_into());
        let secrets: Result<Vec<_>, SecretError> = secrets.collect();
        let secrets = secrets
            .map_err(|error| Fatal::set_up(format!("the [[webhooks]] of {}: {error}", webhook.host)))?;
        config.webhook.hosts.push(webhook.host.clone());
        config
            .webhook
            .secrets
            .entry(webhook.host.clone())
            .or_default()
            .extend(secrets);
    }
    let checked = config.webhook.check();
    checked.map_err(|error| Fatal::set_up(error.to_string()))?;
    if let Some(path) = &api.tokens {
        let unusable = |error: &dyn std::fmt::Display| {
            Fatal::set_up(format!(
                "the token file {}: {error}; `pitchfleet token create` makes one",
                path.display()
            ))
        };
        let text = std::fs::read_to_string(path).map_err(|error| unusable(&error))?;
        config.tokens = Tokens::parse(&text).map_err(|error| unusable(&error))?;
    }
    Ok(config)
}

fn import(source: &Source) -> ImportRule {
    ImportRule {
        bucket: source.bucket.clone(),
        prefix: source.prefix.clone(),
        tenants: source.tenants.clone(),
    }
}

fn seconds(span: Span) -> u32 {
    u32::try_from(span.0.as_secs()).unwrap_or(u32::MAX)
}

/// `$XDG_DATA_HOME/pitchfleet/store`, `~/.local/share/…`; without a home the current folder's `pitchfleet-store`.
pub(crate) fn default_folder() -> PathBuf {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    data.map_or_else(
        || PathBuf::from("pitchfleet-store"),
        |data| data.join("pitchfleet/store"),
    )
}
