//! Shared devices of the clinic, and changing over on them by PIN.

use super::id::{hex, unhex};
use super::opening::{Session, SessionAnswer, TokenParams, known_device, opened};
use crate::api::{Answer, ApiRouter, Caller, Json, MaybeCaller, Params, Path, SessionCaller, SigningIn};
use crate::http::caller::{Credential, credential};
use crate::http::origin;
use crate::state::AppState;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_device_people))
        .routes(routes!(switch_user))
        .routes(routes!(set_pin))
        .routes(routes!(add_device))
        .routes(routes!(list_devices))
        .routes(routes!(remove_device))
}

/// A shared device, and who can change over on it.
#[derive(Serialize, ToSchema)]
struct SharedDevice {
    name: String,
    people: Vec<DevicePerson>,
}

#[derive(Serialize, ToSchema)]
struct DevicePerson {
    account_id: String,
    display: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserSwitch {
    account_id: String,
    /// Six digits.
    pin: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PinEntry {
    /// Six digits.
    pin: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    /// e.g. `Tablet, ward 3`
    name: String,
}

/// A shared device.
#[derive(Serialize, ToSchema)]
struct DeviceInfo {
    id: String,
    name: String,
    made_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct DeviceList {
    items: Vec<DeviceInfo>,
}

/// Who can change over by PIN on this shared device.
#[utoipa::path(get, path = "/api/v1/auth/device", tag = "auth", responses((status = 200, body = SharedDevice)))]
async fn list_device_people(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
) -> Answer<Json<SharedDevice>> {
    let device = app.record.device_people(from.shared_device.as_deref()).await?;
    let person =
        |(account, display): (i64, String)| DevicePerson { account_id: account.to_string(), display };
    Ok(Json(SharedDevice { name: device.name, people: device.people.into_iter().map(person).collect() }))
}

/// Changes over to another person on a shared device; the session before ends.
#[utoipa::path(post, path = "/api/v1/auth/switch", tag = "auth", params(TokenParams), request_body = UserSwitch,
    responses((status = 200, body = Session)))]
async fn switch_user(
    State(app): State<AppState>,
    caller: MaybeCaller,
    headers: HeaderMap,
    SigningIn(from): SigningIn,
    Params(params): Params<TokenParams>,
    Json(body): Json<UserSwitch>,
) -> SessionAnswer {
    let from = known_device(from)?;
    let account = body.account_id.parse().unwrap_or_default();
    let session = app.record.switch_user(account, &body.pin, &from).await?;
    // Whoever was here is so no more; without a session of hers there is nothing to end.
    if let Some(Credential::Cookie(token) | Credential::Bearer(token)) =
        credential(&headers, app.cookie_name())
        && let Ok(before) = app.record.session(&token).await
    {
        app.record.logout(&caller.0, &token).await?;
        app.sockets.close_session_id(before.user.account, before.facts.id);
    }
    opened(&app, session, &from, &params).await
}

/// Sets the caller's PIN for changing over on this shared device.
#[utoipa::path(put, path = "/api/v1/auth/device/pin", tag = "auth", request_body = PinEntry,
    responses((status = 204)))]
async fn set_pin(
    State(app): State<AppState>,
    caller: SessionCaller,
    SigningIn(from): SigningIn,
    Json(body): Json<PinEntry>,
) -> Answer<StatusCode> {
    app.record.set_pin(&caller.ctx, from.shared_device.as_deref(), &body.pin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes this browser a shared device of the clinic.
#[utoipa::path(post, path = "/api/v1/auth/device", tag = "auth", request_body = NewDevice,
    responses((status = 204)))]
async fn add_device(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<NewDevice>,
) -> Answer<(StatusCode, HeaderMap)> {
    let token = app.record.add_device(&caller.ctx, &body.name).await?;
    let mut headers = HeaderMap::new();
    origin::set_shared(&mut headers, &app, &token);
    Ok((StatusCode::NO_CONTENT, headers))
}

/// The shared devices of the clinic.
#[utoipa::path(get, path = "/api/v1/admin/devices", tag = "administration",
    responses((status = 200, body = DeviceList)))]
async fn list_devices(State(app): State<AppState>, caller: Caller) -> Answer<Json<DeviceList>> {
    let rows = app.record.devices(&caller.0).await?;
    let info = |row: record::authn::DeviceRow| DeviceInfo {
        id: hex(&row.id),
        name: row.name,
        made_by: row.made_by.to_string(),
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    };
    Ok(Json(DeviceList { items: rows.into_iter().map(info).collect() }))
}

/// Takes a shared device off the list; who is signed in there is signed out.
#[utoipa::path(delete, path = "/api/v1/admin/devices/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove_device(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    crate::api::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    app.record.remove_device(&caller.0, unhex::<32>(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
