//! `/oauth/authorize`: checks what an application asks and hands the person to the web client.

use super::CONSENT_PAGE;
use super::form::Form;
use crate::http::error::{ApiError, OAuthError};
use crate::state::{App, AppState};
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use record::oauth::{AuthorizeError, AuthorizeParams};

/// With the parameters in the query.
pub async fn by_get(State(app): State<AppState>, RawQuery(query): RawQuery) -> Response {
    match Form::parse(query.unwrap_or_default().as_bytes()) {
        Some(form) => begin(&app, form).await,
        None => shown("A parameter is there twice."),
    }
}

/// With the parameters in a form (SMART: `authorize-post`).
pub async fn by_post(State(app): State<AppState>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((_, form)) => begin(&app, form).await,
        Err(error) => OAuthError::into_response(error),
    }
}

async fn begin(app: &App, mut form: Form) -> Response {
    let asked = AuthorizeParams {
        response_type: form.take("response_type"),
        response_mode: form.take("response_mode"),
        client_id: form.take("client_id"),
        redirect_uri: form.take("redirect_uri"),
        scope: form.take("scope"),
        state: form.take("state"),
        // RFC 8707 calls it so.
        aud: form.take("aud").or_else(|| form.take("resource")),
        code_challenge: form.take("code_challenge"),
        code_challenge_method: form.take("code_challenge_method"),
        nonce: form.take("nonce"),
        launch: form.take("launch"),
        prompt: form.take("prompt"),
        max_age: form.take("max_age"),
        request: form.take("request"),
        request_uri: form.take("request_uri"),
    };
    match app.record.begin_authorization(asked).await {
        Ok(id) => see(&format!("{}{CONSENT_PAGE}?request={id}", app.public_url)),
        Err(AuthorizeError::Back(url)) => see(&url),
        Err(AuthorizeError::Shown(text)) => shown(text),
        Err(AuthorizeError::Record(error)) => ApiError::from(error).into_response(),
    }
}

fn see(url: &str) -> Response {
    match HeaderValue::from_str(url) {
        Ok(location) => (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
        Err(_) => shown("The address to return to is none."),
    }
}

/// For the person: the application is not what it says, so nobody is sent back to it.
fn shown(text: &'static str) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    (StatusCode::BAD_REQUEST, kind, text).into_response()
}
