//! The walk through one photo, with networks that are tables.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic, too")]

use pitch::analysis::{Analysis, Options, OverlayKind, PitchClass, Size};
use pitch::detect::boxes::Thresholds;
use pitch::networks::{BoxForm, DetectorShape, NetworkError, Networks, Planes, RawBoxes};
use pitch::photo::{self, CropWant, Limits, PhotoErrorKind};
use pitch::surface::SurfaceReader;
use pitch::{AnalyseError, analyse};

/// Says what it was told to and remembers what it was shown.
struct Tables {
    shape: DetectorShape,
    /// Boxes as shares of the input: centre, size, score.
    boxes: Vec<[f32; 5]>,
    logits: [f32; 4],
    fails: bool,
    detector_input: Option<Size>,
    classifier_input: Option<Planes>,
}

impl Tables {
    fn with(boxes: &[[f32; 5]]) -> Self {
        Self {
            shape: DetectorShape {
                image_size: 640,
                stride: 32,
                fixed_square: false,
                classes: vec!["pitch".to_owned()],
            },
            boxes: boxes.to_vec(),
            logits: [0.0, 0.0, 0.0, 3.0],
            fails: false,
            detector_input: None,
            classifier_input: None,
        }
    }
}

impl Networks for Tables {
    fn detector_shape(&self) -> &DetectorShape {
        &self.shape
    }

    fn detect(&mut self, input: Planes) -> Result<RawBoxes, NetworkError> {
        if self.fails {
            return Err(NetworkError {
                message: "no more memory".to_owned(),
                out_of_memory: true,
            });
        }
        let (width, height) = (input.width, input.height);
        self.detector_input = Some(Size { width, height });
        let (w, h) = (width as f32, height as f32);
        let row = |i: usize| {
            let unit = [w, h, w, h, 1.0][i];
            self.boxes.iter().map(move |b| b[i] * unit)
        };
        Ok(RawBoxes {
            form: BoxForm::Boxes,
            rows: 5,
            anchors: self.boxes.len(),
            values: (0..5).flat_map(row).collect(),
        })
    }

