//! The one place that turns what went wrong into HTTP: problem+json for `/api/v1`, OperationOutcome for `/fhir`.
//!
//! **Invariant:** every match on [record::Error] here is exhaustive; a new variant does not compile until it has a status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fhir::{Issue, IssueCode, Outcome};
use record::{Error, Rule};
use serde::Serialize;
use serde_json::Value;

/// What every `/api/v1` handler returns.
pub type Answer<T> = Result<T, ApiError>;

/// An error of `/api/v1`, RFC 9457 problem+json.
#[derive(Debug)]
pub struct ApiError(pub Failure);

/// An error of `/fhir`, an OperationOutcome.
#[derive(Debug)]
pub struct FhirError(pub Failure);

/// Anything that ends a request early.
#[derive(Debug)]
pub enum Failure {
    Record(Error),
    Request(Refusal),
}

/// A request that did not get as far as `record`.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub kind: RefusalKind,
    /// English, for API users and logs; says what to do and carries no patient data.
    pub text: String,
    /// JSON pointer into the body or name of a parameter; empty if none applies.
    pub field: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// 400: not JSON at all.
    BodyMalformed,
    /// 400: a field this API does not have.
    FieldUnknown,
    /// 400: a field is missing.
    FieldMissing,
    /// 400: a field of another type or form.
    FieldWrong,
    /// 400: a query or path parameter.
    ParameterWrong,
    /// 403: a write from another site (CSRF).
    OriginForeign,
    /// 404: no such route.
    RouteUnknown,
    /// 405
    MethodNotAllowed,
    /// 406
    NotAcceptable,
    /// 413
    BodyTooLarge,
    /// 415
    MediaTypeUnsupported,
    /// 428: this write needs If-Match or a version.
    VersionRequired,
    /// 503: too many requests at once, or stopping.
    Overloaded,
    /// 503: took longer than allowed.
    TimedOut,
    /// 500: a bug; the text stays in the log.
    Panicked,
}

impl RefusalKind {
    fn facts(self) -> (StatusCode, &'static str, IssueCode) {
        match self {
            RefusalKind::BodyMalformed => (StatusCode::BAD_REQUEST, "body-malformed", IssueCode::Structure),
            RefusalKind::FieldUnknown => (StatusCode::BAD_REQUEST, "field-unknown", IssueCode::Structure),
            RefusalKind::FieldMissing => (StatusCode::BAD_REQUEST, "field-missing", IssueCode::Required),
            RefusalKind::FieldWrong => (StatusCode::BAD_REQUEST, "field-wrong", IssueCode::Value),
            RefusalKind::ParameterWrong => (StatusCode::BAD_REQUEST, "parameter-wrong", IssueCode::Value),
            RefusalKind::OriginForeign => (StatusCode::FORBIDDEN, "origin-foreign", IssueCode::Forbidden),
            RefusalKind::RouteUnknown => (StatusCode::NOT_FOUND, "route-unknown", IssueCode::NotFound),
            RefusalKind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", IssueCode::NotSupported)
            }
            RefusalKind::NotAcceptable => {
                (StatusCode::NOT_ACCEPTABLE, "not-acceptable", IssueCode::NotSupported)
            }
            RefusalKind::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", IssueCode::TooLong)
            }
            RefusalKind::MediaTypeUnsupported => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type-unsupported", IssueCode::NotSupported)
            }
            RefusalKind::VersionRequired => {
                (StatusCode::PRECONDITION_REQUIRED, "version-required", IssueCode::Required)
            }
            RefusalKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "busy", IssueCode::Transient),
            RefusalKind::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", IssueCode::Transient),
            RefusalKind::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal", IssueCode::Exception),
        }
    }
}

impl Refusal {
    pub fn new(kind: RefusalKind, text: impl Into<String>) -> Refusal {
        Refusal { kind, text: text.into(), field: String::new() }
    }
    pub fn at(mut self, field: impl Into<String>) -> Refusal {
        self.field = field.into();
        self
    }
}

/// One wrong field of a request.
#[derive(Debug, Clone, Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body, e.g. `/birth_date`, or the name of a parameter.
    pub field: String,
    /// Stable; the client translates `error.<code>`.
    pub code: String,
    /// English.
    pub text: String,
}

/// RFC 9457 with the fields this API adds.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `https://uzima.health/problems/<code>`
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// Stable; the client translates `error.<code>`.
    pub code: String,
    /// English, for this occurrence.
    pub detail: String,
    /// What to tell support.
    pub request_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Facts that go with the code, e.g. the next free slots.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Option<Object>)]
    pub details: Value,
}

/// Everything both renderings need.
struct Description {
    status: StatusCode,
    code: String,
    text: String,
    errors: Vec<FieldError>,
    details: Value,
    outcome: Outcome,
    retry_after_s: Option<u32>,
    challenge: bool,
}

/// Rules that mean "not signed in" rather than "not possible".
const UNAUTHENTICATED_RULES: &[&str] = &["credentials-wrong"];

