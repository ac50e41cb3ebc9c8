//! Refusals of the domain, and how they leave this crate.

use jiff::civil::Date;
use record::{Error, Rule};
use serde_json::{Value, json};

/// Codes that mean "this clashes with what is there" (409); all others are 422.
const CONFLICTS: [&str; 9] = [
    "slot-taken",
    "patient-busy",
    "note-signed",
    "prescription-signed",
    "possible-duplicate",
    "appointment-closed",
    "visit-closed",
    "schedule-missing",
    "record-number-taken",
];

/// Turns a refused plan into the error of the command.
pub fn refuse(rule: Rule) -> Error {
    if CONFLICTS.contains(&rule.code) { Error::Duplicate(rule) } else { Error::Rule(rule) }
}

/// Several wrong fields at once: the first is the rule, all are in `details.errors`.
///
/// Returns `None` if there are none.
pub fn all(rules: Vec<Rule>) -> Option<Rule> {
    let errors: Vec<Value> =
        rules.iter().map(|r| json!({"field": r.field, "code": r.code, "text": r.text})).collect();
    let first = rules.into_iter().next()?;
    if errors.len() == 1 { Some(first) } else { Some(first.with(json!({ "errors": errors }))) }
}

/// A text that must be there and fit. Errors: `required`, `too-long`.
pub fn needed(text: &str, field: &str, chars_max: usize) -> Result<String, Rule> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Rule::new("required", "This must not be empty.").at(field));
    }
    fits(text, field, chars_max)
}

/// A text that may be empty but must fit. Errors: `too-long`, `text-invalid` for control characters.
pub fn fits(text: &str, field: &str, chars_max: usize) -> Result<String, Rule> {
    if text.chars().count() > chars_max {
        return Err(Rule::new("too-long", format!("At most {chars_max} characters.")).at(field));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Rule::new("text-invalid", "This contains characters that cannot be stored.").at(field));
    }
    Ok(text.to_owned())
}

/// A whole calendar date. Errors: `date-invalid`.
pub fn date(text: &str, field: &str) -> Result<Date, Rule> {
    let whole = text.len() == 10;
    text.parse::<Date>()
        .ok()
        .filter(|_| whole)
        .ok_or_else(|| Rule::new("date-invalid", "Write the date as YYYY-MM-DD.").at(field))
}
