//! Accounts, for administrators.

use super::types::{List, RoleName, limit};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::ApiError;
use crate::state::{App, AppState};
use access::policy::Capability;
use access::{Ctx, Role};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::authn::{AccountChange, AccountKind, AccountRow, AccountSpec, Delivery, Invited};
use record::{Change, ChangeSet, Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(invite_user))
        .routes(routes!(invite_user_again))
        .routes(routes!(get_user, change_user))
        .routes(routes!(reset_user_password))
}

/// CodeSystem of specialties.
const SPECIALTY: &str = "https://uzima.health/fhir/CodeSystem/specialty";

#[derive(Serialize, ToSchema)]
struct UserRow {
    id: String,
    display: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    roles: Vec<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    practitioner_id: Option<String>,
    language: String,
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login: Option<Timestamp>,
    /// Beside the password: `totp`, `passkey`.
    second_factors: Vec<&'static str>,
    /// False for somebody who has not taken up her invitation, or signs in in another way.
    has_password: bool,
}

impl From<AccountRow> for UserRow {
    fn from(row: AccountRow) -> UserRow {
        UserRow {
            id: row.account.to_string(),
            display: row.display,
            login: row.login,
            phone: row.phone,
            email: row.email,
            roles: row.roles.into_iter().map(RoleName::from).collect(),
            patient_id: row.patient.map(|key| key.id),
            practitioner_id: row.practitioner.map(|key| key.id),
            language: row.language,
            disabled: row.disabled,
            created_at: row.created_at,
            last_login: row.last_login,
            second_factors: row.second_factors.iter().map(|factor| factor.code()).collect(),
            has_password: row.has_password,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    display: String,
    /// User name, unique; absent for people who sign in by phone.
    login: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    roles: Vec<RoleName>,
    /// BCP-47
    language: String,
    /// For clinical and desk roles: makes the Practitioner of this person.
    practitioner: Option<NewPractitioner>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPractitioner {
    given: String,
    family: String,
    /// e.g. `Dr`
    prefix: Option<String>,
    #[serde(default)]
    specialty_codes: Vec<String>,
    /// BCP-47 codes of languages spoken with patients.
    #[serde(default)]
    languages: Vec<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InvitationWay {
    Email,
    Sms,
    /// The link is shown to the administrator, who passes it on.
    Shown,
}

impl From<InvitationWay> for Delivery {
    fn from(way: InvitationWay) -> Delivery {
        match way {
            InvitationWay::Email => Delivery::Email,
            InvitationWay::Sms => Delivery::Sms,
            InvitationWay::Shown => Delivery::Shown,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Invitation {
    user: NewUser,
    by: InvitationWay,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationAgain {
    by: InvitationWay,
}

#[derive(Serialize, ToSchema)]
struct InvitationMade {
    user: UserRow,
    /// Only where it is to be shown: shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// Masked address or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_to: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct UserCreated {
    user: UserRow,
    /// Shown once.
    one_time_password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    roles: Option<Vec<RoleName>>,
    disabled: Option<bool>,
    display: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct OneTimePassword {
    /// Shown once.
    one_time_password: String,
}

/// Whose accounts.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum UserKind {
    /// Neither patients nor those who only act for patients.
    Staff,
    Patients,
    All,
}

impl From<UserKind> for AccountKind {
    fn from(kind: UserKind) -> AccountKind {
        match kind {
            UserKind::Staff => AccountKind::Staff,
            UserKind::Patients => AccountKind::Patients,
            UserKind::All => AccountKind::All,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserParams {
    /// Name, user name or phone.
    q: Option<String>,
    /// All if not given.
    #[param(inline)]
    kind: Option<UserKind>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Accounts, newest first.
#[utoipa::path(get, path = "/api/v1/admin/users", tag = "administration", params(UserParams),
    responses((status = 200, body = List<UserRow>)))]
async fn list_users(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<UserParams>,
) -> Answer<Json<List<UserRow>>> {
    let text = params.q.as_deref().map(str::trim).filter(|q| !q.is_empty());
    let kind = params.kind.map(AccountKind::from).unwrap_or_default();
    let (rows, next) = app
        .record
        .accounts_of_kind(&caller.0, kind, text, limit(params.limit), params.cursor.as_deref())
        .await?;
    Ok(Json(List::new(rows.into_iter().map(UserRow::from).collect(), next)))
}

/// Makes an account for staff and answers with a password to be changed.
#[utoipa::path(post, path = "/api/v1/admin/users", tag = "administration", request_body = NewUser,
    responses((status = 201, body = UserCreated)))]
async fn create_user(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewUser>,
) -> Answer<(StatusCode, Json<UserCreated>)> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    // As for roles: an account of one's own making is as good as a role.
    app.record.require_fresh(&caller.0, record::authn::SENSITIVE_MINUTES, true)?;
    let (spec, practitioner) = spec(&app, &caller.0, body).await?;
    // Of an idempotent repeat only the Practitioner would be found again, not the password: the account is made once.
    let ctx = Ctx { idempotency_key: None, ..caller.0.clone() };
    match app.record.create_account(&ctx, spec).await {
        Ok((account, password)) => {
            let user = app.record.account(&caller.0, account).await?.into();
            let one_time_password = password.unwrap_or_default();
            Ok((StatusCode::CREATED, Json(UserCreated { user, one_time_password })))
        }
        Err(error) => {
            if let Some((practitioner, role)) = practitioner {
                undo_practitioner(&app, practitioner, role).await;
            }
            Err(error.into())
        }
    }
}

/// What makes the account, and the Practitioner made for it.
async fn spec(
    app: &App,
    ctx: &Ctx,
    body: NewUser,
) -> Result<(AccountSpec, Option<(ResourceKey, ResourceKey)>), ApiError> {
    let practitioner = match &body.practitioner {
        Some(new) => Some(create_practitioner(app, ctx, &body, new).await?),
        None => None,
    };
    let spec = AccountSpec {
        display: body.display,
        login: body.login,
        phone: body.phone,
        email: body.email,
        password: None,
        roles: body.roles.into_iter().map(Role::from).collect(),
        patient: None,
        practitioner: practitioner.as_ref().map(|keys| keys.0.clone()),
        language: body.language,
    };
    Ok((spec, practitioner))
}

/// Makes an account for staff and invites its owner to set a password; nobody else ever knows it.
#[utoipa::path(post, path = "/api/v1/admin/users/invitations", tag = "administration", request_body = Invitation,
    responses((status = 201, body = InvitationMade)))]
async fn invite_user(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Invitation>,
) -> Answer<(StatusCode, Json<InvitationMade>)> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    app.record.require_fresh(&caller.0, record::authn::SENSITIVE_MINUTES, true)?;
    check_way(&app, body.by)?;
    let (spec, practitioner) = spec(&app, &caller.0, body.user).await?;
    let ctx = Ctx { idempotency_key: None, ..caller.0.clone() };
    match app.record.invite(&ctx, spec, body.by.into()).await {
        Ok(invited) => Ok((StatusCode::CREATED, Json(made(&app, &caller.0, invited).await?))),
        Err(error) => {
            if let Some((practitioner, role)) = practitioner {
                undo_practitioner(&app, practitioner, role).await;
            }
            Err(error.into())
        }
    }
}

/// Sends or shows a new invitation; the one before stops working.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/invitation", tag = "administration",
    params(("id" = String, Path)), request_body = InvitationAgain, responses((status = 200, body = InvitationMade)))]
async fn invite_user_again(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<InvitationAgain>,
) -> Answer<Json<InvitationMade>> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    check_way(&app, body.by)?;
    let invited = app.record.invite_again(&caller.0, id, body.by.into()).await?;
    Ok(Json(made(&app, &caller.0, invited).await?))
}

/// Errors: `Rule` `email-unavailable`, `sms-unavailable` where this server has no such way out.
fn check_way(app: &App, by: InvitationWay) -> Result<(), Error> {
    let (code, text) = match by {
        InvitationWay::Email if app.config.mail.url.is_none() => {
            ("email-unavailable", "This server sends no e-mail; show the link instead.")
        }
        InvitationWay::Sms if app.parts.sms.is_none() => {
            ("sms-unavailable", "This server sends no SMS; show the link instead.")
        }
        InvitationWay::Email | InvitationWay::Sms | InvitationWay::Shown => return Ok(()),
    };
    Err(Error::Rule(Rule::new(code, text).at("/by")))
}

async fn made(app: &App, ctx: &Ctx, invited: Invited) -> Result<InvitationMade, Error> {
    Ok(InvitationMade {
        user: app.record.account(ctx, invited.account).await?.into(),
        link: invited.token.as_deref().map(|token| app.record.link_address(token)),
        sent_to: invited.sent_to,
        expires_at: invited.expires_at,
    })
}

async fn create_practitioner(
    app: &App,
    ctx: &Ctx,
    user: &NewUser,
    new: &NewPractitioner,
) -> Result<(ResourceKey, ResourceKey), ApiError> {
    for (field, text) in [("/practitioner/given", &new.given), ("/practitioner/family", &new.family)] {
        if text.trim().is_empty() {
            return Err(Error::Rule(Rule::new("name-required", "A name is needed.").at(field)).into());
        }
    }
    let mut name = json!({"use": "official", "family": new.family.trim(), "given": [new.given.trim()]});
    if let Some(prefix) = new.prefix.as_deref().map(str::trim).filter(|p| !p.is_empty()) {
        name["prefix"] = json!([prefix]);
    }
    let id = Uuid::now_v7().to_string();
    let role_id = Uuid::now_v7().to_string();
    let mut practitioner = json!({"resourceType": "Practitioner", "id": id, "active": true, "name": [name]});
    if !new.languages.is_empty() {
        let languages: Vec<Value> = new
            .languages
            .iter()
            .map(|code| json!({"coding": [{"system": "urn:ietf:bcp:47", "code": code}]}))
            .collect();
        practitioner["communication"] = Value::Array(languages);
    }
    if let Some(phone) = user.phone.as_deref().and_then(record::authn::phone_e164) {
        practitioner["telecom"] = json!([{"system": "phone", "value": phone, "use": "work"}]);
    }
    let mut role = json!({
        "resourceType": "PractitionerRole", "id": role_id, "active": true,
        "practitioner": {"reference": format!("Practitioner/{id}")},
    });
    if !new.specialty_codes.is_empty() {
        let specialties: Vec<Value> = new
            .specialty_codes
            .iter()
            .map(|code| json!({"coding": [{"system": SPECIALTY, "code": code}]}))
            .collect();
        role["specialty"] = Value::Array(specialties);
    }
    let parse = |value: Value| Resource::from_value(value).map_err(Error::Malformed);
    let (practitioner, role) = (parse(practitioner)?, parse(role)?);
    let keys = practitioner
        .key()
        .zip(role.key())
        .ok_or_else(|| Error::Internal("a resource without a key".into()))?;
    let changes = vec![Change::Create { resource: practitioner }, Change::Create { resource: role }];
    let ctx = Ctx { idempotency_key: None, ..ctx.clone() };
    app.record.command(&ctx, "account.practitioner", ChangeSet { changes, ..ChangeSet::default() }).await?;
    Ok(keys)
}

/// The account was refused, so nobody is this Practitioner.
async fn undo_practitioner(app: &App, practitioner: ResourceKey, role: ResourceKey) {
    let changes = vec![
        Change::Delete { key: role, if_match: None },
        Change::Delete { key: practitioner, if_match: None },
    ];
    let ctx = Ctx::system("account", app.record.now());
    let undone =
        app.record.command(&ctx, "account.undo", ChangeSet { changes, ..ChangeSet::default() }).await;
    if let Err(error) = undone {
        tracing::error!(%error, "a Practitioner without an account stays behind");
    }
}

/// One account.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 200, body = UserRow)))]
async fn get_user(State(app): State<AppState>, caller: Caller, Path(id): Path<i64>) -> Answer<Json<UserRow>> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    Ok(Json(app.record.account(&caller.0, id).await?.into()))
}

/// Changes roles or name, disables or enables. Ends the person's sessions and live connections.
#[utoipa::path(patch, path = "/api/v1/admin/users/{id}", tag = "administration", params(("id" = String, Path)),
    request_body = UserChange, responses((status = 200, body = UserRow)))]
async fn change_user(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<UserChange>,
) -> Answer<Json<UserRow>> {
    let change = AccountChange {
        display: body.display,
        roles: body.roles.map(|roles| roles.into_iter().map(Role::from).collect()),
        disabled: body.disabled,
        ..AccountChange::default()
    };
    let ends_sessions = change.disabled == Some(true) || change.roles.is_some();
    let row = app.record.update_account(&caller.0, id, change).await?;
    if ends_sessions {
        app.sockets.close_account(id);
    }
    Ok(Json(row.into()))
}

/// A new one-time password for somebody who lost hers; ends her sessions.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/reset-password", tag = "administration",
    params(("id" = String, Path)), responses((status = 200, body = OneTimePassword)))]
async fn reset_user_password(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<Json<OneTimePassword>> {
    let one_time_password = app.record.reset_by_administrator(&caller.0, id).await?;
    app.sockets.close_account(id);
    Ok(Json(OneTimePassword { one_time_password }))
}
