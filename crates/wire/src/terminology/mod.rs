//! Published terminologies: ICD-10, ICD-11, LOINC, SNOMED CT and FHIR's own files, as a stream of [Item]s.
//!
//! A reader goes once through what it is given, holds no more than a line or an element of it (SNOMED CT also the ids of
//! preferred descriptions), and hands each fact to a [Sink]. Facts about a concept may come before the concept.

pub mod claml;
pub mod fhir;
pub mod icd10;
pub mod icd11;
pub mod line;
pub mod loinc;
pub mod rf2;
mod table;
#[cfg(test)]
mod tests;

/// One fact of a code system or concept map.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    Concept {
        code: &'a str,
        /// "" if it is told by a [Name].
        display: &'a str,
        definition: &'a str,
        inactive: bool,
        /// Not to be chosen for a record.
        is_abstract: bool,
    },
    Parent {
        code: &'a str,
        parent: &'a str,
    },
    /// Text that says what the concept means.
    Definition {
        code: &'a str,
        text: &'a str,
    },
    Designation {
        code: &'a str,
        name: Name<'a>,
    },
    Property {
        code: &'a str,
        name: &'a str,
        value: Value<'a>,
    },
    /// `code` belongs to the reference set or answer list `set`.
    Member {
        set: &'a str,
        code: &'a str,
    },
    Mapping(Mapping<'a>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Name<'a> {
    /// BCP 47, "" if unknown.
    pub language: &'a str,
    pub use_system: &'a str,
    pub use_code: &'a str,
    pub use_display: &'a str,
    pub value: &'a str,
    /// The one to be shown in this language.
    pub preferred: bool,
    /// How good a display it would be: 0 none, else the largest wins.
    pub display_rank: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Code(&'a str),
    Coding { system: &'a str, code: &'a str, display: &'a str },
    Text(&'a str),
    Integer(&'a str),
    Boolean(bool),
    Date(&'a str),
    Decimal(&'a str),
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mapping<'a> {
    /// The map: a reference set's id.
    pub map: &'a str,
    pub source: &'a str,
    pub target: &'a str,
    /// The publisher's order among the targets of one source, from 0.
    pub place: i64,
    /// ConceptMapEquivalence.
    pub equivalence: &'a str,
    pub comment: &'a str,
}

/// Takes what a reader finds.
pub trait Sink {
    /// Errors: whatever ends the reading; [Fault::Stopped] carries its text.
    fn take(&mut self, item: Item<'_>) -> Result<(), Fault>;
}

impl<F: FnMut(Item<'_>) -> Result<(), Fault>> Sink for F {
    fn take(&mut self, item: Item<'_>) -> Result<(), Fault> {
        self(item)
    }
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text breaks the format; lines count from 1.
    #[error("{file}, line {line}: {text}")]
    Line { file: String, line: u64, text: String },
    /// The file as a whole is not what it should be.
    #[error("{file}: {text}")]
    File { file: String, text: String },
    /// The sink had enough.
    #[error("{0}")]
    Stopped(String),
}

impl Fault {
    pub fn file(file: &str, text: impl Into<String>) -> Fault {
        Fault::File { file: file.to_owned(), text: text.into() }
    }
    pub fn line(file: &str, line: u64, text: impl Into<String>) -> Fault {
        Fault::Line { file: file.to_owned(), line, text: text.into() }
    }
}
