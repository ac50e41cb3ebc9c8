//! Erasure: agreed to by one person, carried out by another.

use super::parse;
use crate::api::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::subject::SubjectNames;
use serde::Serialize;
use store::subject::erasure::Erasure;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(approve_erasure))
        .routes(routes!(carry_out_erasure))
        .routes(routes!(erase_due))
        .routes(routes!(list_erasures))
        .routes(routes!(list_erasures_waiting))
}

/// What stays of a record that was erased.
#[derive(Serialize, ToSchema)]
struct Tombstone {
    patient_id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The request; missing where its time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    approved_by: String,
    carried_out_by: String,
    law: String,
    /// Entries that lost their content.
    resources: u64,
    /// Missing while something may still be readable: it goes on by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    done_at: Option<Timestamp>,
}

fn tombstone(one: Erasure, names: &SubjectNames) -> Tombstone {
    let name = |account: i64| names.accounts.get(&account).cloned().unwrap_or_default();
    Tombstone {
        patient_id: one.patient,
        at: one.at,
        request_id: one.request.map(|id| id.to_string()),
        approved_by: name(one.approved_by),
        carried_out_by: name(one.carried_out_by),
        law: one.law,
        resources: one.resources,
        done_at: one.done,
    }
}

async fn with_names(app: &AppState, one: Erasure) -> Answer<Json<Tombstone>> {
    let names = app.record.subject_names(vec![one.approved_by, one.carried_out_by], Vec::new()).await?;
    Ok(Json(tombstone(one, &names)))
}

/// Agrees to an erasure that was asked for; refused with what stands against it. Privacy officer, freshly signed in.
#[utoipa::path(post, path = "/api/v1/privacy/requests/{id}/approve", tag = "privacy", params(("id" = String, Path)),
    responses((status = 204)))]
async fn approve_erasure(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.approve_erasure(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Erases the record; cannot be taken back. Privacy officer or administrator, another one than who agreed, freshly signed
/// in.
#[utoipa::path(post, path = "/api/v1/privacy/requests/{id}/carry-out", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = Tombstone)))]
async fn carry_out_erasure(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Tombstone>> {
    let done = app.record.carry_out_erasure(&caller.0, parse(&id)?).await?;
    with_names(&app, done).await
}

/// Erases a record whose time is over and that another person agreed to. As `requests/{id}/carry-out`.
#[utoipa::path(post, path = "/api/v1/privacy/retention/due/{id}/erase", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = Tombstone)))]
async fn erase_due(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Tombstone>> {
    let done = app.record.erase_due(&caller.0, &id).await?;
    with_names(&app, done).await
}

#[derive(Serialize, ToSchema)]
struct TombstoneList {
    items: Vec<Tombstone>,
}

/// What was erased, newest first. Privacy officer.
#[utoipa::path(get, path = "/api/v1/privacy/erasures", tag = "privacy", responses((status = 200, body = TombstoneList)))]
async fn list_erasures(State(app): State<AppState>, caller: Caller) -> Answer<Json<TombstoneList>> {
    let found = app.record.erasures(&caller.0).await?;
    let accounts = found.iter().flat_map(|one| [one.approved_by, one.carried_out_by]).collect();
    let names = app.record.subject_names(accounts, Vec::new()).await?;
    Ok(Json(TombstoneList { items: found.into_iter().map(|one| tombstone(one, &names)).collect() }))
}

/// An erasure that waits for its second person; the patient is named by id alone.
#[derive(Serialize, ToSchema)]
struct ErasureWaiting {
    /// Of the request; missing where the record's time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    patient_id: String,
    #[schema(value_type = String, format = DateTime)]
    approved_at: Timestamp,
    approved_by: String,
    approved_by_you: bool,
    law: String,
}

#[derive(Serialize, ToSchema)]
struct ErasureWaitingList {
    items: Vec<ErasureWaiting>,
}

/// Erasures that one person agreed to. Privacy officer, administrator.
#[utoipa::path(get, path = "/api/v1/privacy/erasures/waiting", tag = "privacy",
    responses((status = 200, body = ErasureWaitingList)))]
async fn list_erasures_waiting(
    State(app): State<AppState>,
    caller: Caller,
) -> Answer<Json<ErasureWaitingList>> {
    let found = app.record.erasures_waiting(&caller.0).await?;
    let names = app.record.subject_names(found.iter().map(|one| one.by).collect(), Vec::new()).await?;
    let own = caller.0.user().map(|user| user.account);
    let items = found.into_iter().map(|one| ErasureWaiting {
        id: one.request.map(|id| id.to_string()),
        patient_id: one.patient,
        approved_at: one.at,
        approved_by: names.accounts.get(&one.by).cloned().unwrap_or_default(),
        approved_by_you: own == Some(one.by),
        law: one.law,
    });
    Ok(Json(ErasureWaitingList { items: items.collect() }))
}
