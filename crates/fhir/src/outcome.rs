//! OperationOutcome: every problem found, each with code, text and FHIRPath location.

use serde_json::{Value, json};

/// <http://hl7.org/fhir/R4/valueset-issue-severity.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Fatal,
    Error,
    Warning,
    Information,
}

impl Severity {
    pub fn code(self) -> &'static str {
        match self {
            Severity::Fatal => "fatal",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Information => "information",
        }
    }
}

/// The part of <http://hl7.org/fhir/R4/valueset-issue-type.html> that Uzima produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueCode {
    Structure,
    Required,
    Value,
    Invariant,
    CodeInvalid,
    NotSupported,
    NotFound,
    Deleted,
    Duplicate,
    MultipleMatches,
    Conflict,
    BusinessRule,
    Login,
    Forbidden,
    Throttled,
    Transient,
    NoStore,
    TooLong,
    TooCostly,
    Exception,
    Informational,
}

impl IssueCode {
    pub fn code(self) -> &'static str {
        match self {
            IssueCode::Structure => "structure",
            IssueCode::Required => "required",
            IssueCode::Value => "value",
            IssueCode::Invariant => "invariant",
            IssueCode::CodeInvalid => "code-invalid",
            IssueCode::NotSupported => "not-supported",
            IssueCode::NotFound => "not-found",
            IssueCode::Deleted => "deleted",
            IssueCode::Duplicate => "duplicate",
            IssueCode::MultipleMatches => "multiple-matches",
            IssueCode::Conflict => "conflict",
            IssueCode::BusinessRule => "business-rule",
            IssueCode::Login => "login",
            IssueCode::Forbidden => "forbidden",
            IssueCode::Throttled => "throttled",
            IssueCode::Transient => "transient",
            IssueCode::NoStore => "no-store",
            IssueCode::TooLong => "too-long",
            IssueCode::TooCostly => "too-costly",
            IssueCode::Exception => "exception",
            IssueCode::Informational => "informational",
        }
    }
}

/// One problem. `text` tells the sender what to do and never carries patient data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub severity: Severity,
    pub code: IssueCode,
    pub text: String,
    /// FHIRPath of the element, e.g. `Observation.component[1].valueQuantity`; empty if none applies.
    pub expression: String,
}

impl Issue {
    pub fn error(code: IssueCode, expression: impl Into<String>, text: impl Into<String>) -> Issue {
        Issue { severity: Severity::Error, code, text: text.into(), expression: expression.into() }
    }
    pub fn warning(code: IssueCode, expression: impl Into<String>, text: impl Into<String>) -> Issue {
        Issue { severity: Severity::Warning, code, text: text.into(), expression: expression.into() }
    }
}

/// All problems of one request; never empty when used as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    pub issues: Vec<Issue>,
}

impl Outcome {
    pub fn one(code: IssueCode, expression: impl Into<String>, text: impl Into<String>) -> Outcome {
        Outcome { issues: vec![Issue::error(code, expression, text)] }
    }
    pub fn has_errors(&self) -> bool {
        self.issues.iter().any(|i| matches!(i.severity, Severity::Fatal | Severity::Error))
    }
    /// The OperationOutcome resource as JSON.
    pub fn to_json(&self) -> Value {
        let issue: Vec<Value> = self
            .issues
            .iter()
            .map(|i| {
                let mut v = json!({
                    "severity": i.severity.code(), "code": i.code.code(), "diagnostics": i.text,
                    "details": {"text": i.text},
                });
                if !i.expression.is_empty() {
                    v["expression"] = json!([i.expression]);
                }
                v
            })
            .collect();
        json!({"resourceType": "OperationOutcome", "issue": issue})
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, i) in self.issues.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            if !i.expression.is_empty() {
                write!(f, "{}: ", i.expression)?;
            }
            f.write_str(&i.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for Outcome {}
