//! Accounts, for administrators.

use super::account_changes::Asked;
use super::types::{List, RoleName, limit};
use super::{Answer, ApiRouter, Caller, Json, MaybeJson, Path};
use crate::http::error::ApiError;
use crate::state::{App, AppState};
use access::policy::Capability;
use access::{Ctx, Role};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::authn::four_eyes::Act;
use record::authn::{AccountChange, AccountKind, AccountRow, AccountSpec, Delivery, Invited};
use record::{Change, ChangeSet, Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(create_user))
        .routes(routes!(search_users))
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
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
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
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
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
    /// For the second person, where one must agree to the roles.
    #[serde(default)]
    reason: String,
}

/// How somebody gets in again who lost her password.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ResetWay {
    /// A link to her own e-mail address; the administrator never sees it.
    Email,
    /// A link to her own phone.
    Sms,
    /// A one-time password, which the administrator is shown. Takes two people where the account reads facts.
    #[default]
    Shown,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordReset {
    /// `shown` if not given.
    #[serde(default)]
    by: ResetWay,
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
}

#[derive(Serialize, ToSchema)]
struct PasswordResetMade {
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_time_password: Option<String>,
    /// Masked address or number to which the link was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_to: Option<String>,
    /// Of the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
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

/// Whose accounts are looked for, in a body: patients' names and phones are among them, and proxies keep addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountSearch {
    /// Name, user name or phone.
    q: Option<String>,
    #[schema(inline)]
    pub kind: Option<UserKind>,
    /// 1 to 100; 25 if not given.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl AccountSearch {
    /// What was typed, if anything.
    pub fn text(&self) -> Option<&str> {
        self.q.as_deref().map(str::trim).filter(|q| !q.is_empty())
    }
}

/// Accounts, newest first; of everybody if `kind` is not given.
#[utoipa::path(post, path = "/api/v1/admin/users/search", tag = "administration", request_body = AccountSearch,
    responses((status = 200, body = List<UserRow>)))]
async fn search_users(
    State(app): State<AppState>,
    caller: Caller,
    Json(search): Json<AccountSearch>,
) -> Answer<Json<List<UserRow>>> {
    let kind = search.kind.map(AccountKind::from).unwrap_or_default();
    let (count, cursor) = (limit(search.limit), search.cursor.as_deref());
    let (rows, next) = app.record.accounts_of_kind(&caller.0, kind, search.text(), count, cursor).await?;
    Ok(Json(List::new(rows.into_iter().map(UserRow::from).collect(), next)))
}

/// Makes an account for staff and answers with a password to be changed. With a role that reads facts or administers it
/// waits for a second person (202).
#[utoipa::path(post, path = "/api/v1/admin/users", tag = "administration", request_body = NewUser,
    responses((status = 201, body = UserCreated), (status = 202, body = super::account_changes::AccountChange)))]
async fn create_user(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewUser>,
) -> Answer<Asked<UserCreated>> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    // As for roles: an account of one's own making is as good as a role.
    app.record.require_fresh(&caller.0, record::authn::SENSITIVE_MINUTES, true)?;
    let (spec, practitioner) = match new_account(&app, &caller.0, body, None).await? {
        NewAccount::Free(spec, practitioner) => (spec, practitioner),
        NewAccount::Waits(row) => return Ok(Asked::waits(&app, &caller.0, row).await?),
    };
    // Of an idempotent repeat only the Practitioner would be found again, not the password: the account is made once.
    let ctx = Ctx { idempotency_key: None, ..caller.0.clone() };
    match app.record.create_account(&ctx, spec).await {
        Ok((account, password)) => {
            let user = app.record.account(&caller.0, account).await?.into();
            let one_time_password = password.unwrap_or_default();
            Ok(Asked::Done(StatusCode::CREATED, UserCreated { user, one_time_password }))
        }
        Err(error) => {
            if let Some((practitioner, role)) = practitioner {
                undo_practitioner(&app, practitioner, role).await;
            }
            Err(error.into())
        }
    }
}

/// What becomes of a new account.
enum NewAccount {
    /// What makes it, and the Practitioner and PractitionerRole made for it.
    Free(AccountSpec, Option<(ResourceKey, ResourceKey)>),
    /// Somebody else must agree first.
    Waits(record::authn::four_eyes::AccountChangeRow),
}

/// Asks for the account, or makes what it rests on. `by` [None]: it gets a one-time password.
async fn new_account(
    app: &App,
    ctx: &Ctx,
    body: NewUser,
    by: Option<Delivery>,
) -> Result<NewAccount, ApiError> {
    let resources = match &body.practitioner {
        Some(new) => Some(practitioner(&body, new)?),
        None => None,
    };
    let keys = resources.as_ref().and_then(|(practitioner, role)| practitioner.key().zip(role.key()));
    let reason = body.reason;
    let spec = AccountSpec {
        display: body.display,
        login: body.login,
        phone: body.phone,
        email: body.email,
        password: None,
        roles: body.roles.into_iter().map(Role::from).collect(),
        patient: None,
        practitioner: keys.as_ref().map(|keys| keys.0.clone()),
        language: body.language,
    };
    let resources: Vec<Resource> = resources.into_iter().flat_map(|(one, two)| [one, two]).collect();
    if let Some(row) = app.record.ask_new_account(ctx, &spec, &resources, by, &reason).await? {
        return Ok(NewAccount::Waits(row));
    }
    if !resources.is_empty() {
        let changes = resources.into_iter().map(|resource| Change::Create { resource }).collect();
        let ctx = Ctx { idempotency_key: None, ..ctx.clone() };
        app.record
            .command(&ctx, "account.practitioner", ChangeSet { changes, ..ChangeSet::default() })
            .await?;
    }
    Ok(NewAccount::Free(spec, keys))
}

