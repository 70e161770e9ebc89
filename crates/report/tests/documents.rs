//! The documents for programs, as a reader gets them.

mod fixture;

use std::io::Cursor;

use report::{About, Document, ExportFormat, ResultsNdjson, Setting, SummaryCsv};

#[test]
fn summary_csv() {
    let mut csv = SummaryCsv::new(Vec::new());
    for result in fixture::results() {
        csv.add(&result).unwrap();
    }
    insta::assert_snapshot!(String::from_utf8(csv.finish().unwrap()).unwrap());
}

#[test]
fn no_cell_of_the_csv_starts_a_formula() {
    let mut results = fixture::results();
    for (result, start) in results
        .iter_mut()
        .zip(["=", "+", "-", "@", "\t", "\r", "\n=", "＝"])
    {
        result.photo.key = format!("{start}cmd|' /C calc'!A0");
        result.group = Some(format!("{start}1"));
    }
    let mut csv = SummaryCsv::new(Vec::new());
    for result in &results {
        csv.add(result).unwrap();
    }
    let bytes = csv.finish().unwrap();
    let mut rows = ::csv::Reader::from_reader(&bytes[..]);
    for row in rows.records().map(Result::unwrap).take(8) {
        assert!(row[1].starts_with('\'') && row[2].starts_with('\''), "{row:?}");
    }
}

#[test]
fn every_value_stands_under_its_own_name() {
    let results = fixture::results();
    let mut csv = SummaryCsv::new(Vec::new());
    csv.add(&results[0]).unwrap();
    let bytes = csv.finish().unwrap();
    let mut rows = ::csv::Reader::from_reader(&bytes[..]);
    let row: std::collections::BTreeMap<String, String> = rows.deserialize().next().unwrap().unwrap();
    assert_eq!(row["spin_friendly"], "0.3");
    assert_eq!(row["grass_percent"], "25.2");
    assert_eq!(row["crack_severity"], "Low");
    assert_eq!(row["box_y2"], "2801");
    assert_eq!(row["total_ms"], "90.0");
}

#[test]
fn an_empty_batch_still_has_a_header() {
    let csv = SummaryCsv::new(Vec::new()).finish().unwrap();
    assert!(String::from_utf8(csv).unwrap().starts_with("index,key,group,"));
}

#[test]
fn results_ndjson() {
    let results = fixture::results();
    let mut ndjson = ResultsNdjson::new(Vec::new());
    for result in &results {
        ndjson.add(result).unwrap();
    }
    let text = String::from_utf8(ndjson.finish().unwrap()).unwrap();
    let read: Vec<fleet::result::PhotoResult> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read, results);
    let picked: Vec<&str> = text.lines().skip(17).take(2).collect();
    insta::assert_snapshot!(picked.join("\n"));
}

#[test]
fn verdict_json() {
    insta::assert_json_snapshot!(fixture::verdict(&fixture::results()));
}

#[test]
fn the_verdict_is_the_same_found_on_the_way_or_given() {
    let results = fixture::results();
    let about = About::default();
    let verdict = fixture::verdict(&results);
    let written = |verdict| {
        let about = &about;
        let setting = Setting { about, verdict };
        let scratch = Cursor::new(Vec::new());
        let mut document = Document::begin(ExportFormat::Verdict, Vec::new(), scratch, setting).unwrap();
        for result in &results {
            document.add(result).unwrap();
        }
        document.finish().unwrap()
    };
    assert_eq!(written(None), written(Some(&verdict)));
}

#[test]
fn every_format_is_whole_without_any_result() {
    let about = About::default();
    let verdict = fixture::verdict(&[]);
    for format in ExportFormat::ALL {
        let setting = Setting {
            about: &about,
            verdict: Some(&verdict),
        };
        let document = Document::begin(format, Vec::new(), Cursor::new(Vec::new()), setting).unwrap();
        let bytes = document.finish().unwrap();
        match format {
            ExportFormat::Ndjson => assert!(bytes.is_empty()),
            ExportFormat::Coco | ExportFormat::Verdict => {
                serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
            }
            ExportFormat::Parquet => assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")),
            ExportFormat::Csv => assert!(bytes.starts_with(b"index,")),
            ExportFormat::Html => assert!(bytes.trim_ascii_end().ends_with(b"</html>")),
        }
    }
}
