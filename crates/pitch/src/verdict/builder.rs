//! Gathers photos, one at a time, into a verdict.

use std::collections::BTreeMap;
use std::ops::Range;

use super::consensus::ClassSums;
use super::feature::{Feature, FeatureValues};
use super::statistics::spread;
use super::{
    Basis, Counts, GroupSummary, Levels, Summary, VERDICT_SCHEMA, Verdict, outliers, timeline, typical,
};
use crate::advice::advise;
use crate::analysis::{Classification, Surface};

/// What the verdict needs of an analysed photo.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Place of the photo in the batch; each is observed once.
    pub index: u64,
    /// Key or path, to name it by if it is an outlier.
    pub key: &'a str,
    /// Pitch, end or session of play.
    pub group: Option<&'a str>,
    /// Local time of the shot, ISO 8601; one that cannot be read counts as none.
    pub taken_at: Option<&'a str>,
    /// Confidence of the detection, 0..=1; `None` when no pitch was detected.
    pub detection_confidence: Option<f64>,
    /// What its surface is like.
    pub surface: &'a Surface,
    /// What it favours.
    pub classification: &'a Classification,
}

/// What is kept of an analysed photo.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) index: u64,
    pub(super) taken_at: Option<i64>,
    pub(super) values: FeatureValues,
    detected: bool,
    group: Option<u32>,
    key: Range<u32>,
}

/// Sums of one scope.
#[derive(Clone, Debug, Default)]
struct Scope {
    failures: BTreeMap<String, u64>,
    detected: ClassSums,
    undetected: ClassSums,
}

impl Scope {
    fn merge(&mut self, other: &Self) {
        for (code, count) in &other.failures {
            *self.failures.entry(code.clone()).or_default() += count;
        }
        self.detected.merge(&other.detected);
        self.undetected.merge(&other.undetected);
    }

    fn counts(&self) -> Counts {
        let analysed = self.detected.photos() + self.undetected.photos();
        let failed = self.failures.values().sum();
        Counts {
            photos: analysed + failed,
            analysed,
            failed,
            failures: self.failures.clone(),
            without_detected_pitch: self.undetected.photos(),
        }
    }
}

/// Gathers photos, one at a time, into a [`Verdict`].
#[derive(Clone, Debug, Default)]
pub struct VerdictBuilder {
    records: Vec<Record>,
    /// All keys one after the other: one allocation instead of one a photo.
    keys: String,
    group_ids: BTreeMap<String, u32>,
    groups: Vec<Scope>,
    ungrouped: Scope,
}

impl VerdictBuilder {
    /// Nothing gathered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an analysed photo.
    pub fn add(&mut self, photo: &Observation<'_>) {
        let group = photo.group.map(|name| self.group_id(name));
        let scope = self.scope(group);
        match photo.detection_confidence {
            Some(confidence) => scope.detected.add(confidence, photo.classification),
            None => scope.undetected.add(1.0, photo.classification),
        }
        let key = self.keep_key(photo.key);
        self.records.push(Record {
            index: photo.index,
            taken_at: photo.taken_at.and_then(timeline::seconds),
            values: FeatureValues::of(photo.surface),
            detected: photo.detection_confidence.is_some(),
            group,
            key,
        });
    }

    /// Takes a photo that has no analysis.
    pub fn add_failure(&mut self, group: Option<&str>, code: &str) {
        let group = group.map(|name| self.group_id(name));
        *self.scope(group).failures.entry(code.to_owned()).or_default() += 1;
    }

    /// The verdict on everything gathered so far.
    pub fn finish(mut self) -> Verdict {
        self.records.sort_by_key(|record| record.index);
        let mut batch = self.ungrouped.clone();
        for group in &self.groups {
            batch.merge(group);
        }
        let mut members: Vec<Vec<&Record>> = vec![Vec::new(); self.groups.len()];
        for record in &self.records {
            if let Some(group) = record.group {
                members[group as usize].push(record);
            }
        }
        Verdict {
            schema: VERDICT_SCHEMA.to_owned(),
            batch: self.summary(&batch, self.records.iter().collect()),
            groups: self
                .group_ids
                .iter()
                .map(|(name, &id)| GroupSummary {
                    name: name.clone(),
                    summary: self.summary(
                        &self.groups[id as usize],
                        std::mem::take(&mut members[id as usize]),
                    ),
                })
                .collect(),
        }
    }

    fn summary(&self, scope: &Scope, mut records: Vec<&Record>) -> Summary {
        let (basis, sums) = if scope.detected.photos() > 0 {
            records.retain(|record| record.detected);
            (Basis::DetectedPitches, &scope.detected)
        } else {
            (Basis::AllAnalysed, &scope.undetected)
        };
        let counts = scope.counts();
        let Some((consensus, agreement)) = sums.consensus(basis) else {
            return Summary {
                counts,
                consensus: None,
                agreement: None,
                features: None,
                levels: None,
                outliers: outliers::find(&[], |_| ""),
                timeline: None,
                advice: None,
            };
        };
        let spreads = Feature::ALL.map(|feature| {
            let mut values: Vec<u32> = records.iter().map(|r| r.values.hundredths(feature)).collect();
            values.sort_unstable();
            spread(&values)
        });
        let surface = typical::typical_surface(|feature| spreads[feature as usize].median);
        Summary {
            counts,
            agreement: Some(agreement),
            features: Some(Feature::ALL.into_iter().zip(spreads).collect()),
            levels: Some(Levels::from(&surface)),
            outliers: outliers::find(&records, |record| self.key(record)),
            timeline: timeline::timeline(&records),
            advice: Some(advise(consensus.corrected.class, &surface)),
            consensus: Some(consensus),
        }
    }

    fn group_id(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.group_ids.get(name) {
            return id;
        }
        let id = self.groups.len() as u32;
        self.groups.push(Scope::default());
        self.group_ids.insert(name.to_owned(), id);
        id
    }

    fn scope(&mut self, group: Option<u32>) -> &mut Scope {
        match group.and_then(|id| self.groups.get_mut(id as usize)) {
            Some(scope) => scope,
            None => &mut self.ungrouped,
        }
    }

    /// Keys beyond 4 GiB in all are not kept; their photos go unnamed.
    fn keep_key(&mut self, key: &str) -> Range<u32> {
        let start = self.keys.len() as u32;
        match u32::try_from(self.keys.len() + key.len()) {
            Ok(end) => {
                self.keys.push_str(key);
                start..end
            }
            Err(_) => start..start,
        }
    }

    fn key(&self, record: &Record) -> &str {
        self.keys
            .get(record.key.start as usize..record.key.end as usize)
            .unwrap_or_default()
    }
}
