//! The search language: values extracted from resources, and queries parsed from URLs.
//!
//! `store` turns both into rows and SQL; the types here are the contract between the two.

mod composite;
mod condition;
mod definition;
mod extract;
mod filter;
mod fold;
mod include;
mod modifier;
mod operand;
mod params;
mod plan;
mod query;
mod reference;
#[cfg(test)]
mod tests;
mod words;

pub use condition::in_compartment;
pub use definition::{Definition, MAX_BASES};
pub use extract::{EXTRACTOR_VERSION, MAX_INDEXED_BYTES, compartment, extract, extract_stored};
pub use fold::fold;
pub use params::{Own, Params, State, known_codes};
pub use query::{
    Handling, MAX_ALTERNATIVES, MAX_CHAIN, MAX_CONDITIONS, MAX_INCLUDES, MAX_PARAMETERS, MAX_SORT_KEYS, parse,
};
pub(crate) use reference::kind_in_url;
pub use reference::{references, rewrite_references};
pub use words::{MAX_RESOURCE_WORDS, words};

use crate::definitions::ParamType;
use crate::{ParamId, ResourceKey, TypeId};

/// One value of one search parameter of one resource, as the index keeps it.
/// Text is already folded ([fold]); nothing here needs a further look at the resource.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexEntry {
    pub param: ParamId,
    pub value: IndexValue,
}

#[derive(Debug, Clone, PartialEq)]
pub enum IndexValue {
    /// Coding, CodeableConcept, Identifier, ContactPoint, code, boolean. `system` is "" when absent.
    Token { system: String, code: String },
    /// Folded for prefix search; `exact` is the text as written.
    String { folded: String, exact: String },
    /// The closed-open range [low, high) the date covers, microseconds since the epoch, UTC.
    Date { low_us: i64, high_us: i64 },
    /// Number or quantity; `low..high` is the implicit precision range. `system`/`code` are "" for plain numbers
    /// and for quantities without a coded unit (then `code` is the unit as written).
    Quantity { value: f64, low: f64, high: f64, system: String, code: String },
    /// A local target.
    Reference { target: ResourceKey },
    /// uri/canonical, and references that are not local. A canonical with a version gives two entries: with
    /// and without it.
    Uri(String),
    /// An Identifier with a type, beside its [IndexValue::Token]; one for each coding of the type, for `:of-type`.
    IdentifierOfType { system: String, code: String, value: String },
    /// Text of a token, for `:text`: the display of `coding` (system, code), or the text of a CodeableConcept or
    /// identifier type that no display of its codings repeats (then `coding` is `None`). The same display of the
    /// same coding comes with hundreds of thousands of resources.
    Text { folded: String, coding: Option<(String, String)> },
    /// `Reference.identifier`, whether or not the reference has a target too; for `:identifier`.
    ReferenceIdentifier { system: String, value: String },
    /// Degrees, WGS 84; for `near`.
    Position { latitude: f64, longitude: f64 },
    /// Values of the components of a composite parameter that stand together in one element, in the order of the
    /// components; an element with several values per component gives all combinations. Only for composites that
    /// are not about the resource as a whole: those become conjunctions when the query is parsed.
    Composite(Vec<IndexValue>),
}

/// Prefix of a date, number or quantity value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

/// One value of a comma list, parsed by the parameter's type.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// `code` → system None (any); `|code` → Some(""); `sys|` → code None.
    Token {
        system: Option<String>,
        code: Option<String>,
    },
    String {
        folded: String,
        exact: String,
    },
    Date {
        prefix: Prefix,
        low_us: i64,
        high_us: i64,
    },
    Quantity {
        prefix: Prefix,
        value: f64,
        low: f64,
        high: f64,
        system: Option<String>,
        code: Option<String>,
    },
    /// `kinds` are the types the id may belong to (one when given as `Type/id` or `:Type`).
    Reference {
        kinds: Vec<TypeId>,
        id: String,
    },
    Uri(String),
    /// `:missing`
    Missing(bool),
    /// `:of-type`: type system, type code, value.
    OfType {
        system: String,
        code: String,
        value: String,
    },
    /// `:identifier` of a reference; as in [Operand::Token] `system` `None` is any, "" is none.
    Identifier {
        system: Option<String>,
        value: Option<String>,
    },
    /// `:text` of a token: some text of it starts with this.
    Text {
        folded: String,
    },
    /// `:in`, and `:not-in` with [Match::Not]: a code of the value set with this URL. `record` replaces it by
    /// [Operand::Token]s before the query is run; the store never sees it.
    ValueSet(String),
    /// `:below` and (with `up`) `:above` of a token: the code itself and all it subsumes, or is subsumed by.
    /// `record` replaces it as it does [Operand::ValueSet].
    Hierarchy {
        system: String,
        code: String,
        up: bool,
    },
    /// `:below` and (with `up`) `:above` of a reference: `kind/id` itself and all that are below or above it by
    /// the reference parameter `parent` of `kind` (Location.partof and the like).
    ReferenceTree {
        kind: TypeId,
        id: String,
        parent: ParamId,
        up: bool,
    },
    /// `near`: within this distance of the place.
    Near {
        latitude: f64,
        longitude: f64,
        meters: f64,
    },
    /// All hold for the components of one [IndexValue::Composite], in its order. The parts are Token, String,
    /// Date, Quantity, Reference or Uri.
    Composite(Vec<Operand>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The type's own default: prefix for strings, equality for the rest.
    Default,
    Exact,
    Contains,
    /// `ew` of `_filter`: some text ends with this, folded.
    Ends,
    /// `eq` of `_filter` on strings: the whole text is this, folded.
    Whole,
    Not,
    Missing,
    Above,
    Below,
}

