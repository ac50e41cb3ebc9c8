//! Builders shared by the tests.

use fhir::search::{Filter, IndexEntry, IndexValue, Match, Operand, Query, Sort, Total};
use fhir::{ParamId, ResourceKey, TypeId};
use jiff::Timestamp;
use store::resource::{self, New, Written};
use store::{Content, Tx};

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

pub fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap()
}

pub fn key(text: &str) -> ResourceKey {
    ResourceKey::parse(text).unwrap()
}

pub fn param(of: &str, code: &str) -> ParamId {
    fhir::definitions::param(kind(of), code).unwrap_or_else(|| panic!("{of}.{code}")).id
}

/// A resource as the store sees it.
#[derive(Debug, Clone, Default)]
pub struct Doc {
    pub key: String,
    pub entries: Vec<IndexEntry>,
    pub patients: Vec<String>,
    pub updated_s: i64,
}

impl Doc {
    pub fn new(key: &str) -> Doc {
        Doc { key: key.into(), ..Doc::default() }
    }
    pub fn kind_name(&self) -> &str {
        self.key.split_once('/').unwrap().0
    }
    fn with(mut self, code: &str, value: IndexValue) -> Doc {
        let param = param(self.kind_name(), code);
        self.entries.push(IndexEntry { param, value });
        self
    }
    pub fn token(self, code: &str, system: &str, value: &str) -> Doc {
        self.with(code, IndexValue::Token { system: system.into(), code: value.into() })
    }
    pub fn string(self, code: &str, text: &str) -> Doc {
        self.with(code, IndexValue::String { folded: fhir::search::fold(text), exact: text.into() })
    }
    pub fn date(self, code: &str, low_us: i64, high_us: i64) -> Doc {
        self.with(code, IndexValue::Date { low_us, high_us })
    }
    pub fn number(self, code: &str, value: f64, low: f64, high: f64, system: &str, unit: &str) -> Doc {
        self.with(code, IndexValue::Quantity { value, low, high, system: system.into(), code: unit.into() })
    }
    pub fn reference(self, code: &str, target: &str) -> Doc {
        self.with(code, IndexValue::Reference { target: key(target) })
    }
    pub fn uri(self, code: &str, uri: &str) -> Doc {
        self.with(code, IndexValue::Uri(uri.into()))
    }
    pub fn of(mut self, patient: &str) -> Doc {
        self.patients.push(patient.into());
        self
    }
    pub fn updated(mut self, second: i64) -> Doc {
        self.updated_s = second;
        self
    }
    pub fn json(&self, version: u32) -> String {
        format!(r#"{{"resourceType":"{}","id":"{}","v":{version}}}"#, self.kind_name(), self.key)
    }
}

pub fn insert(tx: &mut dyn Tx, doc: &Doc) -> store::Result<Written> {
    let content = Content::new(&doc.json(1));
    let new = New {
        key: &key(&doc.key),
        last_updated: at(doc.updated_s),
        content: &content,
        entries: &doc.entries,
        patients: &doc.patients,
    };
    resource::insert(tx, &new).map(|written| written.expect("a new key"))
}

/// Writes version `from` + 1 of a resource that was `old`.
pub fn update(tx: &mut dyn Tx, from: u32, old: &Doc, doc: &Doc) -> store::Result<Option<Written>> {
    let content = Content::new(&doc.json(from + 1));
    let new = New {
        key: &key(&doc.key),
        last_updated: at(doc.updated_s),
        content: &content,
        entries: &doc.entries,
        patients: &doc.patients,
    };
    resource::update(tx, from, &old.entries, &new)
}

pub fn query(of: &str) -> Query {
    Query {
        kind: kind(of),
        filters: Vec::new(),
        ids: Vec::new(),
        last_updated: Vec::new(),
        conditions: Vec::new(),
        includes: Vec::new(),
        sort: Vec::new(),
        count: 50,
        cursor: None,
        total: Total::None,
    }
}

pub fn filter(of: &str, code: &str, matching: Match, any: Vec<Operand>) -> Filter {
    Filter { param: param(of, code), matching, any }
}

pub fn by(of: &str, code: &str, descending: bool) -> Sort {
    let param = fhir::definitions::param(kind(of), code).unwrap_or_else(|| panic!("{of}.{code}"));
    Sort::Param { param: param.id, param_type: param.param_type, descending }
}

/// The query as a URL would give it, e.g. `patient=Patient/1&_sort=-date`.
pub fn parse(of: &str, parameters: &str) -> Query {
    let pairs: Vec<(String, String)> = parameters
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap())
        .collect();
    fhir::search::parse(&fhir::search::Params::standard(), kind(of), &pairs, fhir::search::Handling::Strict)
        .unwrap_or_else(|e| panic!("{parameters}: {e:?}"))
        .0
}
