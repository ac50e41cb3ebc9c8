//! ViewDefinitions that are kept: no R4 resource, but addressed like one.
//!
//! | | |
//! |---|---|
//! | `GET ViewDefinition` | the named views |
//! | `PUT`, `GET`, `DELETE ViewDefinition/{name}` | one of them; `?_format=csv,parquet&every=900` with PUT |
//! | `GET, POST ViewDefinition/{name}/$run` | its rows now |
//! | `POST ViewDefinition/$run` | the rows of a view that comes with the request |
//! | `GET ViewDefinition/{name}/$table?_format=csv` | its table as it was at the last refresh |
//! | `POST ViewDefinition/{name}/$refresh` | refreshes it soon |

use super::operation::view::run;
use super::{FhirAnswer, bulk};
use crate::http::FhirCaller;
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::rest::negotiate;
use crate::state::{App, AppState};
use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use insight::Format;
use insight::stored::{Keep, Stored};
use serde_json::{Value, json};
use std::time::Duration;

/// From one refresh to the next unless said otherwise.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Routes of views.
pub fn router() -> Router<AppState> {
    let mut router = Router::new()
        .route("/fhir/R4/ViewDefinition", get(list))
        .route("/fhir/R4/ViewDefinition/{name}", get(show).put(keep).delete(remove));
    for mark in ["$", "%24"] {
        for code in ["run", "viewdefinition-run"] {
            router = router
                .route(&format!("/fhir/R4/ViewDefinition/{mark}{code}"), any(run_given))
                .route(&format!("/fhir/R4/ViewDefinition/{{name}}/{mark}{code}"), any(run_named));
        }
        router = router
            .route(&format!("/fhir/R4/ViewDefinition/{{name}}/{mark}table"), get(table))
            .route(&format!("/fhir/R4/ViewDefinition/{{name}}/{mark}refresh"), post(refresh));
    }
    router
}

fn wrong(name: &str, text: &str) -> FhirError {
    Refusal::new(RefusalKind::ParameterWrong, text).at(name).into()
}

async fn run_given(State(app): State<AppState>, FhirCaller(ctx): FhirCaller, request: Request) -> FhirAnswer {
    run(app, ctx, None, request).await
}

async fn run_named(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(name): Path<String>,
    request: Request,
) -> FhirAnswer {
    run(app, ctx, Some(name), request).await
}

async fn list(State(app): State<AppState>, FhirCaller(ctx): FhirCaller) -> FhirAnswer {
    let views = app.parts.insight.stored_views(&ctx).await?;
    let entries: Vec<Value> = views
        .iter()
        .map(|view| json!({"fullUrl": address(&app, &view.name), "resource": resource(&app, view)}))
        .collect();
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": entries.len()});
    if !entries.is_empty() {
        bundle["entry"] = Value::Array(entries);
    }
    Ok(negotiate::json(StatusCode::OK, bundle.to_string()))
}

async fn show(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(name): Path<String>,
) -> FhirAnswer {
    let view = app.parts.insight.stored_view(&ctx, &name).await?;
    Ok(negotiate::json(StatusCode::OK, resource(&app, &view).to_string()))
}

fn address(app: &App, name: &str) -> String {
    format!("{}/ViewDefinition/{name}", app.fhir_base())
}

/// The definition, with how far its table is in an extension.
fn resource(app: &App, view: &Stored) -> Value {
    let mut value = json!({"resourceType": "ViewDefinition", "id": view.name});
    for (name, element) in view.definition.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "resourceType" | "id") {
            value[name] = element.clone();
        }
    }
    let mut parts = vec![
        json!({"url": "every", "valuePositiveInt": view.every_s}),
        json!({"url": "rows", "valueUnsignedInt": view.rows}),
    ];
    let time = |url: &str, at: jiff::Timestamp| json!({"url": url, "valueInstant": format!("{at:.3}")});
    parts.extend(view.refreshed.map(|at| time("refreshed", at)));
    parts.push(time("due", view.due));
    parts.extend(view.error.as_ref().map(|text| json!({"url": "error", "valueString": text})));
    for format in &view.formats {
        let url = format!("{}/$table?_format={format}", address(app, &view.name));
        parts.push(json!({"url": format, "valueUrl": url}));
    }
    let state =
        json!({"url": "https://uzima.health/fhir/StructureDefinition/view-table", "extension": parts});
    match value.get_mut("extension").and_then(Value::as_array_mut) {
        Some(list) => list.push(state),
        None => value["extension"] = json!([state]),
    }
    value
}

async fn keep(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> FhirAnswer {
    let mut keep = Keep { formats: vec![Format::Csv, Format::Ndjson, Format::Parquet], every: EVERY };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "_format" => {
                let formats: Option<Vec<Format>> = value.split(',').map(Format::parse).collect();
                keep.formats =
                    formats.ok_or_else(|| wrong("_format", "Formats are csv, ndjson and parquet."))?;
            }
            "every" => {
                let seconds =
                    value.parse().map_err(|_| wrong("every", "Seconds from one refresh to the next."))?;
                keep.every = Duration::from_secs(seconds);
            }
            _ => return Err(wrong(&name, "There are the parameters _format and every.")),
        }
    }
    body::require_json(request.headers(), negotiate::ACCEPTED_BODIES)?;
    let bytes = body::read(request, app.config.limits.json_bytes).await?;
    let definition: Value = serde_json::from_slice(&bytes)
        .map_err(|_| Refusal::new(RefusalKind::BodyMalformed, "The body is no JSON."))?;
    let is_new = app.parts.insight.put_view(&ctx, &name, definition, &keep).await?;
    let view = app.parts.insight.stored_view(&ctx, &name).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = negotiate::json(status, resource(&app, &view).to_string());
    if let Ok(value) = HeaderValue::from_str(&address(&app, &name)) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    Ok(response)
}

async fn remove(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(name): Path<String>,
) -> FhirAnswer {
    app.parts.insight.remove_view(&ctx, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn refresh(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(name): Path<String>,
) -> FhirAnswer {
    app.parts.insight.hasten_view(&ctx, &name).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn table(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, FhirError> {
    let mut format = Format::Csv;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "_format" => {
                format = Format::parse(&value)
                    .ok_or_else(|| wrong("_format", "Formats are csv, ndjson and parquet."))?;
            }
            _ => return Err(wrong(&name, "There is the parameter _format.")),
        }
    }
    let (view, download) = app.parts.insight.open_view(&ctx, &name, format).await?;
    let mut response = bulk::stream(download, &format!("{name}.{}", format.code()));
    let map = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", view.generation)) {
        map.insert(header::ETAG, value);
    }
    if let Some(at) = view.refreshed {
        let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
        if let Some(value) = text.ok().and_then(|text| HeaderValue::from_str(&text).ok()) {
            map.insert(header::LAST_MODIFIED, value);
        }
    }
    Ok(response)
}
