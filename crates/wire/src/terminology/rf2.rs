//! SNOMED CT Release Format 2: the files of a Snapshot or Full release.
//! <http://snomed.org/rfs>
//!
//! [Reader::read] takes one file at a time; language reference sets must come before descriptions, or no name is known
//! as preferred. Rows that are no longer active are passed over, but inactive concepts stay, with their names.

use super::table::{Format, Table};
use super::{Fault, Item, Mapping, Name, Sink, Value};
use std::collections::HashMap;
use std::io::BufRead;

pub const SYSTEM: &str = "http://snomed.info/sct";
const CORE: &str = "900000000000207008";
const MODEL: &str = "900000000000012004";
const IS_A: &str = "116680003";
const FSN: &str = "900000000000003001";
const SYNONYM: &str = "900000000000013009";
const PREFERRED: &str = "900000000000548007";
const DEFINED: &str = "900000000000073002";
const STATED: &str = "900000000000010007";
const US_ENGLISH: u64 = 900_000_000_000_509_007;
const GB_ENGLISH: u64 = 900_000_000_000_508_004;

/// What a file holds, in the order in which the files are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Concept,
    Relationship,
    ConcreteValue,
    Language,
    Description,
    TextDefinition,
    Members,
    Map,
}

/// Which rows a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    Snapshot,
    Full,
}

/// What a file is by its published name, e.g. `sct2_Description_Snapshot-en_INT_20240101.txt`. `None` for files that hold
/// nothing that is read (stated relationships, OWL, module dependencies, associations) and for the Delta.
pub fn part_of(name: &str) -> Option<(Part, Release)> {
    let name = name.rsplit(['/', '\\']).next()?;
    let stem = name.strip_suffix(".txt")?;
    let mut fields = stem.split('_');
    let (kind, content, rest) = (fields.next()?, fields.next()?, fields.next()?);
    let kind = kind.trim_start_matches('x').trim_start_matches('z');
    // In reference sets the release stands within the third field: `LanguageSnapshot-en`.
    let release = if rest.contains("Snapshot") {
        Release::Snapshot
    } else if rest.contains("Full") {
        Release::Full
    } else {
        return None;
    };
    let set = rest.split("Snapshot").next().and_then(|r| r.split("Full").next()).unwrap_or_default();
    let part = match (kind, content) {
        ("sct2", "Concept") => Part::Concept,
        ("sct2", "Description") => Part::Description,
        ("sct2", "TextDefinition") => Part::TextDefinition,
        ("sct2", "Relationship") => Part::Relationship,
        ("sct2", "RelationshipConcreteValues") => Part::ConcreteValue,
        ("der2", "cRefset") if set == "Language" => Part::Language,
        ("der2", "Refset") if !set.contains("Descriptor") => Part::Members,
        ("der2", "sRefset") if set.contains("SimpleMap") => Part::Map,
        ("der2", "iissscRefset" | "iisssccRefset") if set.contains("Map") => Part::Map,
        _ => return None,
    };
    Some((part, release))
}

/// The date of a published file name, e.g. `20240101`.
pub fn date_of(name: &str) -> Option<&str> {
    let stem = name.rsplit(['/', '\\']).next()?.strip_suffix(".txt")?;
    let date = stem.rsplit('_').next()?;
    (date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit())).then_some(date)
}

/// Whether a SNOMED CT id is one: 6 to 18 digits, a partition, and Verhoeff's check digit.
pub fn is_sctid(id: &str) -> bool {
    if !(6..=18).contains(&id.len()) || id.starts_with('0') || !id.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    check(id) == 0
}

/// The digit that makes `id` a SNOMED CT id; `None` if there is something else in it than digits.
pub fn check_digit(id: &str) -> Option<char> {
    if !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let inverse = [0, 4, 3, 2, 1, 5, 6, 7, 8, 9];
    let sum = check(&format!("{id}0"));
    char::from_digit(inverse[sum], 10)
}

