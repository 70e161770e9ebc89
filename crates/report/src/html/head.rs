//! The page above the photos: verdict, groups, charts, outliers.

use askama::Template;
use pitch::analysis::{Advice, PitchClass};
use pitch::verdict::{Basis, Counts, Feature, OUTLIER_THRESHOLD, Outlier, Summary, Verdict};

use super::{About, SCRIPT_HASH, STYLE, file_name};
use crate::ReportError;
use crate::charts::{self, Chart, class_title, trend_words};

/// Rows in the table of outliers.
const MAX_OUTLIER_ROWS: usize = 50;

#[derive(Template)]
#[template(path = "head.html")]
pub(super) struct Head<'a> {
    about: &'a About,
    style: &'static str,
    script_hash: &'static str,
    counts: &'a Counts,
    opinion: Option<Opinion<'a>>,
    tiles: Vec<Tile>,
    rules: String,
    groups: Vec<GroupRow<'a>>,
    charts: Vec<ChartRow>,
    outliers: Vec<OutlierRow<'a>>,
    more_outliers: u64,
    threshold: f64,
    kinds: Vec<(&'static str, &'static str)>,
}

/// What a scope says, in words.
struct Opinion<'a> {
    css: &'static str,
    class: &'static str,
    confidence: String,
    agreement: String,
    photos: u64,
    basis: &'static str,
    variation: String,
    advice: &'a Advice,
}

impl Opinion<'_> {
    fn plans(&self) -> [(&'static str, &[String]); 4] {
        [
            ("Batting", &self.advice.batting),
            ("Bowling", &self.advice.bowling),
            ("Team", &self.advice.team),
            ("What decides", &self.advice.key_factors),
        ]
    }
}

/// A level with the numbers behind it.
struct Tile {
    name: &'static str,
    level: &'static str,
    detail: String,
}

/// Charts that stand side by side.
struct ChartRow {
    css: &'static str,
    charts: Vec<Chart>,
}

struct GroupRow<'a> {
    name: &'a str,
    photos: u64,
    failed: u64,
    opinion: Option<Opinion<'a>>,
    cells: Vec<Tile>,
    trend: String,
}

struct OutlierRow<'a> {
    index: u64,
    name: &'a str,
    feature: &'static str,
    value: f64,
    median: f64,
    score: String,
}

impl<'a> Head<'a> {
    pub(super) fn new(about: &'a About, verdict: &'a Verdict) -> Result<Self, ReportError> {
        let batch = &verdict.batch;
        let shown = outliers_shown(verdict);
        let total: u64 = if verdict.groups.is_empty() {
            batch.outliers.total
        } else {
            verdict.groups.iter().map(|g| g.summary.outliers.total).sum()
        };
        let outliers: Vec<OutlierRow<'_>> = shown
            .into_iter()
            .take(MAX_OUTLIER_ROWS)
            .map(|outlier| OutlierRow {
                index: outlier.index,
                name: file_name(&outlier.key),
                feature: outlier.feature.title(),
                value: outlier.value,
                median: outlier.median,
                score: format!("{:+.1}", outlier.score),
            })
            .collect();
        Ok(Self {
            about,
            style: STYLE,
            script_hash: SCRIPT_HASH,
            counts: &batch.counts,
            opinion: opinion(batch),
            tiles: tiles(batch),
            rules: rules(batch),
            groups: verdict
                .groups
                .iter()
                .map(|group| GroupRow {
                    name: &group.name,
                    photos: group.summary.counts.photos,
                    failed: group.summary.counts.failed,
                    opinion: opinion(&group.summary),
                    cells: tiles(&group.summary).into_iter().take(3).collect(),
                    trend: trend_words(
                        group
                            .summary
                            .timeline
                            .as_ref()
                            .and_then(|timeline| timeline.trends)
                            .map(|trends| trends.moisture_score),
                    ),
                })
                .collect(),
            charts: all_charts(verdict)?,
            more_outliers: total - outliers.len() as u64,
            outliers,
            threshold: OUTLIER_THRESHOLD,
            kinds: kinds(batch, total),
        })
    }
}

/// Outliers against their own group, or against the batch where there are no groups; the farthest first.
pub(super) fn outliers_shown(verdict: &Verdict) -> Vec<&Outlier> {
    let mut shown: Vec<&Outlier> = if verdict.groups.is_empty() {
        verdict.batch.outliers.listed.iter().collect()
    } else {
        verdict
            .groups
            .iter()
            .flat_map(|group| &group.summary.outliers.listed)
            .collect()
    };
    shown.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
    shown
}

