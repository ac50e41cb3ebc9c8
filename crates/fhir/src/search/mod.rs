//! The search language: values extracted from resources, and queries parsed from URLs.
//!
//! `store` turns both into rows and SQL; the types here are the contract between the two.

mod extract;
mod fold;
mod operand;
mod plan;
mod query;
mod reference;
#[cfg(test)]
mod tests;

pub use extract::{MAX_INDEXED_BYTES, compartment, extract};
pub use fold::fold;
pub use query::{Handling, MAX_ALTERNATIVES, MAX_PARAMETERS, MAX_SORT_KEYS, parse};
pub(crate) use reference::kind_in_url;
pub use reference::{references, rewrite_references};

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
    /// uri/canonical (version cut off), and references that are not local.
    Uri(String),
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The type's own default: prefix for strings, equality for the rest.
    Default,
    Exact,
    Contains,
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
    /// In the compartment of this resource: for patients by the stored membership, for others by the parameters
    /// of the CompartmentDefinition.
    Compartment(ResourceKey),
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
    Param { param: ParamId, descending: bool },
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
    Accurate,
}

pub const DEFAULT_PAGE: u32 = 50;
pub const MAX_PAGE: u32 = 1000;
