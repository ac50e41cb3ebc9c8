//! ICD-10 as tables: WHO's and the national meta files (`icd102019syst_codes.txt`), the code and order files of
//! ICD-10-CM, and any list of codes as CSV with a header.

use super::line::Lines;
use super::table::{Format, Table};
use super::{Fault, Item, Name, Sink, Value};
use std::io::BufRead;

pub const SYSTEM: &str = "http://hl7.org/fhir/sid/icd-10";
pub const CM_SYSTEM: &str = "http://hl7.org/fhir/sid/icd-10-cm";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `…_chapters.txt`: number;title
    Chapters,
    /// `…_groups.txt` or `…_blocks.txt`: first;last;chapter;title
    Groups,
    /// `…_codes.txt`
    Codes,
    /// `icd10cm_order_2024.txt`
    CmOrder,
    /// `icd10cm_codes_2024.txt`
    CmCodes,
}

/// What a file is by its published name.
pub fn part_of(name: &str) -> Option<Part> {
    let file = name.rsplit(['/', '\\']).next()?.to_ascii_lowercase();
    let stem = file.strip_suffix(".txt")?;
    if stem.starts_with("icd10cm") {
        return if stem.contains("order") && !stem.contains("addenda") {
            Some(Part::CmOrder)
        } else if stem.contains("codes") && !stem.contains("addenda") {
            Some(Part::CmCodes)
        } else {
            None
        };
    }
    if !stem.starts_with("icd10") {
        return None;
    }
    if stem.ends_with("_chapters") || stem.ends_with("_kapitel") || stem == "chapters" {
        Some(Part::Chapters)
    } else if stem.ends_with("_groups") || stem.ends_with("_blocks") || stem.ends_with("_gruppen") {
        Some(Part::Groups)
    } else if stem.ends_with("_codes") || stem.ends_with("_kodes") {
        Some(Part::Codes)
    } else {
        None
    }
}

/// The first year in a file's name.
pub fn year_of(name: &str) -> Option<&str> {
    let file = name.rsplit(['/', '\\']).next()?;
    (0..file.len()).find_map(|at| {
        let year = file.get(at..at + 4)?;
        (year.starts_with("20") && year.bytes().all(|b| b.is_ascii_digit())).then_some(year)
    })
}

/// Reads one file. Errors: a line with too few fields or no code, by line.
pub fn read(part: Part, file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut lines = Lines::new(file, input);
    match part {
        Part::Chapters => {
            while let Some(line) = lines.next_line()? {
                let fields: Vec<&str> = line.split(';').collect();
                match fields[..] {
                    [] | [""] => {}
                    [number, title, ..] => concept(number, title, true, sink)?,
                    _ => return Err(lines.fault("a chapter is `number;title`")),
                }
            }
        }
        Part::Groups => {
            while let Some(line) = lines.next_line()? {
                let fields: Vec<&str> = line.split(';').collect();
                match fields[..] {
                    [] | [""] => {}
                    [first, last, chapter, title, ..] => {
                        let code = format!("{first}-{last}");
                        concept(&code, title, true, sink)?;
                        sink.take(Item::Parent { code: &code, parent: chapter })?;
                        // Codes name their group by its first category only.
                        sink.take(Item::Property { code: &code, name: "first", value: Value::Code(first) })?;
                    }
                    _ => return Err(lines.fault("a group is `first;last;chapter;title`")),
                }
            }
        }
        Part::Codes => codes(&mut lines, sink)?,
        Part::CmOrder => order(&mut lines, sink)?,
        Part::CmCodes => {
            let mut above = Vec::new();
            while let Some(line) = lines.next_line()? {
                let line = line.trim();
                if line.is_empty() {
                    continue;
                }
                let Some((code, title)) = line.split_once(char::is_whitespace) else {
                    return Err(lines.fault("a line is a code, blanks and a title"));
                };
                below(&dotted(code), title.trim(), "", false, &mut above, sink)?;
            }
        }
    }
    Ok(())
}

fn concept(code: &str, title: &str, is_abstract: bool, sink: &mut dyn Sink) -> Result<(), Fault> {
    sink.take(Item::Concept { code, display: title, definition: "", inactive: false, is_abstract })
}

/// level;place;kind;chapter;group;code with dash;code;code without dot;title;…
fn codes(lines: &mut Lines<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut above: Vec<String> = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.is_empty() {
            continue;
        }
        let fields: Vec<&str> = line.split(';').collect();
        let [level, place, _, chapter, group, _, code, _, title, ..] = fields[..] else {
            return Err(lines.fault(format!("{} fields where at least 9 are expected", fields.len())));
        };
        let level: usize = level
            .parse()
            .ok()
            .filter(|l| (3..=7).contains(l))
            .ok_or_else(|| lines.fault(format!("the level is 3 to 7, not `{level}`")))?;
        let code = code.trim_end_matches(['-', '.', '+', '*', '!']);
        if code.is_empty() {
            return Err(lines.fault("the code is missing"));
        }
        concept(code, title, false, sink)?;
        above.truncate(level - 3);
        match above.last() {
            Some(parent) => sink.take(Item::Parent { code, parent })?,
            None => {
                // The group is told by its first category: a property that the loader turns into the parent.
                sink.take(Item::Parent { code, parent: &format!("{GROUP_OF}{group}") })?;
                sink.take(Item::Property { code, name: "chapter", value: Value::Code(chapter) })?;
            }
        }
        sink.take(Item::Property { code, name: "terminal", value: Value::Boolean(place == "T") })?;
        above.push(code.to_owned());
    }
    Ok(())
}