fn describe(failure: Failure) -> Description {
    match failure {
        Failure::Request(refusal) => {
            let (status, code, issue) = refusal.kind.facts();
            let errors = match refusal.field.is_empty() {
                true => Vec::new(),
                false => vec![FieldError {
                    field: refusal.field.clone(),
                    code: code.to_owned(),
                    text: refusal.text.clone(),
                }],
            };
            let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
            let outcome = Outcome::one(issue, refusal.field, refusal.text.clone());
            Description {
                status,
                code: code.to_owned(),
                text: refusal.text,
                errors,
                details: Value::Null,
                outcome,
                retry_after_s,
                challenge: false,
            }
        }
        Failure::Record(error) => describe_record(error),
    }
}

fn describe_record(error: Error) -> Description {
    match error {
        Error::Malformed(outcome) => with_issues(StatusCode::BAD_REQUEST, "malformed", outcome),
        Error::Invalid(outcome) => with_issues(StatusCode::UNPROCESSABLE_ENTITY, "invalid", outcome),
        Error::Precondition(outcome) => {
            with_issues(StatusCode::PRECONDITION_FAILED, "precondition-failed", outcome)
        }
        Error::At { place, error } => {
            let mut described = describe_record(*error);
            for issue in described.outcome.issues.iter_mut().filter(|issue| issue.expression.is_empty()) {
                issue.expression.clone_from(&place);
            }
            described
        }
        Error::Unauthenticated => Description {
            challenge: true,
            ..plain(StatusCode::UNAUTHORIZED, "unauthenticated", IssueCode::Login, "Sign in first.")
        },
        Error::Denied => plain(StatusCode::FORBIDDEN, "denied", IssueCode::Forbidden, "You may not do this."),
        Error::StepUpNeeded { factors, minutes } => Description {
            details: serde_json::json!({"factors": factors, "minutes": minutes}),
            ..plain(
                StatusCode::FORBIDDEN,
                "step-up-needed",
                IssueCode::Login,
                "Show again that it is you: POST /api/v1/auth/step-up with one of `details.factors`.",
            )
        },
        Error::Due(due) => plain(
            StatusCode::FORBIDDEN,
            due.code(),
            IssueCode::Login,
            match due {
                access::Due::Password => "Change your password first.",
                access::Due::SecondFactor => "Set up a second factor first.",
                access::Due::Passkey => "Set up or use a passkey first.",
            },
        ),
        Error::NotFound => {
            plain(StatusCode::NOT_FOUND, "not-found", IssueCode::NotFound, "There is no such thing here.")
        }
        Error::Gone => plain(StatusCode::GONE, "gone", IssueCode::Deleted, "This was deleted."),
        Error::VersionConflict { current } => Description {
            details: current.map_or(Value::Null, |version| serde_json::json!({"current_version": version})),
            ..plain(
                StatusCode::PRECONDITION_FAILED,
                "version-conflict",
                IssueCode::Conflict,
                "Somebody else changed this meanwhile; load it again and repeat the change.",
            )
        },
        Error::Duplicate(rule) => with_rule(StatusCode::CONFLICT, IssueCode::Duplicate, rule),
        Error::Rule(rule) if UNAUTHENTICATED_RULES.contains(&rule.code) => {
            Description { challenge: true, ..with_rule(StatusCode::UNAUTHORIZED, IssueCode::Login, rule) }
        }
        Error::Rule(rule) => with_rule(StatusCode::UNPROCESSABLE_ENTITY, IssueCode::BusinessRule, rule),
        Error::Throttled { retry_after_s } => Description {
            retry_after_s: Some(retry_after_s),
            details: serde_json::json!({"retry_after_s": retry_after_s}),
            ..plain(
                StatusCode::TOO_MANY_REQUESTS,
                "throttled",
                IssueCode::Throttled,
                "Too many attempts; wait and try again.",
            )
        },
        Error::TooCostly => plain(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too_costly",
            IssueCode::TooCostly,
            "This search takes too long. Narrow it: name a patient, a code or a date range, or leave out `_total`, \
             `_sort` or chains.",
        ),
        Error::Busy => Description {
            retry_after_s: Some(1),
            ..plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                IssueCode::Transient,
                "The server is busy; the request was not carried out and may be repeated.",
            )
        },
        Error::NotReady { text, retry_after_s } => Description {
            retry_after_s: Some(retry_after_s),
            ..plain(StatusCode::SERVICE_UNAVAILABLE, "busy", IssueCode::Transient, text)
        },
        Error::Full => Description {
            retry_after_s: Some(60),
            ..plain(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                IssueCode::NoStore,
                "The server has no room left: nothing was written. Reading still works; tell whoever looks after the server.",
            )
        },
        Error::Internal(source) => {
            let request_id = super::request_id::current();
            tracing::error!(request.id = %request_id, error = %source, "request failed");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                IssueCode::Exception,
                "Something went wrong on our side. Please report the request id.",
            )
        }
    }
}

fn plain(status: StatusCode, code: &str, issue: IssueCode, text: &str) -> Description {
    Description {
        status,
        code: code.to_owned(),
        text: text.to_owned(),
        errors: Vec::new(),
        details: Value::Null,
        outcome: Outcome::one(issue, "", text),
        retry_after_s: None,
        challenge: false,
    }
}

