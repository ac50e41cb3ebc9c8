//! create, update, patch, delete; each also by condition.

use super::negotiate::{self, ACCEPTED_BODIES, Return, Wishes};
use super::{FhirAnswer, Segments, audit, binary, key_of, type_of};
use crate::http::FhirCaller;
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::http::version::if_match;
use crate::state::{App, AppState};
use ::fhir::{Issue, IssueCode, Outcome, Resource, ResourceKey, Severity, TypeId};
use access::Ctx;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use record::{Change, ChangeSet, Committed, Conditional, ConditionalAction, Error, Patch, Written};

/// `POST /{type}`, with `If-None-Exist` only if nothing matches. Criteria in the URL mean the same, as some clients send
/// them.
pub async fn create(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    request: Request,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    refuse_audit(kind.name())?;
    let condition = match request.headers().get("if-none-exist") {
        Some(value) => Some(header_query(value)?),
        None => None,
    };
    let is_file = kind.name() == binary::TYPE && binary::comes_plain(request.headers());
    let (mut resource, wishes, more) = match is_file {
        true => binary::resource(&app, request, None).await?,
        false => resource(&app, request).await?,
    };
    let condition = match condition {
        Some(_) if !more.is_empty() => {
            let text = "Name the condition in If-None-Exist or in the URL, not in both.";
            return Err(Refusal::new(RefusalKind::ParameterWrong, text).at("If-None-Exist").into());
        }
        None if !more.is_empty() => Some(more),
        given => given,
    };
    check_type(&resource, kind)?;
    // R4 §3.1.0.8: an id in the body of a create is ignored; who wants her own id uses PUT.
    resource.set("id", serde_json::Value::Null);
    let change = match condition {
        Some(criteria) => conditional(kind, criteria, ConditionalAction::Create { resource }),
        None => Change::Create { resource },
    };
    let written = one(commit(&app, &ctx, change).await?)?;
    Ok(answer(&app, status_of(&written), &written, wishes))
}

/// `PUT /{type}/{id}`; makes the resource with this id if there is none.
pub async fn update(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id)): Segments<(String, String)>,
    request: Request,
) -> FhirAnswer {
    let key = key_of(&kind, &id)?;
    refuse_audit(&kind)?;
    let expected = precondition(request.headers())?;
    let is_file = kind == binary::TYPE && binary::comes_plain(request.headers());
    let (resource, wishes, more) = match is_file {
        true => binary::resource(&app, request, Some(&id)).await?,
        false => resource(&app, request).await?,
    };
    no_more(&more)?;
    check_type(&resource, key.kind)?;
    if resource.id() != Some(key.id.as_str()) {
        let outcome = Outcome::one(
            IssueCode::Value,
            format!("{kind}.id"),
            "The id in the body must be that of the URL.",
        );
        return Err(outcome.into());
    }
    let written = one(commit(&app, &ctx, Change::Update { resource, if_match: expected }).await?)?;
    Ok(answer(&app, status_of(&written), &written, wishes))
}

/// `PUT /{type}?criteria`
pub async fn update_matching(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    request: Request,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    refuse_audit(kind.name())?;
    let expected = if_match(request.headers())?;
    let (resource, wishes, criteria) = resource(&app, request).await?;
    check_type(&resource, kind)?;
    let change = conditional(kind, criteria, ConditionalAction::Update { resource, if_match: expected });
    let written = one(commit(&app, &ctx, change).await?)?;
    Ok(answer(&app, status_of(&written), &written, wishes))
}

/// `PATCH /{type}/{id}`
pub async fn patch(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id)): Segments<(String, String)>,
    request: Request,
) -> FhirAnswer {
    let key = key_of(&kind, &id)?;
    refuse_audit(&kind)?;
    let if_match = if_match(request.headers())?;
    let (patch, wishes, more) = patch_body(&app, request).await?;
    no_more(&more)?;
    let written = one(commit(&app, &ctx, Change::Patch { key, patch, if_match }).await?)?;
    Ok(answer(&app, StatusCode::OK, &written, wishes))
}

