//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): `traceparent` out of a span and into one.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";
/// `00-` and 16 and 8 bytes in hexadecimal and the flags, with dashes between them.
const LENGTH: usize = 55;

/// Makes `span` part of the trace that `parent` comes from, a `traceparent` as it came with a message or a request. One
/// that is absent or not readable begins a trace of its own. The field `trace_id` of the span, where it has one, is
/// filled in. To be called once, before the span is entered.
pub fn begin(span: &Span, parent: Option<&str>) {
    if let Some(parent) = parent {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), parent.to_owned())]);
        let context = TraceContextPropagator::new().extract(&carrier);
        if context.span().span_context().is_valid() {
            // An error says that nothing traces here.
            let _ = span.set_parent(context);
        }
    }
    let context = span.context();
    let id = context.span().span_context().trace_id();
    if context.has_active_span() {
        span.record("trace_id", tracing::field::display(id));
    }
}

/// Calls a span in traces something else than what it was begun as: what a message is about is known when it is read.
pub fn rename(span: &Span, name: &'static str) {
    span.context().span().update_name(name);
}

/// The current span as a `traceparent`, for what is sent from here; `None` where nothing traces.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// The same trace and parent, but what follows is not to be kept: of thousands of photos some are enough.
pub fn unsampled(traceparent: &str) -> String {
    match traceparent.rsplit_once('-') {
        Some((rest, flags)) if flags.len() == 2 && traceparent.len() == LENGTH => format!("{rest}-00"),
        _ => traceparent.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::Tracing;

    /// The example of the specification, section 3.2.
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn traced<T>(work: impl FnOnce() -> T) -> T {
        let tracing = Tracing::start("test", "test", "0", None).unwrap();
        let subscriber = tracing_subscriber::registry().with(tracing.layer());
        tracing::subscriber::with_default(subscriber, work)
    }

    fn within(parent: Option<&str>) -> String {
        traced(|| {
            let span = info_span!("work", trace_id = tracing::field::Empty);
            begin(&span, parent);
            span.in_scope(|| traceparent().unwrap())
        })
    }

    #[test]
    fn a_span_goes_on_with_the_trace_it_is_given() {
        let child = within(Some(PARENT));
        assert_eq!(child.len(), LENGTH);
        assert_eq!(child[..36], PARENT[..36], "version and trace id stay");
        assert_ne!(child[36..52], PARENT[36..52], "the parent is now this span");
        assert!(child.ends_with("-01"));
    }

    #[test]
    fn what_is_not_to_be_kept_keeps_its_trace_id() {
        let quiet = unsampled(PARENT);
        assert_eq!(quiet, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        let child = within(Some(&quiet));
        assert_eq!(child[..36], PARENT[..36]);
        assert!(child.ends_with("-00"));
        for odd in ["", "-", "00-ab-cd-01"] {
            assert_eq!(unsampled(odd), odd);
        }
    }

    #[test]
    fn nonsense_begins_a_trace_of_its_own() {
        let zeros = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
        for odd in [
            None,
            Some(""),
            Some("00-ab-cd-01"),
            Some("ä"),
            Some(zeros.as_str()),
        ] {
            let own = within(odd);
            assert_eq!(own.len(), LENGTH, "{odd:?}");
            assert!(own.ends_with("-01"));
        }
    }

    #[test]
    fn where_nothing_traces_nothing_is_sent() {
        let span = info_span!("work");
        begin(&span, Some(PARENT));
        assert_eq!(span.in_scope(traceparent), None);
    }
}
