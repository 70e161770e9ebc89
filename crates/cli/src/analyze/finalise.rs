//! The documents of a batch, from the results in its folder: one pass for the tables and the verdict, one for the page.

use std::io;
use std::iter;
use std::time::SystemTime;

use engine::bundle::Bundle;
use fleet::layout;
use fleet::manifest::Manifest;
use fleet::result::PhotoResult;
use pitch::verdict::{Verdict, VerdictBuilder};
use report::{About, Document, ExportFormat, ReportError, Setting};

use super::summary::Failures;
use super::{batch, plan};
use crate::exit::Fatal;
use crate::out_dir::{OutDir, Partial};

/// Name of the page in the report folder.
pub(super) const PAGE: &str = ExportFormat::Html.file_name();
/// Bytes of a document that wait in memory before they go to a temporary file.
const SCRATCH: usize = 1 << 20;

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
    let about = about(manifest, bundle, wall_seconds);
    let mut setting = Setting {
        about: &about,
        verdict: None,
    };
    let (second, first): (Vec<_>, Vec<_>) = ExportFormat::ALL
        .into_iter()
        .filter(|&format| format != ExportFormat::Verdict)
        .partition(|format| format.needs_verdict());

    let mut builder = VerdictBuilder::new();
    let mut failures = Failures::default();
    let noted = results(out).inspect(|result| {
        report::observe(&mut builder, result);
        failures.note(result);
    });
    write(out, &first, setting, noted)?;

    let verdict = builder.finish();
    setting.verdict = Some(&verdict);
    write(out, &[ExportFormat::Verdict], setting, iter::empty())?;
    write(out, &second, setting, results(out))?;
    Ok((verdict, failures))
}

/// Writes documents in one pass over `results`.
fn write(
    out: &OutDir,
    formats: &[ExportFormat],
    setting: Setting<'_>,
    results: impl Iterator<Item = PhotoResult>,
) -> Result<(), Fatal> {
    let mut files = Vec::with_capacity(formats.len());
    for format in formats {
        files.push(out.create(&layout::report_key(format.file_name()))?);
    }
    if let Err((place, error)) = fill(&mut files, out, formats, setting, results) {
        let error = match error {
            ReportError::Write(error) => error,
            error => io::Error::other(error.to_string()),
        };
        return Err(files.swap_remove(place).fault(error).into());
    }
    for file in files {
        file.commit()?;
    }
    Ok(())
}

/// An error comes with the place of the document that failed.
fn fill(
    files: &mut [Partial],
    out: &OutDir,
    formats: &[ExportFormat],
    setting: Setting<'_>,
    results: impl Iterator<Item = PhotoResult>,
) -> Result<(), (usize, ReportError)> {
    let at = |place| move |error| (place, error);
    let mut documents = Vec::with_capacity(formats.len());
    for (place, (&format, file)) in formats.iter().zip(files).enumerate() {
        let scratch = tempfile::spooled_tempfile_in(SCRATCH, out.root());
        documents.push(Document::begin(format, file, scratch, setting).map_err(at(place))?);
    }
    for result in results {
        for (place, document) in documents.iter_mut().enumerate() {
            document.add(&result).map_err(at(place))?;
        }
    }
    for (place, document) in documents.into_iter().enumerate() {
        document.finish().map_err(at(place))?;
    }
    Ok(())
}

/// The results that are there, in the order of the listing.
fn results(out: &OutDir) -> impl Iterator<Item = PhotoResult> {
    plan::items(out).filter_map(|item| plan::read_result(out, &item))
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
