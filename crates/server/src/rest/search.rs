//! search-type by GET and POST.

use super::negotiate::{self, ACCEPTED_BODIES, Wishes};
use super::{FhirAnswer, audit, type_of};
use crate::http::FhirCaller;
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::AppState;
use ::fhir::search::{Handling, Total};
use ::fhir::{Issue, IssueCode, Outcome, TypeId};
use access::Ctx;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use record::SearchPage;
use std::fmt::Write as _;

/// Name of the parameter in `next` links.
pub const CURSOR: &str = "_cursor";

const FORM: &str = "application/x-www-form-urlencoded";

/// `GET /{type}?…`
pub async fn by_get(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let query = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    search(&app, &ctx, type_of(&kind)?, query.pairs, query.wishes).await
}

/// `POST /{type}/_search` with a form; parameters of the URL count as well.
pub async fn by_post(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> FhirAnswer {
    let kind = type_of(&kind)?;
    let headers = request.headers().clone();
    body::require_json(&headers, &[FORM])?;
    let form = body::read(request, app.config.limits.json_bytes).await?;
    let form = std::str::from_utf8(&form)
        .map_err(|_| Refusal::new(RefusalKind::BodyMalformed, "The form is not UTF-8."))?;
    let all = match query.as_deref() {
        Some(query) if !query.is_empty() => format!("{query}&{form}"),
        _ => form.to_owned(),
    };
    let query = negotiate::negotiate(&headers, &all)?;
    search(&app, &ctx, kind, query.pairs, query.wishes).await
}

async fn search(
    app: &AppState,
    ctx: &Ctx,
    kind: TypeId,
    mut pairs: Vec<(String, String)>,
    wishes: Wishes,
) -> FhirAnswer {
    // For the links of the answer, which say everything that was asked.
    let asked = pairs.clone();
    let (count_only, mut warnings) = summary(&mut pairs, wishes.handling)?;
    if kind.name() == audit::TYPE {
        return audit::search(app, ctx, &pairs, wishes).await;
    }
    let (mut query, more) = ::fhir::search::parse(&app.record.params(), kind, &pairs, wishes.handling)?;
    warnings.extend(more);
    if count_only {
        query.count = 0;
        query.total = Total::Accurate;
    }
    let page = app.record.search(ctx, query).await?;
    let body = bundle(&app.fhir_base(), kind, &asked, &page, warnings);
    Ok(negotiate::json(StatusCode::OK, negotiate::stored(body.into_bytes().into(), wishes.pretty)))
}

/// Takes `_summary` out. `count` is supported, `false` is the default, the rest is refused (strict) or ignored (lenient).
fn summary(pairs: &mut Vec<(String, String)>, handling: Handling) -> Result<(bool, Vec<Issue>), FhirError> {
    let mut count_only = false;
    let mut warnings = Vec::new();
    let mut wrong = None;
    pairs.retain(|(name, value)| {
        if name != "_summary" {
            return true;
        }
        match value.as_str() {
            "count" => count_only = true,
            "false" => {}
            _ => wrong = Some("_summary is supported with `count` and `false`."),
        }
        false
    });
    match (wrong, handling) {
        (Some(text), Handling::Strict) => {
            return Err(Outcome::one(IssueCode::NotSupported, "_summary", text).into());
        }
        (Some(text), Handling::Lenient) => {
            warnings.push(Issue::warning(IssueCode::NotSupported, "_summary", text))
        }
        (None, _) => {}
    }
    Ok((count_only, warnings))
}

/// Writes the searchset around the stored bytes.
fn bundle(
    base: &str,
    kind: TypeId,
    pairs: &[(String, String)],
    page: &SearchPage,
    warnings: Vec<Issue>,
) -> String {
    let size: usize = page.items.iter().map(|item| item.content.len() + 160).sum();
    let mut text = String::with_capacity(size + 1024);
    text.push_str("{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
    if let Some(total) = page.total {
        let _ = write!(text, ",\"total\":{total}");
    }
    let _ = write!(text, ",\"link\":[{}", link("self", base, kind, pairs, None));
    if let Some(next) = &page.next {
        let _ = write!(text, ",{}", link("next", base, kind, pairs, Some(next)));
    }
    text.push(']');
    // FHIR allows no empty arrays.
    if !page.items.is_empty() || !warnings.is_empty() {
        text.push_str(",\"entry\":[");
        for (n, item) in page.items.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let content = String::from_utf8_lossy(&item.content);
            let _ = write!(
                text,
                "{comma}{{\"fullUrl\":\"{base}/{}\",\"resource\":{content},\"search\":{{\"mode\":\"match\"}}}}",
                item.key
            );
        }
        if !warnings.is_empty() {
            let comma = if page.items.is_empty() { "" } else { "," };
            let outcome = Outcome { issues: warnings }.to_json();
            let _ = write!(text, "{comma}{{\"resource\":{outcome},\"search\":{{\"mode\":\"outcome\"}}}}");
        }
        text.push(']');
    }
    text.push('}');
    text
}

fn link(
    relation: &str,
    base: &str,
    kind: TypeId,
    pairs: &[(String, String)],
    cursor: Option<&str>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if cursor.is_none() || name != CURSOR {
            query.append_pair(name, value);
        }
    }
    if let Some(cursor) = cursor {
        query.append_pair(CURSOR, cursor);
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    // Percent-encoding leaves nothing that JSON would have to escape.
    format!("{{\"relation\":\"{relation}\",\"url\":\"{base}/{}{mark}{query}\"}}", kind.name())
}

/// The media types of bodies, for the CapabilityStatement.
pub fn formats() -> &'static [&'static str] {
    ACCEPTED_BODIES
}
