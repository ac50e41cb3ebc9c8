//! `/api/v1`: the product's own JSON API, and its OpenAPI document.
//!
//! # How to add an endpoint
//! 1. Put it in the file of its noun (`api/<noun>.rs`); one `pub fn routes() -> ApiRouter` per file, merged in [router].
//!    The router and the document are made from the same list, so neither can have a route the other lacks.
//! 2. Request types: `#[derive(Deserialize, ToSchema)] #[serde(deny_unknown_fields)]`; answers:
//!    `#[derive(Serialize, ToSchema)]`, optional fields with `#[serde(skip_serializing_if = "Option::is_none")]`;
//!    query types: `#[derive(Deserialize, IntoParams)] #[serde(deny_unknown_fields)] #[into_params(parameter_in = Query)]`.
//!    A type's name is its schema name and must be unique in all of `api` (a test checks it). Share what is in [types].
//! 3. The handler:
//!    ```ignore
//!    /// What it does, for the person who reads the API document.
//!    #[utoipa::path(post, path = "/api/v1/things/{id}/start", tag = "things", params(("id" = String, Path)),
//!        request_body = ThingStart, responses((status = 201, body = Thing)))]
//!    async fn start_thing(State(app): State<AppState>, caller: Caller, Path(id): Path<String>, Json(body): Json<ThingStart>)
//!        -> Answer<(StatusCode, Json<Thing>)> { … }
//!    ```
//!    The function's name is the `operationId` (unique). Extractors: [Caller] (signed in, else 401),
//!    [MaybeCaller] (anybody), [SessionCaller], [Json], [Params], [Path], [IfMatch], [Language], [ClientAddress];
//!    `Json` last. Answer versioned things with [Versioned]. Use these, not axum's own: their errors have our shape.
//! 4. Rights are checked in `record` by the caller's [access::Ctx]; for what is no resource use `caller.require(&[Role::…])`.
//!    Errors: `?` on `record::Error`; do not build responses by hand. Idempotency-Key and If-Match: `caller.0` has the first.
//! 5. A route that works without signing in goes into [PUBLIC]; the coverage tests in `tests/it/routes.rs` fail otherwise.
//! 6. `cargo run -p uzima-server -- openapi` rewrites `docs/openapi.json`; commit it together with the code.

mod account_changes;
pub mod admin;
pub mod appointments;
pub mod audit;
pub mod audit_tree;
pub mod auth;
pub mod backups;
pub mod cashier;
pub mod chart;
pub mod clients;
pub mod consents;
pub mod consultations;
pub mod directory;
pub mod duplicates;
pub mod emergency;
pub mod invoices;
mod notices;
pub mod oauth;
pub mod oversight;
pub mod patients;
pub mod payments;
pub mod prescriptions;
pub mod price_list;
pub mod privacy;
mod proxies;
pub mod rights;
pub mod sightings;
pub mod types;
pub mod users;

use crate::http::error::{ApiError, FieldError, Problem, Refusal, RefusalKind};
use crate::state::AppState;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

#[doc(no_inline)]
pub use crate::http::{
    Answer, AnySession, Caller, ClientAddress, IfMatch, Json, Language, MaybeCaller, MaybeJson, Params, Path,
    SessionCaller, SigningIn, Versioned,
};

/// The routers that the files of this folder give.
pub type ApiRouter = OpenApiRouter<AppState>;

/// Operations that need no sign-in. May only shrink, or grow by what the contract says.
pub const PUBLIC: &[(&str, &str)] = &[
    ("post", "/api/v1/auth/register"),
    ("post", "/api/v1/auth/register/{id}/resend"),
    ("post", "/api/v1/auth/register/{id}/confirm"),
    ("post", "/api/v1/auth/login"),
    ("post", "/api/v1/auth/second-factor"),
    ("post", "/api/v1/auth/second-factor/passkey"),
    ("post", "/api/v1/auth/passkey/options"),
    ("post", "/api/v1/auth/passkey"),
    ("post", "/api/v1/auth/link"),
    ("post", "/api/v1/auth/link/accept"),
    ("get", "/api/v1/auth/device"),
    ("get", "/api/v1/auth/providers"),
    ("get", "/api/v1/auth/providers/{id}/start"),
    ("get", "/api/v1/auth/providers/{id}/callback"),
    // By a token that the provider signed.
    ("post", "/api/v1/auth/providers/{id}/logout"),
    ("post", "/api/v1/auth/switch"),
    ("post", "/api/v1/auth/reset-password"),
    ("post", "/api/v1/auth/reset-password/{id}/confirm"),
    ("get", "/api/v1/verify/{token}"),
];

