//! What applications read before they ask: only what is true of this server.

use crate::http::error::ApiError;
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Grant types of the token endpoint.
pub const GRANTS: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];
/// Named scopes and examples of the others, which are many.
const SCOPES: [&str; 14] = [
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
    "patient/*.rs",
    "patient/*.cruds",
    "user/*.rs",
    "user/*.cruds",
    "system/*.rs",
    "system/*.cruds",
];
/// <https://hl7.org/fhir/smart-app-launch/conformance.html>
const CAPABILITIES: [&str; 17] = [
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
];

/// What both documents say.
fn common(app: &App) -> Value {
    let at = |path: &str| format!("{}{path}", app.public_url);
    json!({
        "issuer": app.public_url,
        "jwks_uri": at("/oauth/jwks"),
        "authorization_endpoint": at("/oauth/authorize"),
        "token_endpoint": at("/oauth/token"),
        "introspection_endpoint": at("/oauth/introspect"),
        "revocation_endpoint": at("/oauth/revoke"),
        // Where people see what they granted, and take it back.
        "management_endpoint": at("/account/apps"),
        "grant_types_supported": GRANTS,
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported":
            ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "scopes_supported": SCOPES,
    })
}

/// `GET /fhir/R4/.well-known/smart-configuration` (SMART App Launch 2.2).
pub fn smart(app: &App) -> Value {
    let mut document = common(app);
    document["capabilities"] = json!(CAPABILITIES);
    document
}

/// `GET /.well-known/openid-configuration`, also as RFC 8414 has it.
pub async fn openid(State(app): State<AppState>) -> Response {
    let mut document = common(&app);
    document["userinfo_endpoint"] = json!(format!("{}/oauth/userinfo", app.public_url));
    document["response_modes_supported"] = json!(["query"]);
    document["subject_types_supported"] = json!(["public"]);
    document["id_token_signing_alg_values_supported"] = json!(["RS256", "ES384"]);
    document["claims_supported"] =
        json!(["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser", "name", "locale"]);
    document["authorization_response_iss_parameter_supported"] = json!(true);
    document["request_parameter_supported"] = json!(false);
    document["request_uri_parameter_supported"] = json!(false);
    document["claims_parameter_supported"] = json!(false);
    told(&document)
}

/// `GET /oauth/jwks`: the keys by which id tokens are signed.
pub async fn jwks(State(app): State<AppState>) -> Result<Response, ApiError> {
    Ok(told(&app.record.jwks().await?))
}

/// May be kept for five minutes: a new key is published an hour before it signs.
fn told(document: &Value) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, document.to_string()).into_response()
}
