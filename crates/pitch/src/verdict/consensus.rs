//! The class that a scope's photos agree on, from integer sums.

use std::collections::BTreeMap;

use super::statistics::{index_of_qualitative_variation, rounded};
use super::{Agreement, Basis, Consensus};
use crate::analysis::{ClassScores, Classification, PitchClass, Probabilities};

/// Probabilities and weights are summed in billionths, so that no order of photos changes a sum.
const BILLION: f64 = 1e9;

/// Sums over photos of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassSums {
    photos: u64,
    weight: u128,
    model: [u128; 4],
    corrected: [u128; 4],
    classes: [u64; 4],
    rules: BTreeMap<String, u64>,
}

impl ClassSums {
    /// Adds a photo with a weight of 0..=1.
    pub(super) fn add(&mut self, weight: f64, classification: &Classification) {
        // A weight of nothing would leave a lone photo without a consensus.
        let weight = billionths(weight).max(1);
        self.photos += 1;
        self.weight += weight;
        add_weighted(&mut self.model, weight, classification.model.probabilities);
        add_weighted(
            &mut self.corrected,
            weight,
            classification.corrected.probabilities,
        );
        self.classes[classification.corrected.class as usize] += 1;
        for fired in &classification.rules {
            match self.rules.get_mut(&fired.rule) {
                Some(count) => *count += 1,
                None => {
                    self.rules.insert(fired.rule.clone(), 1);
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.photos += other.photos;
        self.weight += other.weight;
        for class in 0..4 {
            self.model[class] += other.model[class];
            self.corrected[class] += other.corrected[class];
            self.classes[class] += other.classes[class];
        }
        for (rule, count) in &other.rules {
            *self.rules.entry(rule.clone()).or_default() += count;
        }
    }

    pub(super) const fn photos(&self) -> u64 {
        self.photos
    }

    /// `None` without photos.
    pub(super) fn consensus(&self, basis: Basis) -> Option<(Consensus, Agreement)> {
        if self.photos == 0 {
            return None;
        }
        let mean = |sums: [u128; 4]| {
            ClassScores::from(Probabilities::from_array(
                sums.map(|sum| rounded(sum as f64 / self.weight as f64 / BILLION, 6)),
            ))
        };
        let consensus = Consensus {
            basis,
            photos: self.photos,
            model: mean(self.model),
            corrected: mean(self.corrected),
            rules: self.rules.clone(),
        };
        let agreeing = self.classes[consensus.corrected.class as usize];
        let agreement = Agreement {
            share: rounded(agreeing as f64 / self.photos as f64, 6),
            index_of_qualitative_variation: rounded(index_of_qualitative_variation(self.classes), 6),
            classes: PitchClass::ALL
                .iter()
                .map(|&class| (class, self.classes[class as usize]))
                .collect(),
        };
        Some((consensus, agreement))
    }
}

fn add_weighted(sums: &mut [u128; 4], weight: u128, probabilities: Probabilities) {
    for (sum, probability) in sums.iter_mut().zip(probabilities.to_array()) {
        *sum += weight * billionths(probability);
    }
}

fn billionths(share: f64) -> u128 {
    (share.clamp(0.0, 1.0) * BILLION).round() as u128
}
