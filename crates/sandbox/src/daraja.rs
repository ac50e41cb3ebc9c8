//! Daraja: OAuth, STK push and query, C2B. Codes and texts as the real API was seen to give them.

use crate::config::PendingAnswer;
use crate::fault::{FaultKind, HANG};
use crate::state::{C2bUrls, Sandbox, Token};
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::json;
use std::collections::HashMap;
use wire::daraja::{
    C2bRegister, C2bSimulate, C2bVersion, OAUTH_PATH, STK_PUSH_PATH, STK_QUERY_PATH, StkPush, StkQuery,
    StkQueryReply, error_body, password,
};

/// Lifetime of a token, in seconds, as the real one.
const TOKEN_SECONDS: i64 = 3_599;
/// Most that M-PESA moves at once, in shillings.
const AMOUNT_SHILLINGS_MAX: u32 = 250_000;
/// Characters of an account reference that the real sandbox was seen to take; documented are 12.
const ACCOUNT_REFERENCE_MAX: usize = 20;
/// Characters of a description, as documented.
const DESCRIPTION_MAX: usize = 13;

pub(crate) fn router() -> Router<Sandbox> {
    let v1 = |State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes| async move {
        register(&sandbox, &headers, &body, C2bVersion::V1)
    };
    let v2 = |State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes| async move {
        register(&sandbox, &headers, &body, C2bVersion::V2)
    };
    Router::new()
        .route(OAUTH_PATH, get(token).fallback(wrong_method))
        .route(STK_PUSH_PATH, post(push).fallback(wrong_method))
        .route(STK_QUERY_PATH, post(query).fallback(wrong_method))
        .route(C2bVersion::V1.register_path(), post(v1).fallback(wrong_method))
        .route(C2bVersion::V2.register_path(), post(v2).fallback(wrong_method))
        .route(C2bVersion::V1.simulate_path(), post(simulate).fallback(wrong_method))
        .route(C2bVersion::V2.simulate_path(), post(simulate).fallback(wrong_method))
        .route("/mpesa/{*rest}", axum::routing::any(unknown_path))
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let mut random = rand::rng();
    let request_id =
        format!("{}-{}-1", random.random_range(10_000..99_999), random.random_range(10_000_000..99_999_999));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(error_body(&request_id, code, message))).into_response()
}

async fn wrong_method() -> Response {
    error(404, "404.001.04", "Invalid HTTP method")
}

async fn unknown_path() -> Response {
    error(404, "404.003.01", "Resource not found")
}

fn bad_field(field: Option<&str>) -> Response {
    match field {
        Some(field) => error(400, "400.002.02", &format!("Bad Request - Invalid {field}")),
        None => error(400, "400.002.05", "Invalid Request Payload"),
    }
}

async fn token(
    State(sandbox): State<Sandbox>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if query.get("grant_type").map(String::as_str) != Some("client_credentials") {
        return error(400, "400.008.02", "Invalid grant type passed");
    }
    let Some(pair) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|pair| base64::engine::general_purpose::STANDARD.decode(pair.trim()).ok())
    else {
        return error(400, "400.008.01", "Invalid Authentication passed");
    };
    let config = sandbox.config();
    let expected = format!("{}:{}", config.consumer_key, config.consumer_secret);
    if pair != expected.as_bytes() || sandbox.fault(FaultKind::OauthRefuse, None).is_some() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let value = uuid::Uuid::new_v4().simple().to_string()[..28].to_owned();
    let now = Timestamp::now();
    sandbox.change(|state| {
        state.tokens.retain(|token| token.expires_at > now);
        if state.tokens.len() >= crate::state::TOKENS_MAX {
            state.tokens.pop_front();
        }
        let expires_at = now.saturating_add(SignedDuration::from_secs(TOKEN_SECONDS)).unwrap_or(now);
        state.tokens.push_back(Token { value: value.clone(), expires_at });
    });
    Json(json!({"access_token": value, "expires_in": TOKEN_SECONDS.to_string()})).into_response()
}

/// Errors: the answer to a call without a valid token.
fn authorize(sandbox: &Sandbox, headers: &HeaderMap) -> Result<(), Response> {
    let Some(bearer) = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .map(str::trim)
    else {
        return Err(error(404, "404.001.04", "Invalid Authentication Header"));
    };
    let now = Timestamp::now();
    let expired = sandbox.fault(FaultKind::TokenExpired, None).is_some();
    let valid = sandbox.change(|state| {
        if expired {
            state.tokens.retain(|token| token.value != bearer);
        }
        state.tokens.iter().any(|token| token.value == bearer && token.expires_at > now)
    });
    if valid { Ok(()) } else { Err(error(404, "404.001.03", "Invalid Access Token")) }
}

/// Errors: the answer to a password that does not fit shortcode and timestamp.
fn check_password(sandbox: &Sandbox, shortcode: &str, timestamp: &str, given: &str) -> Result<(), Response> {
    let config = sandbox.config();
    if shortcode != config.shortcode {
        return Err(error(500, "500.001.1001", "Merchant does not exist"));
    }
    if given != password(shortcode, &config.passkey, timestamp) {
        return Err(error(500, "500.001.1001", "Wrong credentials"));
    }
    Ok(())
}

