//! One photo on the page.

use askama::Template;
use fleet::result::{Failure, PhotoResult};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pitch::analysis::{Classification, Detection, FiredRule, OverlayKind, Surface};

use super::file_name;
use super::head::{class_css, percent};
use crate::charts::class_title;

/// What stays as it is in the path of a link: RFC 3986's unreserved characters, and the slash between parts.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Which picture stands for a photo, the best first.
const FACE: [OverlayKind; 6] = [
    OverlayKind::Box,
    OverlayKind::Crop,
    OverlayKind::Cracks,
    OverlayKind::Grass,
    OverlayKind::Moisture,
    OverlayKind::Report,
];

#[derive(Template)]
#[template(path = "photo.html")]
pub(super) struct PhotoCard<'a> {
    index: u64,
    name: &'a str,
    taken_at: &'a str,
    where_and_when: String,
    flags: String,
    picture: Option<Picture>,
    failure: Option<&'a Failure>,
    opinion: Option<Opinion<'a>>,
    outliers: &'a [String],
    links: Vec<(&'static str, String)>,
}

struct Picture {
    href: String,
    alt: String,
}

struct Opinion<'a> {
    css: &'static str,
    wire: &'static str,
    class: &'static str,
    confidence: String,
    before: String,
    after: String,
    grass: f64,
    cracks: f64,
    moisture: f64,
    levels: Vec<(&'static str, String)>,
    undetected: bool,
    rules: &'a [FiredRule],
}

impl<'a> PhotoCard<'a> {
    pub(super) fn new(root: &str, result: &'a PhotoResult, outliers: &'a [String]) -> Self {
        let name = file_name(&result.photo.key);
        let taken_at = result.photo.taken_at.as_deref().unwrap_or_default();
        let opinion = match (&result.detection, &result.surface, &result.classification) {
            (Some(detection), Some(surface), Some(classification)) => {
                Some(Opinion::of(detection, surface, classification))
            }
            _ => None,
        };
        let mut flags = Vec::new();
        if opinion.is_none() {
            flags.push("failed");
        }
        if opinion.as_ref().is_some_and(|o| o.undetected) {
            flags.push("undetected");
        }
        if !outliers.is_empty() {
            flags.push("outlier");
        }
        let where_and_when: Vec<String> = [
            result.group.clone(),
            result.photo.taken_at.as_ref().map(|at| at.replace('T', " ")),
        ]
        .into_iter()
        .flatten()
        .collect();
        Self {
            index: result.index,
            name,
            taken_at,
            where_and_when: where_and_when.join(" · "),
            flags: flags.join(" "),
            picture: FACE.into_iter().find_map(|kind| {
                let key = result.overlays.get(kind.name())?;
                Some(Picture {
                    href: link(root, key),
                    alt: format!("{name}: {}", shows(kind)),
                })
            }),
            failure: result.failure.as_ref(),
            opinion,
            outliers,
            links: OverlayKind::ALL
                .into_iter()
                .filter_map(|kind| Some((title(kind), link(root, result.overlays.get(kind.name())?))))
                .collect(),
        }
    }
}

impl<'a> Opinion<'a> {
    fn of(detection: &Detection, surface: &Surface, classification: &'a Classification) -> Self {
        let (model, corrected) = (&classification.model, &classification.corrected);
        let after: Vec<String> = pitch::analysis::PitchClass::ALL
            .iter()
            .map(|&class| {
                let share = percent(corrected.probabilities.of(class));
                format!("{} {share} %", class_title(class).to_lowercase())
            })
            .collect();
        Self {
            css: class_css(corrected.class),
            wire: corrected.class.name(),
            class: class_title(corrected.class),
            confidence: percent(corrected.confidence),
            before: format!(
                "{} {} %",
                class_title(model.class).to_lowercase(),
                percent(model.confidence)
            ),
            after: after.join(", "),
            grass: surface.grass.percent,
            cracks: surface.cracks.density_percent,
            moisture: surface.moisture.score,
            levels: vec![
                (
                    "Grass",
                    format!("{}, {} %", surface.grass.level, surface.grass.percent),
                ),
                (
                    "Cracks",
                    format!(
                        "{}, density {} %, {} long",
                        surface.cracks.severity, surface.cracks.density_percent, surface.cracks.count
                    ),
                ),
                (
                    "Moisture",
                    format!("{}, score {}", surface.moisture.level, surface.moisture.score),
                ),
                (
                    "Texture",
                    format!(
                        "{}, variance {}",
                        surface.texture.kind, surface.texture.laplacian_variance
                    ),
                ),
                (
                    "Look",
                    format!("{}, {}", surface.colour.kind, surface.brightness.level),
                ),
            ],
            undetected: !detection.detected,
            rules: &classification.rules,
        }
    }
}

/// A relative link to `key`, which can leave neither the path nor the folder of the batch.
fn link(root: &str, key: &str) -> String {
    let parts: Vec<String> = key
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .map(|part| utf8_percent_encode(part, PATH).to_string())
        .collect();
    format!("{root}/{}", parts.join("/"))
}

const fn title(kind: OverlayKind) -> &'static str {
    match kind {
        OverlayKind::Grass => "Grass",
        OverlayKind::Cracks => "Cracks",
        OverlayKind::Moisture => "Moisture",
        OverlayKind::Crop => "Pitch",
        OverlayKind::Box => "Photo",
        OverlayKind::Report => "One page",
    }
}

const fn shows(kind: OverlayKind) -> &'static str {
    match kind {
        OverlayKind::Grass => "the pitch with its grass tinted green",
        OverlayKind::Cracks => "the pitch with its cracks in bright colours",
        OverlayKind::Moisture => "the pitch with dark places in warm colours",
        OverlayKind::Crop => "the pitch that was analysed",
        OverlayKind::Box => "the photo with a box around the pitch",
        OverlayKind::Report => "all pictures and figures on one page",
    }
}

#[cfg(test)]
mod tests {
    use super::link;

    #[test]
    fn links_stay_in_the_batch() {
        assert_eq!(
            link("..", "overlays/00000001/box.jpg"),
            "../overlays/00000001/box.jpg"
        );
        assert_eq!(link("..", "../../etc/passwd"), "../etc/passwd");
        assert_eq!(link("..", "javascript:alert(1)"), "../javascript%3Aalert%281%29");
        assert_eq!(link("..", "a b/ü?.jpg"), "../a%20b/%C3%BC%3F.jpg");
    }
}