/// `param:modifier=a,b` — the operands are alternatives; several filters of a query are all required.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub param: ParamId,
    pub matching: Match,
    pub any: Vec<Operand>,
}

/// What a row must meet, beyond plain [Filter]s.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Filter(Filter),
    /// Any of these ids of the row's type.
    Ids(Vec<String>),
    LastUpdated {
        prefix: Prefix,
        low_us: i64,
        high_us: i64,
    },
    /// Rows whose reference `param` points at a current resource of type `kind` that meets `condition`:
    /// `subject:Patient.name=x`. A chain over several target types is an [Condition::Any] of these.
    Chain {
        param: ParamId,
        kind: TypeId,
        condition: Box<Condition>,
    },
    /// Rows that a current resource of type `kind` refers to by its parameter `param` and that meets `condition`:
    /// `_has:Observation:patient:code=x`, and `_list` (a List whose `item` names the row).
    Has {
        kind: TypeId,
        param: ParamId,
        condition: Box<Condition>,
    },
    /// As [Condition::Chain] over a canonical: rows whose parameter `param` names the `url` (by the parameter `url`
    /// of `kind`) of a current resource of type `kind` that meets `condition`.
    CanonicalChain {
        param: ParamId,
        kind: TypeId,
        url: ParamId,
        condition: Box<Condition>,
    },
    /// In the compartment of this patient, by the stored membership. Other compartments are an [Condition::Any] of
    /// reference filters of the parameters that the CompartmentDefinition names.
    Compartment(ResourceKey),
    /// `_text` (the narrative) and, with `content`, `_content` (all text): any of these lists of words, each
    /// list with all its words. Words are folded; the last character `*` asks for words that start so.
    Words {
        content: bool,
        any: Vec<Vec<String>>,
    },
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
}

/// `_include` or `_revinclude`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    pub reverse: bool,
    /// Applied to included resources as well, until nothing new is found or the limit is reached.
    pub iterate: bool,
    /// The type that holds the reference; `None` for `*`.
    pub source: Option<TypeId>,
    /// The reference parameter; `None` for `*`, every reference parameter.
    pub param: Option<ParamId>,
    /// Only targets of this type.
    pub target: Option<TypeId>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Sort {
    Param { param: ParamId, param_type: ParamType, descending: bool },
    LastUpdated { descending: bool },
    Id { descending: bool },
}

/// A parsed search. Ready for SQL: every name is resolved, every value parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub kind: TypeId,
    pub filters: Vec<Filter>,
    /// `_id`: any of these; empty = no restriction.
    pub ids: Vec<String>,
    /// `_lastUpdated` operands; all required.
    pub last_updated: Vec<(Prefix, i64, i64)>,
    /// All required, beside `filters`.
    pub conditions: Vec<Condition>,
    pub includes: Vec<Include>,
    pub sort: Vec<Sort>,
    /// 1..=[MAX_PAGE]; `_count=0` means only the total.
    pub count: u32,
    /// Opaque cursor from a `next` link; opaque to this crate, made and read by `store`.
    pub cursor: Option<String>,
    pub total: Total,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    None,
    /// May be off where counting is dear.
    Estimate,
    Accurate,
}

pub const DEFAULT_PAGE: u32 = 50;
pub const MAX_PAGE: u32 = 1000;
