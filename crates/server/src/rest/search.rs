//! Searches by GET and POST: of a type, of the system, of a compartment.

use super::negotiate::{self, Format, Query, Subset};
use super::{FhirAnswer, Segments, audit, definition, key_of, operation, printable, type_of};
use crate::http::FhirCaller;
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::AppState;
use ::fhir::search::Total;
use ::fhir::{Issue, IssueCode, Outcome, ResourceKey, TypeId};
use access::Ctx;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, StatusCode};
use record::SearchPage;
use std::fmt::Write as _;

/// Name of the parameter in `next` links.
pub const CURSOR: &str = "_cursor";
/// Names the types of a search over several.
const TYPE: &str = "_type";
const FORM: &str = "application/x-www-form-urlencoded";

/// Where a search looks.
enum Place {
    Kind(TypeId),
    System,
    /// The compartment of a resource; `None`: all types in it.
    Within(ResourceKey, Option<TypeId>),
}

/// `GET /{type}?…`
pub async fn by_get(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let place = Place::Kind(type_of(&kind)?);
    let query = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    search(&app, &ctx, place, query).await
}

/// `POST /{type}/_search` with a form; parameters of the URL count as well.
pub async fn by_post(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments(kind): Segments<String>,
    request: Request,
) -> FhirAnswer {
    let place = Place::Kind(type_of(&kind)?);
    posted(&app, &ctx, place, request).await
}

/// `GET /?_type=A,B&…`
pub async fn system_by_get(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let query = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    search(&app, &ctx, Place::System, query).await
}

/// `POST /_search`
pub async fn system_by_post(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    request: Request,
) -> FhirAnswer {
    posted(&app, &ctx, Place::System, request).await
}

/// `GET /Patient/1/Observation?…`, `GET /Patient/1/*?…`
pub async fn compartment_by_get(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id, inside)): Segments<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> FhirAnswer {
    let place = within(&kind, &id, &inside)?;
    let query = negotiate::negotiate(&headers, query.as_deref().unwrap_or_default())?;
    search(&app, &ctx, place, query).await
}

/// `POST /Patient/1/Observation/_search`
pub async fn compartment_by_post(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Segments((kind, id, inside)): Segments<(String, String, String)>,
    request: Request,
) -> FhirAnswer {
    let place = within(&kind, &id, &inside)?;
    posted(&app, &ctx, place, request).await
}

/// R4's compartments: <http://hl7.org/fhir/R4/compartmentdefinition.html>.
const COMPARTMENTS: &[&str] = &["Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"];

/// Errors: 404 for what is no compartment or no type.
fn within(kind: &str, id: &str, inside: &str) -> Result<Place, FhirError> {
    if inside.starts_with('$') {
        return Err(operation::unknown(inside));
    }
    let key = key_of(kind, id)?;
    if !COMPARTMENTS.contains(&kind) {
        let text = format!("{kind} has no compartment; {} have.", COMPARTMENTS.join(", "));
        return Err(Refusal::new(RefusalKind::RouteUnknown, text).into());
    }
    Ok(Place::Within(key, if inside == "*" { None } else { Some(type_of(inside)?) }))
}

async fn posted(app: &AppState, ctx: &Ctx, place: Place, request: Request) -> FhirAnswer {
    let headers = request.headers().clone();
    let in_url = request.uri().query().unwrap_or_default().to_owned();
    body::require_json(&headers, &[FORM])?;
    let form = body::read(request, app.config.limits.json_bytes).await?;
    let form = std::str::from_utf8(&form)
        .map_err(|_| Refusal::new(RefusalKind::BodyMalformed, "The form is not UTF-8.").at("http"))?;
    let all = if in_url.is_empty() { form.to_owned() } else { format!("{in_url}&{form}") };
    let query = negotiate::negotiate(&headers, &all)?;
    let format = query.wishes.format;
    let mut response = search(app, ctx, place, query).await?;
    // The layer around us has seen the URL, not the form.
    if format == Format::Xml {
        response.extensions_mut().insert(format);
    }
    Ok(response)
}

async fn search(app: &AppState, ctx: &Ctx, place: Place, query: Query) -> FhirAnswer {
    let Query { wishes, subset, mut pairs, taken } = query;
    let path = match &place {
        Place::Kind(kind) => format!("/{}", kind.name()),
        Place::System => String::new(),
        Place::Within(key, None) => format!("/{key}/*"),
        Place::Within(key, Some(kind)) => format!("/{key}/{}", kind.name()),
    };
    let mut used: Vec<(String, String)> = pairs.iter().chain(&taken).cloned().collect();
    let (page, warnings) = match &place {
        Place::Kind(kind) if kind.name() == audit::TYPE => {
            (audit::search(app, ctx, &pairs, &subset, wishes.handling).await?, Vec::new())
        }
        Place::Within(key, Some(kind)) if kind.name() == audit::TYPE => {
            pairs.push(("patient".to_owned(), key.to_string()));
            (audit::search(app, ctx, &pairs, &subset, wishes.handling).await?, Vec::new())
        }
        Place::Kind(kind) => {
            let (mut query, warnings) =
                ::fhir::search::parse(&app.record.params(), *kind, &pairs, wishes.handling)?;
            if subset == Subset::Count {
                query.count = 0;
                query.total = Total::Accurate;
            }
            let page = match definition::has(*kind) {
                true => definition::search(app, ctx, query).await?,
                false => app.record.search(ctx, query).await?,
            };
            (page, warnings)
        }
        Place::System | Place::Within(..) => {
            let kinds = match &place {
                Place::Within(_, Some(kind)) => vec![*kind],
                _ => types(&mut pairs)?,
            };
            if matches!(place, Place::System) && used.is_empty() {
                let text = "A search over the whole system names its types or a parameter: `?_type=Patient,Observation`.";
                return Err(Outcome::one(IssueCode::Required, "http._type", text).into());
            }
            if subset == Subset::Count {
                pairs.push(("_summary".to_owned(), "count".to_owned()));
            }
            let compartment = match &place {
                Place::Within(key, _) => Some(key),
                _ => None,
            };
            let found = app.record.search_types(ctx, &kinds, &pairs, wishes.handling, compartment).await?;
            let (page, mut warnings) = found;
            if let Some(key) = compartment.filter(|_| page.items.is_empty()) {
                warnings.extend(unknown_owner(app, ctx, key).await?);
            }
            (page, warnings)
        }
    };
    // The self link says what was really used (R4 §3.1.1.3.2).
    used.retain(|(name, _)| !warnings.iter().any(|w: &Issue| w.expression == format!("http.{name}")));
    let url = format!("{}{path}", app.fhir_base());
    let body = bundle(&app.fhir_base(), &url, &used, &page, warnings, &subset);
    Ok(negotiate::json(StatusCode::OK, negotiate::stored(body.into_bytes().into(), wishes.pretty)))
}

