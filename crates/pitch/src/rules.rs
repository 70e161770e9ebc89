//! Cricket rules: what the surface says of a pitch, added to what the classifier said.

use crate::analysis::{CrackSeverity, Cracks, FiredRule, MoistureLevel, PitchClass, Probabilities, Surface};

/// One line of the table.
struct Rule {
    name: &'static str,
    favours: PitchClass,
    /// Added to the probability of `favours`.
    amount: f64,
    when: fn(&Surface) -> bool,
    reason: fn(&Surface) -> String,
}

/// The rules, in the order in which they are reported.
const RULES: [Rule; 8] = [
    Rule {
        name: "heavy_grass",
        favours: PitchClass::Bowling,
        amount: 0.15,
        when: |s| s.grass.percent > 60.0,
        reason: |s| format!("Heavy grass ({:.2} %): bowling", s.grass.percent),
    },
    Rule {
        name: "moderate_grass",
        favours: PitchClass::Bowling,
        amount: 0.08,
        when: |s| s.grass.percent > 40.0 && s.grass.percent <= 60.0,
        reason: |s| format!("Moderate grass ({:.2} %): bowling", s.grass.percent),
    },
    Rule {
        name: "cracking",
        favours: PitchClass::Spin,
        amount: 0.20,
        when: |s| s.cracks.severity == CrackSeverity::High,
        reason: cracking,
    },
    Rule {
        name: "cracking",
        favours: PitchClass::Spin,
        amount: 0.12,
        when: |s| s.cracks.severity == CrackSeverity::Medium,
        reason: cracking,
    },
    Rule {
        name: "dry_and_bare",
        favours: PitchClass::Seam,
        amount: 0.15,
        when: |s| {
            matches!(s.moisture.level, MoistureLevel::Dry | MoistureLevel::SlightlyDamp)
                && s.grass.percent < 30.0
        },
        reason: |s| format!("{} with {:.2} % grass: seam", damp(s), s.grass.percent),
    },
    Rule {
        name: "sound_surface",
        favours: PitchClass::Batting,
        amount: 0.10,
        when: |s| {
            matches!(s.cracks.severity, CrackSeverity::None | CrackSeverity::Low)
                && s.grass.percent > 20.0
                && s.grass.percent < 50.0
        },
        reason: |s| {
            let Surface { grass, cracks, .. } = s;
            format!(
                "Sound surface (crack density {:.2} %) with {:.2} % grass: batting",
                cracks.density_percent, grass.percent
            )
        },
    },
    Rule {
        name: "dry_and_cracked",
        favours: PitchClass::Spin,
        amount: 0.15,
        when: |s| s.moisture.score < 30.0 && s.cracks.density_percent > 3.0,
        reason: |s| {
            let Surface { moisture, cracks, .. } = s;
            format!(
                "Dry (moisture score {:.2}) and cracked (density {:.2} %): spin",
                moisture.score, cracks.density_percent
            )
        },
    },
    Rule {
        name: "damp_and_grassy",
        favours: PitchClass::Bowling,
        amount: 0.12,
        when: |s| {
            matches!(s.moisture.level, MoistureLevel::Wet | MoistureLevel::Damp) && s.grass.percent > 50.0
        },
        reason: |s| format!("{} with {:.2} % grass: bowling", damp(s), s.grass.percent),
    },
];

/// Corrects what the classifier said by what the surface, as reported with two decimals, says. Gives the corrected
/// probabilities, which sum to 1 if `model` does, and the rules that fired.
pub fn apply(model: Probabilities, surface: &Surface) -> (Probabilities, Vec<FiredRule>) {
    let fired: Vec<&Rule> = RULES.iter().filter(|rule| (rule.when)(surface)).collect();
    let raised = PitchClass::ALL.iter().map(|&class| {
        let added: f64 = fired
            .iter()
            .filter(|rule| rule.favours == class)
            .map(|rule| rule.amount)
            .sum();
        model.of(class) + added
    });
    let sum: f64 = raised.clone().sum();
    let mut corrected = [0.0; 4];
    for (corrected, raised) in corrected.iter_mut().zip(raised) {
        *corrected = raised / sum;
    }
    let report = |rule: &&Rule| FiredRule {
        rule: rule.name.to_owned(),
        class: rule.favours,
        amount: rule.amount,
        reason: (rule.reason)(surface),
    };
    (
        Probabilities::from_array(corrected),
        fired.iter().map(report).collect(),
    )
}

