//! read, vread, history of one resource.

use super::negotiate::{self, Query};
use super::{FhirAnswer, audit, key_of, version_of};
use crate::http::FhirCaller;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::http::version::parse_etag;
use crate::state::AppState;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use record::{HistoryPage, Method, Stored};
use std::fmt::Write as _;

/// `GET /{type}/{id}`
pub async fn read(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let Query { wishes, pairs } = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    no_more(&pairs)?;
    if kind == audit::TYPE {
        return audit::read(&app, &ctx, &id, wishes).await;
    }
    let stored = app.record.read(&ctx, &key_of(&kind, &id)?).await?;
    Ok(version_answer(stored, &headers, wishes.pretty))
}

/// `GET /{type}/{id}/_history/{version}`
pub async fn vread(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path((kind, id, version)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let Query { wishes, pairs } = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    no_more(&pairs)?;
    let stored = app.record.vread(&ctx, &key_of(&kind, &id)?, version_of(&version)?).await?;
    Ok(version_answer(stored, &headers, wishes.pretty))
}

/// `GET /{type}/{id}/_history`
pub async fn history(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let Query { wishes, pairs } = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    let mut count = ::fhir::search::DEFAULT_PAGE;
    let mut cursor = None;
    for (name, value) in pairs {
        match name.as_str() {
            "_count" => count = value.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong(&name))?,
            super::search::CURSOR => cursor = Some(value),
            _ => return Err(wrong(&name)),
        }
    }
    let count = count.min(::fhir::search::MAX_PAGE);
    let page = app.record.history(&ctx, &key_of(&kind, &id)?, cursor.as_deref(), count).await?;
    let body = history_bundle(&app.fhir_base(), &page, count);
    Ok(negotiate::json(StatusCode::OK, negotiate::stored(body.into_bytes().into(), wishes.pretty)))
}

fn wrong(name: &str) -> FhirError {
    let name = super::printable(name);
    Refusal::new(RefusalKind::ParameterWrong, format!("`{name}` is unknown here or has a wrong value."))
        .at(name)
        .into()
}

/// Errors: 400 for a parameter that this interaction does not know; `_summary=false` means the default.
fn no_more(pairs: &[(String, String)]) -> Result<(), FhirError> {
    match pairs.iter().find(|(name, value)| !(name == "_summary" && value == "false")) {
        Some((name, _)) => Err(wrong(name)),
        None => Ok(()),
    }
}

fn version_answer(stored: Stored, headers: &HeaderMap, pretty: bool) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let is_known =
        known.is_some_and(|tags| tags.split(',').any(|tag| parse_etag(tag) == Some(stored.version)));
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => negotiate::json(StatusCode::OK, negotiate::stored(stored.content, pretty)),
    };
    negotiate::version_headers(response.headers_mut(), stored.version, stored.last_updated);
    response
}

/// Writes the Bundle around the stored bytes.
fn history_bundle(base: &str, page: &HistoryPage, count: u32) -> String {
    let url = format!("{base}/{}/_history", page.key);
    let mut text = String::with_capacity(4096);
    let _ = write!(
        text,
        "{{\"resourceType\":\"Bundle\",\"type\":\"history\",\"link\":[{{\"relation\":\"self\",\"url\":\"{url}\"}}"
    );
    if let Some(next) = &page.next {
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let cursor = super::search::CURSOR;
        let _ = write!(text, ",{{\"relation\":\"next\",\"url\":\"{url}?_count={count}&{cursor}={next}\"}}");
    }
    text.push_str("],\"entry\":[");
    for (n, entry) in page.entries.iter().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{{\"fullUrl\":\"{base}/{}\"", page.key);
        if let Some(content) = &entry.content {
            let _ = write!(text, ",\"resource\":{}", String::from_utf8_lossy(content));
        }
        let (method, status) = match entry.method {
            Method::Created => ("POST", "201"),
            Method::Updated => ("PUT", "200"),
            Method::Deleted => ("DELETE", "204"),
        };
        let url = if method == "POST" { page.key.kind.name().to_owned() } else { page.key.to_string() };
        let _ = write!(
            text,
            ",\"request\":{{\"method\":\"{method}\",\"url\":\"{url}\"}},\"response\":{{\"status\":\"{status}\",\
             \"etag\":\"W/\\\"{}\\\"\",\"lastModified\":\"{:.3}\"}}}}",
            entry.version, entry.last_updated
        );
    }
    text.push_str("]}");
    text
}
