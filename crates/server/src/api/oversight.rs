//! What administrators and privacy officers look after: the protection of people's accounts, shared devices, signing keys,
//! and what waits for somebody.

use super::audit::AuditEntry;
use super::types::{List, RoleName, limit};
use super::users::AccountSearch;
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::Error;
use record::audit::unhex;
use record::authn::{AccountKind, AccountRow, PasskeyRow};
use serde::{Deserialize, Serialize};
use store::credential::Failures;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// People asked for by number at once.
const MAX_IDS: usize = 200;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(people_by_id))
        .routes(routes!(search_people))
        .routes(routes!(get_user_protection))
        .routes(routes!(withdraw_invitation))
        .routes(routes!(rename_device))
        .routes(routes!(list_oauth_keys))
        .routes(routes!(get_audit_entry))
        .routes(routes!(get_attention))
}

/// Somebody with an account.
#[derive(Serialize, ToSchema)]
struct Person {
    id: String,
    display: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    roles: Vec<RoleName>,
    disabled: bool,
}

impl From<AccountRow> for Person {
    fn from(row: AccountRow) -> Person {
        Person {
            id: row.account.to_string(),
            display: row.display,
            login: row.login,
            roles: row.roles.into_iter().map(RoleName::from).collect(),
            disabled: row.disabled,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PeopleParams {
    /// Comma separated; at most 200.
    ids: String,
}

/// People with an account by number, to name them. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/people", tag = "administration", params(PeopleParams),
    responses((status = 200, body = List<Person>)))]
async fn people_by_id(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<PeopleParams>,
) -> Answer<Json<List<Person>>> {
    let ids: Result<Vec<i64>, _> = params.ids.split(',').map(|id| id.trim().parse()).collect();
    let ids = ids.ok().filter(|ids| ids.len() <= MAX_IDS);
    let wrong = || Refusal::new(RefusalKind::ParameterWrong, "Expected at most 200 numbers.").at("ids");
    let found = app.record.people_by_id(&caller.0, &ids.ok_or_else(wrong)?).await?;
    Ok(Json(List::new(found.into_iter().map(Person::from).collect(), None)))
}

/// People with an account by name, to choose from; staff if `kind` is not given. Administrator and privacy officer.
#[utoipa::path(post, path = "/api/v1/admin/people/search", tag = "administration", request_body = AccountSearch,
    responses((status = 200, body = List<Person>)))]
async fn search_people(
    State(app): State<AppState>,
    caller: Caller,
    Json(search): Json<AccountSearch>,
) -> Answer<Json<List<Person>>> {
    let kind = search.kind.map_or(AccountKind::Staff, AccountKind::from);
    let (count, cursor) = (limit(search.limit), search.cursor.as_deref());
    let (rows, next) = app.record.people(&caller.0, kind, search.text(), count, cursor).await?;
    Ok(Json(List::new(rows.into_iter().map(Person::from).collect(), next)))
}

/// A passkey of somebody else.
#[derive(Serialize, ToSchema)]
struct UserPasskey {
    name: String,
    /// Kept by the maker of the device, not only on it.
    is_synced: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<PasskeyRow> for UserPasskey {
    fn from(row: PasskeyRow) -> UserPasskey {
        let PasskeyRow { name, is_synced, created_at, last_used_at, .. } = row;
        UserPasskey { name, is_synced, created_at, last_used_at }
    }
}

/// What protects somebody's account.
#[derive(Serialize, ToSchema)]
struct UserProtection {
    /// What the clinic asks of this person: `off`, `asked` or `required`.
    second_factor: &'static str,
    has_password: bool,
    /// Somebody else made the password; it must be changed at the next sign-in.
    must_change_password: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    password_changed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    totp_since: Option<Timestamp>,
    recovery_codes_left: u32,
    passkeys: Vec<UserPasskey>,
    /// Until when the open invitation works.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    invited_until: Option<Timestamp>,
    /// Wrong passwords within the last hour, where there are so many that the next try waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong_passwords: Option<WrongPasswords>,
}

/// A series of wrong passwords from one kind of place.
#[derive(Serialize, ToSchema)]
struct WrongPasswords {
    count: u32,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
    /// The next try from there must wait until then.
    #[schema(value_type = String, format = DateTime)]
    waits_until: Timestamp,
}

impl From<Failures> for WrongPasswords {
    fn from(found: Failures) -> WrongPasswords {
        WrongPasswords { count: found.failures, last_at: found.last, waits_until: found.free_at }
    }
}

/// What protects somebody's account, and whether an invitation is open.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}/protection", tag = "administration", params(("id" = String, Path)),
    responses((status = 200, body = UserProtection)))]
async fn get_user_protection(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<Json<UserProtection>> {
    let found = app.record.account_protection(&caller.0, id).await?;
    Ok(Json(UserProtection {
        second_factor: found.second_factor.code(),
        has_password: found.has_password,
        must_change_password: found.is_temporary,
        password_changed_at: found.password_at,
        totp_since: found.totp_since,
        recovery_codes_left: found.recovery_codes_left,
        passkeys: found.passkeys.into_iter().map(UserPasskey::from).collect(),
        invited_until: found.invited_until,
        wrong_passwords: found.guessed.map(WrongPasswords::from),
    }))
}

/// Withdraws an open invitation: its link works no more.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/invitation", tag = "administration", params(("id" = String, Path)),
    responses((status = 204)))]
