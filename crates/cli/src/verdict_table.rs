//! The verdict of a set as a table.

use pitch::verdict::{Summary, Verdict};

use crate::path_key::printable;
use crate::table;

/// A row a group, and one for all of it where there are several.
pub(crate) fn of(verdict: &Verdict) -> comfy_table::Table {
    let mut rows = table::new(&[
        "group",
        "photos",
        "failed",
        "favours",
        "confidence",
        "agreement",
        "grass",
        "cracks",
        "moisture",
    ]);
    for group in &verdict.groups {
        rows.add_row(row(&printable(&group.name), &group.summary));
    }
    if verdict.groups.len() != 1 {
        rows.add_row(row("all", &verdict.batch));
    }
    table::align_numbers(&mut rows, &[1, 2, 4, 5]);
    rows
}

fn row(name: &str, summary: &Summary) -> Vec<String> {
    let counts = &summary.counts;
    let mut row = vec![
        name.to_owned(),
        counts.photos.to_string(),
        counts.failed.to_string(),
    ];
    match (&summary.consensus, &summary.agreement, &summary.levels) {
        (Some(consensus), Some(agreement), Some(levels)) => row.extend([
            consensus.corrected.class.name().replace("_friendly", ""),
            format!("{:.0} %", consensus.corrected.confidence * 100.0),
            format!("{:.0} %", agreement.share * 100.0),
            levels.grass.name().to_owned(),
            levels.cracks.name().to_owned(),
            levels.moisture.name().to_owned(),
        ]),
        _ => row.push("nothing analysed".to_owned()),
    }
    row
}
