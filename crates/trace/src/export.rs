//! Where spans go.

use std::env;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::client::Client;

/// The crates of the workspace that say something.
const OURS: [&str; 8] = [
    "pitchfleet",
    "api",
    "worker",
    "engine",
    "queue",
    "store",
    "trace",
    UNTRACED,
];

/// The target of spans that name things in log lines and are no part of a trace, such as those of probes.
pub const UNTRACED: &str = "untraced";

/// The instrumentation scope of all spans.
pub(crate) const SCOPE: &str = "pitchfleet";
/// Longest wait at the end for what was not sent yet.
const FAREWELL: Duration = Duration::from_secs(5);

/// A collector of spans: OTLP over HTTP with protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collector {
    /// Its base URL, such as `http://collector:4318`.
    At(String),
    /// What `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` name.
    Environment,
}

impl Collector {
    /// The one that the standard variables name, where they name one and do not switch tracing off
    /// (`OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`). `variable` reads one.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        let named = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"))
            .is_some();
        (named && !off).then_some(Self::Environment)
    }
}

/// Why spans cannot be sent.
#[derive(Debug, Error)]
#[error("spans cannot be sent: {0}")]
pub struct SetUpError(String);

/// The tracing of this process. Dropping it sends what was not sent yet.
#[derive(Debug)]
pub struct Tracing {
    provider: SdkTracerProvider,
}

impl Tracing {
    /// Begins to trace. Without a collector spans get their ids and nothing else: no thread, no memory.
    ///
    /// `service` is what traces call this kind of process (`OTEL_SERVICE_NAME` wins), `instance` this one process,
    /// `version` the program's. How many traces are kept is up to the standard variables `OTEL_TRACES_SAMPLER` and
    /// `OTEL_TRACES_SAMPLER_ARG`; batches, limits and headers to theirs.
    ///
    /// # Errors
    /// When the collector's address is not one.
    pub fn start(
        service: &'static str,
        instance: &str,
        version: &'static str,
        collector: Option<&Collector>,
    ) -> Result<Self, SetUpError> {
        let Some(collector) = collector else {
            let provider = SdkTracerProvider::builder()
                .with_resource(Resource::builder_empty().build())
                .build();
            return Ok(Self { provider });
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new())
            .with_protocol(Protocol::HttpBinary);
        let exporter = match collector {
            Collector::At(base) => {
                exporter.with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')))
            }
            Collector::Environment => exporter,
        };
        let exporter = exporter.build().map_err(|error| SetUpError(error.to_string()))?;
        let mut resource = Resource::builder().with_attributes([
            KeyValue::new("service.namespace", SCOPE),
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ]);
        if env::var_os("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
            resource = resource.with_service_name(service);
        }
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_batch_exporter(exporter)
            .build();
        global::set_tracer_provider(provider.clone());
        Ok(Self { provider })
    }

    /// What makes spans of `tracing`'s, and keeps our warnings and errors as events of theirs; everything else that is
    /// said is in the log, under the same id.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let kept = |metadata: &Metadata<'_>| {
            is_ours(metadata)
                && metadata.target() != UNTRACED
                && (metadata.is_span() || *metadata.level() <= Level::WARN)
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(kept))
    }
}

/// Whether a span or event is of one of our crates rather than of a library.
pub fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let origin = target.split("::").next().unwrap_or(target);
    OURS.contains(&origin)
}

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FAREWELL) {
            tracing::debug!(%error, "the last spans are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&'static str, &'static str)]) -> Option<Collector> {
        Collector::of_environment(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_standard_variables_choose() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(with(&[ENDPOINT]), Some(Collector::Environment));
        assert_eq!(
            with(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")]),
            Some(Collector::Environment)
        );
        assert_eq!(with(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(with(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), None);
    }

    #[test]
    fn an_address_that_is_none_is_told() {
        let collector = Collector::At("not an address".to_owned());
        let error = Tracing::start("test", "test", "0", Some(&collector)).unwrap_err();
        assert!(error.to_string().contains("not an address"), "{error}");
    }
}
