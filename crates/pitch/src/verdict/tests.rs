//! The verdict against numpy, scipy and pencil and paper.

use proptest::prelude::*;
use serde::Deserialize;

use super::statistics::{RobustScale, index_of_qualitative_variation, spread, theil_sen};
use super::*;
use crate::analysis::{
    Brightness, Classification, Colour, Cracks, Grass, Moisture, Probabilities, Surface, Texture,
};

#[derive(Deserialize)]
struct Golden {
    samples: Vec<Sample>,
    series: Vec<Series>,
    variation: Vec<Variation>,
}

#[derive(Deserialize)]
struct Sample {
    hundredths: Vec<u32>,
    spread: GoldenSpread,
    modified_z: Option<Vec<f64>>,
}

#[derive(Deserialize)]
struct GoldenSpread {
    min: f64,
    q1: f64,
    median: f64,
    q3: f64,
    max: f64,
}

#[derive(Deserialize)]
struct Series {
    hours: Vec<f64>,
    values: Vec<f64>,
    slope: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Variation {
    counts: [u64; 4],
    index: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/verdict/statistics.json")).unwrap()
}

fn close(ours: f64, theirs: f64, tolerance: f64) {
    assert!((ours - theirs).abs() <= tolerance, "{ours} is not {theirs}");
}

#[test]
fn quantiles_are_numpys() {
    for sample in golden().samples {
        let mut sorted = sample.hundredths;
        sorted.sort_unstable();
        let ours = spread(&sorted);
        // Ours are rounded to four decimals.
        close(ours.min, sample.spread.min, 5.1e-5);
        close(ours.q1, sample.spread.q1, 5.1e-5);
        close(ours.median, sample.spread.median, 1e-9);
        close(ours.q3, sample.spread.q3, 5.1e-5);
        close(ours.max, sample.spread.max, 5.1e-5);
    }
}

#[test]
fn modified_z_scores_are_scipys() {
    for sample in golden().samples {
        let mut sorted = sample.hundredths.clone();
        sorted.sort_unstable();
        let scale = RobustScale::of(&sorted);
        assert_eq!(scale.is_some(), sample.modified_z.is_some());
        if let (Some(scale), Some(scores)) = (scale, sample.modified_z) {
            for (&value, theirs) in sample.hundredths.iter().zip(scores) {
                close(scale.score(f64::from(value) / 100.0), theirs, 1e-9);
            }
        }
    }
}

#[test]
fn slopes_and_their_intervals_are_scipys() {
    for series in golden().series {
        let points: Vec<(f64, f64)> = series.hours.into_iter().zip(series.values).collect();
        let ours = theil_sen(&points).unwrap();
        close(ours.median, series.slope, 1e-9);
        close(ours.low, series.low, 1e-9);
        close(ours.high, series.high, 1e-9);
    }
}

#[test]
fn qualitative_variation_is_by_definition() {
    for variation in golden().variation {
        close(
            index_of_qualitative_variation(variation.counts),
            variation.index,
            1e-12,
        );
    }
}

#[test]
fn a_slope_needs_two_times() {
    assert_eq!(theil_sen(&[]), None);
    assert_eq!(theil_sen(&[(1.0, 2.0), (1.0, 3.0)]), None);
}

/// A photo of the tests.
#[derive(Clone, Debug)]
struct Photo {
    index: u64,
    group: Option<&'static str>,
    taken_at: Option<String>,
    confidence: Option<f64>,
    surface: Surface,
    classification: Classification,
}

fn surface(grass: f64, density: f64, moisture: f64) -> Surface {
    Surface {
        grass: Grass {
            percent: grass,
            level: GrassLevel::Low,
        },
        cracks: Cracks {
            density_percent: density,
            count: density as usize,
            severity: CrackSeverity::Low,
        },
        moisture: Moisture {
            score: moisture,
            level: MoistureLevel::Dry,
            dark_percent: 5.0,
            mean_saturation: 70.0,
        },
        colour: Colour {
            mean_rgb: [170.0, 150.0, 90.0],
            dominant_rgb: [170, 150, 90],
            kind: ColourType::BrownRed,
        },
        texture: Texture {
            laplacian_variance: 600.0,
            std_dev: 30.0,
            kind: TextureType::Rough,
        },
        brightness: Brightness {
            mean: 147.0,
            level: BrightnessLevel::Bright,
        },
    }
}

fn classification(probabilities: [f64; 4]) -> Classification {
    Classification {
        model: Probabilities::from_array([0.25; 4]).into(),
        corrected: Probabilities::from_array(probabilities).into(),
        rules: vec![],
    }
}

fn photo(index: u64, confidence: Option<f64>, probabilities: [f64; 4]) -> Photo {
    Photo {
        index,
        group: None,
        taken_at: None,
        confidence,
        surface: surface(12.0, 1.0, 20.0),
        classification: classification(probabilities),
    }
}

fn verdict<'a>(photos: impl IntoIterator<Item = &'a Photo>) -> Verdict {
    let mut builder = VerdictBuilder::new();
    for photo in photos {
        let key = format!("day/{}.jpg", photo.index);
        builder.add(&Observation {
            index: photo.index,
            key: &key,
            group: photo.group,
            taken_at: photo.taken_at.as_deref(),
            detection_confidence: photo.confidence,
            surface: &photo.surface,
            classification: &photo.classification,
        });
    }
    builder.finish()
}

