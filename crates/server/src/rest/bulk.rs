//! Jobs that run in the background: status, files, cancelling (Bulk Data Access v2).

use super::FhirAnswer;
use crate::http::FhirCaller;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::{App, AppState};
use ::fhir::{IssueCode, Outcome, ResourceKey, Severity, TypeId};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use insight::bulk::Shown;
use insight::{Download, export};
use record::Error;
use serde_json::{Value, json};
use std::io::Read as _;
use store::bulk::job::{Kind, Role, State as JobState};
use uuid::Uuid;

/// When to ask again, seconds.
const RETRY_AFTER_S: u32 = 2;
/// Bytes of a file read at once.
const CHUNK: usize = 256 * 1024;

/// Routes of jobs.
pub fn router() -> Router<AppState> {
    let mut router = Router::new();
    for mark in ["$", "%24"] {
        router = router
            .route(&format!("/fhir/R4/{mark}bulk/{{job}}"), get(status).delete(cancel))
            .route(&format!("/fhir/R4/{mark}bulk/{{job}}/{{file}}"), get(file));
    }
    router
}

/// 400 without `Prefer: respond-async`: these answers come later or not at all.
pub fn wants_async(headers: &HeaderMap) -> Result<(), FhirError> {
    let preferences = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
    if preferences.flat_map(|v| v.split([',', ';'])).any(|p| p.trim().eq_ignore_ascii_case("respond-async")) {
        return Ok(());
    }
    let text = "This runs in the background: send `Prefer: respond-async`.";
    Err(Refusal::new(RefusalKind::ParameterWrong, text).at("Prefer").into())
}

/// `202` with the address of the job's status.
pub fn accepted(app: &App, id: Uuid) -> Response {
    let text = "It runs in the background; its status is at Content-Location.";
    let mut outcome = Outcome::one(IssueCode::Informational, "", text);
    outcome.issues.iter_mut().for_each(|issue| issue.severity = Severity::Information);
    let mut response = super::negotiate::json(StatusCode::ACCEPTED, outcome.to_json().to_string());
    if let Ok(value) = HeaderValue::from_str(&address(app, id)) {
        response.headers_mut().insert(header::CONTENT_LOCATION, value);
    }
    response
}

fn address(app: &App, id: Uuid) -> String {
    format!("{}/$bulk/{id}", app.fhir_base())
}

/// Type names, separated by commas or repeated. Errors: 400 for what is no R4 type.
pub fn kinds_of<'t>(texts: impl Iterator<Item = &'t str>) -> Result<Vec<TypeId>, FhirError> {
    let mut kinds = Vec::new();
    for name in texts.flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        let Some(kind) = TypeId::from_name(name) else {
            let text = format!("`{}` is no FHIR R4 resource type.", super::printable(name));
            return Err(Refusal::new(RefusalKind::ParameterWrong, text).at("_type").into());
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// Ids of Patients that are referred to. Errors: 400 for what is no reference to a Patient.
pub fn reference_ids(name: &str, references: &[Value]) -> Result<Vec<String>, FhirError> {
    let mut ids = Vec::new();
    for reference in references {
        let text = reference.get("reference").and_then(Value::as_str).or(reference.as_str());
        let key = text.and_then(ResourceKey::parse).filter(|key| key.kind == TypeId::PATIENT);
        let Some(key) = key else {
            return Err(Refusal::new(RefusalKind::ParameterWrong, "Name patients as Patient/id.")
                .at(name)
                .into());
        };
        ids.push(key.id);
    }
    Ok(ids)
}

/// Errors: 404 for what names no job.
fn job_of(text: &str) -> Result<Uuid, FhirError> {
    Uuid::try_parse(text).map_err(|_| Error::NotFound.into())
}

async fn status(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(job): Path<String>,
) -> FhirAnswer {
    let shown = app.parts.insight.job(&ctx, job_of(&job)?).await?;
    Ok(match shown.job.state {
        JobState::Active => {
            let mut response = StatusCode::ACCEPTED.into_response();
            let map = response.headers_mut();
            if let Ok(value) = HeaderValue::from_str(&export::progress(&shown.job)) {
                map.insert("x-progress", value);
            }
            map.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            response
        }
        JobState::Failed => {
            let text = shown.job.error.as_deref().unwrap_or("It failed.");
            let outcome = Outcome::one(IssueCode::Exception, "", text).to_json();
            super::negotiate::json(StatusCode::INTERNAL_SERVER_ERROR, outcome.to_string())
        }
        JobState::Done | JobState::Cancelled => manifest(&app, &shown),
    })
}

fn manifest(app: &App, shown: &Shown) -> Response {
    let job = &shown.job;
    let base = address(app, job.id);
    let url_of = |name: &str| format!("{base}/{name}");
    let mut value = json!({
        "transactionTime": format!("{:.3}", job.transaction),
        "request": job.request.get("url").cloned().unwrap_or(Value::Null),
        "requiresAccessToken": true,
        "output": [],
        "error": [],
    });
    let list = |role: Role| -> Vec<Value> {
        let files = shown.files.iter().filter(|file| file.role == role);
        files.map(|f| json!({"type": f.kind, "url": url_of(&f.name), "count": f.count})).collect()
    };
    value["error"] = Value::Array(list(Role::Error));
    if job.kind == Kind::Import {
        let inputs = job.request.get("inputs").and_then(Value::as_array).cloned().unwrap_or_default();
        let input = |i: &Value| match i.get("url").and_then(Value::as_str) {
            Some(url) if !url.is_empty() => json!({"type": i["type"], "inputUrl": url}),
            _ => json!({"type": i["type"]}),
        };
        value["output"] = inputs.iter().map(input).collect();
        let number = |name: &str| job.progress.get(name).cloned().unwrap_or(json!(0));
        value["extension"] = json!({
            "lines": number("line"), "taken": number("taken"), "unchanged": number("unchanged"),
            "refused": number("refused"),
        });
    } else {
        value["output"] = Value::Array(list(Role::Output));
        value["deleted"] = Value::Array(list(Role::Deleted));
    }
    let mut response = Response::new(Body::from(value.to_string()));
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 9110 §5.6.7, as Last-Modified has it.
    let expires = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&job.expires);
    if let Some(value) = expires.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
        map.insert(header::EXPIRES, value);
    }
    response
}

async fn cancel(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(job): Path<String>,
) -> FhirAnswer {
    app.parts.insight.cancel(&ctx, job_of(&job)?).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn file(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path((job, file)): Path<(String, String)>,
) -> FhirAnswer {
    let download = app.parts.insight.open(&ctx, job_of(&job)?, &file).await?;
    Ok(stream(download, &file))
}

/// The text of a sealed file, piece by piece, as fast as the client takes it.
pub fn stream(download: Download, name: &str) -> Response {
    let Download { reader, media_type, .. } = download;
    let pieces = futures_util::stream::try_unfold(reader, |mut reader| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(CHUNK);
            reader.by_ref().take(CHUNK as u64).read_to_end(&mut piece)?;
            Ok::<_, std::io::Error>((piece, reader))
        });
        let (piece, reader) = read.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>((!piece.is_empty()).then(|| (Bytes::from(piece), reader)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        map.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
