//! CSV (RFC 4180), NDJSON and JSON.

use super::Format;
use crate::view::{Column, Row};
use serde_json::Value;
use std::io::{self, Write};

pub struct TextWriter<W: Write> {
    out: W,
    format: Format,
    /// JSON strings of the names with a colon behind, e.g. `"id":`.
    names: Vec<Vec<u8>>,
    rows: u64,
    line: Vec<u8>,
}

impl<W: Write> TextWriter<W> {
    pub fn new(mut out: W, format: Format, columns: &[Column], header: bool) -> io::Result<TextWriter<W>> {
        if format == Format::Csv && header {
            // Names are letters, digits and underscores.
            let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            out.write_all(names.join(",").as_bytes())?;
            out.write_all(b"\r\n")?;
        }
        if format == Format::Json {
            out.write_all(b"[")?;
        }
        let names =
            columns.iter().map(|c| format!("{}:", Value::from(c.name.as_str())).into_bytes()).collect();
        Ok(TextWriter { out, format, names, rows: 0, line: Vec::new() })
    }

    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        self.line.clear();
        if self.format == Format::Csv {
            for (n, cell) in row.iter().enumerate() {
                if n > 0 {
                    self.line.push(b',');
                }
                field(cell, &mut self.line)?;
            }
            self.line.extend_from_slice(b"\r\n");
        } else {
            if self.format == Format::Json {
                self.line.extend_from_slice(if self.rows > 0 { b",\n" } else { b"\n" });
            }
            self.line.push(b'{');
            for (n, (name, cell)) in self.names.iter().zip(row).enumerate() {
                if n > 0 {
                    self.line.push(b',');
                }
                self.line.extend_from_slice(name);
                serde_json::to_writer(&mut self.line, cell)?;
            }
            self.line.push(b'}');
            if self.format == Format::Ndjson {
                self.line.push(b'\n');
            }
        }
        self.rows += 1;
        self.out.write_all(&self.line)
    }

    pub fn finish(mut self) -> io::Result<W> {
        if self.format == Format::Json {
            self.out.write_all(b"\n]\n")?;
        }
        Ok(self.out)
    }
}

/// Whether a spreadsheet would run the text as a formula. A number, also one of a telephone, is none.
fn is_formula(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'=' | b'@' | b'\t' | b'\r') => true,
        Some(b'+' | b'-') => !text[1..].bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b' ')),
        _ => false,
    }
}

/// Null is empty, lists and objects are JSON. An empty text is quoted, so that it is told from null; one that a
/// spreadsheet would run gets a quote before it, as OWASP advises: patients write their names themselves.
fn field(cell: &Value, line: &mut Vec<u8>) -> io::Result<()> {
    let text;
    let shown: &str = match cell {
        Value::Null => return Ok(()),
        Value::String(written) if is_formula(written) => {
            text = format!("'{written}");
            &text
        }
        Value::String(written) => written,
        other => {
            text = serde_json::to_string(other)?;
            &text
        }
    };
    let quote = shown.is_empty()
        || shown.bytes().any(|b| matches!(b, b',' | b'"' | b'\r' | b'\n'))
        || shown.starts_with(' ')
        || shown.ends_with(' ');
    if !quote {
        line.extend_from_slice(shown.as_bytes());
        return Ok(());
    }
    line.push(b'"');
    for byte in shown.bytes() {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
    Ok(())
}
