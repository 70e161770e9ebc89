//! The documents of a batch, from the results in its folder: one pass for the tables and the verdict, one for the page.

use std::io;
use std::time::SystemTime;

use engine::bundle::Bundle;
use fleet::layout;
use fleet::manifest::Manifest;
use fleet::result::PhotoResult;
use pitch::verdict::{Verdict, VerdictBuilder};
use report::{About, HtmlReport, ReportError, ResultsNdjson, SummaryCsv};

use super::summary::Failures;
use super::{batch, plan};
use crate::exit::Fatal;
use crate::out_dir::{OutDir, Partial};

/// Name of the page in the report folder.
pub(super) const PAGE: &str = "report.html";

/// Writes the report of the results that are there.
///
/// # Errors
/// When the output cannot be written; documents that were begun leave nothing.
pub(super) fn finalise(
    out: &OutDir,
    manifest: &Manifest,
    bundle: &Bundle,
    wall_seconds: f64,
) -> Result<(Verdict, Failures), Fatal> {
    let mut builder = VerdictBuilder::new();
    let mut failures = Failures::default();
    let mut csv_file = out.create(&layout::report_key("summary.csv"))?;
    let mut ndjson_file = out.create(&layout::report_key("results.ndjson"))?;
    let mut csv = SummaryCsv::new(&mut csv_file);
    let mut ndjson = ResultsNdjson::new(&mut ndjson_file);
    let mut faults = (None, None);
    for result in results(out) {
        report::observe(&mut builder, &result);
        failures.note(&result);
        faults = (csv.add(&result).err(), ndjson.add(&result).err());
        if faults.0.is_some() || faults.1.is_some() {
            break;
        }
    }
    let csv_fault = faults.0.or_else(|| csv.finish().err());
    let ndjson_fault = faults.1.or_else(|| ndjson.finish().err());
    end(csv_file, csv_fault)?;
    end(ndjson_file, ndjson_fault)?;

    let verdict = builder.finish();
    let mut text = serde_json::to_vec_pretty(&verdict).map_err(|error| Fatal::output(error.to_string()))?;
    text.push(b'\n');
    out.write(&layout::report_key("verdict.json"), &text)?;

    let mut page_file = out.create(&layout::report_key(PAGE))?;
    let written = page(
        &mut page_file,
        out,
        about(manifest, bundle, wall_seconds),
        &verdict,
    );
    end(page_file, written.err())?;
    Ok((verdict, failures))
}

/// The results that are there, in the order of the listing.
fn results(out: &OutDir) -> impl Iterator<Item = PhotoResult> {
    plan::items(out).filter_map(|item| plan::read_result(out, &item))
}

fn page(file: &mut Partial, out: &OutDir, about: About, verdict: &Verdict) -> Result<(), ReportError> {
    let mut page = HtmlReport::begin(file, about, verdict)?;
    for result in results(out) {
        page.add(&result)?;
    }
    page.finish()?;
    Ok(())
}

fn end(mut file: Partial, fault: Option<ReportError>) -> Result<(), Fatal> {
    match fault {
        None => Ok(file.commit()?),
        Some(error) => Err(file.fault(io::Error::other(error.to_string())).into()),
    }
}

fn about(manifest: &Manifest, bundle: &Bundle, wall_seconds: f64) -> About {
    let models = bundle.manifest();
    let mut licences = vec![
        models.detector.licence.as_str(),
        models.classifier.licence.as_str(),
    ];
    licences.dedup();
    let mut note = format!("Licence of the models: {}.", licences.join(", "));
    if models.name == crate::bundles::DEFAULT {
        note.push_str(
            " They are demonstration models, trained on rendered pictures: they show that the machinery works, and are \
             not a groundsman's opinion.",
        );
    }
    About {
        title: manifest.source.title(),
        batch: manifest.id.clone(),
        created_at: batch::rfc3339(SystemTime::now()),
        program: format!("pitchfleet {}", manifest.program),
        bundle: format!("{} {}", models.name, models.version),
        bundle_note: note,
        wall_seconds: Some(wall_seconds),
        root: "..".to_owned(),
    }
}
