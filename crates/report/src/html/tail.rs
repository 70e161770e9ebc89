//! The page below the photos: failures, provenance, timings.

use std::collections::BTreeMap;

use askama::Template;
use fleet::result::{PhotoResult, TimingMs};

use super::{About, file_name};

#[derive(Template)]
#[template(path = "tail.html")]
pub(super) struct Tail {
    pub(super) failures: Vec<FailureRow>,
    pub(super) unlisted: u64,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) stages: Vec<StageRow>,
    pub(super) script: &'static str,
}

/// A photo that has no analysis.
#[derive(Debug)]
pub(super) struct FailureRow {
    index: u64,
    name: String,
    code: String,
    message: String,
}

impl FailureRow {
    pub(super) fn of(result: &PhotoResult) -> Option<Self> {
        let failure = result.failure.as_ref()?;
        Some(Self {
            index: result.index,
            name: file_name(&result.photo.key).to_owned(),
            code: failure.code.clone(),
            message: failure.message.clone(),
        })
    }
}

/// A line of the timing table.
pub(super) struct StageRow {
    name: &'static str,
    photos: u64,
    mean: String,
    longest: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct StageSums {
    photos: u64,
    sum: f64,
    longest: f64,
}

type StageOf = fn(&TimingMs) -> Option<f64>;

const STAGES: [(&str, StageOf); 9] = [
    ("Queued", |t| t.queued),
    ("Fetch", |t| t.fetch),
    ("Decode", |t| t.decode),
    ("Detect", |t| t.detect),
    ("Surface", |t| t.surface),
    ("Classify", |t| t.classify),
    ("Pictures", |t| t.overlays),
    ("Store", |t| t.store),
    ("Total", |t| t.total),
];

/// What made the results, counted: a batch can have met several devices, and a mixed one must show.
#[derive(Debug, Default)]
pub(super) struct Provenance {
    photos: u64,
    devices: BTreeMap<String, u64>,
    bundles: BTreeMap<String, u64>,
    options: BTreeMap<String, u64>,
    algorithms: BTreeMap<String, u64>,
    stages: [StageSums; STAGES.len()],
}

impl Provenance {
    pub(super) fn add(&mut self, result: &PhotoResult) {
        self.photos += 1;
        for (sums, (_, of)) in self.stages.iter_mut().zip(STAGES) {
            if let Some(ms) = of(&result.timing_ms) {
                sums.photos += 1;
                sums.sum += ms;
                sums.longest = sums.longest.max(ms);
            }
        }
        if result.surface.is_none() {
            return;
        }
        let worker = &result.worker;
        let device = [&worker.device, &worker.execution_provider, &worker.precision];
        let device: Vec<&str> = device
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        count(&mut self.devices, device.join(", "));
        count(&mut self.bundles, result.digest.bundle.clone());
        count(&mut self.options, result.digest.options.clone());
        count(&mut self.algorithms, result.digest.algorithm.to_string());
    }

    pub(super) fn facts(&self, about: &About) -> Vec<(&'static str, String)> {
        let facts = [
            ("Program", about.program.clone()),
            ("Models", about.bundle.clone()),
            ("Models' digest", listed(&self.bundles)),
            ("Device, provider, precision", listed(&self.devices)),
            ("Options' digest", listed(&self.options)),
            ("Algorithm version", listed(&self.algorithms)),
            (
                "Took",
                about.wall_seconds.map_or(String::new(), |seconds| {
                    let rate = self.photos as f64 / seconds.max(0.001);
                    format!("{seconds:.1} s, {rate:.1} photos a second")
                }),
            ),
            ("Made at", about.created_at.clone()),
        ];
        facts.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    pub(super) fn stages(&self) -> Vec<StageRow> {
        STAGES
            .iter()
            .zip(self.stages)
            .filter(|(_, sums)| sums.photos > 0)
            .map(|(&(name, _), sums)| StageRow {
                name,
                photos: sums.photos,
                mean: format!("{:.1}", sums.sum / sums.photos as f64),
                longest: format!("{:.1}", sums.longest),
            })
            .collect()
    }
}

fn count(counts: &mut BTreeMap<String, u64>, value: String) {
    if !value.is_empty() {
        *counts.entry(value).or_default() += 1;
    }
}

/// The values, with their counts where there are several.
fn listed(counts: &BTreeMap<String, u64>) -> String {
    if counts.len() == 1 {
        return counts.keys().cloned().collect();
    }
    let each: Vec<String> = counts
        .iter()
        .map(|(value, count)| format!("{value} ({count} photos)"))
        .collect();
    each.join("; ")
}
