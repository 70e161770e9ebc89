use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::failure::{EngineError, EngineErrorKind};

/// The smallest `ModelProto`: an empty graph.
const MODEL: &[u8] = &[7 << 3 | 2, 0];
/// `sha256sum` of [`MODEL`].
const MODEL_SHA256: &str = "7648eb81c4e9fef7b51879c6fcd6fb4b8863eea0cb2a978c508711dc52c80041";

fn manifest(detector_file: &str, sha256: &str) -> String {
    format!(
        r#"schema = "pitchfleet.bundle/1"
name = "test"
version = "1"
[detector]
architecture = "yolov8n"
licence = "AGPL-3.0"
classes = ["pitch"]
confidence_threshold = 0.5
iou_threshold = 0.7
[detector.fp32]
file = "{detector_file}"
sha256 = "{sha256}"
[classifier]
architecture = "mobilenet_v2"
licence = "Apache-2.0"
classes = ["batting_friendly", "bowling_friendly", "seam_friendly", "spin_friendly"]
[classifier.fp32]
file = "classifier.onnx"
sha256 = "{sha256}"
"#
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bundle")).unwrap();
        let folder = Self(dir);
        fs::write(folder.path().join(BUNDLE_FILE), text).unwrap();
        for name in ["detector.onnx", "classifier.onnx"] {
            fs::write(folder.path().join(name), MODEL).unwrap();
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("bundle")
    }

    fn detector(&self) -> Result<Vec<u8>, BundleError> {
        Bundle::open(&self.path())?.read_model(Network::Detector, Precision::Fp32)
    }
}

fn kind(error: BundleError) -> EngineErrorKind {
    EngineError::from(error).kind
}

#[test]
fn a_sound_bundle_gives_its_models() {
    let folder = Folder::with(&manifest("detector.onnx", MODEL_SHA256));
    assert_eq!(folder.detector().unwrap(), MODEL);
    let bundle = Bundle::open(&folder.path()).unwrap();
    bundle.verify().unwrap();
    assert_eq!(bundle.precisions(Network::Detector), [Precision::Fp32]);
    let missing = bundle
        .read_model(Network::Classifier, Precision::Int8)
        .unwrap_err();
    assert_eq!(kind(missing), EngineErrorKind::PrecisionMissing);
}

#[test]
fn missing_and_damaged_files_are_told_apart() {
    let folder = Folder::with(&manifest("detector.onnx", MODEL_SHA256));
    let absent = folder.path().join("absent");
    assert_eq!(
        kind(Bundle::open(&absent).unwrap_err()),
        EngineErrorKind::BundleMissing
    );

    fs::write(folder.path().join("detector.onnx"), b"damaged").unwrap();
    let error = folder.detector().unwrap_err();
    assert!(error.to_string().contains(MODEL_SHA256), "{error}");
    assert_eq!(kind(error), EngineErrorKind::ModelCorrupt);

    fs::remove_file(folder.path().join("detector.onnx")).unwrap();
    assert_eq!(
        kind(folder.detector().unwrap_err()),
        EngineErrorKind::ModelMissing
    );
}

#[test]
fn no_path_leads_out_of_the_folder() {
    for escape in [
        "../detector.onnx",
        "/etc/passwd",
        "a/../../x",
        "",
        "sub/../detector.onnx",
    ] {
        let folder = Folder::with(&manifest(escape, MODEL_SHA256));
        fs::write(folder.path().join("../detector.onnx"), MODEL).unwrap();
        assert!(
            matches!(folder.detector(), Err(BundleError::Escapes { .. })),
            "{escape}"
        );
    }
    let folder = Folder::with(&manifest("link.onnx", MODEL_SHA256));
    fs::write(folder.path().join("../outside.onnx"), MODEL).unwrap();
    symlink("../outside.onnx", folder.path().join("link.onnx")).unwrap();
    assert!(matches!(folder.detector(), Err(BundleError::Escapes { .. })));
    fs::remove_file(folder.path().join("link.onnx")).unwrap();
    symlink("classifier.onnx", folder.path().join("link.onnx")).unwrap();
    assert_eq!(folder.detector().unwrap(), MODEL);
}

#[test]
fn faults_of_the_manifest_are_named() {
    let sound = manifest("detector.onnx", MODEL_SHA256);
    for (from, to, expected) in [
        ("version = \"1\"", "version = ", "line 3"),
        ("licence = \"AGPL-3.0\"", "license = \"AGPL-3.0\"", "license"),
        ("bundle/1", "bundle/9", "bundle/9"),
        (
            "confidence_threshold = 0.5",
            "confidence_threshold = 1.5",
            "confidence_threshold",
        ),
        (
            "confidence_threshold = 0.5",
            "confidence_threshold = nan",
            "confidence_threshold",
        ),
        ("classes = [\"pitch\"]", "classes = []", "classes"),
        ("\"seam_friendly\", ", "", "classifier.classes"),
        (MODEL_SHA256, "ABC", "SHA-256"),
        ("file = \"detector.onnx\"\n", "", "either `file` or `uri`"),
        ("[detector.fp32]", "[detector.fp8]", "fp16"),
    ] {
        let error = Manifest::parse(&sound.replace(from, to)).unwrap_err();
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

#[test]
fn a_model_that_was_not_fetched_says_how_to_fetch_it() {
    let text = manifest("detector.onnx", MODEL_SHA256);
    let remote = text.replace(
        "file = \"detector.onnx\"",
        "uri = \"hf:acme/models/detector.onnx\"",
    );
    let error = Folder::with(&remote).detector().unwrap_err();
    assert!(error.to_string().contains("models pull"), "{error}");
    let local = text.replace("file = \"detector.onnx\"", "uri = \"file:detector.onnx\"");
    assert_eq!(Folder::with(&local).detector().unwrap(), MODEL);
    let outside = text.replace("file = \"detector.onnx\"", "uri = \"file:///etc/passwd\"");
    assert!(matches!(
        Folder::with(&outside).detector(),
        Err(BundleError::Escapes { .. })
    ));
}

#[test]
fn the_digest_follows_what_changes_results_and_nothing_else() {
    let text = manifest("detector.onnx", MODEL_SHA256);
    let digest = |text: &str| Bundle::open(&Folder::with(text).path()).unwrap().digest();
    let sound = digest(&text);
    assert!(sound.starts_with("sha256:") && sound.len() == 71);
    assert_eq!(
        digest(&text.replace("name = \"test\"", "name = \"other\"")),
        sound
    );
    assert_eq!(digest(&text.replace("detector.onnx", "d.onnx")), sound);
    let other_hash = MODEL_SHA256.replacen('b', "c", 1);
    for changed in [
        text.replace("threshold = 0.5", "threshold = 0.25"),
        text.replace("iou_threshold = 0.7", "iou_threshold = 0.6"),
        text.replacen(MODEL_SHA256, &other_hash, 1),
        text.replace("[\"pitch\"]", "[\"strip\"]"),
    ] {
        assert_ne!(digest(&changed), sound);
    }
}

#[test]
fn the_demo_bundle_is_sound() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bundles/demo");
    let bundle = Bundle::open(Path::new(folder)).unwrap();
    bundle.verify().unwrap();
    for network in Network::ALL {
        assert_eq!(bundle.precisions(network), [Precision::Fp32, Precision::Int8]);
    }
}
