//! The documents of a batch: results stream from the bucket through `report` into temporary files, and those into the
//! bucket. Memory does not grow with the batch.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek};
use std::sync::Arc;

use fleet::batch::Counts;
use fleet::failure::FailureCode;
use fleet::layout::BatchKeys;
use fleet::manifest::Manifest;
use fleet::result::{Outcome, PhotoRecord, PhotoResult, RESULT_SCHEMA};
use futures_util::{StreamExt, TryStreamExt, stream};
use pitch::verdict::{Verdict, VerdictBuilder};
use report::{About, Document, ExportFormat, ReportError, Setting};
use roaring::RoaringBitmap;
use store::Store;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::trouble::Trouble;
use crate::census::Census;
use crate::clock::rfc3339;
use crate::objects;
use crate::shared::Shared;

/// Results fetched at the same time.
const FETCHES: usize = 16;
/// Results on their way to the writer.
const BACKLOG: usize = 32;
/// Bytes of a document that travel together.
const CHUNK: usize = 256 * 1024;

/// Writes every document over the results of `census` to the batch's report folder, and tells how they ended.
pub(super) async fn write(
    shared: &Shared,
    keys: &BatchKeys,
    manifest: &Manifest,
    census: &Census,
) -> Result<Counts, Trouble> {
    let home = shared.buckets.home();
    let written = collect(shared, keys, manifest, census, &ExportFormat::ALL).await?;
    for (format, file) in written.documents {
        let content = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK);
        home.put_stream(
            &keys.report(format.file_name()),
            content.boxed(),
            format.media_type(),
        )
        .await?;
    }
    mend_markers(home, keys, &written.failed, census).await?;
    let failed = written.failed.len();
    Ok(Counts {
        photos: 0,
        ok: written.results - failed,
        failed,
    })
}

/// One document over the results of `census`, in a temporary file: what there is while the batch runs.
pub(crate) async fn partial(
    shared: &Shared,
    keys: &BatchKeys,
    manifest: &Manifest,
    census: &Census,
    format: ExportFormat,
) -> Result<File, Trouble> {
    // The second pass reads the lines that the first one left.
    let both = [ExportFormat::Ndjson, format];
    let formats = if format.needs_verdict() {
        &both[..]
    } else {
        &both[1..]
    };
    let written = collect(shared, keys, manifest, census, formats).await?;
    let found = written.documents.into_iter().find(|(of, _)| *of == format);
    found
        .map(|(_, file)| file)
        .ok_or(Trouble::Report(ReportError::NoVerdict(format)))
}

/// Passes over the results of `census` and writes `formats` into temporary files.
async fn collect(
    shared: &Shared,
    keys: &BatchKeys,
    manifest: &Manifest,
    census: &Census,
    formats: &[ExportFormat],
) -> Result<Written, Trouble> {
    // Nobody closes the semaphore; without a permit the only harm is more memory.
    let _permit = shared.coordinator.documents.acquire().await.ok();
    let home = shared.buckets.home();
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let about = about(manifest, shared.clock.now_ms());
    let writer = tokio::task::spawn_blocking({
        let (batch, digest) = (manifest.id.clone(), manifest.digest.clone());
        let unreadable = move |index, error: serde_json::Error| unreadable(&batch, &digest, index, &error);
        let formats = formats.to_vec();
        move || pages(receiver, &about, &formats, unreadable)
    });
    let fetch = async {
        let mut results = stream::iter(&census.done)
            .map(|index| async move {
                let bytes = objects::read_bytes(home, &keys.result(index.into())).await?;
                Ok::<_, Trouble>(bytes.map(|bytes| (index, bytes)))
            })
            .buffered(FETCHES);
        while let Some(result) = results.try_next().await? {
            // The writer stops early only when it failed, and says so itself.
            if let Some(result) = result
                && sender.send(result).await.is_err()
            {
                break;
            }
        }
        drop(sender);
        Ok::<_, Trouble>(())
    };
    fetch.await?;
    writer
        .await
        .map_err(|error| Trouble::Disk(io::Error::other(error)))?
}

/// A failed result without a marker would be counted as a good one, and no retry would find it; a marker beside a good
/// one, the other way round. Jobs that came twice leave such.
async fn mend_markers(
    home: &Arc<dyn Store>,
    keys: &BatchKeys,
    failed: &RoaringBitmap,
    census: &Census,
) -> Result<(), Trouble> {
    for index in failed - &census.failed {
        let failure = FailureCode::GaveUp.failure("The photo's result says why it failed.");
        objects::write(home, &keys.failure(index.into()), &failure).await?;
    }
    for index in (&census.failed & &census.done) - failed {
        home.delete(&keys.failure(index.into())).await?;
    }
    Ok(())
}

/// What a pass over the results left.
struct Written {
    documents: Vec<(ExportFormat, File)>,
    results: u64,
    failed: RoaringBitmap,
}