#[test]
fn detected_photos_weigh_by_their_confidence() {
    let photos = [
        photo(0, Some(0.9), [0.7, 0.1, 0.1, 0.1]),
        photo(1, Some(0.6), [0.1, 0.1, 0.1, 0.7]),
        photo(2, None, [0.0, 0.0, 0.0, 1.0]),
    ];
    let batch = verdict(&photos).batch;
    let consensus = batch.consensus.unwrap();
    assert_eq!(consensus.basis, Basis::DetectedPitches);
    assert_eq!(consensus.photos, 2);
    assert_eq!(consensus.corrected.class, PitchClass::Batting);
    // (0.9 * 0.7 + 0.6 * 0.1) / 1.5 and (0.9 * 0.1 + 0.6 * 0.7) / 1.5
    assert_eq!(
        consensus.corrected.probabilities.to_array(),
        [0.46, 0.1, 0.1, 0.34]
    );
    assert_eq!(batch.counts.without_detected_pitch, 1);
    let agreement = batch.agreement.unwrap();
    assert_eq!(agreement.share, 0.5);
    // 4/3 * (1 - 2 * 0.25)
    assert_eq!(agreement.index_of_qualitative_variation, 0.666667);
}

#[test]
fn without_any_detection_all_photos_weigh_the_same() {
    let photos = [
        photo(0, None, [0.7, 0.1, 0.1, 0.1]),
        photo(1, None, [0.1, 0.1, 0.1, 0.7]),
        photo(2, None, [0.1, 0.1, 0.1, 0.7]),
    ];
    let consensus = verdict(&photos).batch.consensus.unwrap();
    assert_eq!(consensus.basis, Basis::AllAnalysed);
    assert_eq!(consensus.corrected.probabilities.to_array(), [0.3, 0.1, 0.1, 0.5]);
}

#[test]
fn a_lone_photo_of_no_confidence_still_counts() {
    let consensus = verdict(&[photo(0, Some(0.0), [0.1, 0.1, 0.7, 0.1])])
        .batch
        .consensus
        .unwrap();
    assert_eq!(consensus.corrected.class, PitchClass::Seam);
}

#[test]
fn only_failures_give_counts_and_nothing_else() {
    let mut builder = VerdictBuilder::new();
    builder.add_failure(Some("north"), "truncated");
    builder.add_failure(None, "truncated");
    builder.add_failure(None, "too_large");
    let verdict = builder.finish();
    assert_eq!(verdict.batch.counts.failed, 3);
    assert_eq!(verdict.batch.counts.failures["truncated"], 2);
    assert_eq!(verdict.groups[0].summary.counts.photos, 1);
    assert!(verdict.batch.consensus.is_none() && verdict.batch.advice.is_none());
}

#[test]
fn a_cracked_photo_among_sound_ones_is_named() {
    let mut photos: Vec<Photo> = (0..6)
        .map(|i| photo(i, Some(0.9), [0.7, 0.1, 0.1, 0.1]))
        .collect();
    for (photo, density) in photos.iter_mut().zip([1.0, 1.1, 0.9, 1.2, 0.8, 6.0]) {
        photo.surface.cracks.density_percent = density;
    }
    let outliers = verdict(&photos).batch.outliers;
    // Median 1.05, deviations 0.05 0.05 0.15 0.15 0.25 4.95, their median 0.15: 0.6745 * 4.95 / 0.15.
    let expected = Outlier {
        index: 5,
        key: "day/5.jpg".to_owned(),
        feature: Feature::CrackDensityPercent,
        value: 6.0,
        median: 1.05,
        score: 22.26,
    };
    assert_eq!(outliers.listed, [expected]);
    assert_eq!(outliers.total, 1);
    // Four photos are too few to call one of them odd.
    assert_eq!(verdict(&photos[2..]).batch.outliers, Outliers::default());
}

#[test]
fn the_day_dries_the_pitch() {
    let photos: Vec<Photo> = (0..5)
        .map(|i| {
            let mut photo = photo(i, Some(0.9), [0.7, 0.1, 0.1, 0.1]);
            photo.taken_at = (i < 4).then(|| format!("2026-06-14T{:02}:30:00", 10 + i));
            photo.surface = surface(20.0, 1.0 + 0.5 * i as f64, 60.0 - 5.0 * i as f64);
            photo
        })
        .collect();
    let timeline = verdict(photos.iter().rev()).batch.timeline.unwrap();
    assert_eq!((timeline.timed_photos, timeline.untimed_photos), (4, 1));
    assert_eq!(timeline.bucket_seconds, None);
    assert_eq!(timeline.points[0].at, "2026-06-14T10:30:00");
    let trends = timeline.trends.unwrap();
    assert_eq!(trends.moisture_score.per_hour, -5.0);
    assert_eq!(trends.crack_density_percent.per_hour, 0.5);
    assert_eq!(trends.grass_percent.per_hour, 0.0);
    assert!(trends.moisture_score.is_clear() && !trends.grass_percent.is_clear());
}

