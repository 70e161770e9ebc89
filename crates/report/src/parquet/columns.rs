//! The columns of `results.parquet`: each name with its type and where its value stands in a result.

use fleet::result::PhotoResult;
use pitch::analysis::{Advice, ClassScores, PitchClass, Surface};

use crate::wire;

pub(super) type Get<T> = fn(&PhotoResult) -> Option<T>;
pub(super) type GetText = for<'a> fn(&'a PhotoResult) -> Option<&'a str>;
pub(super) type GetTexts = for<'a> fn(&'a PhotoResult) -> Option<Vec<&'a str>>;

/// The type of a column together with what reads it, so that the two cannot differ. `None` is null.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// BOOLEAN.
    Flag(Get<bool>),
    /// INT64; a value beyond its range is null.
    Integer(Get<u64>),
    /// DOUBLE.
    Real(Get<f64>),
    /// STRING.
    Text(GetText),
    /// TIMESTAMP in microseconds of no time zone, from ISO 8601; a text that is no such time is null.
    LocalTime(GetText),
    /// LIST of STRING.
    Texts(GetTexts),
}

use Read::{Flag, Integer, LocalTime, Real, Text, Texts};

/// A contract with readers: those of `summary.csv` first, in its order and by its names, then what is only here. Add
/// at the end.
pub(super) const COLUMNS: &[(&str, Read)] = &[
    ("index", Integer(|r| Some(r.index))),
    ("key", Text(|r| Some(&r.photo.key))),
    ("group", Text(|r| r.group.as_deref())),
    ("taken_at", LocalTime(|r| r.photo.taken_at.as_deref())),
    ("outcome", Text(|r| Some(wire::outcome(r.outcome)))),
    ("failure_code", Text(|r| Some(&r.failure.as_ref()?.code))),
    ("failure_message", Text(|r| Some(&r.failure.as_ref()?.message))),
    ("class", Text(|r| Some(corrected(r)?.class.name()))),
    ("confidence", Real(|r| Some(corrected(r)?.confidence))),
    ("batting_friendly", Real(|r| corrected_of(r, PitchClass::Batting))),
    ("bowling_friendly", Real(|r| corrected_of(r, PitchClass::Bowling))),
    ("seam_friendly", Real(|r| corrected_of(r, PitchClass::Seam))),
    ("spin_friendly", Real(|r| corrected_of(r, PitchClass::Spin))),
    ("model_class", Text(|r| Some(model(r)?.class.name()))),
    ("model_confidence", Real(|r| Some(model(r)?.confidence))),
    ("rules", Texts(rules)),
    ("detected", Flag(|r| Some(r.detection.as_ref()?.detected))),
    ("detection_confidence", Real(|r| r.detection.as_ref()?.confidence)),
    ("box_x1", Integer(|r| corner(r, 0))),
    ("box_y1", Integer(|r| corner(r, 1))),
    ("box_x2", Integer(|r| corner(r, 2))),
    ("box_y2", Integer(|r| corner(r, 3))),
    ("grass_percent", Real(|r| Some(surface(r)?.grass.percent))),
    ("grass_level", Text(|r| Some(surface(r)?.grass.level.name()))),
    (
        "crack_density_percent",
        Real(|r| Some(surface(r)?.cracks.density_percent)),
    ),
    ("crack_count", Integer(|r| Some(surface(r)?.cracks.count as u64))),
    (
        "crack_severity",
        Text(|r| Some(surface(r)?.cracks.severity.name())),
    ),
    ("moisture_score", Real(|r| Some(surface(r)?.moisture.score))),
    (
        "moisture_level",
        Text(|r| Some(surface(r)?.moisture.level.name())),
    ),
    (
        "laplacian_variance",
        Real(|r| Some(surface(r)?.texture.laplacian_variance)),
    ),
    ("texture", Text(|r| Some(surface(r)?.texture.kind.name()))),
    ("brightness", Real(|r| Some(surface(r)?.brightness.mean))),
    (
        "brightness_level",
        Text(|r| Some(surface(r)?.brightness.level.name())),
    ),
    ("colour", Text(|r| Some(surface(r)?.colour.kind.name()))),
    ("toss", Text(|r| Some(&r.advice.as_ref()?.toss))),
    ("format", Text(|r| r.photo.format.map(wire::photo_format))),
    ("width", Integer(|r| Some(r.photo.width? as u64))),
    ("height", Integer(|r| Some(r.photo.height? as u64))),
    ("bytes", Integer(|r| r.photo.bytes)),
    ("sha256", Text(|r| r.photo.sha256.as_deref())),
    ("device", Text(|r| Some(&r.worker.device))),
    ("precision", Text(|r| Some(&r.worker.precision))),
    ("total_ms", Real(|r| r.timing_ms.total)),
    (
        "model_batting_friendly",
        Real(|r| model_of(r, PitchClass::Batting)),
    ),
    (
        "model_bowling_friendly",
        Real(|r| model_of(r, PitchClass::Bowling)),
    ),
    ("model_seam_friendly", Real(|r| model_of(r, PitchClass::Seam))),
    ("model_spin_friendly", Real(|r| model_of(r, PitchClass::Spin))),
    ("orientation", Integer(|r| Some(r.photo.orientation?.into()))),
    (
        "boxes",
        Integer(|r| Some(r.detection.as_ref()?.boxes.len() as u64)),
    ),
    (
        "crop_width",
        Integer(|r| Some(r.detection.as_ref()?.crop.width as u64)),
    ),
    (
        "crop_height",
        Integer(|r| Some(r.detection.as_ref()?.crop.height as u64)),
    ),
    (
        "analysed_width",
        Integer(|r| Some(r.detection.as_ref()?.analysed.width as u64)),
    ),
    (
        "analysed_height",
        Integer(|r| Some(r.detection.as_ref()?.analysed.height as u64)),
    ),
    (
        "moisture_dark_percent",
        Real(|r| Some(surface(r)?.moisture.dark_percent)),
    ),
    (
        "moisture_mean_saturation",
        Real(|r| Some(surface(r)?.moisture.mean_saturation)),
    ),
    ("colour_mean_r", Real(|r| Some(surface(r)?.colour.mean_rgb[0]))),
    ("colour_mean_g", Real(|r| Some(surface(r)?.colour.mean_rgb[1]))),
    ("colour_mean_b", Real(|r| Some(surface(r)?.colour.mean_rgb[2]))),
    (
        "colour_dominant_r",
        Integer(|r| Some(surface(r)?.colour.dominant_rgb[0].into())),
    ),
    (
        "colour_dominant_g",
        Integer(|r| Some(surface(r)?.colour.dominant_rgb[1].into())),
    ),
    (
        "colour_dominant_b",
        Integer(|r| Some(surface(r)?.colour.dominant_rgb[2].into())),
    ),
    ("texture_std_dev", Real(|r| Some(surface(r)?.texture.std_dev))),
    ("advice_batting", Texts(|r| advice(r, |a| &a.batting))),
    ("advice_bowling", Texts(|r| advice(r, |a| &a.bowling))),
    ("advice_team", Texts(|r| advice(r, |a| &a.team))),
    ("advice_key_factors", Texts(|r| advice(r, |a| &a.key_factors))),
    ("queued_ms", Real(|r| r.timing_ms.queued)),
    ("fetch_ms", Real(|r| r.timing_ms.fetch)),
    ("decode_ms", Real(|r| r.timing_ms.decode)),
    ("detect_ms", Real(|r| r.timing_ms.detect)),
    ("surface_ms", Real(|r| r.timing_ms.surface)),
    ("classify_ms", Real(|r| r.timing_ms.classify)),
    ("overlays_ms", Real(|r| r.timing_ms.overlays)),
    ("store_ms", Real(|r| r.timing_ms.store)),
    ("batch", Text(|r| Some(&r.batch))),
    ("worker", Text(|r| Some(&r.worker.id))),
    ("execution_provider", Text(|r| Some(&r.worker.execution_provider))),
    ("bundle_digest", Text(|r| Some(&r.digest.bundle))),
    ("options_digest", Text(|r| Some(&r.digest.options))),
    ("algorithm", Integer(|r| Some(r.digest.algorithm.into()))),
];

fn corrected(result: &PhotoResult) -> Option<&ClassScores> {
    Some(&result.classification.as_ref()?.corrected)
}

fn corrected_of(result: &PhotoResult, class: PitchClass) -> Option<f64> {
    Some(corrected(result)?.probabilities.of(class))
}

fn model(result: &PhotoResult) -> Option<&ClassScores> {
    Some(&result.classification.as_ref()?.model)
}

fn model_of(result: &PhotoResult, class: PitchClass) -> Option<f64> {
    Some(model(result)?.probabilities.of(class))
}

fn rules(result: &PhotoResult) -> Option<Vec<&str>> {
    let fired = &result.classification.as_ref()?.rules;
    Some(fired.iter().map(|rule| rule.rule.as_str()).collect())
}

fn corner(result: &PhotoResult, i: usize) -> Option<u64> {
    Some(result.detection.as_ref()?.best?[i] as u64)
}

fn surface(result: &PhotoResult) -> Option<&Surface> {
    result.surface.as_ref()
}

fn advice(result: &PhotoResult, part: fn(&Advice) -> &Vec<String>) -> Option<Vec<&str>> {
    Some(part(result.advice.as_ref()?).iter().map(String::as_str).collect())
}