async fn push(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match checked_push(&sandbox, &headers, &body) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let msisdn = request.payer.to_string();
    let fault = |kind| sandbox.fault(kind, Some(&msisdn));
    if fault(FaultKind::PushHttp500).is_some() {
        return error(500, "500.003.1001", "Internal Server Error");
    }
    if fault(FaultKind::PushBusy).is_some() {
        return error(500, "500.003.02", "System is busy. Please try again in few minutes.");
    }
    if let Some(refused) = fault(FaultKind::PushResponseCode) {
        let description = "The request was not accepted for processing";
        return Json(json!({
            "MerchantRequestID": "",
            "CheckoutRequestID": "",
            "ResponseCode": refused.value.unwrap_or_default(),
            "ResponseDescription": description,
            "CustomerMessage": description,
        }))
        .into_response();
    }
    let Some(accepted) = sandbox.open_prompt(&request) else {
        let text =
            "Unable to lock subscriber, a transaction is already in process for the current subscriber";
        return error(500, "500.001.1001", text);
    };
    if fault(FaultKind::CallbackBeforeResponse).is_some()
        && let Some(settled) = sandbox.settle_with_pin(&msisdn, &accepted.checkout_request_id)
    {
        sandbox.deliver(settled).await;
    }
    if fault(FaultKind::PushTimeoutAfterAccept).is_some() {
        sandbox.pause(HANG).await;
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    Json(accepted.to_json()).into_response()
}

/// Errors: the answer to a push that is refused.
fn checked_push(sandbox: &Sandbox, headers: &HeaderMap, body: &[u8]) -> Result<StkPush, Response> {
    authorize(sandbox, headers)?;
    let request = StkPush::parse(body).map_err(bad_field)?;
    let invalid = [
        (request.amount_shillings > AMOUNT_SHILLINGS_MAX, "Amount"),
        (request.account_reference.chars().count() > ACCOUNT_REFERENCE_MAX, "AccountReference"),
        (request.description.chars().count() > DESCRIPTION_MAX, "TransactionDesc"),
    ];
    if let Some((_, field)) = invalid.iter().find(|(wrong, _)| *wrong) {
        return Err(bad_field(Some(field)));
    }
    check_password(sandbox, &request.shortcode, &request.timestamp, &request.password)?;
    Ok(request)
}

async fn query(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refusal) = authorize(&sandbox, &headers) {
        return refusal;
    }
    let request = match StkQuery::parse(&body) {
        Ok(request) => request,
        Err(field) => return bad_field(field),
    };
    if let Err(refusal) = check_password(&sandbox, &request.shortcode, &request.timestamp, &request.password)
    {
        return refusal;
    }
    let id = &request.checkout_request_id;
    let Some(transaction) = sandbox.read(|state| state.transactions.get(id).cloned()) else {
        return bad_field(Some("CheckoutRequestID"));
    };
    let fault = |kind| sandbox.fault(kind, Some(&transaction.msisdn)).is_some();
    let reply = |code: &str, description: &str| {
        let reply = StkQueryReply {
            merchant_request_id: transaction.merchant_request_id.clone(),
            checkout_request_id: transaction.checkout_request_id.clone(),
            result_code: code.to_owned(),
            result_desc: description.to_owned(),
        };
        Json(reply.to_json()).into_response()
    };
    let pending = |answer| match answer {
        PendingAnswer::Error => error(500, "500.001.1001", "The transaction is being processed"),
        PendingAnswer::Code4999 => reply("4999", "The transaction is still under processing"),
    };
    if fault(FaultKind::QueryDown) {
        let page = "<html><body><h1>503 Service Unavailable</h1></body></html>";
        return (StatusCode::SERVICE_UNAVAILABLE, Html(page)).into_response();
    }
    if fault(FaultKind::Query4999) {
        return pending(PendingAnswer::Code4999);
    }
    if fault(FaultKind::QueryStillProcessing) {
        return pending(PendingAnswer::Error);
    }
    match (&transaction.result_code, &transaction.result_desc) {
        (Some(code), Some(description)) => reply(code, description),
        _ => pending(sandbox.read(|state| state.settings.pending_answer)),
    }
}

fn register(sandbox: &Sandbox, headers: &HeaderMap, body: &[u8], version: C2bVersion) -> Response {
    if let Err(refusal) = authorize(sandbox, headers) {
        return refusal;
    }
    let request = match C2bRegister::parse(body) {
        Ok(request) => request,
        Err(field) => return bad_field(field),
    };
    if request.shortcode != sandbox.config().shortcode {
        return bad_field(Some("ShortCode"));
    }
    let taken = sandbox.change(|state| {
        if state.settings.c2b_register_once && state.c2b.is_some() {
            return true;
        }
        state.c2b = Some(C2bUrls { register: request, version });
        false
    });
    if taken {
        return error(500, "500.003.1001", "Urls are already registered");
    }
    accepted("Success")
}

async fn simulate(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refusal) = authorize(&sandbox, &headers) {
        return refusal;
    }
    let request = match C2bSimulate::parse(&body) {
        Ok(request) => request,
        Err(field) => return bad_field(field),
    };
    if request.shortcode != sandbox.config().shortcode {
        return bad_field(Some("ShortCode"));
    }
    if request.amount_shillings > AMOUNT_SHILLINGS_MAX {
        return bad_field(Some("Amount"));
    }
    let task = sandbox.clone();
    sandbox.spawn(async move {
        let account = request.bill_ref_number.unwrap_or_default();
        let amount_minor = i64::from(request.amount_shillings) * 100;
        // Whether it went through shows in the callbacks and on the handset, as in reality.
        let _ = task.pay_bill(&request.msisdn, None, amount_minor, request.transaction_type, &account).await;
    });
    accepted("Accept the service request successfully.")
}

fn accepted(description: &str) -> Response {
    let id = uuid::Uuid::new_v4().simple().to_string();
    Json(json!({
        // Misspelled by Daraja.
        "OriginatorCoversationID": format!("{}-{}-1", &id[..4], &id[4..12]),
        "ResponseCode": "0",
        "ResponseDescription": description,
    }))
    .into_response()
}