#[test]
fn long_series_are_gathered_into_buckets() {
    let photos: Vec<Photo> = (0..1000)
        .map(|i| {
            let mut photo = photo(i, Some(0.9), [0.7, 0.1, 0.1, 0.1]);
            let minutes = i / 2;
            photo.taken_at = Some(format!(
                "2026-06-14T{:02}:{:02}:00",
                9 + minutes / 60,
                minutes % 60
            ));
            photo
        })
        .collect();
    let timeline = verdict(&photos).batch.timeline.unwrap();
    assert_eq!(timeline.bucket_seconds, Some(300));
    assert_eq!(timeline.points.len(), 100);
    assert_eq!(timeline.points[1].at, "2026-06-14T09:05:00");
    assert!(timeline.points.iter().all(|p| p.photos == 10));
}

#[test]
fn levels_and_advice_follow_the_medians() {
    let mut photos: Vec<Photo> = (0..3)
        .map(|i| photo(i, Some(0.5), [0.1, 0.1, 0.1, 0.7]))
        .collect();
    for (photo, (grass, density)) in photos.iter_mut().zip([(5.0, 2.5), (55.0, 3.0), (70.0, 0.1)]) {
        photo.surface.grass.percent = grass;
        photo.surface.cracks.density_percent = density;
    }
    let batch = verdict(&photos).batch;
    let levels = batch.levels.unwrap();
    assert_eq!(levels.grass, GrassLevel::Medium);
    assert_eq!(levels.cracks, CrackSeverity::Medium);
    assert_eq!(levels.colour, ColourType::BrownRed);
    let advice = batch.advice.unwrap();
    assert!(advice.toss.contains("bat first"));
    assert!(advice.key_factors.iter().any(|f| f.contains("bounce variable")));
}

#[test]
fn a_median_between_two_counts_passes_a_threshold() {
    let mut photos = [1, 2].map(|i| photo(i, Some(0.9), [0.7, 0.1, 0.1, 0.1]));
    photos[0].surface.cracks.count = 10;
    photos[1].surface.cracks.count = 11;
    assert_eq!(
        verdict(&photos).batch.levels.unwrap().cracks,
        CrackSeverity::Medium
    );
    photos[1].surface.cracks.count = 10;
    assert_eq!(verdict(&photos).batch.levels.unwrap().cracks, CrackSeverity::Low);
}

prop_compose! {
    fn any_photo()(
        group in prop_oneof![Just(None), Just(Some("north")), Just(Some("south"))],
        minute in prop_oneof![Just(None), (0u32..1440).prop_map(Some), Just(Some(99_999))],
        confidence in proptest::option::of(0.0..=1.0f64),
        weights in proptest::array::uniform4(0.001..1.0f64),
        (grass, density, moisture) in (0.0..=100.0f64, 0.0..=100.0f64, 0.0..=100.0f64),
    ) -> Photo {
        let sum: f64 = weights.iter().sum();
        Photo {
            index: 0,
            group,
            // Minute 99,999 is a time of day that does not exist.
            taken_at: minute.map(|m| format!("2026-06-14T{:02}:{:02}:00", m / 60, m % 60)),
            confidence,
            surface: surface(grass, density, moisture),
            classification: classification(weights.map(|w| w / sum)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_photos_changes_nothing(
        (sorted, shuffled) in proptest::collection::vec(any_photo(), 0..200)
            .prop_map(|mut photos| {
                for (index, photo) in photos.iter_mut().enumerate() {
                    photo.index = index as u64;
                }
                photos
            })
            .prop_flat_map(|photos| (Just(photos.clone()), Just(photos).prop_shuffle())),
    ) {
        let verdict_in_order = verdict(&sorted);
        prop_assert_eq!(&verdict_in_order, &verdict(&shuffled));

        let json = serde_json::to_string(&verdict_in_order).unwrap();
        prop_assert_eq!(&verdict_in_order, &serde_json::from_str::<Verdict>(&json).unwrap());

        let batch = &verdict_in_order.batch;
        prop_assert_eq!(batch.counts.photos, sorted.len() as u64);
        if let Some(consensus) = &batch.consensus {
            let sum: f64 = consensus.corrected.probabilities.to_array().iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
        for spread in batch.features.iter().flat_map(|features| features.values()) {
            prop_assert!(spread.min <= spread.q1 && spread.q1 <= spread.median);
            prop_assert!(spread.median <= spread.q3 && spread.q3 <= spread.max);
        }
        if let Some(timeline) = &batch.timeline {
            prop_assert!(timeline.points.len() <= MAX_POINTS);
            prop_assert!(timeline.points.is_sorted_by_key(|point| &point.at));
        }
    }
}
