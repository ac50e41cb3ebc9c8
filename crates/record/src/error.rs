//! What can go wrong in `record`; `server::http::error` maps every variant to HTTP.

use fhir::{IssueCode, Outcome};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: not JSON, or no resource.
    #[error("malformed: {0}")]
    Malformed(Outcome),
    /// 422: every problem found.
    #[error("invalid: {0}")]
    Invalid(Outcome),
    /// 401
    #[error("sign in first")]
    Unauthenticated,
    /// 403, or 404 where existence is itself private.
    #[error("not allowed")]
    Denied,
    /// 403: the person must show again who she is, by one of these; see [crate::Record::require_fresh].
    #[error("step-up needed")]
    StepUpNeeded { factors: Vec<access::Factor>, minutes: u32 },
    /// 403: the session is good for nothing else before this is done.
    #[error("{}", .0.code())]
    Due(access::Due),
    #[error("not found")]
    NotFound,
    /// 410
    #[error("deleted")]
    Gone,
    /// 412: `current` is the version that is there now.
    #[error("version conflict")]
    VersionConflict { current: Option<u32> },
    /// 412: what the request made a condition does not hold; the issues say which and where.
    #[error("precondition: {0}")]
    Precondition(Outcome),
    /// What went wrong with one entry of a bundle: as `error`, at FHIRPath `place`.
    #[error("{place}: {error}")]
    At { place: String, error: Box<Error> },
    /// 409: the thing exists, the slot is taken, the key was used with another body.
    #[error("{0}")]
    Duplicate(Rule),
    /// 422: a domain rule says no.
    #[error("{0}")]
    Rule(Rule),
    /// 429
    #[error("too many requests")]
    Throttled { retry_after_s: u32 },
    /// 422: the search takes longer than it may. Not 503: asking the same again will not help, asking for less will.
    #[error("too costly")]
    TooCostly,
    /// The disk is full: nothing was written, and nothing will be until somebody makes room. Reading works.
    #[error("the disk is full")]
    Full,
    /// 503: queue full, engine busy or gone; safe to retry.
    #[error("busy")]
    Busy,
    /// 503: something must be finished first; the text says what. Safe to retry.
    #[error("{text}")]
    NotReady { text: &'static str, retry_after_s: u32 },
    /// 500; the source is logged once, the client gets the request id.
    #[error("internal: {0}")]
    Internal(String),
}

impl Error {
    /// The OperationOutcome of this error (STYLE.md, Errors). The text of [Error::Internal] stays here.
    pub fn to_outcome(&self) -> Outcome {
        let one = |code, text: &str| Outcome::one(code, "", text);
        match self {
            Error::Malformed(outcome) | Error::Invalid(outcome) | Error::Precondition(outcome) => {
                outcome.clone()
            }
            Error::At { place, error } => {
                let mut outcome = error.to_outcome();
                for issue in outcome.issues.iter_mut().filter(|issue| issue.expression.is_empty()) {
                    issue.expression.clone_from(place);
                }
                outcome
            }
            Error::Unauthenticated => one(IssueCode::Login, "Sign in first."),
            Error::Denied => one(IssueCode::Forbidden, "You have no right to do this."),
            Error::StepUpNeeded { .. } => one(IssueCode::Login, "Show again that it is you to do this."),
            Error::Due(access::Due::Password) => one(IssueCode::Login, "Change your password first."),
            Error::Due(access::Due::SecondFactor) => one(IssueCode::Login, "Set up a second factor first."),
            Error::Due(access::Due::Passkey) => one(IssueCode::Login, "Set up or use a passkey first."),
            Error::NotFound => one(IssueCode::NotFound, "There is no such resource."),
            Error::Gone => one(IssueCode::Deleted, "This resource was deleted."),
            Error::VersionConflict { .. } => {
                one(IssueCode::Conflict, "It was changed meanwhile; read it again and repeat the change.")
            }
            Error::Duplicate(rule) => Outcome::one(IssueCode::Duplicate, &*rule.field, &*rule.text),
            Error::Rule(rule) => Outcome::one(IssueCode::BusinessRule, &*rule.field, &*rule.text),
            Error::Throttled { .. } => one(IssueCode::Throttled, "Too many requests; wait and try again."),
            Error::TooCostly => one(
                IssueCode::TooCostly,
                "This search takes too long. Narrow it: name a patient, a code or a date range, or leave out `_total`, \
                 `_sort` or chains.",
            ),
            Error::Busy => one(IssueCode::Transient, "The server is busy; try again."),
            Error::NotReady { text, .. } => one(IssueCode::Transient, text),
            Error::Full => one(IssueCode::NoStore, "The server has no room left; reading still works."),
            Error::Internal(_) => one(IssueCode::Exception, "Something went wrong on the server."),
        }
    }

