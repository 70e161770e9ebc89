//! The same photo under the same digest is not analysed twice.

use fleet::manifest::Precision;
use fleet::result::{PhotoResult, TimingMs};
use pitch::analysis::OverlayKind;
use queue::Lane;
use sha2::{Digest as _, Sha256};

use crate::harness::{Fleet, batch, demo, demo_engine, obedient_engine, obedient_engine_with};

/// What two results of the same photo have in common.
fn common(mut result: PhotoResult) -> PhotoResult {
    result.batch = String::new();
    result.index = 0;
    result.photo.key = String::new();
    result.overlays.clear();
    result.timing_ms = TimingMs::default();
    result
}

#[tokio::test]
async fn a_second_batch_of_the_same_photos_needs_no_engine() {
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.overlays(&[OverlayKind::Crop, OverlayKind::Box]);
    fleet.tell(&["a", "b"]).await;
    fleet.run_until(async { drop(fleet.results(2).await) }).await;
    let first = fleet.results(2).await;

    fleet.batch = batch(2);
    // Under other keys and indices.
    let jobs = fleet.jobs(&["b", "a"]).await;
    fleet.publish(Lane::Bulk, &jobs).await;
    let loads = fleet.engine.stats().loads;
    let farewell = fleet.run_until(async { drop(fleet.results(2).await) }).await;
    assert_eq!((farewell.done.reused, farewell.done.ok), (2, 0));
    // The precision that runs is known once it was loaded; a worker that starts learns it so.
    assert!(fleet.engine.stats().loads <= loads + 1);
    let second = fleet.results(2).await;
    assert_eq!(common(second[0].clone()), common(first[1].clone()));
    assert_eq!(common(second[1].clone()), common(first[0].clone()));
    assert_eq!(
        (second[0].index, second[0].batch.clone()),
        (0, batch(2).to_string())
    );
    for (result, name) in second.iter().zip(["b", "a"]) {
        let kinds: Vec<_> = result.overlays.keys().collect();
        assert_eq!(kinds, ["box", "crop"]);
        for (kind, key) in &result.overlays {
            let picture = fleet.read(&fleet.keys().at(key)).await.unwrap();
            assert_eq!(picture, format!("{kind} of {name}").into_bytes());
        }
    }

    // Pictures that are gone are made again.
    let gone = fleet.keys().overlay(1, OverlayKind::Crop);
    fleet.batch = batch(1);
    fleet
        .home
        .delete(&fleet.keys().overlay(0, OverlayKind::Crop))
        .await
        .unwrap();
    fleet.batch = batch(3);
    let jobs = fleet.jobs(&["a"]).await;
    fleet.publish(Lane::Bulk, &jobs).await;
    let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
    assert_eq!((farewell.done.reused, farewell.done.ok), (0, 1));
    assert!(fleet.read(&gone).await.is_some());
}

#[tokio::test]
async fn a_declared_hash_saves_the_fetch_within_its_tenant() {
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.tell(&["a"]).await;
    fleet.run_until(async { drop(fleet.results(1).await) }).await;
    let hash: String = Sha256::digest("a")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();

    fleet.batch = batch(2);
    let mut job = fleet.job(0, "acme/never-uploaded.jpg");
    job.item.sha256 = Some(hash);
    fleet.publish(Lane::Bulk, std::slice::from_ref(&job)).await;
    let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
    assert_eq!(farewell.done.reused, 1);

    fleet.tenant = "rival".parse().unwrap();
    job.tenant = fleet.tenant.clone();
    fleet.publish(Lane::Bulk, &[job]).await;
    fleet.run_until(async { drop(fleet.results(1).await) }).await;
    let failure = fleet.result(0).await.unwrap().failure.unwrap();
    assert_eq!(failure.code, "not_found", "another tenant has nothing of it");
}

#[tokio::test]
async fn a_wrong_hash_is_not_believed() {
    let fleet = Fleet::new(obedient_engine(1));
    let mut jobs = fleet.jobs(&["a", "b", "c"]).await;
    jobs[0].item.sha256 = Some("0".repeat(64));
    jobs[1].item.sha256 = Some("../../../secret".into());
    fleet.publish(Lane::Bulk, &jobs).await;
    fleet.run_until(async { drop(fleet.results(3).await) }).await;
    for (result, name) in fleet.results(3).await.iter().zip(["a", "b", "c"]) {
        let hash: String = Sha256::digest(name)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(result.photo.sha256.as_deref(), Some(hash.as_str()));
    }
}

#[tokio::test]
async fn precisions_and_options_are_kept_apart() {
    let mut fleet = Fleet::new(demo_engine());
    let photo = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../engine/tests/fixtures/reference/small-256x192.png"
    ))
    .unwrap();
    fleet.put("acme/p.png", photo).await;
    let ask = async |fleet: &Fleet| {
        fleet.publish(Lane::Express, &[fleet.job(0, "acme/p.png")]).await;
        let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
        (
            farewell.done.reused,
            fleet.result(0).await.unwrap().worker.precision,
        )
    };
    fleet.options.precision = Precision::Fp32;
    assert_eq!(ask(&fleet).await, (0, "fp32".into()));
    fleet.batch = batch(2);
    fleet.options.precision = Precision::Int8;
    assert_eq!(ask(&fleet).await, (0, "int8".into()));
    fleet.batch = batch(3);
    fleet.options.precision = Precision::Fp32;
    assert_eq!(ask(&fleet).await, (1, "fp32".into()));
    fleet.batch = batch(4);
    fleet.options.analysis.analysis_max_side = 100;
    assert_eq!(ask(&fleet).await.0, 0, "other options give another result");
}

#[tokio::test]
async fn a_new_bundle_computes_anew() {
    let mut fleet = Fleet::new(obedient_engine(1));
    fleet.tell(&["a"]).await;
    fleet.run_until(async { drop(fleet.results(1).await) }).await;

    let other = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(demo().join("bundle.toml")).unwrap();
    let changed = text.replace("iou_threshold = ", "iou_threshold = 0.1 # ");
    assert_ne!(changed, text);
    std::fs::write(other.path().join("bundle.toml"), changed).unwrap();
    fleet.engine = obedient_engine_with(other.path());
    fleet.batch = batch(2);
    fleet.tell(&["a"]).await;
    let farewell = fleet.run_until(async { drop(fleet.results(1).await) }).await;
    assert_eq!((farewell.done.reused, farewell.done.ok), (0, 1));
}
