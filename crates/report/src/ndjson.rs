//! `results.ndjson`: every result, one a line (<https://github.com/ndjson/ndjson-spec>).

use std::io::Write;

use fleet::result::PhotoResult;

use crate::ReportError;

/// Writes `results.ndjson`, one result at a time.
#[derive(Debug)]
pub struct ResultsNdjson<W: Write> {
    out: W,
}

impl<W: Write> ResultsNdjson<W> {
    /// Starts the document. `out` is written to once per value: give it a buffer.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn add(&mut self, result: &PhotoResult) -> Result<(), ReportError> {
        serde_json::to_writer(&mut self.out, result)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Flushes, and gives `out` back.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn finish(mut self) -> Result<W, ReportError> {
        self.out.flush()?;
        Ok(self.out)
    }
}