/// All of `/api/v1`, and the document made from the same routes.
pub fn router() -> (axum::Router<AppState>, OpenApi) {
    let routes = ApiRouter::new()
        // One line per file of this folder.
        .merge(auth::routes())
        .merge(cashier::routes())
        .merge(invoices::routes())
        .merge(payments::routes())
        .merge(price_list::routes())
        .merge(privacy::routes())
        .merge(directory::routes())
        .merge(appointments::routes())
        .merge(consultations::routes())
        .merge(patients::routes())
        .merge(chart::routes())
        .merge(prescriptions::routes())
        .merge(duplicates::routes())
        .merge(users::routes())
        .merge(account_changes::routes())
        .merge(oversight::routes())
        .merge(clients::routes())
        .merge(oauth::routes())
        .merge(consents::routes())
        .merge(proxies::routes())
        .merge(emergency::routes())
        .merge(rights::routes())
        .merge(notices::routes())
        .merge(audit::routes())
        .merge(sightings::routes())
        .merge(audit_tree::routes())
        .merge(backups::routes())
        .merge(admin::routes());
    let (router, mut document) = routes.split_for_parts();
    describe(&mut document);
    // `Null` only if the document cannot be serialised; the test of the document notices.
    let json = serde_json::to_value(&document).unwrap_or_default().to_string();
    let router = router
        .route(
            "/api/v1/openapi.json",
            get(move || {
                let json = json.clone();
                async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], json) }
            }),
        )
        .route("/api/{*rest}", axum::routing::any(unknown_route))
        .method_not_allowed_fallback(method_not_allowed);
    (router, document)
}

/// The document by itself, e.g. for `docs/openapi.json`.
pub fn document() -> OpenApi {
    router().1
}

async fn unknown_route() -> impl IntoResponse {
    ApiError::from(Refusal::new(
        RefusalKind::RouteUnknown,
        "There is no such route; see /api/v1/openapi.json.",
    ))
}

async fn method_not_allowed() -> impl IntoResponse {
    ApiError::from(Refusal::new(RefusalKind::MethodNotAllowed, "This route does not know this method."))
}

/// What all operations share: title, error answers, security.
fn describe(document: &mut OpenApi) {
    document.info.title = "Uzima API".into();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.description = Some(
        "The product's own API. JSON, snake_case; instants are RFC 3339 UTC, dates `YYYY-MM-DD`, money integers in minor \
         units. Errors are `application/problem+json`. Writes accept `Idempotency-Key`."
            .into(),
    );
    let components = document.components.get_or_insert_default();
    let schema = |name: &str, schema| (name.to_owned(), schema);
    components.schemas.extend([
        schema("Problem", <Problem as utoipa::PartialSchema>::schema()),
        schema("FieldError", <FieldError as utoipa::PartialSchema>::schema()),
    ]);
    components
        .add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new("uzima"))));
    components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let content = Content::new(Some(Ref::from_schema_name("Problem")));
            let problem =
                ResponseBuilder::new().description("Any error").content("application/problem+json", content);
            operation.responses.responses.insert("default".into(), RefOr::T(problem.build()));
            if !PUBLIC.contains(&(method, path.as_str())) {
                let none: [&str; 0] = [];
                operation.security = Some(vec![
                    SecurityRequirement::new("session", none),
                    SecurityRequirement::new("bearer", none),
                ]);
            }
        }
    }
}
