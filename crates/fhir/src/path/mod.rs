//! FHIRPath over JSON resources.

pub(crate) mod parser;
mod token;

use serde_json::Value;

/// What went wrong in parsing or evaluating an expression.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PathError {
    /// The text is no FHIRPath; `at` is the byte offset.
    #[error("FHIRPath syntax at {at}: {text}")]
    Syntax { at: usize, text: String },
    /// The expression cannot be evaluated on this input.
    #[error("FHIRPath: {0}")]
    Evaluation(String),
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub(crate) root: parser::Node,
}

/// What an evaluation may ask of its caller.
#[derive(Default)]
pub struct Env<'a> {
    /// `resolve()`: the resource behind a reference, if the caller has it.
    pub resolve: Option<&'a dyn Fn(&str) -> Option<Value>>,
    /// `now()`, `today()`, `timeOfDay()`; without it these functions are errors.
    pub now: Option<jiff::Timestamp>,
}

/// One member of a result collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Boolean(bool),
    String(String),
    Json(Value),
}

/// Parses a FHIRPath expression. Errors: [PathError::Syntax].
pub fn parse(text: &str) -> Result<Expr, PathError> {
    Ok(Expr { root: parser::parse(text)? })
}

/// Evaluates against a resource. Errors: [PathError::Evaluation].
pub fn evaluate(expression: &Expr, _resource: &Value, _environment: &Env) -> Result<Vec<Item>, PathError> {
    Err(PathError::Evaluation(format!("not yet: {:?}", expression.root)))
}
