//! `/oauth/token`, `/oauth/introspect`, `/oauth/revoke`, `/oauth/userinfo`.

use super::form::Form;
use crate::http::ClientAddress;
use crate::http::caller::{Credential, credential};
use crate::http::error::{ApiError, OAuthError, OAuthProblem};
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

fn answer(value: &Value) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ];
    (headers, value.to_string()).into_response()
}

/// RFC 6749 §3.2.
pub async fn token(
    State(app): State<AppState>,
    ClientAddress(address): ClientAddress,
    request: Request,
) -> Result<Response, OAuthError> {
    let (headers, form) = Form::read(request).await?;
    let grant = form.need("grant_type", "grant_type is missing.")?;
    if !super::discovery::GRANTS.contains(&grant) {
        let text = "Only authorization_code, refresh_token and client_credentials are supported.";
        return Err(OAuthError::Request(OAuthProblem::UnsupportedGrantType, text));
    }
    let claim = form.claim(&headers)?;
    let (scope, record) = (form.get("scope"), &app.record);
    let given = match grant {
        "authorization_code" => {
            let code = form.need("code", "code is missing.")?;
            let redirect = form.need("redirect_uri", "redirect_uri is missing.")?;
            let verifier = form.need("code_verifier", "code_verifier is missing.")?;
            record.redeem_code(&claim, code, redirect, verifier, address).await
        }
        "refresh_token" => {
            let token = form.need("refresh_token", "refresh_token is missing.")?;
            record.refresh_token(&claim, token, scope, address).await
        }
        _ => {
            let token = record.client_token(&claim, scope, address).await.map_err(OAuthError::Record)?;
            let body = json!({"access_token": token.token, "token_type": "Bearer",
                "expires_in": token.expires_in_s, "scope": token.scope});
            return Ok(answer(&body));
        }
    };
    let given = given.map_err(OAuthError::Record)?;
    let mut body = json!({"access_token": given.access_token, "token_type": "Bearer",
        "expires_in": given.expires_in_s, "scope": given.scope});
    if let Some(token) = given.refresh_token {
        body["refresh_token"] = Value::String(token);
    }
    if let Some(token) = given.id_token {
        body["id_token"] = Value::String(token);
    }
    for (name, value) in given.context {
        body[name] = value;
    }
    Ok(answer(&body))
}

/// RFC 7662, for tokens of the client that asks.
pub async fn introspect(
    State(app): State<AppState>,
    ClientAddress(address): ClientAddress,
    request: Request,
) -> Result<Response, OAuthError> {
    let (headers, form) = Form::read(request).await?;
    let claim = form.claim(&headers)?;
    let token = form.need("token", "token is missing.")?;
    let told = app.record.introspect(&claim, token, address).await.map_err(OAuthError::Record)?;
    Ok(answer(&told))
}

/// RFC 7009.
pub async fn revoke(
    State(app): State<AppState>,
    ClientAddress(address): ClientAddress,
    request: Request,
) -> Result<Response, OAuthError> {
    let (headers, form) = Form::read(request).await?;
    let claim = form.claim(&headers)?;
    let token = form.need("token", "token is missing.")?;
    app.record.revoke_token(&claim, token, address).await.map_err(OAuthError::Record)?;
    Ok(StatusCode::OK.into_response())
}

/// OpenID Connect Core §5.3. Sessions have `/api/v1/me`.
pub async fn userinfo(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let token = match credential(&headers, app.cookie_name()) {
        Some(Credential::Bearer(token)) => token,
        _ => return Err(record::Error::Unauthenticated.into()),
    };
    let holder = app.record.holder(&token).await?.ok_or(record::Error::Unauthenticated)?;
    Ok(answer(&app.record.userinfo(&holder).await?))
}