type Pages = Document<BufWriter<File>, File>;

fn begin(format: ExportFormat, about: &About, verdict: Option<&Verdict>) -> Result<Pages, Trouble> {
    let out = BufWriter::new(tempfile::tempfile().map_err(Trouble::Disk)?);
    let scratch = tempfile::tempfile().map_err(Trouble::Disk)?;
    Ok(Document::begin(format, out, scratch, Setting { about, verdict })?)
}

fn end(document: Pages) -> Result<File, Trouble> {
    let out = document.finish()?;
    let mut file = out
        .into_inner()
        .map_err(|error| Trouble::Disk(error.into_error()))?;
    file.rewind().map_err(Trouble::Disk)?;
    Ok(file)
}

/// Takes the results as they come, in order. What needs the verdict is written in a second pass, over the lines that
/// the first one left.
fn pages(
    mut results: mpsc::Receiver<(u32, Vec<u8>)>,
    about: &About,
    formats: &[ExportFormat],
    unreadable: impl Fn(u32, serde_json::Error) -> PhotoResult,
) -> Result<Written, Trouble> {
    let first_pass = |format: &ExportFormat| !format.needs_verdict() && *format != ExportFormat::Verdict;
    let (first, second): (Vec<_>, Vec<_>) = formats.iter().copied().partition(first_pass);
    let mut open = Vec::new();
    for format in first {
        open.push((format, begin(format, about, None)?));
    }
    let mut verdict = VerdictBuilder::new();
    let mut written = Written {
        documents: Vec::new(),
        results: 0,
        failed: RoaringBitmap::new(),
    };
    while let Some((index, bytes)) = results.blocking_recv() {
        let result: PhotoResult =
            serde_json::from_slice(&bytes).unwrap_or_else(|error| unreadable(index, error));
        written.results += 1;
        if result.outcome == Outcome::Failed {
            written.failed.insert(index);
        }
        report::observe(&mut verdict, &result);
        for (_, document) in &mut open {
            document.add(&result)?;
        }
    }
    for (format, document) in open {
        written.documents.push((format, end(document)?));
    }
    let verdict = verdict.finish();
    for format in second {
        let mut document = begin(format, about, Some(&verdict))?;
        if format.needs_verdict() {
            for_each_line(&mut written.documents, |result| Ok(document.add(&result)?))?;
        }
        written.documents.push((format, end(document)?));
    }
    Ok(written)
}

/// Reads `results.ndjson` once more.
fn for_each_line(
    documents: &mut [(ExportFormat, File)],
    mut take: impl FnMut(PhotoResult) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let Some((_, lines)) = documents
        .iter_mut()
        .find(|(format, _)| *format == ExportFormat::Ndjson)
    else {
        return Ok(());
    };
    let mut reader = BufReader::with_capacity(CHUNK, &mut *lines);
    let mut line = String::new();
    while reader.read_line(&mut line).map_err(Trouble::Disk)? > 0 {
        take(serde_json::from_str(&line)?)?;
        line.clear();
    }
    lines.rewind().map_err(Trouble::Disk)
}

/// Stands for a result that says something else than a result should.
fn unreadable(
    batch: &str,
    digest: &fleet::result::Digest,
    index: u32,
    error: &serde_json::Error,
) -> PhotoResult {
    tracing::error!(batch, index, %error, "a result is damaged");
    PhotoResult {
        schema: RESULT_SCHEMA.to_owned(),
        batch: batch.to_owned(),
        index: index.into(),
        group: None,
        photo: PhotoRecord::default(),
        outcome: Outcome::Failed,
        failure: Some(FailureCode::Unreadable.failure(format!(
            "The result in the bucket is damaged ({error}). Retry the batch."
        ))),
        detection: None,
        surface: None,
        classification: None,
        advice: None,
        overlays: Default::default(),
        digest: digest.clone(),
        worker: Default::default(),
        timing_ms: Default::default(),
    }
}

fn about(manifest: &Manifest, now_ms: u64) -> About {
    let created = manifest.created_at.parse::<jiff::Timestamp>().ok();
    let created_ms = created.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    let note = if manifest.bundle.name.starts_with("demo") {
        "They are demonstration models, trained on rendered pictures: they show that the machinery works, and are not a \
         groundsman's opinion."
    } else {
        ""
    };
    About {
        title: manifest.name.clone().unwrap_or_else(|| manifest.source.title()),
        batch: manifest.id.clone(),
        created_at: rfc3339(now_ms),
        program: format!("pitchfleet {}", env!("CARGO_PKG_VERSION")),
        bundle: manifest.bundle.name.clone(),
        bundle_note: note.to_owned(),
        wall_seconds: created_ms
            .map(|created| std::time::Duration::from_millis(now_ms.saturating_sub(created)).as_secs_f64()),
        root: "..".to_owned(),
    }
}
