//! `report.html`: the set on one page that opens from disk, with nothing fetched from elsewhere.
//!
//! The page is written as three templates (head, one per photo, tail), so that ten thousand photos pass through
//! without being held. askama escapes every value; a content security policy stands behind it, because photo names
//! come from strangers.

mod head;
mod photo;
mod tail;

use std::collections::HashMap;
use std::io::Write;

use askama::Template;
use fleet::result::PhotoResult;
use pitch::verdict::Verdict;

use self::head::{Head, outliers_shown};
use self::photo::PhotoCard;
use self::tail::{FailureRow, Provenance, Tail};
use crate::ReportError;

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");
/// The only script that the page's policy runs: SHA-256 of `report.js`, base64.
const SCRIPT_HASH: &str = "sha256-8iuy/ROSd5GHm3rnmzKJJPQQoyHmMX3Zk5CaiVpvYnY=";
/// Failures that the table at the end holds; each photo's own card says the same.
const MAX_LISTED_FAILURES: usize = 1_000;

/// What the page says about the run; empty texts are left out.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Heading, such as the name of the folder.
    pub title: String,
    /// Id of the batch.
    pub batch: String,
    /// When the report was made, as it shall stand on the page.
    pub created_at: String,
    /// Program and version.
    pub program: String,
    /// Name of the model bundle, with its version.
    pub bundle: String,
    /// What a reader must know of the models, such as their licence and that they are a demonstration.
    pub bundle_note: String,
    /// Seconds from start to end.
    pub wall_seconds: Option<f64>,
    /// Where the keys of the pictures start as seen from the page: `..` for `report/report.html`.
    pub root: String,
}

impl Default for About {
    fn default() -> Self {
        Self {
            title: String::new(),
            batch: String::new(),
            created_at: String::new(),
            program: String::new(),
            bundle: String::new(),
            bundle_note: String::new(),
            wall_seconds: None,
            root: "..".to_owned(),
        }
    }
}

/// Writes `report.html`, one photo at a time.
///
/// Give it a buffered `out`. What it keeps grows with the number of outliers and failures, up to a limit each, and not
/// with that of photos.
#[derive(Debug)]
pub struct HtmlReport<W: Write> {
    out: W,
    about: About,
    /// Sentences about outliers by the index of the photo.
    outliers: HashMap<u64, Vec<String>>,
    failures: Vec<FailureRow>,
    failed: u64,
    provenance: Provenance,
}

impl<W: Write> HtmlReport<W> {
    /// Writes everything above the photos.
    ///
    /// # Errors
    /// When `out` fails, or a chart cannot be drawn.
    pub fn begin(mut out: W, about: About, verdict: &Verdict) -> Result<Self, ReportError> {
        Head::new(&about, verdict)?.write_into(&mut out)?;
        let mut outliers: HashMap<u64, Vec<String>> = HashMap::new();
        for outlier in outliers_shown(verdict) {
            outliers.entry(outlier.index).or_default().push(format!(
                "Outlier: {} is {}, the median {}",
                outlier.feature.title(),
                outlier.value,
                outlier.median
            ));
        }
        Ok(Self {
            out,
            about,
            outliers,
            failures: Vec::new(),
            failed: 0,
            provenance: Provenance::default(),
        })
    }

    /// Writes a photo.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn add(&mut self, result: &PhotoResult) -> Result<(), ReportError> {
        let outliers = self.outliers.get(&result.index).map_or(&[][..], Vec::as_slice);
        PhotoCard::new(&self.about.root, result, outliers).write_into(&mut self.out)?;
        self.provenance.add(result);
        if let Some(failure) = FailureRow::of(result) {
            self.failed += 1;
            if self.failures.len() < MAX_LISTED_FAILURES {
                self.failures.push(failure);
            }
        }
        Ok(())
    }

    /// Writes everything below the photos, flushes, and gives `out` back.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn finish(mut self) -> Result<W, ReportError> {
        Tail {
            unlisted: self.failed - self.failures.len() as u64,
            failures: self.failures,
            facts: self.provenance.facts(&self.about),
            stages: self.provenance.stages(),
            script: SCRIPT,
        }
        .write_into(&mut self.out)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The last part of a key, which is the name of the file.
fn file_name(key: &str) -> &str {
    key.rsplit(['/', '\\'])
        .find(|part| !part.is_empty())
        .unwrap_or(key)
}
