//! The exports as other people's programs read them: DuckDB and pycocotools, both given what the NDJSON says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod fixture;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use fleet::result::PhotoResult;
use pitch::analysis::DetectedBox;
use report::{About, Document, ExportFormat, Setting};

/// The formats of a first pass.
const FORMATS: [ExportFormat; 4] = [
    ExportFormat::Ndjson,
    ExportFormat::Csv,
    ExportFormat::Parquet,
    ExportFormat::Coco,
];

fn export(results: &[PhotoResult]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let about = About {
        title: "day <1>".to_owned(),
        batch: results[0].batch.clone(),
        created_at: "2026-06-14T18:00:00Z".to_owned(),
        program: "pitchfleet".to_owned(),
        ..About::default()
    };
    let setting = Setting {
        about: &about,
        verdict: None,
    };
    for format in FORMATS {
        let out = BufWriter::new(File::create(path(&dir, format)).unwrap());
        let scratch = tempfile::tempfile().unwrap();
        let mut document = Document::begin(format, out, scratch, setting).unwrap();
        for result in results {
            document.add(result).unwrap();
        }
        document.finish().unwrap().into_inner().unwrap();
    }
    dir
}

fn path(dir: &tempfile::TempDir, format: ExportFormat) -> PathBuf {
    dir.path().join(format.file_name())
}

/// What the script prints.
fn read(script: &str, files: &[PathBuf]) -> String {
    let packages = std::env::var("PITCHFLEET_TEST_READERS").unwrap_or_else(|_| {
        panic!(
            "PITCHFLEET_TEST_READERS is not set: run `make test`, or set it to what scripts/readers.sh prints"
        )
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/readers")
        .join(script);
    let output = Command::new("python3")
        .args(["-s", "-B"])
        .arg(script)
        .args(files)
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// The fixture with a value in every field somewhere.
fn complete() -> Vec<PhotoResult> {
    let mut results = fixture::results();
    let first = &mut results[0];
    first.timing_ms.queued = Some(12.25);
    first.timing_ms.overlays = Some(3.5);
    first.timing_ms.store = Some(0.75);
    if let Some(advice) = &mut first.advice {
        advice.batting = vec!["Play late".to_owned(), "Leave on length".to_owned()];
        advice.bowling = vec!["Hit the top of off".to_owned()];
        advice.team = vec![
            "An extra seamer".to_owned(),
            "One spinner".to_owned(),
            "“Deep” batting".to_owned(),
        ];
        advice.key_factors = vec!["First hour".to_owned()];
    }
    if let Some(detection) = &mut first.detection {
        detection.boxes.push(DetectedBox {
            corners: [10, 20, 400, 90],
            confidence: 0.31,
            class: "practice strip".to_owned(),
        });
    }
    if let Some(classification) = &mut results[1].classification {
        classification.rules.push(classification.rules[0].clone());
        classification.rules[1].rule = "dry_and_bare".to_owned();
    }
    if let Some(classification) = &mut results[2].classification {
        classification.rules.clear();
    }
    results[4].photo.taken_at = None;
    results[6].group = None;
    results
}

#[test]
fn duckdb_reads_from_parquet_what_the_ndjson_says() {
    let results = complete();
    let dir = export(&results);
    let files = [ExportFormat::Parquet, ExportFormat::Ndjson, ExportFormat::Csv].map(|f| path(&dir, f));
    assert_eq!(read("check_parquet.py", &files).trim(), "20 1 SNAPPY");
}

#[test]
fn duckdb_reads_many_row_groups() {
    let results: Vec<PhotoResult> = complete()
        .iter()
        .cycle()
        .zip(0..5_000)
        .map(|(result, index)| PhotoResult {
            index,
            ..result.clone()
        })
        .collect();
    let dir = export(&results);
    let files = [ExportFormat::Parquet, ExportFormat::Ndjson, ExportFormat::Csv].map(|f| path(&dir, f));
    assert_eq!(read("check_parquet.py", &files).trim(), "5000 3 SNAPPY");
    let [parquet, ndjson] = [&files[0], &files[1]].map(|file| fs::metadata(file).unwrap().len());
    assert!(
        parquet * 10 < ndjson,
        "{parquet} bytes of Parquet, {ndjson} of NDJSON"
    );
}

#[test]
fn pycocotools_reads_the_boxes() {
    let dir = export(&complete());
    read(
        "check_coco.py",
        &[path(&dir, ExportFormat::Coco), path(&dir, ExportFormat::Ndjson)],
    );
}

/// Counts what reaches it.
#[derive(Default)]
struct Sink(usize);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn rows_leave_as_they_come() {
    let about = About::default();
    let verdict = fixture::verdict(&[]);
    let setting = Setting {
        about: &about,
        verdict: Some(&verdict),
    };
    let mut result = fixture::results()[0].clone();
    for format in ExportFormat::ALL
        .into_iter()
        .filter(|&f| f != ExportFormat::Verdict)
    {
        let mut sink = Sink::default();
        let scratch = tempfile::tempfile().unwrap();
        let mut document = Document::begin(format, &mut sink, scratch, setting).unwrap();
        for index in 0..300 {
            result.index = index;
            result.photo.key = format!("{index:08}").repeat(2_500);
            document.add(&result).unwrap();
        }
        // Dropped, not finished: what is there was written on the way.
        drop(document);
        assert!(sink.0 > 100_000, "{format}: {} bytes", sink.0);
    }
}
