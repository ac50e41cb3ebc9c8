//! SQL-on-FHIR v2 ViewDefinitions: rows from resources, by FHIRPath.
//!
//! [View::compile] checks a definition once; [View::rows] turns one resource into its rows. Pure: the same resource
//! gives the same rows, wherever it comes from.
//!
//! Source: <https://sql-on-fhir.org/ig/StructureDefinition-ViewDefinition.html> (2.0).

mod budget;
mod compile;
mod evaluate;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Limits, MAX_BYTES, MAX_STEPS, Spent};

use fhir::path::Expr;
use fhir::{IssueCode, Outcome, TypeId};
use serde_json::Value;

/// A definition, ready to be run on resources.
#[derive(Debug, Clone)]
pub struct View {
    /// `ViewDefinition.name`, empty if it has none.
    pub name: String,
    /// The type of resource it is about.
    pub kind: TypeId,
    /// In the order of the cells of a row.
    pub columns: Vec<Column>,
    filters: Vec<Expr>,
    constants: Vec<Constant>,
    selects: Vec<Select>,
}

/// One column of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// `[A-Za-z][A-Za-z0-9_]*`
    pub name: String,
    /// FHIR type as in the definition, e.g. `date`; empty if the definition does not say.
    pub kind: String,
    /// Holds a list; else at most one value.
    pub collection: bool,
    pub description: String,
    /// Value of the tag `ansi/type`, e.g. `DECIMAL(10,2)`; empty if there is none.
    pub ansi: String,
}

/// `%name` with its value, `kind` being the FHIR type.
#[derive(Debug, Clone)]
struct Constant {
    name: String,
    kind: String,
    value: Value,
}

#[derive(Debug, Clone)]
struct Select {
    each: Each,
    /// Paths of its own columns.
    columns: Vec<Path>,
    selects: Vec<Select>,
    unions: Vec<Select>,
    /// Cells it makes, those of `selects` and `unions` included.
    width: usize,
}

#[derive(Debug, Clone)]
struct Path {
    name: String,
    expression: Expr,
    collection: bool,
}

/// What the rows of a select are made for.
#[derive(Debug, Clone)]
enum Each {
    /// Once for what the select stands in.
    Context,
    /// `forEach`: once for each item.
    Item(Expr),
    /// `forEachOrNull`: as Item; one row of nulls if there is no item.
    ItemOrNull(Expr),
    /// `repeat`: once for each item that the paths lead to, at any depth.
    Repeat(Vec<Expr>),
}

/// A row: one cell per column; null, boolean, number, string, an object for a complex type, an array for a collection.
pub type Row = Vec<Value>;

/// Columns of one view.
pub const MAX_COLUMNS: usize = 500;
/// Selects inside selects.
pub const MAX_DEPTH: usize = 20;
/// Rows one resource may give: nested `forEach` multiply.
pub const MAX_ROWS: usize = 50_000;
/// Items one `repeat` may visit.
pub const MAX_REPEAT: usize = 50_000;

/// What is wrong with a definition, or with running it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The definition cannot be used; `at` is the FHIRPath of the element, e.g. `ViewDefinition.select[0].column[1].path`.
    #[error("{at}: {text}")]
    Definition { at: String, text: String },
    /// The definition does not fit this resource. `at` names a column or element; the text carries no data.
    #[error("{at}: {text}")]
    Evaluation { at: String, text: String },
    /// One resource would cost more than any may; the others can go on.
    #[error("{at}: {text}")]
    TooMuch { at: String, text: String },
    /// The allowance of the whole run is used up ([Limits]).
    #[error("this takes more than {most}")]
    UsedUp { most: String },
}

impl ViewError {
    /// As an issue about `field`, which names the parameter the view came by; `what` is the resource at hand.
    pub fn to_outcome(&self, field: &str, what: Option<&str>) -> Outcome {
        let about = what.map_or_else(String::new, |what| format!("{what}: "));
        match self {
            ViewError::Definition { .. } | ViewError::Evaluation { .. } => {
                Outcome::one(IssueCode::Value, field, format!("{about}{self}"))
            }
            ViewError::TooMuch { .. } => Outcome::one(IssueCode::TooCostly, field, format!("{about}{self}")),
            ViewError::UsedUp { .. } => {
                let text = format!(
                    "The view is too costly: {self}. Give `_limit`, `patient` or `_since`, leave out what multiplies \
                     rows, or write it to files by $viewdefinition-export."
                );
                Outcome::one(IssueCode::TooCostly, field, text)
            }
        }
    }
}

impl View {
    /// Errors: [ViewError::Definition], the first problem found.
    pub fn compile(definition: &Value) -> Result<View, ViewError> {
        compile::compile(definition)
    }

    /// The rows of one resource, none if it is of another type or a `where` leaves it out; the first `limit` of them,
    /// without the work for the others.
    /// Errors: [ViewError::Evaluation]: a path that fails, several values for a column that is no collection, a `where`
    /// that is no boolean; [ViewError::TooMuch]: more than [MAX_ROWS] rows, [MAX_REPEAT] items, [MAX_STEPS], [MAX_BYTES];
    /// [ViewError::UsedUp]: the run's allowance.
    pub fn rows(&self, resource: &Value, budget: &Budget, limit: Option<u64>) -> Result<Vec<Row>, ViewError> {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        evaluate::rows(self, resource, budget, limit)
    }
}
