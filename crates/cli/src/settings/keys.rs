//! Every key with its text: the one list that the example, the variables and the check for unknown keys are made from.

use std::fmt::Write as _;

/// What the names of all variables begin with.
pub(super) const PREFIX: &str = "PITCHFLEET_";

/// Names of variables that are no keys.
pub(super) const OTHER_VARIABLES: &[&str] = &["CONFIG", "BUNDLE", "LOG", "SERVER", "TOKEN", "TOKEN_FILE"];

/// How alike two names are, 0 to 1, for one to be taken for a slip of the other.
const ALIKE: f64 = 0.7;

/// How a variable's text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, numbers, switches, lengths of time.
    Plain,
    /// As [`Plain`](Self::Plain), may be read from a file that `…_FILE` names, and is never shown.
    Secret,
}

/// What stands behind the equals sign in the example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The default.
    Default(&'static str),
    /// Something that it could be; without it the text says what happens.
    Such(&'static str),
}

impl Value {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Default(text) | Self::Such(text) => text,
        }
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) value: Value,
    pub(super) text: &'static str,
}

impl Key {
    /// `section.name`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path().replace('.', "_").to_uppercase())
    }
}

const fn plain(section: &'static str, name: &'static str, value: Value, text: &'static str) -> Key {
    Key {
        section,
        name,
        kind: Kind::Plain,
        value,
        text,
    }
}

const fn secret(section: &'static str, name: &'static str, value: Value, text: &'static str) -> Key {
    Key {
        section,
        name,
        kind: Kind::Secret,
        value,
        text,
    }
}

use Value::{Default, Such};

/// Sections in the order of the example, with what they are about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    (
        "broker",
        "RabbitMQ. `worker` and `api` need it; `up` has its own queue inside.",
    ),
    (
        "store",
        "Where photos, results and reports lie: a folder on one machine, or a bucket of any S3 server.",
    ),
    ("api", "The HTTP side: `api` and `up`."),
    ("worker", "The analysing side: `worker` and `up`."),
    ("models", "The models."),
    ("log", "Log lines of `up`, `api` and `worker`, on standard error."),
    (
        "trace",
        "Where each photo's time goes, from the request that submits it to its result. Sampling, headers and limits are\n\
         # chosen by OpenTelemetry's standard variables (OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_…).",
    ),
];

/// A table that may be there several times.
pub(super) struct Tables {
    pub(super) name: &'static str,
    pub(super) keys: &'static [&'static str],
    /// Whether there are secrets in it, so that its variable has a `_FILE`, too.
    pub(super) secret: bool,
    pub(super) text: &'static str,
    pub(super) example: &'static str,
    /// The section in the example that it stands behind.
    after: &'static str,
}

impl Tables {
    /// The variable that sets all of them.
    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase())
    }
}

