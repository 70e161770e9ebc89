//! What an operator chooses: one TOML file, and an environment variable for every key of it.
//!
//! [`keys`] lists every key with its text, so that the example, the names of the variables and the check for unknown
//! keys cannot differ from one another. Flags of a command win over variables, variables over the file.

pub(crate) mod command;
mod environment;
mod file;
mod keys;
mod values;

use std::path::PathBuf;

use engine::{Device, PrecisionChoice};
use fleet::ids::Tenant;
use serde::{Deserialize, Serialize};

pub(crate) use values::{Grace, Secret, Span};

use crate::exit::Fatal;
use environment::Environment;

/// Where the settings come from.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// The settings [default: pitchfleet.toml here, or ~/.config/pitchfleet/pitchfleet.toml, or
    /// /etc/pitchfleet/pitchfleet.toml]
    #[arg(long, value_name = "FILE", env = "PITCHFLEET_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
}

impl SettingsArgs {
    /// The settings that hold for this process.
    ///
    /// # Errors
    /// When a file cannot be read, or something in it or in a variable is not understood.
    pub(crate) fn load(&self) -> Result<Loaded, Fatal> {
        let environment = Environment::of_process();
        let file = file::find(self.config.as_deref(), &environment)?;
        load(file, &environment)
    }
}

/// Settings, and where they were found.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// What holds.
    pub(crate) settings: Settings,
    /// The file that was read.
    pub(crate) file: Option<PathBuf>,
    /// The variables that were read.
    pub(crate) variables: Vec<String>,
    /// Variables that look like ours and are not, with the remedy.
    pub(crate) doubts: Vec<String>,
}

/// A file's path and text.
type Text = (PathBuf, String);

fn load(file: Option<Text>, environment: &Environment) -> Result<Loaded, Fatal> {
    let mut builder = ::config::Config::builder();
    if let Some((path, text)) = &file {
        file::check_keys(path, text)?;
        let source = ::config::File::from_str(text, ::config::FileFormat::Toml);
        builder = builder.add_source(source);
    }
    let read = environment.read()?;
    for (key, value) in &read.values {
        builder = builder
            .set_override(key.as_str(), value.clone())
            .map_err(|error| Fatal::set_up(error.to_string()))?;
    }
    let merged = builder
        .build()
        .map_err(|error| place(&error, &file, environment))?;
    let settings = merged
        .try_deserialize::<Settings>()
        .map_err(|error| place(&error, &file, environment))?;
    settings.check()?;
    Ok(Loaded {
        settings,
        file: file.map(|(path, _)| path),
        variables: read.variables,
        doubts: read.doubts,
    })
}

/// An error of the layering with the place that a person has to go to.
fn place(error: &::config::ConfigError, file: &Option<Text>, environment: &Environment) -> Fatal {
    let text = error.to_string();
    let variable =
        keys::named_in(&text).and_then(|key| environment.has(&key.variable()).then(|| key.variable()));
    let place = match (variable, file) {
        (Some(variable), _) => variable,
        (None, Some((path, _))) => path.display().to_string(),
        (None, None) => "the settings".to_owned(),
    };
    Fatal::set_up(format!(
        "{place}: {text}; `pitchfleet config --example` shows every key"
    ))
}

/// Everything that can be chosen. What is absent has the default that `pitchfleet config --example` names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) broker: Broker,
    pub(crate) store: Store,
    pub(crate) sources: Vec<Source>,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) api: Api,
    pub(crate) worker: Worker,
    pub(crate) models: Models,
    pub(crate) log: Log,
    pub(crate) trace: Trace,
}

/// RabbitMQ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Broker {
    pub(crate) url: Option<Secret>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) prefix: String,
    pub(crate) certificates: Option<PathBuf>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            url: None,
            user: None,
            password: None,
            prefix: "pitchfleet".to_owned(),
            certificates: None,
        }
    }
}

/// The fleet's own bucket or folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) folder: Option<PathBuf>,
    pub(crate) bucket: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) public_endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) path_style: Option<bool>,
    pub(crate) access_key: Option<Secret>,
    pub(crate) secret_key: Option<Secret>,
    pub(crate) prefix: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) stall_timeout: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            folder: None,
            bucket: None,
            endpoint: None,
            public_endpoint: None,
            region: "us-east-1".to_owned(),
            path_style: None,
            access_key: None,
            secret_key: None,
            prefix: None,
            attempts: 3,
            stall_timeout: Span::from_secs(30),
        }
    }
}

/// A bucket or folder that photos may be imported from. What is absent is taken from `[store]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) path_style: Option<bool>,
    pub(crate) access_key: Option<Secret>,
    pub(crate) secret_key: Option<Secret>,
}

/// A host that may be told when a batch is finished.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) host: String,
    pub(crate) secrets: Vec<Secret>,
}

/// The HTTP side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Api {
    pub(crate) listen: String,
    pub(crate) tokens: Option<PathBuf>,
    pub(crate) public_url: Option<String>,
    pub(crate) photos_per_batch: u64,
    pub(crate) megabytes_per_photo: u64,
    pub(crate) requests_per_second: u32,
    pub(crate) burst: u32,
    pub(crate) request_time: Span,
    pub(crate) analyze_time: Span,
    pub(crate) drain_time: Span,
    pub(crate) webhook_time: Span,
    pub(crate) metrics_listen: Option<String>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            tokens: None,
            public_url: None,
            photos_per_batch: 100_000,
            megabytes_per_photo: 64,
            requests_per_second: 100,
            burst: 500,
            request_time: Span::from_secs(30),
            analyze_time: Span::from_secs(30),
            drain_time: Span::from_secs(25),
            webhook_time: Span::from_secs(15),
            metrics_listen: None,
        }
    }
}

