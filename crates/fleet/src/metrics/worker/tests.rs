use std::collections::BTreeSet;

use super::*;
use crate::metrics::conventions;

fn worked() -> WorkerMetrics {
    let metrics = WorkerMetrics::new("1.2.3");
    metrics.photo(PhotoQueue::Express, PhotoOutcome::Ok);
    metrics.delivery(PhotoQueue::Express, DeliveryResult::Done);
    metrics.timing(
        PhotoQueue::Express,
        &TimingMs {
            decode: Some(120.0),
            total: Some(300.0),
            ..TimingMs::default()
        },
    );
    metrics.admission(Duration::from_millis(40), Duration::ZERO);
    metrics.admission(Duration::ZERO, Duration::from_millis(1500));
    metrics.set_budget(Budget {
        total: 512 << 20,
        admitted: 300 << 20,
        waiting: 1,
    });
    metrics.load(Some(0.08));
    metrics.set_provider("CPUExecutionProvider", "CPUExecutionProvider");
    metrics
}

#[test]
fn names_follow_the_conventions() {
    conventions::check(&worked().page(None).unwrap().body);
}

#[test]
fn what_has_not_happened_is_zero_and_not_absent() {
    let page = WorkerMetrics::new("1").page(None).unwrap().body;
    for sample in [
        r#"pitchfleet_photos_total{queue="bulk",outcome="failed"} 0"#,
        r#"pitchfleet_deliveries_total{queue="express",result="rejected"} 0"#,
        r#"pitchfleet_model_unloads_total{reason="drained"} 0"#,
        r#"pitchfleet_model_loads_total{outcome="failed"} 0"#,
        r#"pitchfleet_photo_failures_total{code="truncated"} 0"#,
        r#"pitchfleet_model_state{state="cold"} 1"#,
        r#"pitchfleet_model_state{state="warm"} 0"#,
        r#"pitchfleet_stage_duration_seconds_count{stage="decode"} 0"#,
        r#"pitchfleet_rss_bytes{process="engine"} 0"#,
        r#"pitchfleet_build_info{version="1"} 1"#,
        "pitchfleet_inference_child_restarts_total 0",
        "pitchfleet_batch_halvings_total 0",
        r#"pitchfleet_admission_wait_seconds_count{resource="lane"} 0"#,
        r#"pitchfleet_admission_wait_seconds_count{resource="memory"} 0"#,
        "pitchfleet_memory_budget_bytes 0",
        "pitchfleet_memory_admitted_bytes 0",
        "pitchfleet_memory_waiting_photos 0",
    ] {
        assert!(
            page.lines().any(|line| line == sample),
            "no `{sample}` in\n{page}"
        );
    }
}

#[test]
fn what_happened_is_counted_once_and_in_base_units() {
    let page = worked().page(None).unwrap().body;
    for sample in [
        r#"pitchfleet_photos_total{queue="express",outcome="ok"} 1"#,
        r#"pitchfleet_stage_duration_seconds_bucket{stage="decode",le="0.1"} 0"#,
        r#"pitchfleet_stage_duration_seconds_bucket{stage="decode",le="0.25"} 1"#,
        r#"pitchfleet_photo_duration_seconds_sum{queue="express"} 0.3"#,
        r#"pitchfleet_stage_duration_seconds_count{stage="fetch"} 0"#,
        r#"pitchfleet_admission_wait_seconds_bucket{resource="lane",le="0.01"} 1"#,
        r#"pitchfleet_admission_wait_seconds_bucket{resource="lane",le="0.05"} 2"#,
        r#"pitchfleet_admission_wait_seconds_bucket{resource="memory",le="0.001"} 1"#,
        r#"pitchfleet_admission_wait_seconds_bucket{resource="memory",le="1"} 1"#,
        r#"pitchfleet_admission_wait_seconds_bucket{resource="memory",le="2.5"} 2"#,
        r#"pitchfleet_admission_wait_seconds_sum{resource="memory"} 1.5"#,
        "pitchfleet_memory_budget_bytes 536870912",
        "pitchfleet_memory_admitted_bytes 314572800",
        "pitchfleet_memory_waiting_photos 1",
    ] {
        assert!(
            page.lines().any(|line| line == sample),
            "no `{sample}` in\n{page}"
        );
    }
}

#[test]
fn of_a_card_what_its_driver_tells_is_shown() {
    let metrics = WorkerMetrics::new("1");
    let page = || metrics.page(None).unwrap().body;
    assert!(!page().contains("{gpu="), "no card, no number");
    let card = Card {
        number: 1,
        process: 900,
        used: 1000,
        total: 8000,
        busy: Some(0.35),
    };
    metrics.set_card(Some(card));
    for sample in [
        r#"pitchfleet_vram_process_bytes{gpu="1"} 900"#,
        r#"pitchfleet_vram_device_used_bytes{gpu="1"} 1000"#,
        r#"pitchfleet_vram_device_total_bytes{gpu="1"} 8000"#,
        r#"pitchfleet_gpu_busy_ratio{gpu="1"} 0.35"#,
    ] {
        assert!(page().lines().any(|line| line == sample), "no `{sample}`");
    }
    metrics.set_card(Some(Card { busy: None, ..card }));
    assert!(!page().contains("gpu_busy_ratio{") && page().contains("{gpu="));
    metrics.set_card(None);
    assert!(
        !page().contains("{gpu="),
        "the last number would be taken for the present one"
    );
}

#[test]
fn labels_do_not_grow_with_what_is_sent() {
    let metrics = WorkerMetrics::new("1");
    let lines = |metrics: &WorkerMetrics| metrics.page(None).unwrap().body.lines().count();
    let before = lines(&metrics);
    for n in 0..1_000 {
        metrics.failure(&format!("code {n}"));
    }
    metrics.failure("truncated");
    assert_eq!(lines(&metrics), before);
    metrics.set_provider("a", "a");
    let with_provider = lines(&metrics);
    metrics.set_provider("b", "c");
    assert_eq!(lines(&metrics), with_provider);
    let codes: Vec<_> = failure_codes().collect();
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
}

#[test]
fn the_reader_chooses_the_format() {
    let metrics = worked();
    // What Prometheus 2.42 sends.
    let accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                  text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let open = metrics.page(Some(accept)).unwrap();
    assert!(open.content_type.starts_with("application/openmetrics-text"));
    assert!(open.body.ends_with("# EOF\n"));
    for accept in [None, Some("text/plain"), Some("*/*")] {
        let page = metrics.page(accept).unwrap();
        assert!(page.content_type.starts_with("text/plain; version=0.0.4"));
        assert!(!page.body.contains("# EOF"));
    }
}
