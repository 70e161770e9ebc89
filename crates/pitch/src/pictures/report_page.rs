//! One page about one photo: its pictures, its features, the probabilities before and after the rules, the advice.

use crate::analysis::{OverlayKind, PhotoFormat, PitchClass};

use super::canvas::{Area, Canvas, Ink, Style};
use super::{PictureError, Subject, jpeg};

const PAGE_WIDTH: u32 = 1600;
const PAGE_HEIGHT: u32 = 1690;
const MARGIN: f32 = 48.0;
const GAP: f32 = 24.0;
const PADDING: f32 = 24.0;
const RADIUS: f32 = 14.0;

const PAPER: Ink = Ink(0xF3F1EA);
const CARD: Ink = Ink(0xFFFFFF);
const TEXT: Ink = Ink(0x1E2A23);
const MUTED: Ink = Ink(0x6A746D);
const GREEN: Ink = Ink(0x2B6A45);
const PALE: Ink = Ink(0xE4EBE4);
const BEFORE: Ink = Ink(0xB9C3BB);
const WHITE: Ink = Ink(0xFFFFFF);

const TITLE: Style = bold(40.0, TEXT);
const HEADING: Style = bold(23.0, TEXT);
const BODY: Style = regular(19.0, TEXT);
const STRONG: Style = bold(19.0, TEXT);
const NOTE: Style = regular(17.0, MUTED);

const fn regular(size: f32, ink: Ink) -> Style {
    Style {
        bold: false,
        size,
        ink,
    }
}

const fn bold(size: f32, ink: Ink) -> Style {
    Style {
        bold: true,
        size,
        ink,
    }
}

/// Draws the page and encodes it.
pub(super) fn draw(subject: &Subject<'_>) -> Result<Vec<u8>, PictureError> {
    let mut page = Canvas::new(PAGE_WIDTH, PAGE_HEIGHT, PAPER)?;
    let inner = PAGE_WIDTH as f32 - 2.0 * MARGIN;
    let area = |x: f32, y: f32, width: f32, height: f32| Area {
        x: MARGIN + x,
        y,
        width,
        height,
    };
    let wide = 880.0;
    header(&mut page, subject, area(0.0, 44.0, inner, 84.0));
    photo(&mut page, subject, area(0.0, 152.0, wide, 640.0));
    probabilities(
        &mut page,
        subject,
        area(wide + GAP, 152.0, inner - wide - GAP, 640.0),
    );
    overlays(&mut page, subject, area(0.0, 816.0, inner, 398.0));
    features(&mut page, subject, area(0.0, 1238.0, 640.0, 408.0));
    advice(
        &mut page,
        subject,
        area(640.0 + GAP, 1238.0, inner - 640.0 - GAP, 408.0),
    );
    let (width, height, samples) = page.samples();
    Ok(jpeg::encode_rgbx(width, height, samples)?)
}

fn header(page: &mut Canvas, subject: &Subject<'_>, area: Area) {
    page.text("Pitch report", area.x, area.y + 38.0, TITLE);
    let photo = subject.photo;
    let format = match photo.format {
        PhotoFormat::Jpeg => "JPEG",
        PhotoFormat::Png => "PNG",
        PhotoFormat::Webp => "WebP",
        PhotoFormat::Tiff => "TIFF",
        PhotoFormat::Heic => "HEIC",
    };
    let mut facts = format!("{format} · {} × {}", photo.width, photo.height);
    if let Some(taken_at) = &photo.taken_at {
        facts.push_str(" · taken ");
        facts.push_str(&taken_at.replace('T', " "));
    }
    page.text(&facts, area.x, area.y + 72.0, NOTE);

    let corrected = &subject.classification.corrected;
    let verdict = format!(
        "{} · {}",
        class_name(corrected.class),
        percent(corrected.confidence)
    );
    let style = bold(27.0, WHITE);
    let width = page.width_of(&verdict, style) + 56.0;
    let pill = Area {
        x: area.right() - width,
        y: area.y + 6.0,
        width,
        height: 64.0,
    };
    page.rounded(pill, 32.0, GREEN);
    page.text(&verdict, pill.x + 28.0, pill.y + 42.0, style);
}