/// One worker and its engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Worker {
    pub(crate) name: Option<String>,
    pub(crate) device: Device,
    pub(crate) allow_cpu_fallback: bool,
    pub(crate) lanes: Option<std::num::NonZeroUsize>,
    pub(crate) gpu_memory_bytes: Option<u64>,
    pub(crate) batch: Option<std::num::NonZeroUsize>,
    pub(crate) batch_linger: Span,
    pub(crate) photo_deadline: Span,
    pub(crate) ahead: Option<usize>,
    pub(crate) unload_grace: Grace,
    pub(crate) preload: bool,
    pub(crate) warm_at: Option<::worker::WarmAt>,
    pub(crate) warm_for: Span,
    pub(crate) spool: Option<PathBuf>,
    pub(crate) drain_time: Span,
    pub(crate) transfer_deadline: Span,
    pub(crate) metrics_listen: Option<String>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            name: None,
            device: Device::Auto,
            allow_cpu_fallback: false,
            lanes: None,
            gpu_memory_bytes: None,
            batch: None,
            batch_linger: Span(std::time::Duration::from_millis(2)),
            photo_deadline: Span::from_secs(60),
            ahead: None,
            unload_grace: Grace::After(Span::from_secs(30)),
            preload: false,
            warm_at: None,
            warm_for: Span::from_secs(3600),
            spool: None,
            drain_time: Span::from_secs(20),
            transfer_deadline: Span::from_secs(120),
            metrics_listen: None,
        }
    }
}

/// The models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Models {
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) precision: PrecisionChoice,
    pub(crate) runtime_library: Option<PathBuf>,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            // Our own parts say what they do; libraries only what is wrong.
            filter: "warn,pitchfleet=info,api=info,worker=info,engine=info,queue=info,store=info".to_owned(),
            format: LogFormat::Human,
        }
    }
}

/// Who reads the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Human,
    Json,
}

/// Traces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Trace {
    pub(crate) endpoint: Option<String>,
}

impl Settings {
    /// Every secret that is set, with the key that sets it.
    pub(crate) fn secrets(&self) -> Vec<(String, &Secret)> {
        let single = [
            ("broker.url", &self.broker.url),
            ("broker.password", &self.broker.password),
            ("store.access_key", &self.store.access_key),
            ("store.secret_key", &self.store.secret_key),
        ];
        let mut secrets: Vec<(String, &Secret)> = Vec::new();
        for (key, secret) in single {
            secrets.extend(secret.as_ref().map(|secret| (key.to_owned(), secret)));
        }
        for source in &self.sources {
            for (name, secret) in [
                ("access_key", &source.access_key),
                ("secret_key", &source.secret_key),
            ] {
                let key = format!("{name} of the [[sources]] {}", source.bucket);
                secrets.extend(secret.as_ref().map(|secret| (key, secret)));
            }
        }
        for webhook in &self.webhooks {
            let key = format!("secrets of the [[webhooks]] {}", webhook.host);
            secrets.extend(webhook.secrets.iter().map(|secret| (key.clone(), secret)));
        }
        secrets
    }

    /// What no single key says.
    fn check(&self) -> Result<(), Fatal> {
        // A variable that a script left empty, a secret's file that nobody wrote: never what somebody meant.
        let secrets = self.secrets();
        if let Some((key, _)) = secrets
            .iter()
            .find(|(_, secret)| secret.reveal().trim().is_empty())
        {
            return Err(Fatal::set_up(format!(
                "{key} is empty: give it its value (in the file, the variable, or the file that the variable with _FILE \
                 names), or leave it out altogether"
            )));
        }
        let Store {
            folder,
            bucket,
            access_key,
            secret_key,
            ..
        } = &self.store;
        if folder.is_some() && bucket.is_some() {
            return Err(Fatal::set_up(
                "store.folder and store.bucket are both set: keep the one that is meant",
            ));
        }
        let mut pairs = vec![("store", access_key, secret_key)];
        for source in &self.sources {
            if source.bucket.is_empty() {
                return Err(Fatal::set_up(
                    "a [[sources]] has no `bucket`: it is the name that batches ask for",
                ));
            }
            pairs.push((source.bucket.as_str(), &source.access_key, &source.secret_key));
        }
        if self
            .webhooks
            .iter()
            .any(|webhook| webhook.host.is_empty() || webhook.secrets.is_empty())
        {
            return Err(Fatal::set_up(
                "a [[webhooks]] needs `host` and `secrets`, of which each is `whsec_` and the output of \
                 `openssl rand -base64 32`",
            ));
        }
        for (place, access, secret) in pairs {
            if access.is_some() != secret.is_some() {
                return Err(Fatal::set_up(format!(
                    "{place}: access_key and secret_key belong together, and one of them is missing"
                )));
            }
        }
        if self.broker.user.is_some() != self.broker.password.is_some() {
            return Err(Fatal::set_up(
                "broker.user and broker.password belong together, and one of them is missing",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
