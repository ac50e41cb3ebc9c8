//! Rows of a view as files: CSV, NDJSON, JSON, Parquet.

mod parquet;
#[cfg(test)]
mod tests;
mod text;

use crate::view::{Column, Row};
use std::io::{self, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    Csv,
    Ndjson,
    /// One array of objects.
    Json,
    Parquet,
}

impl Format {
    pub const ALL: [Format; 4] = [Format::Csv, Format::Ndjson, Format::Json, Format::Parquet];

    /// As in `_format`: the short code or the media type.
    pub fn parse(text: &str) -> Option<Format> {
        let essence =
            text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().replace(' ', "+");
        Some(match essence.as_str() {
            "csv" | "text/csv" => Format::Csv,
            "ndjson" | "application/ndjson" | "application/x-ndjson" | "application/fhir+ndjson" => {
                Format::Ndjson
            }
            "json" | "application/json" => Format::Json,
            "parquet" | "application/vnd.apache.parquet" | "application/octet-stream" => Format::Parquet,
            _ => return None,
        })
    }
    /// Also the ending of file names.
    pub fn code(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Ndjson => "ndjson",
            Format::Json => "json",
            Format::Parquet => "parquet",
        }
    }
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Ndjson => "application/x-ndjson",
            Format::Json => "application/json",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// Writes rows in one format.
pub enum TableWriter<W: Write + Send> {
    Text(text::TextWriter<W>),
    Parquet(Box<parquet::ParquetWriter<W>>),
}

impl<W: Write + Send> TableWriter<W> {
    /// `header` is for CSV. Errors: of `out`.
    pub fn new(out: W, format: Format, columns: &[Column], header: bool) -> io::Result<TableWriter<W>> {
        Ok(match format {
            Format::Parquet => TableWriter::Parquet(Box::new(parquet::ParquetWriter::new(out, columns)?)),
            _ => TableWriter::Text(text::TextWriter::new(out, format, columns, header)?),
        })
    }
    /// Errors: of `out`; `InvalidData` naming the column for a value that its Parquet type cannot hold.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        match self {
            TableWriter::Text(writer) => writer.row(row),
            TableWriter::Parquet(writer) => writer.row(row),
        }
    }
    /// Writes what is left and gives `out` back, not yet flushed.
    pub fn finish(self) -> io::Result<W> {
        match self {
            TableWriter::Text(writer) => writer.finish(),
            TableWriter::Parquet(writer) => writer.finish(),
        }
    }
}
