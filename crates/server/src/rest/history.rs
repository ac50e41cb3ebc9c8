//! history of an instance, a type, the system.

use super::negotiate::{self, Query, Subset};
use super::read::wrong;
use super::search::CURSOR;
use super::{FhirAnswer, Segments, audit, key_of, type_of};
use crate::http::FhirCaller;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::AppState;
use ::fhir::search::{DEFAULT_PAGE, MAX_PAGE};
use access::Ctx;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use record::{HistoryEntry, HistoryPage, HistoryQuery, Method, Scope};
use std::fmt::Write as _;

/// `GET /{type}/{id}/_history`
pub async fn instance(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id)): Segments<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let key = key_of(&kind, &id)?;
    answer(&app, &ctx, Scope::Instance(key), query, &headers).await
}

/// `GET /{type}/_history`
pub async fn kind(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    answer(&app, &ctx, Scope::Kind(kind), query, &headers).await
}

/// `GET /_history`
pub async fn system(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    answer(&app, &ctx, Scope::System, query, &headers).await
}

async fn answer(
    app: &AppState,
    ctx: &Ctx,
    scope: Scope,
    query: Option<String>,
    headers: &HeaderMap,
) -> FhirAnswer {
    let Query { wishes, subset, pairs, taken } =
        negotiate::negotiate(headers, query.as_deref().unwrap_or_default())?;
    if matches!(&scope, Scope::Instance(key) if key.kind.name() == audit::TYPE)
        || matches!(&scope, Scope::Kind(kind) if kind.name() == audit::TYPE)
    {
        let text = "AuditEvents never change, so they have no history; search for them.";
        return Err(Refusal::new(RefusalKind::MethodNotAllowed, text).into());
    }
    let mut wanted = HistoryQuery { count: DEFAULT_PAGE, ..HistoryQuery::default() };
    // For links: what was used, but where in the history.
    let mut used: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        match name.as_str() {
            "_count" => {
                wanted.count = value.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong(&name))?;
                wanted.count = wanted.count.min(MAX_PAGE);
            }
            "_since" => wanted.since = Some(value.parse::<Timestamp>().map_err(|_| since_wrong())?),
            "_at" => wanted.at = Some(period(&value)?),
            CURSOR => {
                wanted.cursor = Some(value);
                continue;
            }
            _ => return Err(wrong(&name)),
        }
        used.push((name, value));
    }
    used.extend(taken);
    let cursor = wanted.cursor.clone();
    let page = app.record.history_of(ctx, &scope, wanted).await?;
    let path = match &scope {
        Scope::Instance(key) => format!("{key}/_history"),
        Scope::Kind(kind) => format!("{}/_history", kind.name()),
        Scope::System => "_history".to_owned(),
    };
    let base = app.fhir_base();
    let body = bundle(&base, &format!("{base}/{path}"), &used, cursor.as_deref(), &page, &subset);
    Ok(negotiate::json(StatusCode::OK, negotiate::stored(body.into_bytes().into(), wishes.pretty)))
}

fn since_wrong() -> FhirError {
    let text = "_since is an instant with a time zone, e.g. 2026-11-21T09:00:00Z.";
    Refusal::new(RefusalKind::ParameterWrong, text).at("_since").into()
}

/// The time that `_at` covers, by the search's own reading of dates. Errors: 400.
fn period(value: &str) -> Result<(Timestamp, Timestamp), FhirError> {
    let refused = || {
        let text = "_at is a date or a moment, e.g. 2026-11 or 2026-11-21T09:00:00Z.";
        FhirError::from(Refusal::new(RefusalKind::ParameterWrong, text).at("_at"))
    };
    let pairs = [("_lastUpdated".to_owned(), value.to_owned())];
    if !value.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(refused());
    }
    let params = ::fhir::search::Params::standard();
    let kind = ::fhir::TypeId::PATIENT;
    let (query, _) = ::fhir::search::parse(&params, kind, &pairs, ::fhir::search::Handling::Strict)
        .map_err(|_| refused())?;
    let (_, low_us, high_us) = query.last_updated.first().copied().ok_or_else(refused)?;
    let time = |us| Timestamp::from_microsecond(us).map_err(|_| refused());
    Ok((time(low_us)?, time(high_us)?))
}

/// Writes the Bundle around the stored bytes.
fn bundle(
    base: &str,
    url: &str,
    used: &[(String, String)],
    cursor: Option<&str>,
    page: &HistoryPage,
    subset: &Subset,
) -> String {
    let size: usize = page.entries.iter().map(|e| e.content.as_ref().map_or(0, |c| c.len()) + 320).sum();
    let mut text = String::with_capacity(size + 1024);
    text.push_str("{\"resourceType\":\"Bundle\",\"type\":\"history\",\"link\":[");
    text.push_str(&link("self", url, used, cursor));
    if cursor.is_some() {
        let _ = write!(text, ",{}", link("first", url, used, None));
    }
    if let Some(next) = &page.next {
        let _ = write!(text, ",{}", link("next", url, used, Some(next)));
    }
    text.push(']');
    // FHIR allows no empty arrays.
    if !page.entries.is_empty() {
        text.push_str(",\"entry\":[");
        for (n, entry) in page.entries.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            write_entry(&mut text, base, entry, subset);
        }
        text.push(']');
    }
    text.push('}');
    text
}

fn write_entry(text: &mut String, base: &str, entry: &HistoryEntry, subset: &Subset) {
    let key = &entry.key;
    let _ = write!(text, "{{\"fullUrl\":\"{base}/{key}\"");
    if let Some(content) = &entry.content {
        let _ = write!(text, ",\"resource\":{}", negotiate::part(content, subset));
    }
    let (method, status) = match entry.method {
        Method::Created => ("POST", "201 Created"),
        Method::Updated => ("PUT", "200 OK"),
        Method::Deleted => ("DELETE", "204 No Content"),
    };
    let url = if method == "POST" { key.kind.name().to_owned() } else { key.to_string() };
    let _ = write!(
        text,
        ",\"request\":{{\"method\":\"{method}\",\"url\":\"{url}\"}},\"response\":{{\"status\":\"{status}\",\
         \"etag\":\"W/\\\"{}\\\"\",\"lastModified\":\"{:.3}\"}}}}",
        entry.version, entry.last_updated
    );
}

/// Percent-encoding leaves nothing that JSON would have to escape.
fn link(relation: &str, url: &str, used: &[(String, String)], cursor: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in used {
        query.append_pair(name, value);
    }
    if let Some(cursor) = cursor {
        query.append_pair(CURSOR, cursor);
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{{\"relation\":\"{relation}\",\"url\":\"{url}{mark}{query}\"}}")
}
