//! The demo bundle in a real engine process: equal to PyTorch and ultralytics on the same weights, and clear about
//! what is missing. `pitchmodels reference` in `models/` wrote the fixture.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests may fail, too")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use engine::{Analysed, Bundle, Engine, EngineErrorKind, PhotoRequest, PhotoSource, PrecisionChoice};
use pitch::analysis::Options;
use serde::Deserialize;
use support::{config, demo};

/// The child's side: not a test of its own.
#[test]
#[ignore = "run by the other tests as the engine process"]
fn as_child() {
    support::assert_success(engine::child::run());
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference")
}

#[derive(Deserialize)]
struct Reference {
    bundle: ModelHashes,
    settings: Settings,
    photos: Vec<Photo>,
}

#[derive(Deserialize)]
struct ModelHashes {
    detector: Hashes,
    classifier: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    fp32: String,
}

#[derive(Deserialize)]
struct Settings {
    imgsz: f64,
    confidence_threshold: f32,
}

#[derive(Deserialize)]
struct Photo {
    file: String,
    width: usize,
    height: usize,
    detections: Vec<Found>,
    whole_frame: [f64; 4],
    crop: Option<[usize; 4]>,
    crop_probabilities: Option<[f64; 4]>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "box")]
    corners: [f64; 4],
    confidence: f64,
}

async fn analyse(engine: &Engine, file: &Path, options: Options) -> Analysed {
    let request = PhotoRequest {
        source: PhotoSource::File(file.to_owned()),
        options,
    };
    engine.analyse(request).await.unwrap()
}

fn assert_probabilities(ours: &Analysed, theirs: [f64; 4], tolerance: f64, what: &str) {
    let ours = ours.analysis.classification.model.probabilities.to_array();
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, not {theirs}");
    }
}

#[tokio::test]
async fn boxes_and_probabilities_are_those_of_pytorch() {
    let text = fs::read_to_string(fixtures().join("reference.json")).unwrap();
    let reference: Reference = serde_json::from_str(&text).unwrap();
    let bundle = Bundle::open(&demo()).unwrap();
    let hash = |model: &Option<engine::bundle::ModelFile>| model.as_ref().unwrap().sha256.clone();
    assert_eq!(
        hash(&bundle.manifest().detector.fp32),
        reference.bundle.detector.fp32,
        "a stale fixture"
    );
    assert_eq!(
        hash(&bundle.manifest().classifier.fp32),
        reference.bundle.classifier.fp32,
        "a stale fixture"
    );

    let mut config = config(&demo(), 1);
    config.precision = PrecisionChoice::Fp32;
    let engine = Engine::new(config).unwrap();
    let mut found = 0;
    for photo in &reference.photos {
        let file = fixtures().join(&photo.file);
        let options = Options {
            detection_threshold: Some(reference.settings.confidence_threshold),
            ..Options::default()
        };
        let ours = analyse(&engine, &file, options).await;
        let boxes = &ours.analysis.detection.boxes;
        assert_eq!(
            (ours.analysis.photo.width, ours.analysis.photo.height),
            (photo.width, photo.height)
        );
        assert_eq!(boxes.len(), photo.detections.len(), "{}", photo.file);
        // Ours are truncated to whole pixels. Ultralytics takes off a pad that may be half an input pixel away from
        // the one it put on. A photo that is decoded at a DCT scale shows the detector a smoother picture than
        // INTER_LINEAR makes of the whole one (docs/decisions/decoding.md).
        let side = photo.width.max(photo.height) as f64;
        let scaled = photo.width * photo.height > 4_000_000;
        let tolerance = 1.0 + 0.5 * side / reference.settings.imgsz + if scaled { 0.006 * side } else { 0.0 };
        let confidence_tolerance = if scaled { 0.05 } else { 0.005 };
        // Of the weaker ones too much depends on the smoothness.
        let compared = if scaled { 1 } else { boxes.len() };
        for (ours, theirs) in boxes.iter().zip(&photo.detections).take(compared) {
            for (ours, theirs) in ours.corners.iter().zip(theirs.corners) {
                let ours = *ours as f64;
                assert!(
                    (theirs.floor() - ours).abs() <= tolerance,
                    "{}: {ours}, not {theirs}",
                    photo.file
                );
            }
            let difference = (ours.confidence - theirs.confidence).abs();
            assert!(
                difference <= confidence_tolerance,
                "{}: {} not {}",
                photo.file,
                ours.confidence,
                theirs.confidence
            );
        }
        if let Some(probabilities) = photo.crop_probabilities {
            // A crop that differs by a pixel is another picture.
            let same_crop = ours.analysis.detection.best == photo.crop;
            assert_probabilities(
                &ours,
                probabilities,
                if same_crop { 0.005 } else { 0.03 },
                &photo.file,
            );
            found += 1;
        }
        let whole = Options {
            full_frame: true,
            ..Options::default()
        };
        assert_probabilities(
            &analyse(&engine, &file, whole).await,
            photo.whole_frame,
            0.005,
            &photo.file,
        );
    }
    assert!(found > 0, "no photo of the fixture shows a pitch");
}

/// ONNX Runtime from 1.29 on writes what it runs into a database in the user's home, and sends it.
#[tokio::test]
async fn the_library_keeps_no_records_of_its_own() {
    let engine = Engine::new(config(&demo(), 1)).unwrap();
    engine.load().await.unwrap();
    let open = format!("/proc/{}/fd", engine.stats().pid.unwrap());
    for entry in fs::read_dir(open).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap();
        let target = target.display().to_string();
        let expected = ["socket:", "pipe:", "/dev/null"]
            .iter()
            .any(|kind| target.starts_with(kind));
        assert!(expected, "{target}");
    }
}

/// Copies the demo bundle, so that it can be spoiled.
fn copy_of_demo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(demo()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

#[tokio::test]
async fn what_is_missing_or_damaged_is_said_with_the_remedy() {
    let absent = Engine::new(config(Path::new("/nowhere/bundle"), 1)).unwrap_err();
    assert_eq!(absent.kind, EngineErrorKind::BundleMissing);

    let missing = copy_of_demo();
    fs::remove_file(missing.path().join("detector.fp32.onnx")).unwrap();
    let damaged = copy_of_demo();
    let model = damaged.path().join("classifier.fp32.onnx");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    for (bundle, kind, says) in [
        (&missing, EngineErrorKind::ModelMissing, "detector.fp32.onnx"),
        (&damaged, EngineErrorKind::ModelCorrupt, "SHA-256"),
    ] {
        let mut config = config(bundle.path(), 1);
        config.precision = PrecisionChoice::Fp32;
        let error = Engine::new(config).unwrap().load().await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(says), "{error}");
    }

    let mut config = config(&demo(), 1);
    config.runtime_library = Some("/nowhere/libonnxruntime.so".into());
    let error = Engine::new(config.clone()).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::RuntimeMissing);
    assert!(error.message.contains("scripts/onnxruntime.sh"), "{error}");
    config.runtime_library = Some(demo().join("bundle.toml"));
    let error = Engine::new(config).unwrap().load().await.unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::RuntimeUnusable, "{error}");
}
