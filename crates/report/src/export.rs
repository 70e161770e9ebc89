//! Every document that a batch can be exported as: its names, and one way to write any of them.

use std::fmt;
use std::io::{Read, Seek, Write};
use std::str::FromStr;

use fleet::result::PhotoResult;
use pitch::verdict::{Verdict, VerdictBuilder};
use serde::{Deserialize, Serialize};

use crate::{About, CocoJson, HtmlReport, ReportError, ResultsNdjson, ResultsParquet, SummaryCsv, observe};

/// A document about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// Every result, one a line.
    Ndjson,
    /// One row a photo, for spreadsheets.
    Csv,
    /// One row a photo, for DuckDB, pandas and their like.
    Parquet,
    /// The boxes, for labelling and evaluation tools.
    Coco,
    /// What the photos say together.
    Verdict,
    /// The page for people.
    Html,
}

impl ExportFormat {
    /// Every format; those that [need the verdict](Self::needs_verdict) come last.
    pub const ALL: [Self; 6] = [
        Self::Ndjson,
        Self::Csv,
        Self::Parquet,
        Self::Coco,
        Self::Verdict,
        Self::Html,
    ];

    /// The name in URLs and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Coco => "coco",
            Self::Verdict => "verdict",
            Self::Html => "html",
        }
    }

    /// The file in the batch's report folder.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Ndjson => "results.ndjson",
            Self::Csv => "summary.csv",
            Self::Parquet => "results.parquet",
            Self::Coco => "coco.json",
            Self::Verdict => "verdict.json",
            Self::Html => "report.html",
        }
    }

    /// What `Content-Type` says.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Coco | Self::Verdict => "application/json",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// Whether it begins with the verdict, so that the results are passed over once before it is begun.
    pub const fn needs_verdict(self) -> bool {
        matches!(self, Self::Html)
    }
}

impl fmt::Display for ExportFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Text that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no export format: {list} are", list = ExportFormat::ALL.map(ExportFormat::name).join(", "))]
pub struct UnknownFormat(pub String);

impl FromStr for ExportFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

/// What a document says beside the results.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// About the run.
    pub about: &'a About,
    /// The verdict on all results, where a first pass found it.
    pub verdict: Option<&'a Verdict>,
}

/// A document that is being written, one result at a time.
#[derive(Debug)]
pub struct Document<W: Write + Send, S: Read + Write + Seek>(Writer<W, S>);

#[derive(Debug)]
enum Writer<W: Write + Send, S: Read + Write + Seek> {
    Ndjson(ResultsNdjson<W>),
    Csv(Box<SummaryCsv<W>>),
    Parquet(Box<ResultsParquet<W>>),
    Coco(Box<CocoJson<W, S>>),
    /// Written when it was begun, because the verdict was known.
    Verdict(W),
    /// The verdict is found on the way.
    Observing(W, Box<VerdictBuilder>),
    Html(Box<HtmlReport<W>>),
}

impl<W: Write + Send, S: Read + Write + Seek> Document<W, S> {
    /// Starts a document in `out`, which wants a buffer. `scratch` is an empty place of the document's own for what
    /// can be written only at the end, such as a temporary file.
    ///
    /// # Errors
    /// When `out` fails, or a format that [needs the verdict](ExportFormat::needs_verdict) is given none.
    pub fn begin(
        format: ExportFormat,
        mut out: W,
        scratch: S,
        setting: Setting<'_>,
    ) -> Result<Self, ReportError> {
        Ok(Self(match (format, setting.verdict) {
            (ExportFormat::Ndjson, _) => Writer::Ndjson(ResultsNdjson::new(out)),
            (ExportFormat::Csv, _) => Writer::Csv(Box::new(SummaryCsv::new(out))),
            (ExportFormat::Parquet, _) => Writer::Parquet(Box::new(ResultsParquet::new(out)?)),
            (ExportFormat::Coco, _) => Writer::Coco(Box::new(CocoJson::begin(out, scratch, setting.about)?)),
            (ExportFormat::Verdict, Some(verdict)) => {
                write_verdict(&mut out, verdict)?;
                Writer::Verdict(out)
            }
            (ExportFormat::Verdict, None) => Writer::Observing(out, Box::default()),
            (ExportFormat::Html, Some(verdict)) => {
                Writer::Html(Box::new(HtmlReport::begin(out, setting.about.clone(), verdict)?))
            }
            (ExportFormat::Html, None) => return Err(ReportError::NoVerdict(format)),
        }))
    }

    /// Takes a result.
    ///
    /// # Errors
    /// When `out` or `scratch` fails.
    pub fn add(&mut self, result: &PhotoResult) -> Result<(), ReportError> {
        match &mut self.0 {
            Writer::Ndjson(document) => document.add(result),
            Writer::Csv(document) => document.add(result),
            Writer::Parquet(document) => document.add(result),
            Writer::Coco(document) => document.add(result),
            Writer::Verdict(_) => Ok(()),
            Writer::Observing(_, verdict) => {
                observe(verdict, result);
                Ok(())
            }
            Writer::Html(document) => document.add(result),
        }
    }

    /// Writes what comes last, flushes, and gives `out` back.
    ///
    /// # Errors
    /// When `out` or `scratch` fails.
    pub fn finish(self) -> Result<W, ReportError> {
        match self.0 {
            Writer::Ndjson(document) => document.finish(),
            Writer::Csv(document) => document.finish(),
            Writer::Parquet(document) => document.finish(),
            Writer::Coco(document) => document.finish(),
            Writer::Verdict(mut out) => {
                out.flush()?;
                Ok(out)
            }
            Writer::Observing(mut out, verdict) => {
                write_verdict(&mut out, &verdict.finish())?;
                out.flush()?;
                Ok(out)
            }
            Writer::Html(document) => document.finish(),
        }
    }
}

fn write_verdict(out: &mut impl Write, verdict: &Verdict) -> Result<(), ReportError> {
    serde_json::to_writer_pretty(&mut *out, verdict)?;
    out.write_all(b"\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Cursor;

    use super::*;

    #[test]
    fn names_are_distinct_and_read_back() {
        let formats = ExportFormat::ALL;
        for format in formats {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        }
        let files: BTreeSet<_> = formats.map(ExportFormat::file_name).into();
        assert_eq!(files.len(), formats.len());
        let error = "xlsx".parse::<ExportFormat>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`xlsx` is no export format: ndjson, csv, parquet, coco, verdict, html are"
        );
    }

    #[test]
    fn formats_that_need_the_verdict_come_last_and_say_so() {
        assert!(ExportFormat::ALL.is_sorted_by_key(|format| format.needs_verdict()));
        let about = About::default();
        for format in ExportFormat::ALL {
            let setting = Setting {
                about: &about,
                verdict: None,
            };
            let begun = Document::begin(format, Vec::new(), Cursor::new(Vec::new()), setting);
            assert_eq!(begun.is_err(), format.needs_verdict(), "{format}");
        }
    }
}
