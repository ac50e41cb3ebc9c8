//! create, update, delete.

use super::negotiate::{self, ACCEPTED_BODIES, Return, Wishes};
use super::{FhirAnswer, audit, key_of, type_of};
use crate::http::FhirCaller;
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::http::version::if_match;
use crate::state::{App, AppState};
use ::fhir::{Issue, IssueCode, Outcome, Resource, ResourceKey, Severity};
use access::Ctx;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use record::{Change, ChangeSet, Error, Written};

/// `POST /{type}`
pub async fn create(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(kind): Path<String>,
    request: Request,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    refuse_audit(kind.name())?;
    let headers = request.headers().clone();
    if headers.contains_key("if-none-exist") {
        return Err(unsupported("Conditional create (If-None-Exist) is not supported."));
    }
    let (mut resource, wishes) = resource(&app, request).await?;
    check_type(&resource, kind.name())?;
    // R4 §3.1.0.8: an id in the body of a create is ignored; who wants her own id uses PUT.
    resource.set("id", serde_json::Value::Null);
    let written = commit(&app, &ctx, Change::Create { resource }).await?;
    Ok(answer(&app, StatusCode::CREATED, &written, wishes))
}

/// `PUT /{type}/{id}`; makes the resource with this id if there is none.
pub async fn update(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path((kind, id)): Path<(String, String)>,
    request: Request,
) -> FhirAnswer {
    let key = key_of(&kind, &id)?;
    refuse_audit(&kind)?;
    let expected = if_match(request.headers())?;
    let (resource, wishes) = resource(&app, request).await?;
    check_type(&resource, key.kind.name())?;
    if resource.id() != Some(key.id.as_str()) {
        let outcome = Outcome::one(
            IssueCode::Value,
            format!("{kind}.id"),
            "The id in the body must be that of the URL.",
        );
        return Err(outcome.into());
    }
    let written = commit(&app, &ctx, Change::Update { resource, if_match: expected }).await?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(&app, status, &written, wishes))
}

/// `DELETE /{type}/{id}`; deleting what is deleted is no error.
pub async fn delete(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> FhirAnswer {
    let key = key_of(&kind, &id)?;
    refuse_audit(&kind)?;
    let change = Change::Delete { key, if_match: if_match(&headers)? };
    let mut response = StatusCode::NO_CONTENT.into_response();
    match commit(&app, &ctx, change).await {
        Ok(written) => {
            response.headers_mut().insert(header::ETAG, crate::http::version::etag(written.version));
        }
        Err(Error::Gone) => {}
        Err(other) => return Err(other.into()),
    }
    Ok(response)
}

async fn commit(app: &App, ctx: &Ctx, change: Change) -> Result<Written, Error> {
    let set = ChangeSet { changes: vec![change], ..ChangeSet::default() };
    let committed = app.record.write(ctx, set).await?;
    committed.written.into_iter().next().ok_or_else(|| Error::Internal("a write without a result".into()))
}

async fn resource(app: &App, request: Request) -> Result<(Resource, Wishes), FhirError> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let query = negotiate::negotiate(request.headers(), &query)?;
    if let Some((name, _)) = query.pairs.first() {
        let name = super::printable(name);
        return Err(unsupported(&format!("A write takes no parameter `{name}`.")));
    }
    body::require_json(request.headers(), ACCEPTED_BODIES)?;
    let bytes = body::read(request, app.config.limits.json_bytes).await?;
    Ok((Resource::parse(&bytes)?, query.wishes))
}

fn check_type(resource: &Resource, kind: &str) -> Result<(), FhirError> {
    if resource.kind().name() == kind {
        return Ok(());
    }
    let text = format!("The body is a {}, the URL says {kind}.", resource.kind().name());
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

fn unsupported(text: &str) -> FhirError {
    Outcome::one(IssueCode::NotSupported, "", text).into()
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
                text: "Stored.".into(),
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