/// A search that finds nothing is no error (R4, example `bundle-search-warning`); that the compartment's owner
/// is not there is said beside it, and no different for one that the caller may not see.
async fn unknown_owner(app: &AppState, ctx: &Ctx, key: &ResourceKey) -> Result<Option<Issue>, FhirError> {
    if app.record.load(ctx, key).await?.is_some() {
        return Ok(None);
    }
    let text = format!("There is no {key} that you may read.");
    Ok(Some(Issue::warning(IssueCode::NotFound, "", text)))
}

/// Takes `_type` out. Errors: 400 for a name that is no type.
fn types(pairs: &mut Vec<(String, String)>) -> Result<Vec<TypeId>, FhirError> {
    let mut kinds = Vec::new();
    let mut wrong = None;
    pairs.retain(|(name, value)| {
        if name != TYPE {
            return true;
        }
        for one in value.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            match TypeId::from_name(one) {
                Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
                Some(_) => {}
                None => wrong = Some(printable(one)),
            }
        }
        false
    });
    match wrong {
        Some(name) => {
            let text = format!("`{name}` is no FHIR R4 resource type.");
            Err(Outcome::one(IssueCode::Value, "http._type", text).into())
        }
        None => Ok(kinds),
    }
}

/// Writes the searchset around the stored bytes.
fn bundle(
    base: &str,
    url: &str,
    used: &[(String, String)],
    page: &SearchPage,
    mut warnings: Vec<Issue>,
    subset: &Subset,
) -> String {
    let rows = || page.items.iter().chain(&page.included);
    let size: usize = rows().map(|item| item.content.len() + 160).sum();
    let mut text = String::with_capacity(size + 1024);
    text.push_str("{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
    if let Some(total) = page.total {
        let _ = write!(text, ",\"total\":{total}");
    }
    let _ = write!(text, ",\"link\":[{}", link("self", url, used, None, false));
    if used.iter().any(|(name, _)| name == CURSOR) {
        let _ = write!(text, ",{}", link("first", url, used, None, true));
    }
    if let Some(next) = &page.next {
        let _ = write!(text, ",{}", link("next", url, used, Some(next), true));
    }
    text.push(']');
    if page.included_cut {
        let told = "There is more to include than one answer holds; ask for a smaller page with `_count`.";
        warnings.push(Issue::warning(IssueCode::TooCostly, "http._include", told));
    }
    if page.words_behind > 0 {
        let told = format!("The index of words misses about {} of the latest changes.", page.words_behind);
        warnings.push(Issue::warning(IssueCode::Transient, "http._content", told));
    }
    // FHIR allows no empty arrays.
    let mut before = ",\"entry\":[";
    for (items, mode) in [(&page.items, "match"), (&page.included, "include")] {
        for item in items {
            let content = negotiate::part(&item.content, subset);
            let _ = write!(
                text,
                "{before}{{\"fullUrl\":\"{base}/{}\",\"resource\":{content},\"search\":{{\"mode\":\"{mode}\"}}}}",
                item.key
            );
            before = ",";
        }
    }
    if !warnings.is_empty() {
        let outcome = Outcome { issues: warnings }.to_json();
        let _ = write!(text, "{before}{{\"resource\":{outcome},\"search\":{{\"mode\":\"outcome\"}}}}");
        before = ",";
    }
    if before == "," {
        text.push(']');
    }
    text.push('}');
    text
}

fn link(
    relation: &str,
    url: &str,
    used: &[(String, String)],
    cursor: Option<&str>,
    drop_cursor: bool,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in used {
        if !(drop_cursor && name == CURSOR) {
            query.append_pair(name, value);
        }
    }
    if let Some(cursor) = cursor {
        query.append_pair(CURSOR, cursor);
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    // Percent-encoding leaves nothing that JSON would have to escape.
    format!("{{\"relation\":\"{relation}\",\"url\":\"{url}{mark}{query}\"}}")
}

/// The media types of bodies, for the CapabilityStatement.
pub fn formats() -> &'static [&'static str] {
    &["application/fhir+json", "application/fhir+xml", "json", "xml"]
}