/// Verhoeff's sum: 0 for a number whose last digit checks it.
fn check(id: &str) -> usize {
    const TIMES: [[usize; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const MOVE: [[usize; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    id.bytes().rev().enumerate().fold(0, |sum, (n, b)| {
        let digit = usize::from(b.wrapping_sub(b'0').min(9));
        TIMES[sum][MOVE[n % 8][digit]]
    })
}

/// Goes through the files of one release.
#[derive(Default)]
pub struct Reader {
    /// Preferred descriptions: 1 US English, 2 British English, 4 any other.
    preferred: HashMap<u64, u8>,
    /// Concepts by module, to tell the edition.
    modules: HashMap<String, u64>,
    /// Of a Full file: the newest version of each row.
    newest: HashMap<u64, u32>,
}

impl Reader {
    pub fn new() -> Reader {
        Reader::default()
    }

    /// The version's URI, from the modules of the concepts read so far and the date of the release. An edition's own
    /// module is the largest beside the international core.
    pub fn version(&self, date: &str) -> String {
        let own = self
            .modules
            .iter()
            .filter(|(module, _)| !matches!(module.as_str(), CORE | MODEL))
            .max_by_key(|(module, count)| (**count, (*module).clone()));
        let module = own.map_or(CORE, |(module, _)| module.as_str());
        format!("{SYSTEM}/{module}/version/{date}")
    }

    /// Of a Full file, learns which row is the newest of its id; to be called before [Reader::read] with the same file.
    /// Errors: as there.
    pub fn survey(&mut self, file: &str, input: &mut dyn BufRead) -> Result<(), Fault> {
        self.newest.clear();
        let mut table = Table::open(file, input, Format::Tabs, &["id", "effectiveTime"])?;
        let [id, time] = columns(&table, ["id", "effectiveTime"]).into();
        while table.next()? {
            let key = row_key(table.get(id));
            let time: u32 = table.get(time).parse().map_err(|_| table.fault("effectiveTime is no date"))?;
            let newest = self.newest.entry(key).or_default();
            *newest = time.max(*newest);
        }
        Ok(())
    }

    /// Reads one file. Errors: a missing column, a row of another width, an id whose check digit is wrong, by line.
    pub fn read(
        &mut self,
        part: Part,
        release: Release,
        file: &str,
        input: &mut dyn BufRead,
        sink: &mut dyn Sink,
    ) -> Result<(), Fault> {
        let mut required = vec!["id", "effectiveTime", "active", "moduleId"];
        required.extend_from_slice(match part {
            Part::Concept => &["definitionStatusId"][..],
            Part::Relationship => &["sourceId", "destinationId", "typeId", "characteristicTypeId"],
            Part::ConcreteValue => &["sourceId", "value", "typeId"],
            Part::Language => &["refsetId", "referencedComponentId", "acceptabilityId"],
            Part::Description | Part::TextDefinition => &["conceptId", "languageCode", "typeId", "term"],
            Part::Members => &["refsetId", "referencedComponentId"],
            Part::Map => &["refsetId", "referencedComponentId", "mapTarget"],
        });
        let mut table = Table::open(file, input, Format::Tabs, &required)?;
        let [id, time, active, module] =
            columns(&table, ["id", "effectiveTime", "active", "moduleId"]).into();
        let mut sequence: i64 = 0;
        while table.next()? {
            if release == Release::Full {
                let newest = self.newest.get(&row_key(table.get(id))).copied();
                if newest.is_some_and(|n| Ok(n) != table.get(time).parse()) {
                    continue;
                }
            }
            let is_active = match table.get(active) {
                "1" => true,
                "0" => false,
                other => return Err(table.fault(format!("active is 0 or 1, not `{other}`"))),
            };
            if part == Part::Concept {
                if !is_sctid(table.get(id)) {
                    return Err(table.fault(format!("`{}` is no SNOMED CT id", table.get(id))));
                }
                *self.modules.entry(table.get(module).to_owned()).or_default() += u64::from(is_active);
                concept(&table, id, time, module, is_active, sink)?;
            } else if is_active {
                match part {
                    Part::Language => self.language(&table)?,
                    Part::Description => self.description(&table, id, sink)?,
                    Part::Map => {
                        sequence += 1;
                        mapping(&table, sequence, sink)?;
                    }
                    _ => plain(part, &table, sink)?,
                }
            }
        }
        self.newest.clear();
        Ok(())
    }

    fn language(&mut self, table: &Table<'_>) -> Result<(), Fault> {
        let [set, component, acceptability] =
            columns(table, ["refsetId", "referencedComponentId", "acceptabilityId"]).into();
        if table.get(acceptability) != PREFERRED {
            return Ok(());
        }
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| table.fault(format!("`{text}` is no SNOMED CT id")));
        let bit = match number(table.get(set))? {
            US_ENGLISH => 1,
            GB_ENGLISH => 2,
            _ => 4,
        };
        *self.preferred.entry(number(table.get(component))?).or_default() |= bit;
        Ok(())
    }

    fn description(&self, table: &Table<'_>, id: usize, sink: &mut dyn Sink) -> Result<(), Fault> {
        let [concept, language, kind, term] =
            columns(table, ["conceptId", "languageCode", "typeId", "term"]).into();
        let preferred = table.get(id).parse().ok().and_then(|id: u64| self.preferred.get(&id)).copied();
        let preferred = preferred.unwrap_or(0);
        let english = table.get(language).starts_with("en");
        let kind = table.get(kind);
        let display_rank = match (kind, preferred) {
            (SYNONYM, p) if p & 1 != 0 => 9,
            (SYNONYM, p) if p != 0 && english => 8,
            (SYNONYM, p) if p != 0 => 7,
            (FSN, _) if english => 4,
            (FSN, _) => 3,
            _ => 2,
        };
        // A name that only one English prefers is told as of that country.
        let language = match (table.get(language), preferred & 3, kind) {
            ("en", 1, SYNONYM) => "en-US",
            ("en", 2, SYNONYM) => "en-GB",
            (other, _, _) => other,
        };
        let use_display = match kind {
            FSN => "Fully specified name",
            SYNONYM => "Synonym",
            _ => "",
        };
        let name = Name {
            language,
            use_system: SYSTEM,
            use_code: kind,
            use_display,
            value: table.get(term),
            preferred: preferred != 0,
            display_rank,
        };
        sink.take(Item::Designation { code: table.get(concept), name })
    }
}

/// Which attributes of a concept belong together: a property of it whose text is the group's number, a blank, and
/// `attribute=value`, for each relationship that is in a group.
pub const ROLE_GROUP: &str = "609096000";

fn grouped(
    table: &Table<'_>,
    code: &str,
    name: &str,
    target: &str,
    sink: &mut dyn Sink,
) -> Result<(), Fault> {
    match table.column("relationshipGroup").map(|column| table.get(column)) {
        None | Some("" | "0") => Ok(()),
        Some(group) => {
            let text = format!("{group} {name}={target}");
            sink.take(Item::Property { code, name: ROLE_GROUP, value: Value::Text(&text) })
        }
    }
}

/// Columns that [Table::open] has found to be there.
fn columns<const N: usize>(table: &Table<'_>, names: [&str; N]) -> Columns<N> {
    Columns(names.map(|name| table.column(name).unwrap_or(usize::MAX)))
}

struct Columns<const N: usize>([usize; N]);

impl<const N: usize> From<Columns<N>> for [usize; N] {
    fn from(columns: Columns<N>) -> [usize; N] {
        columns.0
    }
}

/// A number for an id; reference sets have UUIDs, of which half is as good as the whole to tell rows apart.
fn row_key(id: &str) -> u64 {
    id.parse().unwrap_or_else(|_| {
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0) | 1 << 63
    })
}

fn concept(
    table: &Table<'_>,
    id: usize,
    time: usize,
    module: usize,
    is_active: bool,
    sink: &mut dyn Sink,
) -> Result<(), Fault> {
    let code = table.get(id);
    sink.take(Item::Concept { code, display: "", definition: "", inactive: !is_active, is_abstract: false })?;
    let is_defined = table.column("definitionStatusId").is_some_and(|c| table.get(c) == DEFINED);
    for (name, value) in [
        ("sufficientlyDefined", Value::Boolean(is_defined)),
        ("moduleId", Value::Code(table.get(module))),
        ("effectiveTime", Value::Text(table.get(time))),
    ] {
        sink.take(Item::Property { code, name, value })?;
    }
    Ok(())
}

fn plain(part: Part, table: &Table<'_>, sink: &mut dyn Sink) -> Result<(), Fault> {
    match part {
        Part::Relationship => {
            let [source, target, kind, characteristic] =
                columns(table, ["sourceId", "destinationId", "typeId", "characteristicTypeId"]).into();
            if table.get(characteristic) == STATED {
                return Ok(());
            }
            let (code, target) = (table.get(source), table.get(target));
            match table.get(kind) {
                IS_A => sink.take(Item::Parent { code, parent: target }),
                name => {
                    let value = Value::Coding { system: SYSTEM, code: target, display: "" };
                    sink.take(Item::Property { code, name, value })?;
                    grouped(table, code, name, target, sink)
                }
            }
        }
        Part::ConcreteValue => {
            let [source, value, kind] = columns(table, ["sourceId", "value", "typeId"]).into();
            let written = table.get(value);
            let value = match written.strip_prefix('#') {
                Some(number) if number.contains('.') => Value::Decimal(number),
                Some(number) => Value::Integer(number),
                None => Value::Text(written.trim_matches('"')),
            };
            sink.take(Item::Property { code: table.get(source), name: table.get(kind), value })
        }
        Part::TextDefinition => {
            let [concept, term] = columns(table, ["conceptId", "term"]).into();
            sink.take(Item::Definition { code: table.get(concept), text: table.get(term) })
        }
        Part::Members => {
            let [set, component] = columns(table, ["refsetId", "referencedComponentId"]).into();
            sink.take(Item::Member { set: table.get(set), code: table.get(component) })
        }
        Part::Concept | Part::Language | Part::Description | Part::Map => Ok(()),
    }
}

fn mapping(table: &Table<'_>, sequence: i64, sink: &mut dyn Sink) -> Result<(), Fault> {
    let [set, component, target] = columns(table, ["refsetId", "referencedComponentId", "mapTarget"]).into();
    let number = |name: &str| table.column(name).and_then(|c| table.get(c).parse::<i64>().ok());
    let place = match (number("mapGroup"), number("mapPriority")) {
        (Some(group), Some(priority)) => group * 1000 + priority,
        _ => sequence,
    };
    let target = table.get(target);
    let correlation = table.column("correlationId").map_or("", |c| table.get(c));
    let equivalence = match correlation {
        _ if target.is_empty() => "unmatched",
        "447557004" => "equivalent",
        "447558002" => "wider",
        "447559005" => "narrower",
        "447560000" => "inexact",
        _ => "relatedto",
    };
    let comment = table.column("mapAdvice").map_or("", |c| table.get(c));
    sink.take(Item::Mapping(Mapping {
        map: table.get(set),
        source: table.get(component),
        target,
        place,
        equivalence,
        comment,
    }))
}

/// The code system that a map's targets are of; an id of our own making for maps that are not known by name.
pub fn map_target(refset: &str) -> String {
    match refset {
        "447562003" => "http://hl7.org/fhir/sid/icd-10".to_owned(),
        "6011000124106" => "http://hl7.org/fhir/sid/icd-10-cm".to_owned(),
        "446608001" => "http://terminology.hl7.org/CodeSystem/icd-o-3".to_owned(),
        "900000000000497000" => "http://read.info/ctv3".to_owned(),
        "900000000000498005" => "http://snomed.info/srt".to_owned(),
        "705112009" => "http://loinc.org".to_owned(),
        other => format!("http://snomed.info/id/{other}"),
    }
}
