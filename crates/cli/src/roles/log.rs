//! Log lines of the roles on standard error, and their traces.

use std::{env, fmt, io};

use ::trace::{Collector, Tracing};
use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::Layer;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::parts;
use crate::exit::Fatal;
use crate::settings::{LogFormat, Settings};

/// Begins to write and to trace.
///
/// # Errors
/// When the filter is none, or the collector's address.
pub(super) fn init(settings: &Settings, role: &'static str) -> Result<Tracing, Fatal> {
    let targets: Targets = settings.log.filter.parse().map_err(|error| {
        Fatal::set_up(format!(
            "log.filter is no filter such as `debug` or `warn,worker=debug`: {error}"
        ))
    })?;
    let collector = match &settings.trace.endpoint {
        Some(base) => Some(Collector::At(base.clone())),
        None => Collector::of_environment(|name| env::var(name).ok()),
    };
    let instance = parts::worker_config(settings).id;
    let tracing = Tracing::start(role, &instance, env!("CARGO_PKG_VERSION"), collector.as_ref())
        .map_err(|error| Fatal::set_up(format!("trace.endpoint: {error}")))?;
    // Whatever is written says which photo it is about, so that our spans are there at every level.
    let shown = filter_fn(move |metadata: &Metadata<'_>| {
        (metadata.is_span() && ::trace::is_ours(metadata))
            || targets.would_enable(metadata.target(), metadata.level())
    });
    let lines = match settings.log.format {
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(Fields)
            .boxed(),
        LogFormat::Json => json_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_flat_span_list(true)
            .boxed(),
    };
    // A second role in one process, as in tests, keeps the first one's.
    let _ = tracing_subscriber::registry()
        .with(lines.with_filter(shown))
        .with(tracing.layer())
        .try_init();
    Ok(tracing)
}

/// Fields as `name=value`, without those that are for traces only (`otel.…`).
#[derive(Debug)]
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Visitor {
            writer,
            is_first: true,
            written: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.written
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let mut added = String::new();
        self.format_fields(Writer::new(&mut added), fields)?;
        if !added.is_empty() && !current.fields.is_empty() {
            current.fields.push(' ');
        }
        current.fields.push_str(&added);
        Ok(())
    }
}

struct Visitor<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    written: fmt::Result,
}

impl Visitor<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name().starts_with("otel.") || self.written.is_err() {
            return;
        }
        let space = if self.is_first { "" } else { " " };
        self.is_first = false;
        self.written = match field.name() {
            "message" => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{name}={value}"),
        };
    }
}

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, format_args!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        self.write(field, format_args!("{error}"));
        let mut cause = error.source();
        while let Some(error) = cause {
            if self.written.is_ok() {
                self.written = write!(self.writer, ": {error}");
            }
            cause = error.source();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_for_traces_only_is_not_in_lines() {
        let lines = Lines::default();
        let kept = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || kept.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .fmt_fields(Fields);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(
                "photo",
                otel.kind = "consumer",
                index = 7,
                batch = tracing::field::Empty,
                otel.status_code = tracing::field::Empty,
            );
            span.record("otel.status_code", "ERROR");
            span.record("batch", "b");
            span.in_scope(|| tracing::warn!(reason = "late", after_ms = 5, "tried again"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            " WARN photo{index=7 batch=\"b\"}: tried again reason=\"late\" after_ms=5\n"
        );
    }
}
