//! `/fhir/R4`: the FHIR R4 REST API.
//!
//! **Invariant:** a read sends the stored bytes; they are parsed again only for `_pretty`, for a part of them, or for XML.
//! **Invariant:** what `metadata` says works, and what it does not say is refused.

mod audit;
mod binary;
mod bulk;
mod bundle;
mod capability;
mod cors;
mod definition;
mod form;
mod history;
mod negotiate;
pub mod operation;
mod read;
mod search;
mod smart;
mod terminology_capability;
mod view;
mod write;

pub use capability::{Facts, statement};
pub(crate) use cors::allow as allow_origins;

use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::AppState;
use ::fhir::{ResourceKey, TypeId};
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{any, get, post};
use record::Error;

/// Path of the API.
pub const BASE: &str = "/fhir/R4";

type FhirAnswer = Result<Response, FhirError>;

/// The API with the layers around it.
pub fn router(app: &AppState) -> Router<AppState> {
    let routes = routes().layer(axum::middleware::from_fn_with_state(app.clone(), form::convert));
    cors::allow(routes, &app.config.http.cors_origins)
}

/// All routes of the API. They read and write JSON.
fn routes() -> Router<AppState> {
    Router::new()
        .route("/fhir/R4", get(search::system_by_get).post(bundle::transact))
        .route("/fhir/R4/metadata", get(capability::metadata))
        .route("/fhir/R4/.well-known/smart-configuration", get(smart::configuration))
        .route("/fhir/R4/_history", get(history::system))
        .route("/fhir/R4/_search", post(search::system_by_post))
        .route(
            "/fhir/R4/{type}",
            get(search::by_get)
                .post(write::create)
                .put(write::update_matching)
                .patch(write::patch_matching)
                .delete(write::delete_matching),
        )
        .route("/fhir/R4/{type}/_search", post(search::by_post))
        .route("/fhir/R4/{type}/_history", get(history::kind))
        .route(
            "/fhir/R4/{type}/{id}",
            get(read::read).put(write::update).patch(write::patch).delete(write::delete),
        )
        .route("/fhir/R4/{type}/{id}/_history", get(history::instance))
        .route("/fhir/R4/{type}/{id}/_history/{version}", get(read::vread))
        .route("/fhir/R4/{type}/{id}/{in}", get(search::compartment_by_get))
        .route("/fhir/R4/{type}/{id}/{in}/_search", post(search::compartment_by_post))
        .merge(operation::router())
        .merge(bulk::router())
        .merge(view::router())
        .route("/fhir/{*rest}", any(unknown_route))
        .method_not_allowed_fallback(method_not_allowed)
}

/// The methods that the route of this path takes.
fn allowed_methods(path: &str) -> &'static str {
    let rest = path.strip_prefix(BASE).unwrap_or(path);
    let segments: Vec<&str> = rest.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        [.., last] if last.starts_with('$') || last.starts_with("%24") => "GET, HEAD, POST",
        [.., "_search"] => "POST",
        ["metadata" | "_history" | ".well-known", ..] => "GET, HEAD",
        [] => "GET, HEAD, POST",
        [_] => "GET, HEAD, POST, PUT, PATCH, DELETE",
        [audit::TYPE, _] | [_, "_history"] => "GET, HEAD",
        [_, _] => "GET, HEAD, PUT, PATCH, DELETE",
        _ => "GET, HEAD",
    }
}

/// Segments of the path. Errors: 400 for what is no UTF-8 when decoded.
struct Segments<T>(T);

impl<T: serde::de::DeserializeOwned + Send> FromRequestParts<AppState> for Segments<T> {
    type Rejection = FhirError;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, FhirError> {
        match axum::extract::Path::<T>::from_request_parts(parts, app).await {
            Ok(axum::extract::Path(value)) => Ok(Segments(value)),
            Err(_) => Err(path_not_utf8()),
        }
    }
}

fn path_not_utf8() -> FhirError {
    let text = "The path of this URL is not UTF-8 when percent-decoded.";
    Refusal::new(RefusalKind::ParameterWrong, text).at("http.path").into()
}

async fn unknown_route() -> FhirError {
    Refusal::new(RefusalKind::RouteUnknown, "There is no such route; see /fhir/R4/metadata.").into()
}

async fn method_not_allowed() -> FhirError {
    Refusal::new(RefusalKind::MethodNotAllowed, "This interaction is not supported; see /fhir/R4/metadata.")
        .into()
}

/// Errors: 404 for what is no R4 type, or none that is stored.
fn type_of(name: &str) -> Result<TypeId, FhirError> {
    if name.starts_with('$') {
        return Err(operation::unknown(name));
    }
    let stored = |kind: &TypeId| !capability::NOT_STORED.contains(&kind.name());
    TypeId::from_name(name).filter(stored).ok_or_else(|| {
        Refusal::new(RefusalKind::RouteUnknown, format!("`{}` is no FHIR R4 resource type.", printable(name)))
            .into()
    })
}

/// Errors: 404 for what is no R4 type, 400 for what is no R4 id.
fn key_of(kind: &str, id: &str) -> Result<ResourceKey, FhirError> {
    let kind = type_of(kind)?;
    if id.starts_with('$') {
        return Err(operation::unknown(id));
    }
    if !::fhir::resource::valid_id(id) {
        return Err(Refusal::new(
            RefusalKind::ParameterWrong,
            "An id has 1 to 64 letters, digits, hyphens and dots.",
        )
        .at("id")
        .into());
    }
    Ok(ResourceKey::new(kind, id))
}

/// Errors: 404 for what is no version number.
fn version_of(text: &str) -> Result<u32, FhirError> {
    text.parse().ok().filter(|version| *version > 0).ok_or_else(|| Error::NotFound.into())
}

/// What a client wrote, short and without control characters, for messages.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}