fn with_issues(status: StatusCode, code: &str, outcome: Outcome) -> Description {
    let error = |issue: &Issue| FieldError {
        field: issue.expression.clone(),
        code: issue.code.code().to_owned(),
        text: issue.text.clone(),
    };
    Description {
        status,
        code: code.to_owned(),
        text: outcome.issues.first().map(|issue| issue.text.clone()).unwrap_or_default(),
        errors: outcome.issues.iter().map(error).collect(),
        details: Value::Null,
        outcome,
        retry_after_s: None,
        challenge: false,
    }
}

fn with_rule(status: StatusCode, issue: IssueCode, rule: Rule) -> Description {
    let several = rule.details.get("errors").cloned().map(serde_json::from_value::<Vec<FieldError>>);
    let errors = match several {
        // A form with several wrong fields: all of them, see `care`.
        Some(Ok(several)) => several,
        _ if rule.field.is_empty() => Vec::new(),
        _ => vec![FieldError {
            field: rule.field.clone(),
            code: rule.code.to_owned(),
            text: rule.text.clone(),
        }],
    };
    Description {
        status,
        code: rule.code.to_owned(),
        outcome: Outcome::one(issue, rule.field, rule.text.clone()),
        text: rule.text,
        errors,
        details: rule.details,
        retry_after_s: None,
        challenge: false,
    }
}

fn headers(response: &mut Response, retry_after_s: Option<u32>, challenge: bool) {
    let map = response.headers_mut();
    map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after_s {
        map.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if challenge {
        map.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"uzima\""));
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let described = describe(self.0);
        let problem = Problem {
            kind: format!("https://uzima.health/problems/{}", described.code),
            title: described.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: described.status.as_u16(),
            code: described.code,
            detail: described.text,
            request_id: super::request_id::current(),
            errors: described.errors,
            details: described.details,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (described.status, kind, body).into_response();
        headers(&mut response, described.retry_after_s, described.challenge);
        response
    }
}

impl IntoResponse for FhirError {
    fn into_response(self) -> Response {
        let described = describe(self.0);
        let mut outcome = described.outcome.to_json();
        // None in entries of a batch, which have no request of their own.
        let id = super::request_id::current();
        if !id.is_empty() {
            outcome["id"] = Value::String(id);
        }
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/fhir+json; charset=utf-8"))];
        let mut response = (described.status, kind, outcome.to_string()).into_response();
        headers(&mut response, described.retry_after_s, described.challenge);
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        ApiError(Failure::Record(error))
    }
}
impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        ApiError(Failure::Request(refusal))
    }
}
impl From<Error> for FhirError {
    fn from(error: Error) -> FhirError {
        FhirError(Failure::Record(error))
    }
}
impl From<Refusal> for FhirError {
    fn from(refusal: Refusal) -> FhirError {
        FhirError(Failure::Request(refusal))
    }
}
impl From<Outcome> for FhirError {
    fn from(outcome: Outcome) -> FhirError {
        FhirError(Failure::Record(Error::Malformed(outcome)))
    }
}

/// An error of `/oauth/token`, RFC 6749 §5.2.
#[derive(Debug)]
pub enum OAuthError {
    Request(OAuthProblem, &'static str),
    Record(Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthProblem {
    InvalidRequest,
    UnsupportedGrantType,
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, error, text, retry_after_s) = match self {
            OAuthError::Request(OAuthProblem::InvalidRequest, text) => {
                (StatusCode::BAD_REQUEST, "invalid_request", text.to_owned(), None)
            }
            OAuthError::Request(OAuthProblem::UnsupportedGrantType, text) => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", text.to_owned(), None)
            }
            OAuthError::Record(error) => {
                // Codes of RFC 6749 that `record` has with hyphens.
                let named = match &error {
                    Error::Rule(rule) => match rule.code {
                        "invalid-scope" => Some("invalid_scope"),
                        "invalid-grant" => Some("invalid_grant"),
                        "unauthorized-client" => Some("unauthorized_client"),
                        _ => None,
                    },
                    _ => None,
                };
                let described = describe_record(error);
                let code = match described.status {
                    _ if named.is_some() => named.unwrap_or_default(),
                    StatusCode::UNAUTHORIZED => "invalid_client",
                    StatusCode::FORBIDDEN => "unauthorized_client",
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                        "temporarily_unavailable"
                    }
                    StatusCode::INTERNAL_SERVER_ERROR => "server_error",
                    _ => "invalid_request",
                };
                let status = if named.is_some() { StatusCode::BAD_REQUEST } else { described.status };
                let text = if code == "invalid_client" {
                    "The client is not known, or did not show that it is itself.".to_owned()
                } else {
                    described.text
                };
                (status, code, text, described.retry_after_s)
            }
        };
        let body = serde_json::json!({"error": error, "error_description": text}).to_string();
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (status, kind, body).into_response();
        headers(&mut response, retry_after_s, false);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"uzima\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
