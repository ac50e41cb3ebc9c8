//! FHIRPath (normative release 1, <http://hl7.org/fhirpath/N1/>) over JSON resources, with the R4 additions
//! `resolve()`, `extension()`, `hasValue()`, `getValue()` and the FHIR type names.
//!
//! Not here: `conformsTo`, `memberOf` and the other functions that need profiles or a terminology server.

mod compare;
mod convert;
mod decimal;
mod evaluate;
mod function;
mod item;
mod math;
pub(crate) mod parser;
mod quantity;
mod temporal;
#[cfg(test)]
mod tests;
mod text;
mod token;

pub use decimal::Decimal;
pub use evaluate::MAX_WORK;
pub use item::{Instant, Item, Node, Quantity};

use serde_json::Value;
use std::collections::BTreeMap;

/// What went wrong in parsing or evaluating an expression.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PathError {
    /// The text is no FHIRPath; `at` is the byte offset.
    #[error("FHIRPath syntax at {at}: {text}")]
    Syntax { at: usize, text: String },
    /// The expression cannot be evaluated on this input. The text names functions and types, never data.
    #[error("FHIRPath: {0}")]
    Evaluation(String),
}

/// A parsed expression; parse once, evaluate often.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    root: parser::Node,
}

/// Reference text to the resource behind it.
pub type Resolve<'a> = &'a dyn Fn(&str) -> Option<&'a Value>;

/// What an evaluation may ask of its caller.
#[derive(Default, Clone)]
pub struct Env<'a> {
    /// `resolve()`: the resource behind a reference text, if the caller has it. `#id` and entries of the
    /// bundle under evaluation are found without it.
    pub resolve: Option<Resolve<'a>>,
    /// `now()`, `today()`, `timeOfDay()`; without it these functions are errors.
    pub now: Option<jiff::Timestamp>,
    /// `%name`, beside the built-in `%resource`, `%context`, `%rootResource`, `%ucum`, `%sct` and `%loinc`.
    pub variables: BTreeMap<String, Vec<Item<'a>>>,
    /// Members that a type does not have are errors instead of empty.
    pub strict: bool,
}

/// Parses a FHIRPath expression. Errors: [PathError::Syntax].
pub fn parse(text: &str) -> Result<Expr, PathError> {
    Ok(Expr { root: parser::parse(text)? })
}

/// Evaluates against a resource (any JSON object; its `resourceType` decides the types below it).
/// Errors: [PathError::Evaluation]: wrong types or counts, unknown functions, more than [MAX_WORK] steps.
pub fn evaluate<'a>(
    expression: &Expr,
    resource: &'a Value,
    env: &Env<'a>,
) -> Result<Vec<Item<'a>>, PathError> {
    evaluate::Evaluator::new(resource, env).run(&expression.root)
}
