//! `results.parquet`: one row a photo, for DuckDB, pandas and their like (<https://parquet.apache.org/docs/>).
//!
//! Rows are gathered by column into row groups of bounded size and written as each is full: what is held does not grow
//! with the batch, but for about 10 kB a group that the footer needs (2,048 photos).

mod columns;

use std::fmt::Write as _;
use std::io::Write;
use std::mem;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use fleet::result::PhotoResult;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use self::columns::{COLUMNS, Get, GetText, GetTexts, Read};
use crate::ReportError;

/// Rows of a row group.
const GROUP_ROWS: usize = 2_048;
/// Bytes of text after which a row group ends early: keys and failure messages come from strangers.
const GROUP_TEXT: usize = 4 << 20;

/// Writes `results.parquet`, one result at a time.
#[derive(Debug)]
pub struct ResultsParquet<W: Write + Send> {
    file: SerializedFileWriter<W>,
    group: Vec<Column>,
    rows: usize,
    text: usize,
}

impl<W: Write + Send> ResultsParquet<W> {
    /// Starts the document. `out` is written to in large pieces and needs no buffer.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn new(out: W) -> Result<Self, ReportError> {
        let schema = Arc::new(parse_message_type(&schema())?);
        let properties = WriterProperties::builder()
            .set_created_by(format!("pitchfleet {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::SNAPPY)
            // Readers skip by row group; an index by page would be held until the end.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .build();
        Ok(Self {
            file: SerializedFileWriter::new(out, schema, Arc::new(properties))?,
            group: COLUMNS.iter().map(|&(_, read)| Column::new(read)).collect(),
            rows: 0,
            text: 0,
        })
    }

    /// Takes a row, and writes the row group that it fills.
    ///
    /// # Errors
    /// When the output fails.
    pub fn add(&mut self, result: &PhotoResult) -> Result<(), ReportError> {
        for column in &mut self.group {
            self.text += column.add(result);
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.text >= GROUP_TEXT {
            self.write_group()?;
        }
        Ok(())
    }

    /// Writes what is left and the footer, flushes, and gives the output back.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> Result<W, ReportError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        let mut out = self.file.into_inner()?;
        out.flush()?;
        Ok(out)
    }

    fn write_group(&mut self) -> Result<(), ReportError> {
        let mut group = self.file.next_row_group()?;
        for column in &mut self.group {
            let mut writer = group
                .next_column()?
                .ok_or_else(|| ParquetError::General("the schema has fewer columns than the table".into()))?;
            column.write(writer.untyped())?;
            writer.close()?;
        }
        group.close()?;
        (self.rows, self.text) = (0, 0);
        Ok(())
    }
}

/// The schema in the language of Parquet's own tools.
fn schema() -> String {
    let mut text = String::from("message photo {\n");
    for (name, read) in COLUMNS {
        let field = match read {
            Read::Flag(_) => format!("optional boolean {name};"),
            Read::Integer(_) => format!("optional int64 {name};"),
            Read::Real(_) => format!("optional double {name};"),
            Read::Text(_) => format!("optional binary {name} (STRING);"),
            Read::LocalTime(_) => format!("optional int64 {name} (TIMESTAMP(MICROS, false));"),
            Read::Texts(_) => format!(
                "optional group {name} (LIST) {{ repeated group list {{ required binary element (STRING); }} }}"
            ),
        };
        let _ = writeln!(text, "  {field}");
    }
    text + "}"
}

/// A column of the row group that is being gathered.
#[derive(Debug)]
struct Column {
    values: Values,
    /// For each row, or each element of its list, how much of the path to the value is there: 0 is null.
    definition: Vec<i16>,
    /// Of a list only: 0 starts a row, 1 goes on with it.
    repetition: Vec<i16>,
}

/// What reads the values, and those that are not null.
#[derive(Debug)]
enum Values {
    Flags(Get<bool>, Vec<bool>),
    Integers(Get<u64>, Vec<i64>),
    LocalTimes(GetText, Vec<i64>),
    Reals(Get<f64>, Vec<f64>),
    Texts(GetText, Texts),
    Lists(GetTexts, Texts),
}

/// Texts one after the other, with where each ends: one allocation instead of one a text.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) -> usize {
        self.bytes.extend_from_slice(text.as_bytes());
        self.ends.push(self.bytes.len());
        text.len()
    }

    fn take(&mut self) -> Vec<ByteArray> {
        let all = ByteArray::from(mem::take(&mut self.bytes));
        let mut start = 0;
        let slice = |end| {
            let text = all.slice(start, end - start);
            start = end;
            text
        };
        self.ends.drain(..).map(slice).collect()
    }
}

