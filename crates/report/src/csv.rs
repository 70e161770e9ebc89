//! `summary.csv`: one row a photo, for spreadsheets (RFC 4180 in UTF-8, with a header and lines that end in `\n`).

use std::borrow::Cow;
use std::io::Write;

use fleet::result::{Outcome, PhotoResult};
use serde::Serialize;

use crate::{ReportError, wire};

/// The columns, a contract with readers: add at the end only.
const COLUMNS: [&str; 43] = [
    "index",
    "key",
    "group",
    "taken_at",
    "outcome",
    "failure_code",
    "failure_message",
    "class",
    "confidence",
    "batting_friendly",
    "bowling_friendly",
    "seam_friendly",
    "spin_friendly",
    "model_class",
    "model_confidence",
    "rules",
    "detected",
    "detection_confidence",
    "box_x1",
    "box_y1",
    "box_x2",
    "box_y2",
    "grass_percent",
    "grass_level",
    "crack_density_percent",
    "crack_count",
    "crack_severity",
    "moisture_score",
    "moisture_level",
    "laplacian_variance",
    "texture",
    "brightness",
    "brightness_level",
    "colour",
    "toss",
    "format",
    "width",
    "height",
    "bytes",
    "sha256",
    "device",
    "precision",
    "total_ms",
];

/// A row: a field for each of [`COLUMNS`], in their order.
#[derive(Serialize)]
struct Row<'a> {
    index: u64,
    key: Cow<'a, str>,
    group: Cow<'a, str>,
    taken_at: Cow<'a, str>,
    outcome: Outcome,
    failure_code: Cow<'a, str>,
    failure_message: Cow<'a, str>,
    class: Option<&'static str>,
    confidence: Option<f64>,
    batting_friendly: Option<f64>,
    bowling_friendly: Option<f64>,
    seam_friendly: Option<f64>,
    spin_friendly: Option<f64>,
    model_class: Option<&'static str>,
    model_confidence: Option<f64>,
    rules: Cow<'a, str>,
    detected: Option<bool>,
    detection_confidence: Option<f64>,
    box_x1: Option<usize>,
    box_y1: Option<usize>,
    box_x2: Option<usize>,
    box_y2: Option<usize>,
    grass_percent: Option<f64>,
    grass_level: Option<&'static str>,
    crack_density_percent: Option<f64>,
    crack_count: Option<usize>,
    crack_severity: Option<&'static str>,
    moisture_score: Option<f64>,
    moisture_level: Option<&'static str>,
    laplacian_variance: Option<f64>,
    texture: Option<&'static str>,
    brightness: Option<f64>,
    brightness_level: Option<&'static str>,
    colour: Option<&'static str>,
    toss: Cow<'a, str>,
    format: Cow<'a, str>,
    width: Option<usize>,
    height: Option<usize>,
    bytes: Option<u64>,
    sha256: Cow<'a, str>,
    device: Cow<'a, str>,
    precision: Cow<'a, str>,
    total_ms: Option<f64>,
}

impl<'a> From<&'a PhotoResult> for Row<'a> {
    fn from(result: &'a PhotoResult) -> Self {
        let photo = &result.photo;
        let detection = result.detection.as_ref();
        let corner = |i: usize| detection.and_then(|d| d.best).map(|b| b[i]);
        let surface = result.surface.as_ref();
        let corrected = result.classification.as_ref().map(|c| &c.corrected);
        let model = result.classification.as_ref().map(|c| &c.model);
        Self {
            index: result.index,
            key: inert(&photo.key),
            group: inert(result.group.as_deref().unwrap_or_default()),
            taken_at: inert(photo.taken_at.as_deref().unwrap_or_default()),
            outcome: result.outcome,
            failure_code: inert(result.failure.as_ref().map_or("", |f| &f.code)),
            failure_message: inert(result.failure.as_ref().map_or("", |f| &f.message)),
            class: corrected.map(|c| c.class.name()),
            confidence: corrected.map(|c| c.confidence),
            batting_friendly: corrected.map(|c| c.probabilities.batting_friendly),
            bowling_friendly: corrected.map(|c| c.probabilities.bowling_friendly),
            seam_friendly: corrected.map(|c| c.probabilities.seam_friendly),
            spin_friendly: corrected.map(|c| c.probabilities.spin_friendly),
            model_class: model.map(|c| c.class.name()),
            model_confidence: model.map(|c| c.confidence),
            rules: result.classification.as_ref().map_or(Cow::Borrowed(""), |c| {
                let names: Vec<&str> = c.rules.iter().map(|r| r.rule.as_str()).collect();
                Cow::Owned(inert(&names.join(" ")).into_owned())
            }),
            detected: detection.map(|d| d.detected),
            detection_confidence: detection.and_then(|d| d.confidence),
            box_x1: corner(0),
            box_y1: corner(1),
            box_x2: corner(2),
            box_y2: corner(3),
            grass_percent: surface.map(|s| s.grass.percent),
            grass_level: surface.map(|s| s.grass.level.name()),
            crack_density_percent: surface.map(|s| s.cracks.density_percent),
            crack_count: surface.map(|s| s.cracks.count),
            crack_severity: surface.map(|s| s.cracks.severity.name()),
            moisture_score: surface.map(|s| s.moisture.score),
            moisture_level: surface.map(|s| s.moisture.level.name()),
            laplacian_variance: surface.map(|s| s.texture.laplacian_variance),
            texture: surface.map(|s| s.texture.kind.name()),
            brightness: surface.map(|s| s.brightness.mean),
            brightness_level: surface.map(|s| s.brightness.level.name()),
            colour: surface.map(|s| s.colour.kind.name()),
            toss: inert(result.advice.as_ref().map_or("", |a| &a.toss)),
            format: inert(photo.format.map_or("", wire::photo_format)),
            width: photo.width,
            height: photo.height,
            bytes: photo.bytes,
            sha256: inert(photo.sha256.as_deref().unwrap_or_default()),
            device: inert(&result.worker.device),
            precision: inert(&result.worker.precision),
            total_ms: result.timing_ms.total,
        }
    }
}

/// Text that a spreadsheet will not run: what starts like a formula gets an apostrophe in front (OWASP, CSV
/// Injection). Photo names come from strangers.
fn inert(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Writes `summary.csv`, one row at a time.
#[derive(Debug)]
pub struct SummaryCsv<W: Write> {
    rows: ::csv::Writer<W>,
    has_header: bool,
}

impl<W: Write> SummaryCsv<W> {
    /// Starts the document.
    pub fn new(out: W) -> Self {
        Self {
            rows: ::csv::WriterBuilder::new().has_headers(false).from_writer(out),
            has_header: false,
        }
    }

    /// Writes a row, and the header before the first one.
    ///
    /// # Errors
    /// When the output fails.
    pub fn add(&mut self, result: &PhotoResult) -> Result<(), ReportError> {
        self.write_header()?;
        Ok(self.rows.serialize(Row::from(result))?)
    }

    /// Flushes, and gives the output back.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> Result<W, ReportError> {
        self.write_header()?;
        self.rows
            .into_inner()
            .map_err(|e| ReportError::Write(e.into_error()))
    }

    fn write_header(&mut self) -> Result<(), ReportError> {
        if !self.has_header {
            self.rows.write_record(COLUMNS)?;
            self.has_header = true;
        }
        Ok(())
    }
}