    fn classify(&mut self, input: Planes) -> Result<[f32; 4], NetworkError> {
        self.classifier_input = Some(input);
        Ok(self.logits)
    }
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/photos/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn run(bytes: &[u8], options: &Options, networks: &mut Tables) -> Analysis {
    let (analysis, pictures) = analyse(
        bytes,
        &Limits::default(),
        options,
        Thresholds::default(),
        networks,
        &mut SurfaceReader::default(),
    )
    .unwrap();
    assert_eq!(pictures.len(), options.overlays.len());
    analysis
}

fn size(bytes: &[u8]) -> Size {
    let photo = photo::open(bytes, &Limits::default()).unwrap();
    Size {
        width: photo.header().width(),
        height: photo.header().height(),
    }
}

#[test]
fn without_a_box_the_whole_photo_is_analysed() {
    let bytes = file("base420.jpg");
    let analysis = run(&bytes, &Options::default(), &mut Tables::with(&[]));
    let found = analysis.detection;
    assert!(!found.detected);
    assert_eq!((found.confidence, found.best), (None, None));
    assert!(found.boxes.is_empty());
    assert_eq!(found.crop, size(&bytes));
}

#[test]
fn the_best_box_is_analysed() {
    let bytes = file("base420.jpg");
    let whole = size(&bytes);
    let mut networks = Tables::with(&[[0.25, 0.5, 0.2, 0.2, 0.6], [0.5, 0.5, 0.5, 0.5, 0.875]]);
    let analysis = run(&bytes, &Options::default(), &mut networks);
    let found = analysis.detection;
    assert!(found.detected);
    assert_eq!(found.confidence, Some(0.875));
    let scores: Vec<_> = found.boxes.iter().map(|b| b.confidence).collect();
    assert_eq!(scores, [0.875, 0.6]);
    assert_eq!(found.best, Some(found.boxes[0].corners));
    let [x1, y1, x2, y2] = found.best.unwrap();
    let size = Size {
        width: x2 - x1,
        height: y2 - y1,
    };
    assert_eq!((found.crop, found.analysed), (size, size));
    assert!(x1.abs_diff(whole.width / 4) <= whole.width / 50 + 1);

    let mut photo = photo::open(&bytes, &Limits::default()).unwrap();
    let want = CropWant {
        analysis_max_side: 1920,
    };
    let crop = photo.crop([x1, y1, x2, y2], want).unwrap();
    assert_eq!(
        networks.classifier_input.unwrap(),
        pitch::classify::normalise(&crop.classifier)
    );
    assert_eq!(analysis.surface, SurfaceReader::default().read(&crop.analysed));
}

#[test]
fn a_full_frame_is_not_shown_to_the_detector() {
    let bytes = file("base420.jpg");
    let mut networks = Tables::with(&[[0.5, 0.5, 0.5, 0.5, 0.9]]);
    let options = Options {
        full_frame: true,
        ..Options::default()
    };
    let found = run(&bytes, &options, &mut networks).detection;
    assert!(!found.detected && found.confidence.is_none());
    assert_eq!(found.crop, size(&bytes));
    assert_eq!(networks.detector_input, None);
}

#[test]
fn the_batch_may_choose_the_threshold() {
    let bytes = file("base420.jpg");
    for (threshold, detected) in [(None, false), (Some(0.25), true), (Some(0.375), false)] {
        let options = Options {
            detection_threshold: threshold,
            ..Options::default()
        };
        let mut networks = Tables::with(&[[0.5, 0.5, 0.5, 0.5, 0.375]]);
        assert_eq!(run(&bytes, &options, &mut networks).detection.detected, detected);
    }
}

#[test]
fn boxes_of_a_turned_photo_are_upright() {
    let bytes = file("large422_turned6.jpg");
    let whole = size(&bytes);
    assert!(whole.width < whole.height, "{whole:?}");
    // The lower half of the upright photo.
    let mut networks = Tables::with(&[[0.5, 0.75, 1.2, 0.5, 0.9]]);
    let analysis = run(&bytes, &Options::default(), &mut networks);
    assert_eq!(analysis.photo.orientation, 6);
    let input = networks.detector_input.unwrap();
    assert!(input.width < input.height, "{input:?}");
    let [x1, y1, x2, y2] = analysis.detection.best.unwrap();
    assert_eq!((x1, x2, y2), (0, whole.width, whole.height));
    assert!(y1.abs_diff(whole.height / 2) <= whole.height / 100, "{y1}");
}

#[test]
fn the_rules_follow_the_classifier() {
    let analysis = run(&file("base420.jpg"), &Options::default(), &mut Tables::with(&[]));
    let classification = analysis.classification;
    assert_eq!(classification.model.class, PitchClass::Spin);
    let (corrected, rules) = pitch::rules::apply(classification.model.probabilities, &analysis.surface);
    assert_eq!(classification.corrected.probabilities, corrected);
    assert_eq!(classification.rules, rules);
    assert_eq!(
        analysis.advice,
        pitch::advice::advise(corrected.best(), &analysis.surface)
    );
}

#[test]
fn pictures_in_the_order_asked_for() {
    let options = Options {
        overlays: vec![OverlayKind::Report, OverlayKind::Box, OverlayKind::Grass],
        ..Options::default()
    };
    for name in ["base420.jpg", "large_turned3.jpg", "rgb8.png"] {
        let mut networks = Tables::with(&[[0.5, 0.5, 0.5, 0.5, 0.9]]);
        let (_, pictures) = analyse(
            &file(name),
            &Limits::default(),
            &options,
            Thresholds::default(),
            &mut networks,
            &mut SurfaceReader::default(),
        )
        .unwrap();
        let kinds: Vec<_> = pictures.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, options.overlays, "{name}");
    }
}

#[test]
fn failures_keep_their_origin() {
    let run = |bytes: &[u8], networks: &mut Tables| {
        analyse(
            bytes,
            &Limits::default(),
            &Options::default(),
            Thresholds::default(),
            networks,
            &mut SurfaceReader::default(),
        )
        .unwrap_err()
    };
    let empty = run(&[], &mut Tables::with(&[]));
    assert!(matches!(empty, AnalyseError::Photo(e) if e.kind() == PhotoErrorKind::EmptyFile));

    let mut broken = Tables::with(&[]);
    broken.fails = true;
    let detector = run(&file("base420.jpg"), &mut broken);
    assert!(matches!(detector, AnalyseError::Network(e) if e.out_of_memory));

    let mut broken = Tables::with(&[]);
    broken.logits[1] = f32::NAN;
    let classifier = run(&file("base420.jpg"), &mut broken);
    assert!(matches!(classifier, AnalyseError::Network(_)));
}