fn cracking(surface: &Surface) -> String {
    let Cracks {
        density_percent,
        count,
        severity,
    } = surface.cracks;
    let severity = severity.name().to_lowercase();
    let plural = if count == 1 { "" } else { "s" };
    format!("Cracking is {severity} (density {density_percent:.2} %, {count} crack{plural}): spin")
}

/// The moisture level as it begins a sentence.
fn damp(surface: &Surface) -> &'static str {
    match surface.moisture.level {
        MoistureLevel::Dry => "Dry",
        MoistureLevel::SlightlyDamp => "Slightly damp",
        MoistureLevel::Damp => "Damp",
        MoistureLevel::Wet => "Wet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{
        Brightness, BrightnessLevel, Colour, ColourType, Grass, GrassLevel, Moisture, Texture, TextureType,
    };

    const EVEN: Probabilities = Probabilities::from_array([0.25; 4]);

    /// A surface on which no rule fires.
    fn plain() -> Surface {
        surface(15.0, CrackSeverity::Low, 1.0, MoistureLevel::Damp, 45.0)
    }

    fn surface(
        grass: f64,
        severity: CrackSeverity,
        density_percent: f64,
        level: MoistureLevel,
        score: f64,
    ) -> Surface {
        Surface {
            grass: Grass {
                percent: grass,
                level: GrassLevel::Low,
            },
            cracks: Cracks {
                density_percent,
                count: 6,
                severity,
            },
            moisture: Moisture {
                score,
                level,
                dark_percent: 0.0,
                mean_saturation: 0.0,
            },
            colour: Colour {
                mean_rgb: [0.0; 3],
                dominant_rgb: [0; 3],
                kind: ColourType::Mixed,
            },
            texture: Texture {
                laplacian_variance: 0.0,
                std_dev: 0.0,
                kind: TextureType::Smooth,
            },
            brightness: Brightness {
                mean: 0.0,
                level: BrightnessLevel::Dark,
            },
        }
    }

    fn fired(surface: &Surface) -> Vec<(String, f64)> {
        let (_, rules) = apply(EVEN, surface);
        rules.into_iter().map(|r| (r.rule, r.amount)).collect()
    }

    #[track_caller]
    fn check(change: impl Fn(&mut Surface), expected: &[(&str, f64)]) {
        let mut surface = plain();
        change(&mut surface);
        let expected: Vec<_> = expected
            .iter()
            .map(|&(name, amount)| (name.to_owned(), amount))
            .collect();
        assert_eq!(fired(&surface), expected);
    }

    #[test]
    fn grass_at_every_edge() {
        // Medium cracking keeps the batting rule out of the way.
        let grassy = |percent| {
            move |s: &mut Surface| {
                s.grass.percent = percent;
                s.cracks.severity = CrackSeverity::Medium;
            }
        };
        let cracking = ("cracking", 0.12);
        check(grassy(40.0), &[cracking]);
        check(grassy(40.01), &[("moderate_grass", 0.08), cracking]);
        check(grassy(50.0), &[("moderate_grass", 0.08), cracking]);
        check(
            grassy(50.01),
            &[("moderate_grass", 0.08), cracking, ("damp_and_grassy", 0.12)],
        );
        check(
            grassy(60.0),
            &[("moderate_grass", 0.08), cracking, ("damp_and_grassy", 0.12)],
        );
        check(
            grassy(60.01),
            &[("heavy_grass", 0.15), cracking, ("damp_and_grassy", 0.12)],
        );
    }

    #[test]
    fn cracking_by_severity() {
        for (severity, expected) in [
            (CrackSeverity::None, &[][..]),
            (CrackSeverity::Low, &[]),
            (CrackSeverity::Medium, &[("cracking", 0.12)]),
            (CrackSeverity::High, &[("cracking", 0.20)]),
        ] {
            check(|s| s.cracks.severity = severity, expected);
        }
    }

    #[test]
    fn dry_and_bare_at_every_edge() {
        for (level, dry) in [
            (MoistureLevel::Dry, true),
            (MoistureLevel::SlightlyDamp, true),
            (MoistureLevel::Damp, false),
            (MoistureLevel::Wet, false),
        ] {
            let bare = if dry { &[("dry_and_bare", 0.15)][..] } else { &[] };
            check(|s| s.moisture.level = level, bare);
            let at_the_edge = |percent| {
                move |s: &mut Surface| {
                    s.moisture.level = level;
                    s.grass.percent = percent;
                    s.cracks.severity = CrackSeverity::Medium;
                }
            };
            check(at_the_edge(30.0), &[("cracking", 0.12)]);
            let below: Vec<_> = [("cracking", 0.12)]
                .into_iter()
                .chain(bare.iter().copied())
                .collect();
            check(at_the_edge(29.99), &below);
        }
    }

    #[test]
    fn sound_surface_at_every_edge() {
        let sound = &[("sound_surface", 0.10)][..];
        check(|s| s.grass.percent = 20.0, &[]);
        check(|s| s.grass.percent = 20.01, sound);
        check(
            |s| s.grass.percent = 49.99,
            &[("moderate_grass", 0.08), ("sound_surface", 0.10)],
        );
        check(|s| s.grass.percent = 50.0, &[("moderate_grass", 0.08)]);
        check(
            |s| {
                s.grass.percent = 20.01;
                s.cracks.severity = CrackSeverity::None;
            },
            sound,
        );
    }

    #[test]
    fn dry_and_cracked_at_every_edge() {
        let both = |score, density| {
            move |s: &mut Surface| {
                s.moisture.score = score;
                s.cracks.density_percent = density;
            }
        };
        check(both(29.99, 3.01), &[("dry_and_cracked", 0.15)]);
        check(both(30.0, 3.01), &[]);
        check(both(29.99, 3.0), &[]);
    }

    #[test]
    fn damp_and_grassy_by_level() {
        for (level, expected) in [
            (MoistureLevel::Dry, &[("heavy_grass", 0.15)][..]),
            (MoistureLevel::SlightlyDamp, &[("heavy_grass", 0.15)]),
            (
                MoistureLevel::Damp,
                &[("heavy_grass", 0.15), ("damp_and_grassy", 0.12)],
            ),
            (
                MoistureLevel::Wet,
                &[("heavy_grass", 0.15), ("damp_and_grassy", 0.12)],
            ),
        ] {
            check(
                |s| {
                    s.grass.percent = 70.0;
                    s.moisture.level = level;
                },
                expected,
            );
        }
    }

    #[test]
    fn the_published_example() {
        // result.example.json of the schema, probabilities to three decimals.
        let model = Probabilities::from_array([0.41, 0.1, 0.13, 0.36]);
        let surface = surface(
            12.34,
            CrackSeverity::Medium,
            2.61,
            MoistureLevel::SlightlyDamp,
            37.2,
        );
        let (corrected, rules) = apply(model, &surface);
        let expected = [0.323, 0.079, 0.22, 0.378];
        for (found, expected) in corrected.to_array().into_iter().zip(expected) {
            assert!((found - expected).abs() < 5e-4);
        }
        assert_eq!(corrected.best(), PitchClass::Spin);
        let reasons: Vec<_> = rules.iter().map(|r| r.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "Cracking is medium (density 2.61 %, 6 cracks): spin",
                "Slightly damp with 12.34 % grass: seam"
            ]
        );
    }

    #[test]
    fn without_a_rule_nothing_changes() {
        let model = Probabilities::from_array([0.5, 0.125, 0.25, 0.125]);
        assert_eq!(apply(model, &plain()), (model, Vec::new()));
    }
}
