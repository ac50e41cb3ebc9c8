//! Tables of other systems (CSV): rows become resources by a [Mapping] that the clinic writes, or by what is known of an
//! OpenMRS export.

mod mapping;
pub(super) mod openmrs;
mod template;

pub use mapping::{Mapping, MappingError};
pub use openmrs::Export;

use fhir::{Resource, ResourceKey};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Columns of one table.
const MAX_COLUMNS: usize = 2_000;

/// Where the rows of CSV files go.
#[derive(Debug, Clone)]
pub enum Tables {
    Mapped(Arc<Mapping>),
    OpenMrs(Arc<Export>),
}

/// What is to be done with one file.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Mapped(Arc<Mapping>, usize),
    OpenMrs(Arc<Export>, openmrs::Table),
}

/// One row: values by column.
pub(super) struct Row<'a> {
    columns: &'a HashMap<String, usize>,
    values: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    pub fn new(columns: &'a HashMap<String, usize>, values: &'a csv::StringRecord) -> Row<'a> {
        Row { columns, values }
    }
    /// Trimmed; "" for a column that is not there, and for what databases write for no value.
    pub fn get(&self, column: &str) -> &str {
        let value = self.columns.get(column).and_then(|n| self.values.get(*n)).unwrap_or("").trim();
        if matches!(value, "NULL" | "\\N") { "" } else { value }
    }
}

impl Tables {
    /// The rule for a file, by its name. Errors: text for a file that no rule is for.
    pub(super) fn rule(&self, path: &Path) -> Result<Rule, String> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        match self {
            Tables::Mapped(mapping) => match mapping.table_of(name) {
                Some(table) => Ok(Rule::Mapped(mapping.clone(), table)),
                None => Err(format!("no [[table]] of the mapping is for a file named {name}")),
            },
            Tables::OpenMrs(export) => match openmrs::Table::of(name) {
                Some(table) => Ok(Rule::OpenMrs(export.clone(), table)),
                None => Err(format!("{name} is no table of an OpenMRS export; known are {}", openmrs::FILES)),
            },
        }
    }

    /// Makes the import of the same file by another mapping another import.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Tables::Mapped(mapping) => mapping.fingerprint().to_owned(),
            Tables::OpenMrs(_) => "openmrs-1".to_owned(),
        }
    }
}

impl Rule {
    pub fn delimiter(&self) -> u8 {
        match self {
            Rule::Mapped(mapping, table) => mapping.delimiter(*table),
            Rule::OpenMrs(..) => b',',
        }
    }

    pub fn is_latin_1(&self) -> bool {
        matches!(self, Rule::Mapped(mapping, table) if mapping.is_latin_1(*table))
    }

    /// Columns that the rule needs and the file lacks.
    pub fn missing_columns(&self, columns: &HashMap<String, usize>) -> Vec<String> {
        let wanted = match self {
            Rule::Mapped(mapping, table) => mapping.columns(*table),
            Rule::OpenMrs(_, table) => table.columns().iter().map(|c| (*c).to_owned()).collect(),
        };
        wanted.into_iter().filter(|c| !columns.contains_key(c)).collect()
    }

    /// The resources of a row, with their ids; none if the row is to be left out. Errors: what is wrong with which column.
    pub fn resources(&self, row: &Row<'_>) -> Result<Vec<Resource>, String> {
        match self {
            Rule::Mapped(mapping, table) => mapping.resources(*table, row),
            Rule::OpenMrs(export, table) => table.resources(export, row),
        }
    }
}

/// A CSV reader as all tables are read: quotes doubled, rows may be shorter or longer than the header.
pub(super) fn reader<R: Read>(input: R, delimiter: u8) -> csv::Reader<R> {
    csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(input)
}

/// Column numbers by name, without the byte order mark. Errors: text for a header that is none.
pub(super) fn columns(header: &csv::ByteRecord, is_latin_1: bool) -> Result<HashMap<String, usize>, String> {
    if header.len() > MAX_COLUMNS {
        return Err(format!("more than {MAX_COLUMNS} columns"));
    }
    let mut columns = HashMap::new();
    for (n, name) in text(header, is_latin_1)?.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}').trim();
        if columns.insert(name.to_owned(), n).is_some() && !name.is_empty() {
            return Err(format!("the column `{name}` is there twice"));
        }
    }
    Ok(columns)
}

/// Errors: text for a record that is not UTF-8.
pub(super) fn text(record: &csv::ByteRecord, is_latin_1: bool) -> Result<csv::StringRecord, String> {
    if is_latin_1 {
        return Ok(record
            .iter()
            .map(|field| field.iter().map(|b| char::from(*b)).collect::<String>())
            .collect());
    }
    csv::StringRecord::from_byte_record(record.clone())
        .map_err(|_| "not UTF-8; set encoding = \"latin-1\" in the mapping, or convert the file".to_owned())
}

/// An id that the same row always gets, whatever run or file it comes in.
pub(super) fn stable_id(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    let mut half = [0u8; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    uuid::Builder::from_custom_bytes(half).into_uuid().to_string()
}

/// The reference to a resource, as JSON.
pub(super) fn reference(key: &ResourceKey) -> serde_json::Value {
    serde_json::json!({"reference": key.to_string()})
}
