//! What a test does that no provider would: `/oidc/control`.

use super::{Issuer, OidcFault, Person};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn router() -> Router<Issuer> {
    Router::new()
        .route("/control", get(show))
        .route("/control/faults", put(faults))
        .route("/control/people", put(person))
        .route("/control/rotate", post(rotate))
        .route("/control/logout-token", post(logout_token))
}

async fn show(State(issuer): State<Issuer>) -> Json<Value> {
    let memory = issuer.0.memory.lock();
    Json(json!({
        "issuer": issuer.0.issuer, "people": memory.people, "faults": memory.faults,
        "redeemed": memory.redeemed, "signed_out": memory.signed_out,
    }))
}

async fn faults(State(issuer): State<Issuer>, Json(faults): Json<Vec<OidcFault>>) -> StatusCode {
    issuer.0.memory.lock().faults = faults.into_iter().take(100).collect();
    StatusCode::NO_CONTENT
}

async fn person(State(issuer): State<Issuer>, Json(person): Json<Person>) -> StatusCode {
    issuer.put_person(person);
    StatusCode::NO_CONTENT
}

async fn rotate(State(issuer): State<Issuer>) -> StatusCode {
    issuer.rotate();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Ending {
    sub: Option<String>,
    sid: Option<String>,
}

async fn logout_token(State(issuer): State<Issuer>, Json(ending): Json<Ending>) -> Json<Value> {
    Json(json!({"logout_token": issuer.logout_token(ending.sub.as_deref(), ending.sid.as_deref(), |_| ())}))
}
