//! ICD-11: WHO's `LinearizationMiniOutput-MMS-en.txt` and `SimpleTabulation-ICD-11-MMS-en.txt`.
//! <https://icd.who.int/browse/latest-release/mms/en>, Info → Spreadsheet file

use super::table::{Format, Table};
use super::{Fault, Item, Name, Sink, Value};
use std::io::BufRead;

pub const SYSTEM: &str = "http://id.who.int/icd/release/11/mms";
/// Deepest level that a title's dashes may say.
const MAX_LEVEL: usize = 30;

/// Whether a file is one of them by its published name.
pub fn is_part(name: &str) -> bool {
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    file.ends_with(".txt")
        && (file.starts_with("LinearizationMiniOutput") || file.starts_with("SimpleTabulation"))
}

/// `…-en.txt` is `en`.
pub fn language_of(name: &str) -> &str {
    let stem = name.rsplit(['/', '\\']).next().and_then(|f| f.strip_suffix(".txt")).unwrap_or_default();
    match stem.rsplit('-').next() {
        Some(tag) if (2..=3).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_lowercase()) => tag,
        _ => "en",
    }
}

/// Reads the table; returns the release that its header names, e.g. `2024-01`. Chapters and blocks are concepts that
/// only group. Errors: a missing column, a title deeper than the one above it allows, by line.
pub fn read(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<Option<String>, Fault> {
    let mut table = Table::open(file, input, Format::QuotedTabs, &["Code", "Title", "ClassKind"])?;
    let [code, title, kind] = ["Code", "Title", "ClassKind"].map(|n| table.column(n).unwrap_or(usize::MAX));
    let [block, chapter, foundation, linear, residual] =
        ["BlockId", "ChapterNo", "Foundation URI", "Linearization URI", "IsResidual"]
            .map(|n| table.column(n));
    let version =
        table.header().iter().find_map(|h| h.strip_prefix("Version:")).and_then(release).or_else(|| {
            table.header().iter().find_map(|h| h.strip_prefix("Version:")).map(|v| v.trim().to_owned())
        });
    let language = language_of(file);
    let mut above: Vec<String> = Vec::new();
    while table.next()? {
        let kind = table.get(kind);
        let written = table.get(title);
        let (level, title) = level(written);
        if level > above.len() || level > MAX_LEVEL {
            return Err(table.fault(format!("`{written}` is deeper than what stands above it")));
        }
        above.truncate(level);
        let own = match (table.get(code), kind) {
            ("", "chapter") => table.get_opt(chapter),
            ("", _) => table.get_opt(block),
            (code, _) => code,
        };
        // Some groups of the tabulation have neither code nor block.
        let own =
            if own.is_empty() { table.get_opt(linear).rsplit('/').next().unwrap_or_default() } else { own };
        if own.is_empty() {
            return Err(table.fault("a row has neither code, block nor URI"));
        }
        let own = own.to_owned();
        sink.take(Item::Concept {
            code: &own,
            display: title,
            definition: "",
            inactive: false,
            is_abstract: table.get(code).is_empty(),
        })?;
        let name = Name { language, value: title, preferred: true, ..Name::default() };
        sink.take(Item::Designation { code: &own, name })?;
        if let Some(parent) = above.last() {
            sink.take(Item::Parent { code: &own, parent })?;
        }
        for (name, column) in
            [("foundationUri", foundation), ("linearizationUri", linear), ("chapter", chapter)]
        {
            let value = table.get_opt(column);
            if !value.is_empty() {
                sink.take(Item::Property { code: &own, name, value: Value::Text(value) })?;
            }
        }
        if !kind.is_empty() {
            sink.take(Item::Property { code: &own, name: "classKind", value: Value::Code(kind) })?;
        }
        if table.get_opt(residual).eq_ignore_ascii_case("true") {
            sink.take(Item::Property { code: &own, name: "isResidual", value: Value::Boolean(true) })?;
        }
        above.push(own);
    }
    Ok(version)
}

/// `- - Cholera` is level 2.
fn level(title: &str) -> (usize, &str) {
    let mut rest = title;
    let mut level = 0;
    while let Some(tail) =
        rest.strip_prefix("- ").or_else(|| rest.strip_prefix('-').filter(|t| t.starts_with('-')))
    {
        rest = tail;
        level += 1;
    }
    (level, rest.trim())
}

/// `2024 Jan 21 - 22:30 UTC` is release 2024-01.
fn release(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_whitespace();
    let year = words.next().filter(|y| y.len() == 4 && y.bytes().all(|b| b.is_ascii_digit()))?;
    let month = words.next()?;
    let number = MONTHS.iter().position(|m| month.starts_with(m))? + 1;
    Some(format!("{year}-{number:02}"))
}