/// Makes an account for staff and invites its owner to set a password; nobody else ever knows it. With a role that reads
/// facts or administers it waits for a second person (202), and is sent when she agrees.
#[utoipa::path(post, path = "/api/v1/admin/users/invitations", tag = "administration", request_body = Invitation,
    responses((status = 201, body = InvitationMade), (status = 202, body = super::account_changes::AccountChange)))]
async fn invite_user(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Invitation>,
) -> Answer<Asked<InvitationMade>> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    app.record.require_fresh(&caller.0, record::authn::SENSITIVE_MINUTES, true)?;
    check_way(&app, body.by)?;
    let by = Delivery::from(body.by);
    let (spec, practitioner) = match new_account(&app, &caller.0, body.user, Some(by)).await? {
        NewAccount::Free(spec, practitioner) => (spec, practitioner),
        NewAccount::Waits(row) => return Ok(Asked::waits(&app, &caller.0, row).await?),
    };
    let ctx = Ctx { idempotency_key: None, ..caller.0.clone() };
    match app.record.invite(&ctx, spec, by).await {
        Ok(invited) => Ok(Asked::Done(StatusCode::CREATED, made(&app, &caller.0, invited).await?)),
        Err(error) => {
            if let Some((practitioner, role)) = practitioner {
                undo_practitioner(&app, practitioner, role).await;
            }
            Err(error.into())
        }
    }
}

/// Sends or shows a new invitation; the one before stops working. To be shown that of an account that reads facts waits
/// for a second person (202).
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/invitation", tag = "administration",
    params(("id" = String, Path)), request_body = InvitationAgain,
    responses((status = 200, body = InvitationMade), (status = 202, body = super::account_changes::AccountChange)))]
async fn invite_user_again(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<InvitationAgain>,
) -> Answer<Asked<InvitationMade>> {
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    check_way(&app, body.by)?;
    if let InvitationWay::Shown = body.by
        && let Some(row) =
            app.record.ask_second_person(&caller.0, Some(id), Act::Invitation, &body.reason).await?
    {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    let invited = app.record.invite_again(&caller.0, id, body.by.into()).await?;
    Ok(Asked::Done(StatusCode::OK, made(&app, &caller.0, invited).await?))
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

/// The Practitioner of a new colleague and her PractitionerRole.
fn practitioner(user: &NewUser, new: &NewPractitioner) -> Result<(Resource, Resource), ApiError> {
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
    Ok((parse(practitioner)?, parse(role)?))
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

/// Changes roles or name, disables or enables. Ends the person's sessions and live connections. A role that reads facts or
/// administers waits for a second person (202); the rest of the request is done then.
#[utoipa::path(patch, path = "/api/v1/admin/users/{id}", tag = "administration", params(("id" = String, Path)),
    request_body = UserChange,
    responses((status = 200, body = UserRow), (status = 202, body = super::account_changes::AccountChange)))]
async fn change_user(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<UserChange>,
) -> Answer<Asked<UserRow>> {
    let mut change = AccountChange {
        display: body.display,
        roles: body.roles.map(|roles| roles.into_iter().map(Role::from).collect()),
        disabled: body.disabled,
        ..AccountChange::default()
    };
    let mut waits = None;
    if let Some(roles) = change.roles.clone() {
        let act = Act::Roles(roles);
        waits = app.record.ask_second_person(&caller.0, Some(id), act, &body.reason).await?;
    }
    if let Some(row) = waits {
        change.roles = None;
        if change.display.is_some() || change.disabled.is_some() {
            let closes = change.disabled == Some(true);
            app.record.update_account(&caller.0, id, change).await?;
            if closes {
                app.sockets.close_account(id);
            }
        }
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    let ends_sessions = change.disabled == Some(true) || change.roles.is_some();
    let row = app.record.update_account(&caller.0, id, change).await?;
    if ends_sessions {
        app.sockets.close_account(id);
    }
    Ok(Asked::Done(StatusCode::OK, row.into()))
}

/// For somebody who lost her password: a link to her own address or phone, or a one-time password that the administrator
/// is shown. The latter ends her sessions, and waits for a second person (202) where the account reads facts.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/reset-password", tag = "administration",
    params(("id" = String, Path)), request_body(content = Option<PasswordReset>),
    responses((status = 200, body = PasswordResetMade), (status = 202, body = super::account_changes::AccountChange)))]
async fn reset_user_password(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    MaybeJson(body): MaybeJson<Option<PasswordReset>>,
) -> Answer<Asked<PasswordResetMade>> {
    // Clients from before sent no body, or `null`.
    let body = body.flatten().unwrap_or_default();
    let by = match body.by {
        ResetWay::Email => InvitationWay::Email,
        ResetWay::Sms => InvitationWay::Sms,
        ResetWay::Shown => {
            let asked =
                app.record.ask_second_person(&caller.0, Some(id), Act::Password, &body.reason).await?;
            if let Some(row) = asked {
                return Ok(Asked::waits(&app, &caller.0, row).await?);
            }
            let one_time_password = Some(app.record.reset_by_administrator(&caller.0, id).await?);
            app.sockets.close_account(id);
            let made = PasswordResetMade { one_time_password, sent_to: None, expires_at: None };
            return Ok(Asked::Done(StatusCode::OK, made));
        }
    };
    super::admin::require(&caller.0, Capability::ManageAccounts)?;
    check_way(&app, by)?;
    let sent = app.record.send_reset(&caller.0, id, by.into()).await?;
    let made = PasswordResetMade {
        one_time_password: None,
        sent_to: sent.sent_to,
        expires_at: Some(sent.expires_at),
    };
    Ok(Asked::Done(StatusCode::OK, made))
}
