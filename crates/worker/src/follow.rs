//! What logs and traces say about a photo: its span, and the stages within it.

use std::time::{Duration, Instant, SystemTime};

use engine::Analysed;
use fleet::job::Job;
use queue::{Delivery, Lane};
use trace::Stage;
use tracing::field::{Empty, display};
use tracing::{Span, info_span};

use crate::analyse::{Stop, milliseconds};
use crate::record::Stored;

/// The span of a delivery: the next step of the trace that published it.
pub(crate) fn photo(worker: &str, delivery: &Delivery) -> Span {
    let lane = match delivery.lane() {
        Lane::Express => "express",
        _ => "bulk",
    };
    let span = info_span!(
        "photo",
        otel.kind = "consumer",
        otel.status_code = Empty,
        worker,
        lane,
        attempt = delivery.attempt(),
        tenant = Empty,
        batch = Empty,
        index = Empty,
        outcome = Empty,
        trace_id = Empty,
    );
    let envelope = delivery.envelope().ok();
    let parent = envelope.and_then(|envelope| envelope.traceparent.as_deref());
    trace::begin(&span, parent);
    span
}

/// Names the photo in the current span.
pub(crate) fn named(job: &Job) {
    let span = Span::current();
    span.record("tenant", display(&job.tenant));
    span.record("batch", display(job.batch));
    span.record("index", job.item.index);
}

/// Says in the current span what came of the photo.
pub(crate) fn ended(came: &Result<Stored, Stop>, taken: Instant) {
    let outcome = match came {
        Ok(Stored { reused: true, .. }) => "reused",
        Ok(_) => "ok",
        Err(Stop::Failed(_)) => "failed",
        Err(Stop::Transient(_) | Stop::Elsewhere(_)) => "retried",
        Err(Stop::Unwanted) => "cancelled",
        Err(Stop::Draining) => "requeued",
    };
    let span = Span::current();
    span.record("outcome", outcome);
    tracing::debug!(outcome, total_ms = milliseconds(taken), "photo handled");
    if matches!(came, Err(Stop::Failed(_) | Stop::Transient(_))) {
        span.record("otel.status_code", "ERROR");
    }
}

/// Adds what the engine did to the current span, as far as it says when: how long each stage took, in their order. The
/// three times that a photo is decoded are one stage, so that the edges of the others are a little off.
pub(crate) fn analysed(analysed: &Analysed) {
    let timing = &analysed.analysis.timing;
    let stages = [
        ("decode", timing.decode),
        ("detect", timing.detect),
        ("surface", timing.surface),
        ("classify", timing.classify),
        ("overlays", timing.overlays),
    ];
    let stages = stages.map(|(name, milliseconds)| Stage {
        name,
        took: Duration::try_from_secs_f64(milliseconds / 1e3).unwrap_or_default(),
    });
    trace::finished(&stages, SystemTime::now());
}
