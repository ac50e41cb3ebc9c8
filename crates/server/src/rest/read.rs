//! read and vread, unconditional and conditional.

use super::negotiate::{self, Query, Subset, Wishes};
use super::{FhirAnswer, Segments, audit, binary, definition, key_of, version_of};
use crate::http::FhirCaller;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::http::version::parse_etag;
use crate::state::AppState;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use record::Stored;

/// `GET /{type}/{id}`
pub async fn read(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id)): Segments<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    if kind == binary::TYPE && binary::wants_plain(&headers, query.as_deref().unwrap_or_default()) {
        let stored = app.record.read(&ctx, &key_of(&kind, &id)?).await?;
        return binary::plain(&stored);
    }
    let Query { wishes, subset, pairs, .. } =
        negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    no_more(&pairs)?;
    if kind == audit::TYPE {
        return audit::read(&app, &ctx, &id, wishes, &subset).await;
    }
    let key = key_of(&kind, &id)?;
    if let Some(built_in) = definition::read(&app, &key).await? {
        return Ok(version_answer(built_in, &headers, wishes, &subset));
    }
    let stored = app.record.read(&ctx, &key).await?;
    Ok(version_answer(stored, &headers, wishes, &subset))
}

/// `GET /{type}/{id}/_history/{version}`
pub async fn vread(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id, version)): Segments<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    if kind == binary::TYPE && binary::wants_plain(&headers, query.as_deref().unwrap_or_default()) {
        let stored = app.record.vread(&ctx, &key_of(&kind, &id)?, version_of(&version)?).await?;
        return binary::plain(&stored);
    }
    let Query { wishes, subset, pairs, .. } =
        negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    no_more(&pairs)?;
    if kind == audit::TYPE {
        let text = "AuditEvents never change, so they have no versions; read them by id.";
        return Err(Refusal::new(RefusalKind::MethodNotAllowed, text).into());
    }
    let stored = app.record.vread(&ctx, &key_of(&kind, &id)?, version_of(&version)?).await?;
    Ok(version_answer(stored, &headers, wishes, &subset))
}

/// 400 for a parameter that is unknown to an interaction or whose value is wrong.
pub(super) fn wrong(name: &str) -> FhirError {
    let name = super::printable(name);
    Refusal::new(RefusalKind::ParameterWrong, format!("`{name}` is unknown here or has a wrong value."))
        .at(name)
        .into()
}

/// Errors: 400 for a parameter that this interaction does not know.
fn no_more(pairs: &[(String, String)]) -> Result<(), FhirError> {
    match pairs.first() {
        Some((name, _)) => Err(wrong(name)),
        None => Ok(()),
    }
}

/// Whether the client has this version already. RFC 9110 §13.2.2: `If-Modified-Since` counts only without
/// `If-None-Match`, and is precise to the second.
fn is_known(stored: &Stored, headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(tags) = text(header::IF_NONE_MATCH) {
        return tags.split(',').any(|tag| {
            tag.trim() == "*" || parse_etag(tag).is_some_and(|version| version == stored.version)
        });
    }
    match text(header::IF_MODIFIED_SINCE).and_then(negotiate::parse_http_date) {
        Some(since) => stored.last_updated.as_second() <= since.as_second(),
        None => false,
    }
}

fn version_answer(stored: Stored, headers: &HeaderMap, wishes: Wishes, subset: &Subset) -> Response {
    let (version, last_updated) = (stored.version, stored.last_updated);
    let mut response = if is_known(&stored, headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if matches!(subset, Subset::Whole | Subset::Count) {
        negotiate::json(StatusCode::OK, negotiate::stored(stored.content, wishes.pretty))
    } else {
        let text = negotiate::part(&stored.content, subset).into_owned();
        negotiate::json(StatusCode::OK, negotiate::stored(text.into_bytes().into(), wishes.pretty))
    };
    negotiate::version_headers(response.headers_mut(), version, last_updated);
    response
}