/// A white card with a heading; gives what is left below it.
fn card(page: &mut Canvas, area: Area, heading: &str) -> Area {
    page.rounded(area, RADIUS, CARD);
    let inside = area.inset(PADDING);
    page.text(heading, inside.x, inside.y + 20.0, HEADING);
    Area {
        y: inside.y + 40.0,
        height: inside.height - 40.0,
        ..inside
    }
}

/// A picture as large as `area` allows, in its middle.
fn picture(page: &mut Canvas, subject: &Subject<'_>, kind: OverlayKind, area: Area) {
    let (width, height) = match kind {
        OverlayKind::Box => (subject.photo.width, subject.photo.height),
        _ => (subject.crop.width(), subject.crop.height()),
    };
    let ratio = (area.width / width as f32).min(area.height / height as f32);
    let longest_side = (width.max(height) as f32 * ratio) as usize;
    let picture = subject.overlay(kind, longest_side.max(1));
    page.picture(&picture, area, 8.0);
}

fn photo(page: &mut Canvas, subject: &Subject<'_>, area: Area) {
    let inside = card(page, area, "Photo");
    let detection = subject.detection;
    let note = match (detection.detected, detection.confidence) {
        (true, Some(confidence)) => format!("pitch found, confidence {}", percent(confidence)),
        _ => "no box: the whole photo was analysed".to_owned(),
    };
    page.text_to(&note, inside.right(), area.y + PADDING + 20.0, NOTE);
    picture(page, subject, OverlayKind::Box, inside);
}

fn probabilities(page: &mut Canvas, subject: &Subject<'_>, area: Area) {
    let inside = card(page, area, "What the pitch favours");
    let classification = subject.classification;
    let bar = |y: f32, share: f64| Area {
        x: inside.x,
        y,
        width: ((inside.width - 84.0) * share as f32).max(3.0),
        height: 16.0,
    };
    let mut y = inside.y + 6.0;
    for &class in PitchClass::ALL {
        let predicted = class == classification.corrected.class;
        page.text(
            class_name(class),
            inside.x,
            y + 18.0,
            if predicted { STRONG } else { BODY },
        );
        y += 28.0;
        for (share, ink, style) in [
            (classification.model.probabilities.of(class), BEFORE, NOTE),
            (classification.corrected.probabilities.of(class), GREEN, STRONG),
        ] {
            page.rounded(bar(y, share), 4.0, ink);
            page.text_to(&percent(share), inside.right(), y + 15.0, style);
            y += 21.0;
        }
        y += 13.0;
    }
    for (label, ink) in [("network", BEFORE), ("after the cricket rules", GREEN)] {
        let x = if label == "network" {
            inside.x
        } else {
            inside.x + 120.0
        };
        let swatch = Area {
            x,
            y: y + 2.0,
            width: 14.0,
            height: 14.0,
        };
        page.rounded(swatch, 3.0, ink);
        page.text(label, x + 22.0, y + 15.0, NOTE);
    }
    y += 60.0;
    page.text("Rules that fired", inside.x, y, STRONG);
    y += 14.0;
    if classification.rules.is_empty() {
        page.text("none", inside.x, y + 17.0, NOTE);
    }
    for rule in &classification.rules {
        if y + NOTE.size > inside.bottom() {
            break;
        }
        let amount = format!("+{:.2}", rule.amount);
        page.text(&amount, inside.x, y + 17.0, bold(17.0, GREEN));
        let reason = Area {
            x: inside.x + 62.0,
            y,
            width: inside.width - 62.0,
            height: inside.bottom() - y,
        };
        y = page.paragraph(&rule.reason, reason, regular(17.0, TEXT)) + 6.0;
    }
}

fn overlays(page: &mut Canvas, subject: &Subject<'_>, area: Area) {
    let surface = subject.surface;
    let panels = [
        (
            OverlayKind::Crop,
            "Analysed crop",
            format!(
                "{} × {}",
                subject.detection.analysed.width, subject.detection.analysed.height
            ),
        ),
        (
            OverlayKind::Grass,
            "Grass",
            format!("{:.2} %", surface.grass.percent),
        ),
        (
            OverlayKind::Cracks,
            "Cracks",
            format!("{:.2} %", surface.cracks.density_percent),
        ),
        (
            OverlayKind::Moisture,
            "Moisture",
            format!("{:.2}", surface.moisture.score),
        ),
    ];
    let width = (area.width - 3.0 * GAP) / 4.0;
    for (i, (kind, heading, figure)) in panels.into_iter().enumerate() {
        let panel = Area {
            x: area.x + i as f32 * (width + GAP),
            width,
            ..area
        };
        let inside = card(page, panel, heading);
        page.text_to(&figure, inside.right(), panel.y + PADDING + 20.0, NOTE);
        picture(page, subject, kind, inside);
    }
}

