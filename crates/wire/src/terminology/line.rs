//! Lines of a text file, with their numbers.

use super::Fault;
use std::io::{BufRead, Read};

/// Longest line of a published file; WHO's longest definitions stay far below.
pub const MAX_LINE_BYTES: u64 = 4 << 20;

/// Reads a text line by line; a byte order mark and carriage returns are dropped.
pub struct Lines<'r> {
    file: String,
    input: &'r mut dyn BufRead,
    buffer: Vec<u8>,
    number: u64,
}

impl<'r> Lines<'r> {
    pub fn new(file: &str, input: &'r mut dyn BufRead) -> Lines<'r> {
        Lines { file: file.to_owned(), input, buffer: Vec::new(), number: 0 }
    }
    /// Of the line last read, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
    pub fn fault(&self, text: impl Into<String>) -> Fault {
        Fault::line(&self.file, self.number, text)
    }
    pub fn file(&self) -> &str {
        &self.file
    }
    /// The next line without its end; `None` at the end. Errors: a line that is too long or no UTF-8 (old files in
    /// Latin-1 are read as such).
    pub fn next_line(&mut self) -> Result<Option<String>, Fault> {
        self.buffer.clear();
        let read = (&mut *self.input)
            .take(MAX_LINE_BYTES + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|e| Fault::file(&self.file, format!("cannot be read: {e}")))?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if read as u64 > MAX_LINE_BYTES {
            return Err(self.fault("the line is longer than 4 MiB"));
        }
        let mut bytes = self.buffer.as_slice();
        if self.number == 1 {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        while let [head @ .., b'\n' | b'\r'] = bytes {
            bytes = head;
        }
        Ok(Some(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // WHO's older meta files and CMS's order files are Latin-1.
            Err(_) => bytes.iter().map(|b| char::from(*b)).collect(),
        }))
    }
}