impl Column {
    fn new(read: Read) -> Self {
        let values = match read {
            Read::Flag(get) => Values::Flags(get, Vec::new()),
            Read::Integer(get) => Values::Integers(get, Vec::new()),
            Read::LocalTime(get) => Values::LocalTimes(get, Vec::new()),
            Read::Real(get) => Values::Reals(get, Vec::new()),
            Read::Text(get) => Values::Texts(get, Texts::default()),
            Read::Texts(get) => Values::Lists(get, Texts::default()),
        };
        Self {
            values,
            definition: Vec::new(),
            repetition: Vec::new(),
        }
    }

    /// Takes the value of a row and tells the bytes of text in it.
    fn add(&mut self, result: &PhotoResult) -> usize {
        let mut text = 0;
        let is_there = match &mut self.values {
            Values::Flags(get, values) => push(values, get(result)),
            Values::Integers(get, values) => {
                push(values, get(result).and_then(|value| value.try_into().ok()))
            }
            Values::LocalTimes(get, values) => push(values, get(result).and_then(microseconds)),
            Values::Reals(get, values) => push(values, get(result)),
            Values::Texts(get, values) => {
                let value = get(result);
                text = value.map_or(0, |value| values.push(value));
                value.is_some()
            }
            Values::Lists(get, values) => {
                let list = get(result);
                for (place, element) in list.iter().flatten().enumerate() {
                    text += values.push(element);
                    self.definition.push(2);
                    self.repetition.push(i16::from(place > 0));
                }
                if list.as_ref().is_none_or(Vec::is_empty) {
                    self.definition.push(i16::from(list.is_some()));
                    self.repetition.push(0);
                }
                return text;
            }
        };
        self.definition.push(i16::from(is_there));
        text
    }

    /// Writes everything gathered and is empty again.
    fn write(&mut self, writer: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Levels {
            definition: &mem::take(&mut self.definition),
            repetition: &mem::take(&mut self.repetition),
        };
        match (&mut self.values, writer) {
            (Values::Flags(_, values), ColumnWriter::BoolColumnWriter(to)) => levels.write(to, values),
            (
                Values::Integers(_, values) | Values::LocalTimes(_, values),
                ColumnWriter::Int64ColumnWriter(to),
            ) => levels.write(to, values),
            (Values::Reals(_, values), ColumnWriter::DoubleColumnWriter(to)) => levels.write(to, values),
            (
                Values::Texts(_, values) | Values::Lists(_, values),
                ColumnWriter::ByteArrayColumnWriter(to),
            ) => levels.write(to, &mut values.take()),
            _ => Err(ParquetError::General(
                "the schema has other types than the table".into(),
            )),
        }
    }
}

struct Levels<'a> {
    definition: &'a [i16],
    /// Empty where the column is no list.
    repetition: &'a [i16],
}

impl Levels<'_> {
    fn write<T: DataType>(
        &self,
        writer: &mut ColumnWriterImpl<'_, T>,
        values: &mut Vec<T::T>,
    ) -> Result<(), ParquetError> {
        let repetition = Some(self.repetition).filter(|levels| !levels.is_empty());
        writer.write_batch(values, Some(self.definition), repetition)?;
        values.clear();
        Ok(())
    }
}

fn push<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_there = value.is_some();
    values.extend(value);
    is_there
}

/// Microseconds from 1970-01-01T00:00:00 to an ISO 8601 time, both on the same clock.
fn microseconds(local: &str) -> Option<i64> {
    let time: DateTime = local.parse().ok()?;
    Some(Offset::UTC.to_timestamp(time).ok()?.as_microsecond())
}