/// `PATCH /{type}?criteria`
pub async fn patch_matching(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    request: Request,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    refuse_audit(kind.name())?;
    let if_match = if_match(request.headers())?;
    let (patch, wishes, criteria) = patch_body(&app, request).await?;
    let change = conditional(kind, criteria, ConditionalAction::Patch { patch, if_match });
    let written = one(commit(&app, &ctx, change).await?)?;
    Ok(answer(&app, StatusCode::OK, &written, wishes))
}

/// `DELETE /{type}/{id}`; deleting what is deleted, or was never there, is no error.
pub async fn delete(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id)): Segments<(String, String)>,
    headers: HeaderMap,
) -> FhirAnswer {
    let key = key_of(&kind, &id)?;
    refuse_audit(&kind)?;
    let change = Change::Delete { key, if_match: if_match(&headers)? };
    deleted(commit(&app, &ctx, change).await)
}

/// `DELETE /{type}?criteria`
pub async fn delete_matching(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    request: Request,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    refuse_audit(kind.name())?;
    let query = request.uri().query().unwrap_or_default();
    let criteria = negotiate::negotiate(request.headers(), query)?.pairs;
    let action = ConditionalAction::Delete {
        if_match: if_match(request.headers())?,
        most: app.config.fhir.deletes_at_once(),
    };
    deleted(commit(&app, &ctx, conditional(kind, criteria, action)).await)
}

fn deleted(outcome: Result<Committed, Error>) -> FhirAnswer {
    let mut response = StatusCode::NO_CONTENT.into_response();
    match outcome.map(|committed| committed.written) {
        Ok(written) => {
            if let [one] = written.as_slice() {
                response.headers_mut().insert(header::ETAG, crate::http::version::etag(one.version));
            }
        }
        // http://hl7.org/fhir/R4/http.html#delete: 204 also if the resource does not exist at all.
        Err(Error::Gone | Error::NotFound) => {}
        Err(other) => return Err(other.into()),
    }
    Ok(response)
}

fn conditional(kind: TypeId, criteria: Vec<(String, String)>, action: ConditionalAction) -> Change {
    Change::Conditional(Box::new(Conditional { kind, criteria, action }))
}

/// `If-None-Exist: identifier=x`, with or without the type and a question mark before it.
fn header_query(value: &HeaderValue) -> Result<Vec<(String, String)>, FhirError> {
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| {
        let text = "If-None-Exist is no text in UTF-8.";
        FhirError::from(Refusal::new(RefusalKind::ParameterWrong, text).at("If-None-Exist"))
    })?;
    let query = text.split_once('?').map_or(text, |(_, query)| query);
    Ok(form_urlencoded::parse(query.trim().as_bytes()).into_owned().collect())
}

/// The version of `If-Match`; [record::ABSENT] for `If-None-Match: *`, which asks for a new resource.
fn precondition(headers: &HeaderMap) -> Result<Option<u32>, FhirError> {
    match headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes) {
        None => Ok(if_match(headers)?),
        Some(b"*") => Ok(Some(record::ABSENT)),
        Some(_) => {
            let text = "A write takes `If-None-Match: *` (only if there is none) or `If-Match: W/\"3\"`.";
            Err(Refusal::new(RefusalKind::ParameterWrong, text).at("If-None-Match").into())
        }
    }
}

async fn commit(app: &App, ctx: &Ctx, change: Change) -> Result<Committed, Error> {
    app.record.write(ctx, ChangeSet { changes: vec![change], ..ChangeSet::default() }).await
}

fn one(committed: Committed) -> Result<Written, Error> {
    committed.written.into_iter().next().ok_or_else(|| Error::Internal("a write without a result".into()))
}

fn status_of(written: &Written) -> StatusCode {
    if written.created { StatusCode::CREATED } else { StatusCode::OK }
}

