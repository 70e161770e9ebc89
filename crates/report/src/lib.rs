//! Documents about a set of results. Pure: every document is written into an [`std::io::Write`], no files are
//! touched, and results are taken one at a time, so that memory does not grow with the batch.
//!
//! [`ExportFormat`] knows every document, [`Document`] writes any of them. The order of work for a finished batch: a
//! first pass over the results fills a [`VerdictBuilder`](pitch::verdict::VerdictBuilder) through [`observe`] and
//! writes what needs no verdict; with the verdict known, a second pass writes the rest, which is the page.

pub mod charts;
mod coco;
mod csv;
mod export;
mod html;
mod ndjson;
mod observe;
mod parquet;
mod wire;

pub use crate::csv::SummaryCsv;
pub use crate::parquet::ResultsParquet;
pub use coco::CocoJson;
pub use export::{Document, ExportFormat, Setting, UnknownFormat};
pub use html::{About, HtmlReport};
pub use ndjson::ResultsNdjson;
pub use observe::observe;

/// Why a document could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The place it is written to failed, a full disk for instance.
    #[error("cannot write the document: {0}")]
    Write(#[from] std::io::Error),
    /// A value could not be put into CSV.
    #[error("cannot write a row of CSV: {0}")]
    Csv(#[from] ::csv::Error),
    /// A value could not be put into JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A row group of Parquet could not be written.
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// A document that begins with the verdict was begun without one.
    #[error("cannot write {}: it needs the verdict of a first pass over the results", .0.file_name())]
    NoVerdict(ExportFormat),
    /// A chart could not be drawn.
    #[error("cannot draw the chart `{chart}`: {reason}")]
    Chart {
        /// Its name.
        chart: &'static str,
        /// What the plotting library said.
        reason: String,
    },
}