/// Before the first category of a group, in the parent of a category: codes files name groups so.
pub const GROUP_OF: &str = "group:";

/// Columns: 1-5 order, 7-13 code, 15 1 for a code that can be used, 17-76 short title, 78- long title.
fn order(lines: &mut Lines<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut above = Vec::new();
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let chars: Vec<char> = line.chars().collect();
        let cut = |from: usize, to: usize| -> String {
            chars.get(from..to.min(chars.len())).map(|c| c.iter().collect::<String>()).unwrap_or_default()
        };
        let code = cut(6, 13);
        let is_usable = match cut(14, 15).as_str() {
            "1" => true,
            "0" => false,
            other => {
                return Err(lines
                    .fault(format!("column 15 tells by 0 or 1 whether a code can be used, not `{other}`")));
            }
        };
        let (short, long) = (cut(16, 76), cut(77, usize::MAX));
        if code.trim().is_empty() || short.trim().is_empty() {
            return Err(lines.fault("the line has no code or no title"));
        }
        let title = if long.trim().is_empty() { short.trim() } else { long.trim() };
        below(&dotted(code.trim()), title, short.trim(), !is_usable, &mut above, sink)?;
    }
    Ok(())
}

/// `A000` is `A00.0`.
fn dotted(code: &str) -> String {
    match code.get(..3) {
        Some(head) if code.len() > 3 && !code.contains('.') => format!("{head}.{}", &code[3..]),
        _ => code.to_owned(),
    }
}

/// A code of a sorted list: its parent is the last one before it that it begins with.
fn below(
    code: &str,
    title: &str,
    short: &str,
    is_abstract: bool,
    above: &mut Vec<String>,
    sink: &mut dyn Sink,
) -> Result<(), Fault> {
    while above.last().is_some_and(|last| !code.starts_with(last.as_str())) {
        above.pop();
    }
    concept(code, title, is_abstract, sink)?;
    if !short.is_empty() && short != title {
        let name = Name { language: "en", value: short, ..Name::default() };
        sink.take(Item::Designation { code, name })?;
    }
    if let Some(parent) = above.last() {
        sink.take(Item::Parent { code, parent })?;
    }
    above.push(code.to_owned());
    Ok(())
}

/// Any list of codes as CSV: `code`, `display` (or `title`, `name`, `description`), and if they are there `parent`,
/// `definition`, `inactive`, `abstract` and `display:xx` for other languages; every other column is a property.
/// Errors: a missing column or code, by line.
pub fn read_csv(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut table = Table::open(file, input, Format::Commas, &["code"])?;
    let code = table.column("code").unwrap_or(usize::MAX);
    let display = ["display", "title", "name", "description", "long description", "short description"]
        .iter()
        .find_map(|name| table.column(name));
    let Some(display) = display else {
        return Err(table.fault("one of the columns `display`, `title`, `name` or `description` is needed"));
    };
    let [parent, definition, inactive, is_abstract] =
        ["parent", "definition", "inactive", "abstract"].map(|n| table.column(n));
    let known = [Some(code), Some(display), parent, definition, inactive, is_abstract];
    let others: Vec<(usize, String)> = table
        .header()
        .iter()
        .enumerate()
        .filter(|(n, name)| !known.contains(&Some(*n)) && !name.is_empty())
        .map(|(n, name)| (n, name.clone()))
        .collect();
    let is_true = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "yes");
    while table.next()? {
        let own = table.get(code).trim();
        if own.is_empty() {
            return Err(table.fault("the code is missing"));
        }
        sink.take(Item::Concept {
            code: own,
            display: table.get(display).trim(),
            definition: table.get_opt(definition),
            inactive: is_true(table.get_opt(inactive)),
            is_abstract: is_true(table.get_opt(is_abstract)),
        })?;
        if !table.get_opt(parent).is_empty() {
            sink.take(Item::Parent { code: own, parent: table.get_opt(parent).trim() })?;
        }
        for (column, name) in &others {
            let value = table.get(*column).trim();
            if value.is_empty() {
                continue;
            }
            match name.strip_prefix("display:") {
                Some(language) => {
                    let name = Name { language, value, preferred: true, ..Name::default() };
                    sink.take(Item::Designation { code: own, name })?;
                }
                None => sink.take(Item::Property { code: own, name, value: Value::Text(value) })?,
            }
        }
    }
    Ok(())
}