fn features(page: &mut Canvas, subject: &Subject<'_>, area: Area) {
    let inside = card(page, area, "Surface");
    let s = subject.surface;
    let [r, g, b] = s.colour.mean_rgb.map(f64::round);
    let rows = [
        (
            "Grass",
            format!("{:.2} % of the crop", s.grass.percent),
            s.grass.level.name(),
        ),
        (
            "Cracks",
            format!("{:.2} % edges, {} long", s.cracks.density_percent, s.cracks.count),
            s.cracks.severity.name(),
        ),
        (
            "Moisture",
            format!(
                "score {:.2}, {:.2} % dark",
                s.moisture.score, s.moisture.dark_percent
            ),
            s.moisture.level.name(),
        ),
        ("Colour", format!("mean {r} {g} {b}"), s.colour.kind.name()),
        (
            "Texture",
            format!("variance {:.0}", s.texture.laplacian_variance),
            s.texture.kind.name(),
        ),
        (
            "Brightness",
            format!("mean {:.1} of 255", s.brightness.mean),
            s.brightness.level.name(),
        ),
    ];
    let height = inside.height / rows.len() as f32;
    for (i, (name, figures, level)) in rows.into_iter().enumerate() {
        let baseline = inside.y + (i as f32 + 0.5) * height + 6.0;
        page.text(name, inside.x, baseline, STRONG);
        let end = page.text(&figures, inside.x + 130.0, baseline, BODY);
        if name == "Colour" {
            let [r, g, b] = s.colour.dominant_rgb.map(u32::from);
            let swatch = Area {
                x: end + 14.0,
                y: baseline - 17.0,
                width: 44.0,
                height: 22.0,
            };
            page.rounded(swatch, 5.0, Ink(r << 16 | g << 8 | b));
        }
        let style = bold(17.0, GREEN);
        let width = page.width_of(level, style) + 28.0;
        let chip = Area {
            x: inside.right() - width,
            y: baseline - 23.0,
            width,
            height: 34.0,
        };
        page.rounded(chip, 17.0, PALE);
        page.text(level, chip.x + 14.0, baseline, style);
    }
}

fn advice(page: &mut Canvas, subject: &Subject<'_>, area: Area) {
    let inside = card(page, area, "Advice");
    let advice = subject.advice;
    page.paragraph(&advice.toss, inside, bold(21.0, GREEN));
    let columns = [
        ("Batting", &advice.batting),
        ("Bowling", &advice.bowling),
        ("Team", &advice.team),
        ("Key factors", &advice.key_factors),
    ];
    let width = (inside.width - GAP) / 2.0;
    let height = (inside.height - 44.0) / 2.0;
    for (i, (heading, phrases)) in columns.into_iter().enumerate() {
        let block = Area {
            x: inside.x + (i % 2) as f32 * (width + GAP),
            y: inside.y + 44.0 + (i / 2) as f32 * height,
            width,
            height,
        };
        page.text(heading, block.x, block.y + 18.0, STRONG);
        let mut y = block.y + 30.0;
        for phrase in phrases {
            if y + NOTE.size > block.bottom() {
                break;
            }
            page.text("•", block.x, y + 17.0, NOTE);
            let line = Area {
                x: block.x + 18.0,
                y,
                width: block.width - 18.0,
                height: block.bottom() - y,
            };
            y = page.paragraph(phrase, line, regular(17.0, TEXT)) + 4.0;
        }
    }
}

fn class_name(class: PitchClass) -> &'static str {
    match class {
        PitchClass::Batting => "Batting-friendly",
        PitchClass::Bowling => "Bowling-friendly",
        PitchClass::Seam => "Seam-friendly",
        PitchClass::Spin => "Spin-friendly",
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
