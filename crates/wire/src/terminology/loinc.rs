//! LOINC: the CSV files of the published archive.
//! <https://loinc.org/kb/users-guide/>

use super::table::{Format, Table};
use super::{Fault, Item, Name, Sink, Value};
use std::io::BufRead;

pub const SYSTEM: &str = "http://loinc.org";
const LONG_NAME: &str = "LONG_COMMON_NAME";

/// What a file of the archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// `Loinc.csv`
    Terms,
    /// `Part.csv`
    Parts,
    /// `ComponentHierarchyBySystem.csv` and its like
    Hierarchy,
    /// `LoincPartLink_Primary.csv`
    PartLinks,
    /// `AnswerList.csv`
    Answers,
    /// `LoincAnswerListLink.csv`
    AnswerLinks,
    /// `frFR18LinguisticVariant.csv` and its like
    Language,
}

/// What a file is by its published name. `None` for files that hold nothing that is read.
pub fn part_of(name: &str) -> Option<Part> {
    let file = name.rsplit(['/', '\\']).next()?;
    Some(match file {
        "Loinc.csv" => Part::Terms,
        "Part.csv" => Part::Parts,
        "ComponentHierarchyBySystem.csv" | "MultiAxialHierarchy.csv" => Part::Hierarchy,
        "LoincPartLink_Primary.csv" => Part::PartLinks,
        "AnswerList.csv" => Part::Answers,
        "LoincAnswerListLink.csv" => Part::AnswerLinks,
        _ if language_of(file).is_some() => Part::Language,
        _ => return None,
    })
}

/// `frFR18LinguisticVariant.csv` is `fr-FR`.
fn language_of(file: &str) -> Option<String> {
    let stem = file.rsplit(['/', '\\']).next()?.strip_suffix("LinguisticVariant.csv")?;
    let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    match (stem.get(..2), stem.get(2..4), stem.len()) {
        (Some(language), Some(country), 4) => Some(format!("{language}-{country}")),
        _ => None,
    }
}

/// Reads one file. Errors: a missing column or a broken quote, by line.
pub fn read(part: Part, file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    match part {
        Part::Terms => terms(file, input, sink),
        Part::Parts => parts(file, input, sink),
        Part::Hierarchy => hierarchy(file, input, sink),
        Part::PartLinks => part_links(file, input, sink),
        Part::Answers => answers(file, input, sink),
        Part::AnswerLinks => answer_links(file, input, sink),
        Part::Language => {
            let language = language_of(file).unwrap_or_default();
            names(file, &language, input, sink)
        }
    }
}

/// Properties of the FHIR page on LOINC; the six axes come again as parts, if the parts are read.
const PROPERTIES: &[&str] = &[
    "COMPONENT",
    "PROPERTY",
    "TIME_ASPCT",
    "SYSTEM",
    "SCALE_TYP",
    "METHOD_TYP",
    "CLASS",
    "STATUS",
    "CLASSTYPE",
    "ORDER_OBS",
    "EXAMPLE_UCUM_UNITS",
    "CHNG_TYPE",
    "VersionLastChanged",
    "UNITSREQUIRED",
    "PanelType",
];

fn column(table: &Table<'_>, name: &str) -> usize {
    table.column(name).unwrap_or(usize::MAX)
}

fn terms(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut table =
        Table::open(file, input, Format::Commas, &["LOINC_NUM", "COMPONENT", LONG_NAME, "STATUS"])?;
    let number = column(&table, "LOINC_NUM");
    let (long, status) = (column(&table, LONG_NAME), column(&table, "STATUS"));
    let definition = table.column("DefinitionDescription");
    let copyright = table.column("EXTERNAL_COPYRIGHT_NOTICE");
    let names = [
        ("SHORTNAME", "SHORTNAME"),
        ("CONSUMER_NAME", "CONSUMER_NAME"),
        ("DisplayName", "DisplayName"),
        ("SURVEY_QUEST_TEXT", "SURVEY_QUEST_TEXT"),
    ]
    .map(|(name, usage)| (table.column(name), usage));
    let related = table.column("RELATEDNAMES2");
    let properties: Vec<(usize, &str)> =
        PROPERTIES.iter().filter_map(|name| Some((table.column(name)?, *name))).collect();
    while table.next()? {
        let code = table.get(number);
        if !is_number(code) {
            return Err(table.fault(format!("`{code}` is no LOINC number")));
        }
        let display = table.get(long);
        sink.take(Item::Concept {
            code,
            display,
            definition: table.get_opt(definition),
            inactive: table.get(status) == "DEPRECATED",
            is_abstract: false,
        })?;
        let name = |use_code, value| Name {
            language: "en-US",
            use_system: SYSTEM,
            use_code,
            value,
            preferred: use_code == LONG_NAME,
            ..Name::default()
        };
        sink.take(Item::Designation { code, name: name(LONG_NAME, display) })?;
        for (column, usage) in names {
            if !table.get_opt(column).is_empty() {
                sink.take(Item::Designation { code, name: name(usage, table.get_opt(column)) })?;
            }
        }
        // One designation for the whole list: its words are found, and nobody wants to see them one by one.
        if !table.get_opt(related).is_empty() {
            sink.take(Item::Designation { code, name: name("RELATEDNAMES2", table.get_opt(related)) })?;
        }
        for (column, name) in &properties {
            if !table.get(*column).is_empty() {
                sink.take(Item::Property { code, name, value: Value::Text(table.get(*column)) })?;
            }
        }
        let owner = if table.get_opt(copyright).is_empty() { "LOINC" } else { "3rdParty" };
        sink.take(Item::Property { code, name: "copyright", value: Value::Text(owner) })?;
    }
    Ok(())
}