/// The resource of the body, and the parameters that are not about the answer's form.
async fn resource(
    app: &App,
    request: Request,
) -> Result<(Resource, Wishes, Vec<(String, String)>), FhirError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let query = negotiate::negotiate(request.headers(), &query)?;
    body::require_json(request.headers(), ACCEPTED_BODIES)?;
    let bytes = body::read(request, app.config.limits.json_bytes).await?;
    Ok((Resource::parse(without_mark(&bytes))?, query.wishes, query.pairs))
}

/// UTF-8 with a byte order mark is UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// JSON Patch, a merge patch, or a FHIRPath Patch; plain JSON is told apart by what it holds.
async fn patch_body(
    app: &App,
    request: Request,
) -> Result<(Patch, Wishes, Vec<(String, String)>), FhirError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let query = negotiate::negotiate(request.headers(), &query)?;
    let kinds = [ACCEPTED_BODIES, &[record::JSON_PATCH, record::MERGE_PATCH]].concat();
    body::require_json(request.headers(), &kinds)?;
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bytes = body::read(request, app.config.limits.json_bytes).await?;
    let bytes = without_mark(&bytes);
    let value = || -> Result<serde_json::Value, FhirError> {
        serde_json::from_slice(bytes).map_err(|error| {
            Outcome::one(IssueCode::Structure, "", format!("The patch is not valid JSON: {error}.")).into()
        })
    };
    let patch = match given.as_str() {
        record::JSON_PATCH => Patch::Json(value()?),
        record::MERGE_PATCH => Patch::Merge(value()?),
        _ => match value()? {
            list @ serde_json::Value::Array(_) => Patch::Json(list),
            object if object["resourceType"] == "Parameters" => Patch::Path(Resource::parse(bytes)?),
            object => Patch::Merge(object),
        },
    };
    Ok((patch, query.wishes, query.pairs))
}

/// Errors: 400 for parameters where none belong: whoever sends them means a condition.
fn no_more(pairs: &[(String, String)]) -> Result<(), FhirError> {
    match pairs.first() {
        Some((name, _)) => {
            let name = super::printable(name);
            let text = format!("This write takes no parameter `{name}`.");
            Err(Outcome::one(IssueCode::NotSupported, format!("http.{name}"), text).into())
        }
        None => Ok(()),
    }
}

fn check_type(resource: &Resource, kind: TypeId) -> Result<(), FhirError> {
    if resource.kind() == kind {
        return Ok(());
    }
    let text = format!("The body is a {}, the URL says {}.", resource.kind().name(), kind.name());
    Err(Outcome::one(IssueCode::Value, "resourceType", text).into())
}

/// The audit trail is written by the server alone.
fn refuse_audit(kind: &str) -> Result<(), FhirError> {
    if kind == audit::TYPE {
        Err(Refusal::new(RefusalKind::MethodNotAllowed, "AuditEvents are made by the server.").into())
    } else {
        Ok(())
    }
}

fn answer(app: &App, status: StatusCode, written: &Written, wishes: Wishes) -> Response {
    let mut response = match (wishes.answer, &written.resource) {
        (Return::Representation, Some(resource)) => {
            negotiate::json(status, negotiate::text(resource.value(), wishes.pretty))
        }
        (Return::OperationOutcome, _) => {
            let done = Issue {
                severity: Severity::Information,
                code: IssueCode::Informational,
                text: if written.unchanged { "Nothing to change." } else { "Stored." }.into(),
                expression: String::new(),
            };
            negotiate::json(status, negotiate::text(&Outcome { issues: vec![done] }.to_json(), wishes.pretty))
        }
        (Return::Minimal | Return::Representation, _) => status.into_response(),
    };
    let headers = response.headers_mut();
    negotiate::version_headers(headers, written.version, written.last_updated);
    let location = location(&app.fhir_base(), &written.key, written.version);
    if let Ok(value) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, value);
    }
    response
}

fn location(base: &str, key: &ResourceKey, version: u32) -> String {
    format!("{base}/{key}/_history/{version}")
}
