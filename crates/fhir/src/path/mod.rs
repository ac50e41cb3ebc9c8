//! FHIRPath (normative release 2.0.0, <http://hl7.org/fhirpath/N1/>) over JSON resources, with what FHIR R4 adds
//! (<http://hl7.org/fhir/R4/fhirpath.html>), the boundary functions of the later release and the keys of
//! SQL on FHIR. `README.md` beside this file lists where it differs from the official suite, and why.

mod boundary;
mod compare;
mod convert;
mod decimal;
mod environment;
mod evaluate;
mod fhir;
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
pub use environment::{Arena, Env, Environment, Resolve};
pub use evaluate::MAX_WORK;
pub use item::{Instant, Item, Node, Quantity, Step};

use serde_json::Value;

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

impl Expr {
    /// The names behind `%`, built-in ones too, sorted, each once.
    pub fn variables(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.root.visit(&mut |node| {
            if let parser::Node::Variable(name) = node {
                names.push(name.clone());
            }
        });
        names.sort_unstable();
        names.dedup();
        names
    }
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
    evaluate_on(expression, vec![Item::resource(resource)], resource, env)
}

/// Evaluates with `focus` as input and `%context`: elements that an earlier evaluation found, or
/// [Item::element]. `resource` is `%resource`. Errors: as [evaluate].
pub fn evaluate_on<'a>(
    expression: &Expr,
    focus: Vec<Item<'a>>,
    resource: &'a Value,
    env: &Env<'a>,
) -> Result<Vec<Item<'a>>, PathError> {
    evaluate::Evaluator::new(resource, &focus, env).run(&expression.root)
}

/// What a condition comes to (<http://hl7.org/fhirpath/N1/#singleton-evaluation-of-collections>): a single
/// item that is no boolean counts as true, nothing is `None`. Errors: as [evaluate]; several items.
pub fn truth(items: &[Item]) -> Result<Option<bool>, PathError> {
    match items {
        [] => Ok(None),
        [one] => Ok(Some(one.as_bool().unwrap_or(true))),
        _ => Err(PathError::Evaluation("a condition came to several values".to_owned())),
    }
}