async fn withdraw_invitation(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<StatusCode> {
    app.record.withdraw_invitation(&caller.0, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeviceName {
    /// At most 60 characters.
    name: String,
}

/// Gives a shared device another name.
#[utoipa::path(patch, path = "/api/v1/admin/devices/{id}", tag = "administration", params(("id" = String, Path)),
    request_body = DeviceName, responses((status = 204)))]
async fn rename_device(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<DeviceName>,
) -> Answer<StatusCode> {
    let id = unhex::<32>(&id).ok_or(Error::NotFound)?;
    app.record.rename_device(&caller.0, id, &body.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key that signs id tokens.
#[derive(Serialize, ToSchema)]
struct OauthKey {
    /// `kid`
    id: String,
    /// `RS256` or `ES384`
    algorithm: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// New id tokens are signed by it; the others are only published.
    is_signing: bool,
    /// When the next one is made at the latest.
    #[schema(value_type = String, format = DateTime)]
    replaced_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct OauthKeyList {
    items: Vec<OauthKey>,
}

/// The keys that sign id tokens, newest first.
#[utoipa::path(get, path = "/api/v1/admin/oauth-keys", tag = "administration",
    responses((status = 200, body = OauthKeyList)))]
async fn list_oauth_keys(State(app): State<AppState>, caller: Caller) -> Answer<Json<OauthKeyList>> {
    let keys = app.record.list_signing_keys(&caller.0).await?;
    let row = |key: record::oauth::SigningKey| OauthKey {
        id: key.id,
        algorithm: key.algorithm,
        created_at: key.created_at,
        is_signing: key.is_signing,
        replaced_at: key.replaced_at,
    };
    Ok(Json(OauthKeyList { items: keys.into_iter().map(row).collect() }))
}

/// One entry of the audit trail with what belongs to it.
#[derive(Serialize, ToSchema)]
struct AuditEntryDetail {
    entry: AuditEntry,
    /// All patients concerned.
    patients: Vec<String>,
    /// What to tell support.
    request_id: String,
    /// The version that the write replaced, e.g. `Patient/1/_history/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// The version that it made.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// One entry of the audit trail, with the versions before and after what it wrote. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit/entries/{row}", tag = "administration",
    params(("row" = i64, Path, description = "`seq` of the entry")), responses((status = 200, body = AuditEntryDetail)))]
async fn get_audit_entry(
    State(app): State<AppState>,
    caller: Caller,
    Path(row): Path<i64>,
) -> Answer<Json<AuditEntryDetail>> {
    let found = app.record.audit_detail(&caller.0, row).await?;
    Ok(Json(AuditEntryDetail {
        patients: found.row.patients.clone(),
        request_id: found.row.request_id.clone(),
        entry: found.row.into(),
        before: found.before,
        after: found.after,
    }))
}

/// An account on which somebody guesses.
#[derive(Serialize, ToSchema)]
struct GuessedAccount {
    account_id: String,
    display: String,
    wrong_passwords: WrongPasswords,
}

#[derive(Serialize, ToSchema)]
struct Attention {
    /// What is wrong with copies of the database, in words; empty if nothing is.
    backup: Vec<String>,
    /// What is wrong with sealing or anchoring the audit trail, in words.
    audit: Vec<String>,
    /// Emergency access that nobody has reviewed.
    reviews_waiting: u64,
    /// Those of them for longer than three days.
    reviews_overdue: u64,
    /// Changes of rights that wait for a second person.
    rights_waiting: u64,
    /// Changes of accounts that wait for a second person.
    accounts_waiting: u64,
    /// Within the last hour; those with most wrong passwords first.
    guessed_accounts: Vec<GuessedAccount>,
}

/// What waits for those who look after the clinic's security. Administrator, privacy officer, IT staff.
#[utoipa::path(get, path = "/api/v1/admin/attention", tag = "administration",
    responses((status = 200, body = Attention)))]
async fn get_attention(State(app): State<AppState>, caller: Caller) -> Answer<Json<Attention>> {
    let found = app.record.attention(&caller.0).await?;
    let now = app.record.now();
    let standing = app.record.audit_standing().await.map_err(ApiError::from)?;
    let guessed = |(row, failures): (AccountRow, Failures)| GuessedAccount {
        account_id: row.account.to_string(),
        display: row.display,
        wrong_passwords: failures.into(),
    };
    Ok(Json(Attention {
        backup: app.parts.backups.standing(now).alarms,
        audit: crate::worker::audit::alarms(&app.config.audit, &standing, now),
        reviews_waiting: found.reviews_waiting,
        reviews_overdue: found.reviews_overdue,
        rights_waiting: found.rights_waiting,
        accounts_waiting: found.accounts_waiting,
        guessed_accounts: found.guessed.into_iter().map(guessed).collect(),
    }))
}