pub(super) const TABLES: &[Tables] = &[
    Tables {
        name: "sources",
        keys: &[
            "bucket",
            "prefix",
            "tenants",
            "folder",
            "endpoint",
            "region",
            "path_style",
            "access_key",
            "secret_key",
        ],
        secret: true,
        text: "\
Buckets that batches may take photos from, by the name that clients use (`pitchfleet submit s3://NAME/PREFIX`).
`prefix` opens a part of it only, `tenants` opens it to those only. `folder` is a folder on this machine instead;
endpoint, region, path_style, access_key and secret_key are those of [store] where they are absent. No other bucket
is read.
As a variable, or in the file that PITCHFLEET_SOURCES_FILE names: [{ bucket = \"match-photos\" }]",
        example: "[[sources]]\nbucket = \"match-photos\"\nprefix = \"2026/\"\ntenants = [\"mcc\"]",
        after: "store",
    },
    Tables {
        name: "webhooks",
        keys: &["host", "secrets"],
        secret: true,
        text: "\
Hosts that may be told when a batch is finished, with the secrets that sign what they are told (Standard Webhooks):
`whsec_` and the output of `openssl rand -base64 32`. With two secrets both sign, while one replaces the other.
As a variable, or in the file that PITCHFLEET_WEBHOOKS_FILE names: [{ host = \"…\", secrets = [\"whsec_…\"] }]",
        example: "[[webhooks]]\nhost = \"hooks.example.org\"\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]",
        after: "api",
    },
];

pub(super) const KEYS: &[Key] = &[
    secret(
        "broker",
        "url",
        Such("\"amqp://pitchfleet:secret@rabbitmq:5672/%2f\""),
        "amqp[s]://user:password@host:port/vhost, everything in it percent-encoded.",
    ),
    plain(
        "broker",
        "user",
        Such("\"pitchfleet\""),
        "User and password apart from the URL, taken literally.",
    ),
    secret("broker", "password", Such("\"secret\""), "See `user`."),
    plain(
        "broker",
        "prefix",
        Default("\"pitchfleet\""),
        "What the names of all queues and exchanges begin with. Fleets that share a broker need one each.",
    ),
    plain(
        "broker",
        "certificates",
        Such("\"/etc/pitchfleet/broker-ca.pem\""),
        "Certificates of private authorities for amqps, PEM, besides the system's.",
    ),
    plain(
        "store",
        "folder",
        Such("\"/var/lib/pitchfleet\""),
        "A folder as the store: for `up`, whose default is ~/.local/share/pitchfleet/store.",
    ),
    plain(
        "store",
        "bucket",
        Such("\"pitchfleet\""),
        "A bucket as the store.",
    ),
    plain(
        "store",
        "endpoint",
        Such("\"https://s3.example.org\""),
        "The S3 server; absent: AWS.",
    ),
    plain(
        "store",
        "public_endpoint",
        Such("\"https://photos.example.org\""),
        "How clients outside reach the same server, for uploads; absent: `endpoint`.",
    ),
    plain(
        "store",
        "region",
        Default("\"us-east-1\""),
        "Its region; servers other than AWS often take any word.",
    ),
    plain(
        "store",
        "path_style",
        Such("true"),
        "The bucket stands in the path rather than the host name; absent: so with an `endpoint`.",
    ),
    secret(
        "store",
        "access_key",
        Such("\"GK31c2f218a2e44f485b94239e\""),
        "Absent: what the environment gives (AWS_… variables, profile, web identity, instance).",
    ),
    secret("store", "secret_key", Such("\"secret\""), "See `access_key`."),
    plain(
        "store",
        "prefix",
        Such("\"pitchfleet\""),
        "What all keys begin with, in a bucket that others use, too.",
    ),
    plain(
        "store",
        "attempts",
        Default("3"),
        "How often a request to the bucket is tried in all.",
    ),
    plain(
        "store",
        "stall_timeout",
        Default("\"30s\""),
        "An answer that takes longer, or a transfer that stands still for so long, has failed.",
    ),
    plain(
        "api",
        "listen",
        Default("\"127.0.0.1:8080\""),
        "Address and port. An address that others can reach needs `tokens`.",
    ),
    plain(
        "api",
        "tokens",
        Such("\"/etc/pitchfleet/tokens.toml\""),
        "Who may do what; `pitchfleet token create` adds to it. Absent: whoever reaches the port may do everything.",
    ),
    plain(
        "api",
        "public_url",
        Such("\"https://pitch.example.org\""),
        "What clients reach the API by, where it is not the `Host` that they send.",
    ),
    plain(
        "api",
        "photos_per_batch",
        Default("100000"),
        "Photos of one batch, at most.",
    ),
    plain(
        "api",
        "megabytes_per_photo",
        Default("64"),
        "Size of one uploaded photo in units of 1,048,576 bytes, at most.",
    ),
    plain(
        "api",
        "requests_per_second",
        Default("100"),
        "Requests that one token may send in the long run.",
    ),
    plain(
        "api",
        "burst",
        Default("500"),
        "Requests that one token may send at once after a pause.",
    ),
    plain(
        "api",
        "request_time",
        Default("\"30s\""),
        "Longest time until a request that transfers nothing is answered.",
    ),
    plain(
        "api",
        "analyze_time",
        Default("\"30s\""),
        "How long a request for one photo waits for its result before it is told where that will be.",
    ),
    plain(
        "api",
        "drain_time",
        Default("\"25s\""),
        "How long requests in flight may take when the API is asked to stop.",
    ),
    plain(
        "api",
        "webhook_time",
        Default("\"15s\""),
        "How long a webhook has to answer.",
    ),
    plain(
        "api",
        "metrics_listen",
        Such("\"0.0.0.0:9464\""),
        "Address and port of the API's own /metrics, open to whoever reaches it; absent: none.",
    ),
    plain(
        "worker",
        "name",
        Such("\"ground-3\""),
        "What the fleet calls this worker, unique in it; absent: host name and process id.",
    ),
    plain(
        "worker",
        "device",
        Default("\"auto\""),
        "What runs the models: auto, cpu or cuda:N.",
    ),
    plain(
        "worker",
        "allow_cpu_fallback",
        Default("false"),
        "Whether a cuda:N that is not there may be replaced by the CPU.",
    ),
    plain(
        "worker",
        "lanes",
        Such("4"),
        "Photos analysed at the same time; absent: one per core of the quota.",
    ),
    plain(
        "worker",
        "gpu_memory_bytes",
        Such("8000000000"),
        "Memory of a card that the models may hold; absent: nine tenths of what is free when they are loaded.",
    ),
    plain(
        "worker",
        "batch",
        Such("16"),
        "Most photos in one batch on a card; absent: what its memory suffices for.",
    ),
    plain(
        "worker",
        "batch_linger",
        Default("\"2ms\""),
        "Longest time that a card waits for photos that are being decoded to fill its batch; never without any.",
    ),
    plain(
        "worker",
        "photo_deadline",
        Default("\"60s\""),
        "Longest time for one photo.",
    ),
    plain(
        "worker",
        "ahead",
        Such("8"),
        "Photos in hand beyond those with the models, being fetched or stored; absent: enough for the lanes.",
    ),
    plain(
        "worker",
        "unload_grace",
        Default("\"30s\""),
        "How long the models stay in memory without work; \"0s\": they go at once, \"never\": they stay.",
    ),
    plain(
        "worker",
        "preload",
        Default("false"),
        "Load the models at the start rather than for the first photo.",
    ),
    plain(
        "worker",
        "warm_at",
        Such("\"0 9 * * SAT\""),
        "When to load the models ahead of the work: minute, hour, day, month and day of week as in cron, local time.",
    ),
    plain(
        "worker",
        "warm_for",
        Default("\"1h\""),
        "How long the models stay from then on, even without work.",
    ),
    plain(
        "worker",
        "spool",
        Such("\"/var/tmp\""),
        "Folder for photos on their way to the models, in files without names; absent: the system's temporary one.",
    ),
    plain(
        "worker",
        "drain_time",
        Default("\"20s\""),
        "How long photos that are with the models may take when the worker is asked to stop.",
    ),
    plain(
        "worker",
        "transfer_deadline",
        Default("\"2m\""),
        "Longest time for fetching one photo, and for storing its results.",
    ),
    plain(
        "worker",
        "metrics_listen",
        Such("\"0.0.0.0:9464\""),
        "Address and port of the worker's own /metrics, /livez and /readyz, open to whoever reaches it; absent: none.",
    ),
    plain(
        "models",
        "bundle",
        Such("\"demo\""),
        "A folder, or a name that `pitchfleet models list` knows; absent: demo. Also PITCHFLEET_BUNDLE.",
    ),
    plain(
        "models",
        "precision",
        Default("\"auto\""),
        "Number format for batches that leave it to the worker: auto, fp32 or int8.",
    ),
    plain(
        "models",
        "runtime_library",
        Such("\"/usr/lib/libonnxruntime.so\""),
        "The ONNX Runtime library; absent: it is searched for.",
    ),
    plain(
        "log",
        "filter",
        Default("\"warn,pitchfleet=info,api=info,worker=info,engine=info,queue=info,store=info\""),
        "What is written: a level for everything, and others for single parts. Also PITCHFLEET_LOG.",
    ),
    plain(
        "log",
        "format",
        Default("\"human\""),
        "human, or json: an object for each line, what it is about under `spans`.",
    ),
    plain(
        "trace",
        "endpoint",
        Such("\"http://collector:4318\""),
        "An OpenTelemetry collector that takes OTLP over HTTP; absent: what OTEL_EXPORTER_OTLP_ENDPOINT says, else none.",
    ),
];

/// The key whose path is in an error's text.
pub(super) fn named_in(text: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| text.contains(&format!("`{}`", key.path())))
}

/// The one of `names` that `name` is most likely a slip of.
pub(super) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|known| {
            // Of two that are equally far, the one that begins alike.
            let distance = strsim::normalized_damerau_levenshtein(name, known);
            (distance, strsim::jaro_winkler(name, known), known)
        })
        .filter(|(alike, _, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(_, _, known)| known)
}

/// A file with every key, each a comment with its text and its variable.
pub(super) fn example() -> String {
    let mut text = String::from(
        "# pitchfleet's settings. Every key is optional for `pitchfleet up`.\n\
         # Each can be given as an environment variable, which wins over this file; secrets also as a file that the\n\
         # variable with _FILE at its end names. Values behind `#` are defaults, or examples where there is none.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n# {about}\n[{section}]\n");
        for key in KEYS.iter().filter(|key| key.section == *section) {
            let variable = key.variable();
            let file = match key.kind {
                Kind::Secret => format!(", {variable}_FILE"),
                _ => String::new(),
            };
            let such = match key.value {
                Default(_) => "",
                Such(_) => " No default.",
            };
            let _ = write!(
                text,
                "\n# {}{such}\n# {variable}{file}\n# {} = {}\n",
                key.text,
                key.name,
                key.value.text()
            );
        }
        for tables in TABLES.iter().filter(|tables| tables.after == *section) {
            for line in tables.text.lines().chain(tables.example.lines()) {
                let _ = write!(text, "\n# {line}");
            }
            text.push('\n');
        }
    }
    text
}
