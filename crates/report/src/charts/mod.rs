//! Charts of a verdict as SVG.
//!
//! Every chart is complete in itself. Its colours are a fixed palette, so that a page can map them to its own in dark
//! mode (`[fill="#24292F"] { … }`), and its legend is data, so that a page can wrap it on a narrow screen.

mod bars;
mod boxes;
mod timeline;

use std::error::Error;

pub use bars::{classes, probabilities};
pub use boxes::distributions;
use pitch::analysis::PitchClass;
use pitch::verdict::{Feature, Summary, Verdict};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
pub use timeline::timelines;
pub(crate) use timeline::trend_words;

use crate::ReportError;

/// A chart with what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What the chart shows, in words, for readers who do not see it.
    pub description: String,
    /// Colours and what they stand for; empty where the axes say it.
    pub legend: Vec<LegendEntry>,
    /// An SVG document without an XML declaration.
    pub svg: String,
}

/// One colour of a chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegendEntry {
    /// `#RRGGBB`, upper case.
    pub colour: String,
    /// What it stands for.
    pub label: String,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Painted = Result<(), Box<dyn Error>>;

/// Wide enough for two side by side on a desk, and narrow enough that text is legible on a phone.
const WIDTH: u32 = 400;
const TEXT: u32 = 14;
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);
const GRID: RGBColor = RGBColor(0xD8, 0xDE, 0xE4);
const QUIET: RGBColor = RGBColor(0x8C, 0x95, 0x9F);

/// Colours that stay apart for colour-blind readers (Okabe & Ito, Color Universal Design, 2008).
const PALETTE: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// Words for a class on a page.
pub(crate) const fn class_title(class: PitchClass) -> &'static str {
    match class {
        PitchClass::Batting => "Batting",
        PitchClass::Bowling => "Bowling",
        PitchClass::Seam => "Seam",
        PitchClass::Spin => "Spin",
    }
}

const fn class_colour(class: PitchClass) -> RGBColor {
    match class {
        PitchClass::Batting => PALETTE[2],
        PitchClass::Bowling => PALETTE[0],
        PitchClass::Seam => PALETTE[1],
        PitchClass::Spin => PALETTE[3],
    }
}

fn hex(RGBColor(r, g, b): RGBColor) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

fn draw(
    chart: &'static str,
    height: u32,
    paint: impl FnOnce(&Canvas<'_>) -> Painted,
) -> Result<String, ReportError> {
    let failed = |reason: &dyn std::fmt::Display| ReportError::Chart {
        chart,
        reason: reason.to_string(),
    };
    let mut svg = String::new();
    let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    paint(&canvas).map_err(|e| failed(&e))?;
    canvas.present().map_err(|e| failed(&e))?;
    drop(canvas);
    Ok(svg)
}

fn text_style(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", TEXT).into_font())
        .color(&INK)
        .pos(Pos::new(horizontal, vertical))
}

/// A scope of the verdict under its name in charts.
struct Scope<'a> {
    name: &'a str,
    summary: &'a Summary,
}

/// The largest groups, in the order of names; the batch itself where there are none.
fn scopes(verdict: &Verdict) -> Vec<Scope<'_>> {
    let mut groups: Vec<Scope<'_>> = verdict
        .groups
        .iter()
        .filter(|group| group.summary.consensus.is_some())
        .map(|group| Scope {
            name: &group.name,
            summary: &group.summary,
        })
        .collect();
    if groups.is_empty() {
        return vec![Scope {
            name: "All photos",
            summary: &verdict.batch,
        }];
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.summary.counts.analysed));
    groups.truncate(PALETTE.len());
    groups.sort_by_key(|group| group.name);
    groups
}

/// What to add to a title when not every group is shown.
fn largest_only(verdict: &Verdict) -> String {
    let groups = verdict.groups.len();
    if groups > PALETTE.len() {
        format!(", the {} largest of {groups} groups", PALETTE.len())
    } else {
        String::new()
    }
}

fn median(summary: &Summary, feature: Feature) -> f64 {
    summary
        .features
        .as_ref()
        .and_then(|features| features.get(&feature))
        .map_or(0.0, |spread| spread.median)
}

/// At most `length` characters, with an ellipsis where some were cut.
fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A round number at or above `value`, to end an axis at: few significant digits, little empty space.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|&end| end >= value * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// Digits enough for an axis that ends at `end`.
fn axis_label(value: f64, end: f64) -> String {
    if end <= 1.0 {
        format!("{value:.2}")
    } else if end <= 5.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(
            [0.0, 0.5, 1.0, 12.0, 24.0, 61.0].map(round_up),
            [1.0, 0.5, 1.0, 15.0, 25.0, 80.0]
        );
    }

    #[test]
    fn long_names_are_cut_at_characters() {
        assert_eq!(shortened("nördliches Ende", 8), "nördlic…");
        assert_eq!(shortened("north", 8), "north");
    }
}
