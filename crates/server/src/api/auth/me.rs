//! Who I am, and what a person changes about herself.

use super::opening::{Me, me};
use crate::api::{Answer, AnySession, ApiRouter, Json, Path, SessionCaller};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::authn::AccountChange;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_me, patch_me))
        .routes(routes!(begin_phone_change))
        .routes(routes!(confirm_phone_change))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MeChange {
    /// BCP-47, e.g. `sw`.
    language: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PhoneChange {
    /// Any form; numbers without a country code are Kenyan.
    phone: String,
}

#[derive(Serialize, ToSchema)]
struct PhoneChangeBegun {
    change_id: String,
    phone_masked: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    resend_after_s: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PhoneConfirmation {
    /// The digits from the SMS.
    code: String,
}

#[derive(Serialize, ToSchema)]
struct PhoneChanged {
    phone: String,
}

/// The signed-in person and the clinic.
#[utoipa::path(get, path = "/api/v1/me", tag = "auth", responses((status = 200, body = Me)))]
async fn get_me(State(app): State<AppState>, AnySession(caller): AnySession) -> Answer<Json<Me>> {
    Ok(Json(me(&app, caller.info.user, caller.info.phone).await))
}

/// Changes what a person may change about her own account.
#[utoipa::path(patch, path = "/api/v1/me", tag = "auth", request_body = MeChange, responses((status = 200, body = Me)))]
async fn patch_me(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<MeChange>,
) -> Answer<Json<Me>> {
    let mut user = caller.info.user;
    if let Some(language) = body.language {
        let change = AccountChange { language: Some(language), ..AccountChange::default() };
        user.language = app.record.update_account(&caller.ctx, user.account, change).await?.language;
    }
    Ok(Json(me(&app, user, caller.info.phone).await))
}

/// Begins to change the own phone number; a code goes to the new one.
#[utoipa::path(post, path = "/api/v1/auth/phone", tag = "auth", request_body = PhoneChange,
    responses((status = 202, body = PhoneChangeBegun)))]
async fn begin_phone_change(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<PhoneChange>,
) -> Answer<(StatusCode, Json<PhoneChangeBegun>)> {
    let sent = app.record.begin_phone_change(&caller.ctx, &body.phone).await?;
    let begun = PhoneChangeBegun {
        change_id: sent.id,
        phone_masked: sent.phone_masked,
        expires_at: sent.expires_at,
        resend_after_s: sent.resend_after_s,
    };
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Changes the own phone number; the old one is told.
#[utoipa::path(post, path = "/api/v1/auth/phone/{id}/confirm", tag = "auth", params(("id" = String, Path)),
    request_body = PhoneConfirmation, responses((status = 200, body = PhoneChanged)))]
async fn confirm_phone_change(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
    Json(body): Json<PhoneConfirmation>,
) -> Answer<Json<PhoneChanged>> {
    let phone = app.record.confirm_phone_change(&caller.ctx, &id, &body.code).await?;
    Ok(Json(PhoneChanged { phone }))
}
