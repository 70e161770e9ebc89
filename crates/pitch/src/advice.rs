//! What a predicted class means for a captain.

use crate::analysis::{Advice, CrackSeverity, PitchClass, Surface};

/// One line of the table.
struct Plan {
    toss: &'static str,
    batting: &'static [&'static str],
    bowling: &'static [&'static str],
    team: &'static [&'static str],
    key_factors: &'static [&'static str],
}

const fn plan(class: PitchClass) -> Plan {
    match class {
        PitchClass::Batting => Plan {
            toss: "Win the toss and bat first",
            batting: &[
                "Play yourself in, then score freely through the line",
                "Aim for a large first-innings total",
            ],
            bowling: &[
                "Bowl straight, to a ring field, and wait for mistakes",
                "Change pace and angle often; cutters and slower balls",
            ],
            team: &[
                "Pick the extra batter",
                "Bowlers with control and variations over raw movement",
            ],
            key_factors: &["True bounce and pace", "Runs on the board"],
        },
        PitchClass::Bowling => Plan {
            toss: "Win the toss and bowl first",
            batting: &[
                "Leave on length and play late",
                "See off the new ball; early wickets cost most",
            ],
            bowling: &[
                "Attack with slips and a full length while the ball is new",
                "Fast bowlers in short spells",
            ],
            team: &["Pick the extra fast bowler", "Openers with a sound defence"],
            key_factors: &["The first hour", "Use of the new ball"],
        },
        PitchClass::Seam => Plan {
            toss: "Win the toss and bowl first, unless it will break up later",
            batting: &[
                "Play close to the body, with soft hands",
                "Bat outside the crease to cover the movement",
            ],
            bowling: &[
                "Hit the deck on a good length outside off stump, seam upright",
                "Keep the cordon in; bowl in partnerships",
            ],
            team: &[
                "Three or four seamers who hit the seam",
                "A seam-bowling all-rounder before a second spinner",
            ],
            key_factors: &["Movement off the pitch", "Discipline of line and length"],
        },
        PitchClass::Spin => Plan {
            toss: "Win the toss and bat first, before it turns more",
            batting: &[
                "Use the feet and sweep; play with the turn",
                "Make runs against the new ball",
            ],
            bowling: &[
                "Bring the spinners on early, with catchers around the bat",
                "Seamers reverse the old ball and use cutters",
            ],
            team: &[
                "Two or three spinners, turning both ways",
                "Batters who play spin well, and a good wicketkeeper standing up",
            ],
            key_factors: &["Turn, growing through the match", "Batting last is hard"],
        },
    }
}

/// The advice for a pitch of `class` with this surface.
pub fn advise(class: PitchClass, surface: &Surface) -> Advice {
    let owned = |phrases: &[&str]| phrases.iter().map(|&p| p.to_owned()).collect();
    let Plan {
        toss,
        batting,
        bowling,
        team,
        key_factors,
    } = plan(class);
    let mut key_factors: Vec<String> = owned(key_factors);
    if surface.grass.percent > 50.0 {
        key_factors.push("Grass cover gives the bowlers an advantage".to_owned());
    }
    if matches!(
        surface.cracks.severity,
        CrackSeverity::Medium | CrackSeverity::High
    ) {
        key_factors.push("Cracks make the bounce variable".to_owned());
    }
    Advice {
        toss: toss.to_owned(),
        batting: owned(batting),
        bowling: owned(bowling),
        team: owned(team),
        key_factors,
    }
}