    /// The `status` of a bundle's response entry, e.g. `404 Not Found`. HTTP itself is `server::http::error`'s.
    pub fn http_status_line(&self) -> &'static str {
        match self {
            Error::Malformed(_) => "400 Bad Request",
            Error::Invalid(_) | Error::Rule(_) | Error::TooCostly => "422 Unprocessable Entity",
            Error::Unauthenticated => "401 Unauthorized",
            Error::Denied | Error::StepUpNeeded { .. } | Error::Due(_) => "403 Forbidden",
            Error::NotFound => "404 Not Found",
            Error::Gone => "410 Gone",
            Error::VersionConflict { .. } | Error::Precondition(_) => "412 Precondition Failed",
            Error::At { error, .. } => error.http_status_line(),
            Error::Duplicate(_) => "409 Conflict",
            Error::Throttled { .. } => "429 Too Many Requests",
            Error::Busy | Error::NotReady { .. } => "503 Service Unavailable",
            Error::Full => "507 Insufficient Storage",
            Error::Internal(_) => "500 Internal Server Error",
        }
    }
}

impl Error {
    /// The error at this place of a bundle; errors that name their place already stay as they are.
    pub(crate) fn at(self, place: &str) -> Error {
        match self {
            _ if place.is_empty() => self,
            Error::Malformed(_) | Error::Invalid(_) | Error::Precondition(_) | Error::At { .. } => self,
            Error::Unauthenticated
            | Error::StepUpNeeded { .. }
            | Error::Due(_)
            | Error::Busy
            | Error::NotReady { .. }
            | Error::Full
            | Error::TooCostly
            | Error::Internal(_)
            | Error::Throttled { .. } => self,
            Error::Denied
            | Error::NotFound
            | Error::Gone
            | Error::VersionConflict { .. }
            | Error::Duplicate(_)
            | Error::Rule(_) => Error::At { place: place.to_owned(), error: Box::new(self) },
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        match error {
            store::Error::Busy | store::Error::Closed | store::Error::Serialization => Error::Busy,
            store::Error::TooCostly => Error::TooCostly,
            store::Error::Constraint(text) if text == store::keys::ERASED => Error::Gone,
            store::Error::DiskFull => Error::Full,
            store::Error::Invalid(what) => {
                Error::Malformed(Outcome::one(IssueCode::Value, "", format!("Invalid {what}.")))
            }
            other => Error::Internal(other.to_string()),
        }
    }
}

/// A rule of the domain that refused a command. `code` is stable and translated by the web client
/// (`error.<code>`); `text` is English for logs and API users; `field` is a JSON pointer into the request
/// body, empty if none applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub code: &'static str,
    pub text: String,
    pub field: String,
    /// Facts for the client, e.g. the next free slots. Never data the caller may not see.
    pub details: serde_json::Value,
}

impl Rule {
    pub fn new(code: &'static str, text: impl Into<String>) -> Rule {
        Rule { code, text: text.into(), field: String::new(), details: serde_json::Value::Null }
    }
    pub fn at(mut self, field: impl Into<String>) -> Rule {
        self.field = field.into();
        self
    }
    pub fn with(mut self, details: serde_json::Value) -> Rule {
        self.details = details;
        self
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