/// Rows of charts, without the empty ones.
fn all_charts(verdict: &Verdict) -> Result<Vec<ChartRow>, ReportError> {
    let consensus = [
        charts::probabilities(&verdict.batch)?,
        charts::classes(&verdict.batch)?,
    ];
    let rows = [
        ("two", consensus.into_iter().flatten().collect()),
        ("three", charts::timelines(verdict)?),
        ("two", charts::distributions(verdict)?),
    ];
    Ok(rows
        .into_iter()
        .filter(|(_, charts): &(_, Vec<Chart>)| !charts.is_empty())
        .map(|(css, charts)| ChartRow { css, charts })
        .collect())
}

fn opinion(summary: &Summary) -> Option<Opinion<'_>> {
    let (Some(consensus), Some(agreement), Some(advice)) =
        (&summary.consensus, &summary.agreement, &summary.advice)
    else {
        return None;
    };
    Some(Opinion {
        css: class_css(consensus.corrected.class),
        class: class_title(consensus.corrected.class),
        confidence: percent(consensus.corrected.confidence),
        agreement: percent(agreement.share),
        photos: consensus.photos,
        basis: match consensus.basis {
            Basis::DetectedPitches => {
                "From photos with a detected pitch, each weighted by the confidence of its detection."
            }
            Basis::AllAnalysed => {
                "From all analysed photos with equal weights, because none has a detected pitch."
            }
        },
        variation: format!("{:.2}", agreement.index_of_qualitative_variation),
        advice,
    })
}

fn tiles(summary: &Summary) -> Vec<Tile> {
    let (Some(levels), Some(features)) = (&summary.levels, &summary.features) else {
        return Vec::new();
    };
    let median = |feature| features.get(&feature).map_or(0.0, |spread| spread.median);
    let with_spread = |feature, unit: &str| {
        features.get(&feature).map_or(String::new(), |spread| {
            format!(
                "median {:.1}{unit}, quartiles {:.1} to {:.1}",
                spread.median, spread.q1, spread.q3
            )
        })
    };
    vec![
        Tile {
            name: "Grass",
            level: levels.grass.name(),
            detail: with_spread(Feature::GrassPercent, "\u{a0}%"),
        },
        Tile {
            name: "Cracks",
            level: levels.cracks.name(),
            detail: format!(
                "density {:.2}\u{a0}%, {:.0}\u{a0}cracks",
                median(Feature::CrackDensityPercent),
                median(Feature::CrackCount)
            ),
        },
        Tile {
            name: "Moisture",
            level: levels.moisture.name(),
            detail: with_spread(Feature::MoistureScore, ""),
        },
        Tile {
            name: "Texture",
            level: levels.texture.name(),
            detail: format!("variance {:.0}", median(Feature::LaplacianVariance)),
        },
        Tile {
            name: "Colour and brightness",
            level: levels.colour.name(),
            detail: format!(
                "{}, {:.0} of 255",
                levels.brightness.name(),
                median(Feature::Brightness)
            ),
        },
    ]
}

fn rules(summary: &Summary) -> String {
    let Some(consensus) = &summary.consensus else {
        return String::new();
    };
    let counted: Vec<String> = consensus
        .rules
        .iter()
        .map(|(rule, &count)| {
            let photos = if count == 1 { "photo" } else { "photos" };
            format!("{} on {count} {photos}", rule.replace('_', " "))
        })
        .collect();
    counted.join(", ")
}

/// The choices of the filter that some photo fits.
fn kinds(batch: &Summary, outliers: u64) -> Vec<(&'static str, &'static str)> {
    let mut kinds = Vec::new();
    if let Some(agreement) = &batch.agreement {
        kinds.extend(
            agreement
                .classes
                .iter()
                .filter(|&(_, &count)| count > 0)
                .map(|(&class, _)| (class.name(), class_title(class))),
        );
    }
    if batch.counts.failed > 0 {
        kinds.push(("failed", "Not analysed"));
    }
    if batch.counts.without_detected_pitch > 0 {
        kinds.push(("undetected", "No pitch detected"));
    }
    if outliers > 0 {
        kinds.push(("outlier", "Outliers"));
    }
    kinds
}

pub(super) const fn class_css(class: PitchClass) -> &'static str {
    match class {
        PitchClass::Batting => "batting",
        PitchClass::Bowling => "bowling",
        PitchClass::Seam => "seam",
        PitchClass::Spin => "spin",
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0}", share * 100.0)
}
