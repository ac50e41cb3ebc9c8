//! Tables with a header line: separated by tabs, or by commas with quotes (RFC 4180).

use super::Fault;
use super::line::Lines;
use std::io::BufRead;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RF2: no quoting at all.
    Tabs,
    /// Tabs, where a field that begins with a quote ends with one (WHO's ICD-11 files).
    QuotedTabs,
    Commas,
}

/// Lines that one quoted field may run over.
const MAX_FIELD_LINES: usize = 1000;

pub struct Table<'r> {
    lines: Lines<'r>,
    format: Format,
    header: Vec<String>,
    fields: Vec<String>,
}

impl<'r> Table<'r> {
    /// Reads the header. Errors: an empty file; a column of `required` that is missing, by its name.
    pub fn open(
        file: &str,
        input: &'r mut dyn BufRead,
        format: Format,
        required: &[&str],
    ) -> Result<Table<'r>, Fault> {
        let mut lines = Lines::new(file, input);
        let Some(first) = lines.next_line()? else { return Err(Fault::file(file, "the file is empty")) };
        let mut table = Table { lines, format, header: Vec::new(), fields: Vec::new() };
        table.split(first)?;
        table.header = table.fields.iter().map(|name| name.trim().to_owned()).collect();
        for name in required {
            if table.column(name).is_none() {
                return Err(table.lines.fault(format!("the column `{name}` is missing")));
            }
        }
        Ok(table)
    }
    /// Position of a column, whatever its case.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|h| h.eq_ignore_ascii_case(name))
    }
    pub fn header(&self) -> &[String] {
        &self.header
    }
    pub fn fault(&self, text: impl Into<String>) -> Fault {
        self.lines.fault(text)
    }
    /// Reads the next row; false at the end. Empty lines are passed over. Errors: fewer fields than the header has,
    /// a quote that does not end.
    pub fn next(&mut self) -> Result<bool, Fault> {
        loop {
            let Some(line) = self.lines.next_line()? else { return Ok(false) };
            if line.is_empty() {
                continue;
            }
            self.split(line)?;
            if self.fields.len() < self.header.len() {
                // Spreadsheets drop empty fields at the end; RF2 never does.
                if self.format == Format::Tabs {
                    return Err(self.fault(format!(
                        "{} fields where the header has {}",
                        self.fields.len(),
                        self.header.len()
                    )));
                }
                self.fields.resize(self.header.len(), String::new());
            }
            return Ok(true);
        }
    }
    /// A field of the current row, "" beyond its end.
    pub fn get(&self, column: usize) -> &str {
        self.fields.get(column).map_or("", String::as_str)
    }
    /// A field by an optional column, "" without one.
    pub fn get_opt(&self, column: Option<usize>) -> &str {
        column.map_or("", |c| self.get(c))
    }

    fn split(&mut self, line: String) -> Result<(), Fault> {
        self.fields.clear();
        let separator = if self.format == Format::Commas { ',' } else { '\t' };
        if self.format == Format::Tabs || !line.contains('"') {
            self.fields.extend(line.split(separator).map(str::to_owned));
            return Ok(());
        }
        let mut line = line;
        let mut field = String::new();
        let (mut quoted, mut begun) = (false, false);
        for _ in 0..MAX_FIELD_LINES {
            let mut chars = line.chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '"' if quoted && chars.peek() == Some(&'"') => {
                        chars.next();
                        field.push('"');
                    }
                    '"' if quoted => quoted = false,
                    '"' if !begun && field.is_empty() => (quoted, begun) = (true, true),
                    c if c == separator && !quoted => {
                        self.fields.push(std::mem::take(&mut field));
                        begun = false;
                    }
                    c => field.push(c),
                }
            }
            if !quoted {
                self.fields.push(field);
                return Ok(());
            }
            field.push('\n');
            line = match self.lines.next_line()? {
                Some(next) => next,
                None => return Err(self.lines.fault("a quoted field does not end")),
            };
        }
        Err(self.lines.fault("a quoted field runs over too many lines"))
    }
}