/// Digits, a dash, and a check digit by Luhn (mod 10).
pub fn is_number(code: &str) -> bool {
    let Some((digits, check)) = code.split_once('-') else { return false };
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(n, b)| {
            let digit = u32::from(b - b'0');
            let doubled = if n % 2 == 0 { digit * 2 } else { digit };
            doubled / 10 + doubled % 10
        })
        .sum();
    check.parse() == Ok((10 - sum % 10) % 10)
}

fn parts(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut table =
        Table::open(file, input, Format::Commas, &["PartNumber", "PartTypeName", "PartName", "Status"])?;
    let [number, kind, name, status] =
        ["PartNumber", "PartTypeName", "PartName", "Status"].map(|n| column(&table, n));
    let display = table.column("PartDisplayName");
    while table.next()? {
        let code = table.get(number);
        let shown = match table.get_opt(display) {
            "" => table.get(name),
            shown => shown,
        };
        sink.take(Item::Concept {
            code,
            display: shown,
            definition: "",
            inactive: table.get(status) == "INACTIVE" || table.get(status) == "DEPRECATED",
            is_abstract: true,
        })?;
        sink.take(Item::Property { code, name: "STATUS", value: Value::Text(table.get(status)) })?;
        sink.take(Item::Property { code, name: "PartTypeName", value: Value::Text(table.get(kind)) })?;
    }
    Ok(())
}

fn hierarchy(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let required = ["IMMEDIATE_PARENT", "CODE", "CODE_TEXT"];
    let mut table = Table::open(file, input, Format::Commas, &required)?;
    let [parent, code, text] = required.map(|n| column(&table, n));
    while table.next()? {
        // Groups of the hierarchy stand in no other file; terms and parts that are known already stay as they are.
        let (code, parent) = (table.get(code), table.get(parent));
        if code.starts_with("LP") {
            sink.take(Item::Concept {
                code,
                display: table.get(text),
                definition: "",
                inactive: false,
                is_abstract: true,
            })?;
        }
        if !parent.is_empty() {
            sink.take(Item::Parent { code, parent })?;
        }
    }
    Ok(())
}

fn part_links(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let required = ["LoincNumber", "PartNumber", "PartName", "Property"];
    let mut table = Table::open(file, input, Format::Commas, &required)?;
    let [code, number, name, property] = required.map(|n| column(&table, n));
    while table.next()? {
        // `http://loinc.org/property/COMPONENT`
        let Some(property) = table.get(property).rsplit('/').next().filter(|p| !p.is_empty()) else {
            continue;
        };
        let value = Value::Coding { system: SYSTEM, code: table.get(number), display: table.get(name) };
        sink.take(Item::Property { code: table.get(code), name: property, value })?;
    }
    Ok(())
}

fn answers(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let required = ["AnswerListId", "AnswerListName", "AnswerStringId", "DisplayText"];
    let mut table = Table::open(file, input, Format::Commas, &required)?;
    let [list, name, answer, text] = required.map(|n| column(&table, n));
    while table.next()? {
        let (list, answer) = (table.get(list), table.get(answer));
        for (code, display, is_abstract) in [(list, table.get(name), true), (answer, table.get(text), false)]
        {
            if !code.is_empty() {
                sink.take(Item::Concept { code, display, definition: "", inactive: false, is_abstract })?;
            }
        }
        if !answer.is_empty() {
            sink.take(Item::Member { set: list, code: answer })?;
        }
    }
    Ok(())
}

fn answer_links(file: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let required = ["LoincNumber", "AnswerListId", "AnswerListName"];
    let mut table = Table::open(file, input, Format::Commas, &required)?;
    let [code, list, name] = required.map(|n| column(&table, n));
    while table.next()? {
        let value = Value::Coding { system: SYSTEM, code: table.get(list), display: table.get(name) };
        sink.take(Item::Property { code: table.get(code), name: "answer-list", value })?;
    }
    Ok(())
}

fn names(file: &str, language: &str, input: &mut dyn BufRead, sink: &mut dyn Sink) -> Result<(), Fault> {
    let mut table = Table::open(file, input, Format::Commas, &["LOINC_NUM"])?;
    let number = column(&table, "LOINC_NUM");
    let uses =
        [(LONG_NAME, LONG_NAME), ("LinguisticVariantDisplayName", "DisplayName"), ("SHORTNAME", "SHORTNAME")]
            .map(|(name, usage)| (table.column(name), usage));
    let axes =
        ["COMPONENT", "PROPERTY", "TIME_ASPCT", "SYSTEM", "SCALE_TYP", "METHOD_TYP"].map(|n| table.column(n));
    while table.next()? {
        let code = table.get(number);
        let mut named = false;
        for (column, usage) in uses {
            let value = table.get_opt(column);
            if value.is_empty() {
                continue;
            }
            let preferred = !named;
            named = true;
            let name =
                Name { language, use_system: SYSTEM, use_code: usage, value, preferred, ..Name::default() };
            sink.take(Item::Designation { code, name })?;
        }
        if !named {
            // Many translations have only the axes; LOINC builds the name from them.
            let parts: Vec<&str> = axes.iter().map(|c| table.get_opt(*c)).filter(|v| !v.is_empty()).collect();
            let value = parts.join(":");
            if !value.is_empty() {
                let name = Name {
                    language,
                    use_system: SYSTEM,
                    use_code: LONG_NAME,
                    value: &value,
                    preferred: true,
                    ..Name::default()
                };
                sink.take(Item::Designation { code, name })?;
            }
        }
    }
    Ok(())
}
