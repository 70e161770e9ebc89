//! One photo from bytes to analysis: the whole of it, in the order in which it happens.

use std::time::Instant;

use crate::analysis::{
    Analysis, ClassScores, Classification, DetectedBox, Detection, Options, OverlayKind, PhotoFacts, Picture,
    Size, StageTiming,
};
use crate::detect::boxes::{self, Thresholds};
use crate::detect::letterbox::Letterbox;
use crate::networks::{NetworkError, Networks};
use crate::photo::{self, CropWant, Header, Limits, OVERVIEW_SIDE, Photo, PhotoError};
use crate::pictures::{self, Maps, PictureError, Subject};
use crate::surface::SurfaceReader;
use crate::{advice, classify, rules};

/// Why a photo has no analysis.
#[derive(Debug, thiserror::Error)]
pub enum AnalyseError {
    /// The photo's fault.
    #[error(transparent)]
    Photo(#[from] PhotoError),
    /// A network failed; another try may succeed.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A picture could not be made.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// Analyses the photo in the file `bytes` and makes the pictures that `options` ask for.
///
/// `defaults` are the bundle's thresholds; options may name another confidence. `reader` keeps its buffers from one photo
/// to the next.
///
/// # Errors
/// See [`AnalyseError`].
pub fn analyse(
    bytes: &[u8],
    limits: &Limits,
    options: &Options,
    defaults: Thresholds,
    networks: &mut dyn Networks,
    reader: &mut SurfaceReader,
) -> Result<(Analysis, Vec<Picture>), AnalyseError> {
    let mut timing = StageTiming::default();

    let mut photo = timed(&mut timing.decode, || photo::open(bytes, limits))?;
    let facts = facts(photo.header());
    let whole = Size {
        width: facts.width,
        height: facts.height,
    };

    let want = CropWant {
        analysis_max_side: options.analysis_max_side,
    };
    let boxes = if options.full_frame {
        Vec::new()
    } else {
        let confidence = options.detection_threshold.unwrap_or(defaults.confidence);
        let thresholds = Thresholds {
            confidence,
            ..defaults
        };
        find_pitch(&mut photo, thresholds, want, networks, &mut timing)?
    };
    let best = boxes.first();
    let rect = best.map_or([0, 0, whole.width, whole.height], |b| b.corners);

    let crop = timed(&mut timing.decode, || photo.crop(rect, want))?;
    let (surface, maps) = timed(&mut timing.surface, || {
        if options.overlays.iter().any(shows_maps) {
            let (surface, maps) = reader.read_with_maps(&crop.analysed);
            (surface, Some(maps))
        } else {
            (reader.read(&crop.analysed), None)
        }
    });

    let (classification, advice) = timed(&mut timing.classify, || {
        let logits = networks.classify(classify::normalise(&crop.classifier))?;
        let model = classify::softmax(logits)?;
        let (corrected, rules) = rules::apply(model, &surface);
        let corrected = ClassScores::from(corrected);
        let advice = advice::advise(corrected.class, &surface);
        let classification = Classification {
            model: model.into(),
            corrected,
            rules,
        };
        Ok::<_, NetworkError>((classification, advice))
    })?;

    let detection = Detection {
        detected: best.is_some(),
        confidence: best.map(|b| b.confidence),
        best: best.map(|b| b.corners),
        crop: Size {
            width: rect[2] - rect[0],
            height: rect[3] - rect[1],
        },
        analysed: Size {
            width: crop.analysed.width(),
            height: crop.analysed.height(),
        },
        boxes,
    };

    let overview = if options.overlays.iter().any(shows_photo) {
        Some(timed(&mut timing.decode, || photo.overview(OVERVIEW_SIDE))?.image)
    } else {
        None
    };
    let pictures = timed(&mut timing.overlays, || {
        let subject = Subject {
            overview: overview.unwrap_or(&crop.analysed),
            crop: &crop.analysed,
            maps: maps.as_ref().map_or_else(Maps::default, |maps| Maps {
                grass: &maps.grass,
                edges: &maps.edges,
                grey: &maps.grey,
            }),
            photo: &facts,
            detection: &detection,
            surface: &surface,
            classification: &classification,
            advice: &advice,
        };
        pictures::draw(&options.overlays, &subject)
    })?;

    let analysis = Analysis {
        photo: facts,
        detection,
        surface,
        classification,
        advice,
        timing,
    };
    Ok((analysis, pictures))
}

/// Every box that passes, best first.
fn find_pitch(
    photo: &mut Photo<'_>,
    thresholds: Thresholds,
    want: CropWant,
    networks: &mut dyn Networks,
    timing: &mut StageTiming,
) -> Result<Vec<DetectedBox>, AnalyseError> {
    let whole = Size {
        width: photo.header().width(),
        height: photo.header().height(),
    };
    let needed = photo
        .header()
        .overview_side(want)
        .max(networks.detector_shape().image_size);
    let overview = timed(&mut timing.decode, || photo.overview(needed))?;
    timed(&mut timing.detect, || {
        let image = Size {
            width: overview.image.width(),
            height: overview.image.height(),
        };
        let letterbox = Letterbox::new(image, networks.detector_shape());
        let raw = networks.detect(letterbox.planes(overview.image))?;
        let classes = &networks.detector_shape().classes;
        Ok(boxes::read(
            &raw,
            thresholds,
            &letterbox,
            overview.scale,
            whole,
            classes,
        )?)
    })
}

fn shows_photo(kind: &OverlayKind) -> bool {
    matches!(kind, OverlayKind::Box | OverlayKind::Report)
}

fn shows_maps(kind: &OverlayKind) -> bool {
    !matches!(kind, OverlayKind::Box | OverlayKind::Crop)
}

fn facts(header: &Header) -> PhotoFacts {
    PhotoFacts {
        format: header.format(),
        width: header.width(),
        height: header.height(),
        orientation: header.orientation(),
        taken_at: header.taken_at().map(str::to_owned),
    }
}

/// Runs `stage` and adds the milliseconds that it took.
fn timed<T>(milliseconds: &mut f64, stage: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = stage();
    *milliseconds += start.elapsed().as_secs_f64() * 1e3;
    result
}
