//! Parts of a span's work that are over and were timed by somebody else.

use std::time::{Duration, SystemTime};

use opentelemetry::global;
use opentelemetry::trace::{Span as _, SpanBuilder, TraceContextExt, Tracer};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::export::SCOPE;

/// A part of some work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name in traces.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Adds `stages` to the current span as its children: they followed each other without a pause, and the last of them
/// ended at `ended`. Costs nothing where spans are not kept.
pub fn finished(stages: &[Stage], ended: SystemTime) {
    let context = Span::current().context();
    if !context.span().span_context().is_sampled() {
        return;
    }
    let tracer = global::tracer(SCOPE);
    for (stage, start, end) in laid_out(stages, ended) {
        let builder = SpanBuilder::from_name(stage.name).with_start_time(start);
        tracer
            .build_with_context(builder, &context)
            .end_with_timestamp(end);
    }
}

/// Start and end of each.
fn laid_out(stages: &[Stage], ended: SystemTime) -> impl Iterator<Item = (Stage, SystemTime, SystemTime)> {
    let whole: Duration = stages.iter().map(|stage| stage.took).sum();
    let mut at = ended.checked_sub(whole).unwrap_or(ended);
    stages.iter().map(move |&stage| {
        let start = at;
        at += stage.took;
        (stage, start, at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_each_other_up_to_the_end() {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_millis(1000);
        let stage = |name, ms| Stage {
            name,
            took: Duration::from_millis(ms),
        };
        let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        let stages = [stage("decode", 100), stage("detect", 40), stage("store", 0)];
        let laid: Vec<_> = laid_out(&stages, ended).collect();
        assert_eq!(
            laid,
            [
                (stages[0], at(860), at(960)),
                (stages[1], at(960), at(1000)),
                (stages[2], at(1000), at(1000)),
            ]
        );
    }

    #[test]
    fn a_clock_that_was_set_does_no_harm() {
        let stages = [Stage {
            name: "decode",
            took: Duration::from_secs(5),
        }];
        let laid: Vec<_> = laid_out(&stages, SystemTime::UNIX_EPOCH).collect();
        assert_eq!(laid.len(), 1);
    }
}
