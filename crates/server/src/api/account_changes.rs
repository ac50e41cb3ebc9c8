//! Changes of accounts and applications that wait for a second person: seen, agreed to, refused, and what came of them
//! fetched once.

use super::clients::ClientAuthentication;
use super::oauth::Scope;
use super::types::{List, RoleName};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::{App, AppState};
use access::{Ctx, Role};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use record::Error;
use record::authn::four_eyes::{AccountChangeRow, AccountChangeState, Collected};
use record::oauth::Authentication;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_account_changes))
        .routes(routes!(get_account_change))
        .routes(routes!(agree_to_account_change))
        .routes(routes!(refuse_account_change))
        .routes(routes!(collect_account_change))
}

/// What was asked for.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum AccountAct {
    /// A new account.
    Create,
    /// Other roles.
    Roles,
    /// A one-time password that who asked is shown.
    Password,
    /// An invitation that who asked is shown.
    Invitation,
    /// Second factors are taken away.
    SecondFactor,
    /// Somebody at an outside provider may sign in.
    Identity,
    /// Rules for signing in without the second person.
    Policy,
    /// A new application that reads facts for itself.
    RegisterApplication,
    /// Such an application is changed or turned on, or another one becomes such a one.
    ChangeApplication,
    /// A new secret of such an application that who asked is shown.
    ApplicationSecret,
}

impl AccountAct {
    fn from_code(code: &str) -> Result<AccountAct, Error> {
        Ok(match code {
            "create" => AccountAct::Create,
            "roles" => AccountAct::Roles,
            "password" => AccountAct::Password,
            "invitation" => AccountAct::Invitation,
            "second-factor" => AccountAct::SecondFactor,
            "identity" => AccountAct::Identity,
            "policy" => AccountAct::Policy,
            "register-application" => AccountAct::RegisterApplication,
            "change-application" => AccountAct::ChangeApplication,
            "application-secret" => AccountAct::ApplicationSecret,
            _ => return Err(Error::Internal("a change of an account of an unknown kind".into())),
        })
    }
}

#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AccountChangeStateName {
    /// For a second person.
    Waiting,
    Agreed,
    /// Also: taken back by who asked.
    Refused,
    /// Nobody decided in time.
    Expired,
    /// There was nobody else who could have agreed.
    Alone,
}

impl From<AccountChangeState> for AccountChangeStateName {
    fn from(state: AccountChangeState) -> AccountChangeStateName {
        match state {
            AccountChangeState::Waiting => AccountChangeStateName::Waiting,
            AccountChangeState::Agreed => AccountChangeStateName::Agreed,
            AccountChangeState::Refused => AccountChangeStateName::Refused,
            AccountChangeState::Expired => AccountChangeStateName::Expired,
            AccountChangeState::Alone => AccountChangeStateName::Alone,
        }
    }
}

/// What an application that takes two people is or is to be.
#[derive(Serialize, ToSchema)]
struct ApplicationChange {
    /// Absent while it is still to be registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    name: String,
    /// If it is to be another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_before: Option<String>,
    scopes: Vec<Scope>,
    /// Those it had when it was asked for; empty for a new one.
    scopes_before: Vec<Scope>,
    authentication: ClientAuthentication,
    /// Its keys, or where they are, are to be others.
    other_keys: bool,
    /// Of its keys that are registered by value: RFC 7638, SHA-256.
    key_thumbprints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_url: Option<String>,
    redirect_uris: Vec<String>,
    /// People are to be sent back or led elsewhere.
    other_addresses: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch_url: Option<String>,
    /// It is turned off and is to be turned on.
    enables: bool,
}

impl ApplicationChange {
    /// `None` for a change that is about no application.
    fn of(row: &AccountChangeRow, act: AccountAct) -> Option<ApplicationChange> {
        use AccountAct::{ApplicationSecret, ChangeApplication, RegisterApplication};
        if !matches!(act, RegisterApplication | ChangeApplication | ApplicationSecret) {
            return None;
        }
        let summary = &row.summary;
        let text = |field: &str| summary[field].as_str().map(str::to_owned);
        let list = |field: &str| -> Vec<String> {
            let all = summary[field].as_array().into_iter().flatten();
            all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let is = |field: &str| summary[field].as_bool().unwrap_or_default();
        let name = text("name").unwrap_or_default();
        let differs =
            |now: &str, before: &str| matches!(act, ChangeApplication) && summary[now] != summary[before];
        let way = text("authentication").and_then(|code| Authentication::from_code(&code));
        Some(ApplicationChange {
            client_id: row.client.clone(),
            name_before: text("name_before").filter(|before| *before != name),
            name,
            scopes: list("scopes"),
            scopes_before: list("scopes_before"),
            authentication: way.unwrap_or_default().into(),
            other_keys: is("other_keys"),
            key_thumbprints: list("keys"),
            jwks_url: text("jwks_url"),
            redirect_uris: list("redirects"),
            other_addresses: differs("redirects", "redirects_before")
                || differs("launch_url", "launch_url_before"),
            launch_url: text("launch_url"),
            enables: is("enables"),
        })
    }
}

/// A change of an account or an application that takes two people.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountChange {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    asked_by: String,
    /// Name of who asked.
    asked_by_name: String,
    /// Whose account; absent while it is still to be made, for rules and for applications.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// Her name, or the application's.
    #[serde(skip_serializing_if = "Option::is_none")]
    display: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    act: AccountAct,
    /// Of a new account, or those that are to be hers.
    roles: Vec<RoleName>,
    /// Those she had when it was asked for.
    roles_before: Vec<RoleName>,
    /// How the link of a new account goes to its owner: `email`, `sms`, `shown` (to who asked), `password` (a one-time
    /// password, shown to who asked).
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// Of an identity: its provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    /// The application it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<ApplicationChange>,
    /// Why, as who asked wrote it; may be empty.
    reason: String,
    state: AccountChangeStateName,
    /// Nobody can agree, or fetch what came of it, from then on.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// From then on who asked may carry it out herself, if there is still nobody else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    alone_from: Option<Timestamp>,
    /// A link, password or secret waits for who asked.
    to_collect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    /// Name of who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by_name: Option<String>,
    /// What she said.
    note: String,
}

fn roles(value: &Value) -> Vec<RoleName> {
    let codes = value.as_array().into_iter().flatten();
    codes.filter_map(|code| Role::from_code(code.as_str()?)).map(RoleName::from).collect()
}

/// As they are shown, with people's names.
async fn shown(app: &App, ctx: &Ctx, rows: Vec<AccountChangeRow>) -> Result<Vec<AccountChange>, Error> {
    let mut ids: Vec<i64> = rows.iter().map(|row| row.account).collect();
    ids.extend(rows.iter().filter_map(|row| row.decided.map(|(_, by)| by)));
    ids.sort_unstable();
    ids.dedup();
    let people = app.record.people_by_id(ctx, &ids).await?;
    let name = |id: i64| people.iter().find(|one| one.account == id).map(|one| one.display.clone());
    let now = app.record.now();
    let one = |row: AccountChangeRow| {
        let text = |field: &str| row.summary[field].as_str().map(str::to_owned);
        let over = row.state == AccountChangeState::Waiting && row.expires <= now;
        let act = AccountAct::from_code(&row.act)?;
        let application = ApplicationChange::of(&row, act);
        Ok(AccountChange {
            id: row.id.to_string(),
            at: row.at,
            asked_by: row.account.to_string(),
            asked_by_name: name(row.account).unwrap_or_default(),
            user_id: row.target.map(|id| id.to_string()),
            display: text("display").or_else(|| application.as_ref().map(|one| one.name.clone())),
            login: text("login"),
            act,
            roles: roles(&row.summary["roles"]),
            roles_before: roles(&row.summary["before"]),
            by: text("by"),
            issuer: text("issuer"),
            subject: text("subject"),
            application,
            reason: row.reason,
            state: if over { AccountChangeStateName::Expired } else { row.state.into() },
            expires_at: row.expires,
            alone_from: row.alone.filter(|_| row.state == AccountChangeState::Waiting),
            to_collect: row.collect && row.expires > now,
            decided_at: row.decided.map(|(at, _)| at),
            decided_by: row.decided.map(|(_, by)| by.to_string()),
            decided_by_name: row.decided.and_then(|(_, by)| name(by)),
            note: row.note,
        })
    };
    rows.into_iter().map(one).collect()
}

async fn one(app: &App, ctx: &Ctx, row: AccountChangeRow) -> Result<AccountChange, Error> {
    let mut rows = shown(app, ctx, vec![row]).await?;
    rows.pop().ok_or_else(|| Error::Internal("a change that is not shown".into()))
}

/// What needs a second person, or was done.
pub(super) enum Asked<T> {
    Done(StatusCode, T),
    /// 202
    Waits(Box<AccountChange>),
}

impl<T> Asked<T> {
    /// The answer to what waits now.
    pub async fn waits(app: &App, ctx: &Ctx, row: AccountChangeRow) -> Result<Asked<T>, Error> {
        Ok(Asked::Waits(Box::new(one(app, ctx, row).await?)))
    }
}

impl<T: Serialize> IntoResponse for Asked<T> {
    fn into_response(self) -> Response {
        match self {
            Asked::Done(StatusCode::NO_CONTENT, _) => StatusCode::NO_CONTENT.into_response(),
            Asked::Done(status, done) => (status, Json(done)).into_response(),
            Asked::Waits(change) => (StatusCode::ACCEPTED, Json(change)).into_response(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountChangeParams {
    /// `true`: only what waits.
    #[serde(default)]
    open: bool,
}

/// Changes of accounts and applications that wait for a second person, and what became of others, newest first.
/// Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/account-changes", tag = "administration", params(AccountChangeParams),
    responses((status = 200, body = List<AccountChange>)))]
async fn list_account_changes(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<AccountChangeParams>,
) -> Answer<Json<List<AccountChange>>> {
    let rows = app.record.account_changes(&caller.0, params.open).await?;
    Ok(Json(List::new(shown(&app, &caller.0, rows).await?, None)))
}

/// One of them.
#[utoipa::path(get, path = "/api/v1/admin/account-changes/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 200, body = AccountChange)))]
async fn get_account_change(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<AccountChange>> {
    let row = app.record.account_change(&caller.0, parse(&id)?).await?;
    Ok(Json(one(&app, &caller.0, row).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AccountChangeDecision {
    /// Needed to refuse what somebody else asked for; at most 500 characters.
    #[serde(default)]
    note: String,
}

/// The second person agrees: it is carried out. Who asked may once `alone_from` is over and there is nobody else.
#[utoipa::path(post, path = "/api/v1/admin/account-changes/{id}/agree", tag = "administration",
    params(("id" = String, Path)), request_body = AccountChangeDecision, responses((status = 200, body = AccountChange)))]
async fn agree_to_account_change(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<AccountChangeDecision>,
) -> Answer<Json<AccountChange>> {
    decide(&app, &caller.0, &id, true, &body.note).await
}

/// The second person refuses, whose account it is objects, or who asked takes it back.
#[utoipa::path(post, path = "/api/v1/admin/account-changes/{id}/refuse", tag = "administration",
    params(("id" = String, Path)), request_body = AccountChangeDecision, responses((status = 200, body = AccountChange)))]
async fn refuse_account_change(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<AccountChangeDecision>,
) -> Answer<Json<AccountChange>> {
    decide(&app, &caller.0, &id, false, &body.note).await
}

async fn decide(app: &App, ctx: &Ctx, id: &str, agree: bool, note: &str) -> Answer<Json<AccountChange>> {
    let row = app.record.decide_account_change(ctx, parse(id)?, agree, note).await?;
    if let (true, Some(account)) = (agree, row.target) {
        app.sockets.close_account(account);
    }
    Ok(Json(one(app, ctx, row).await?))
}

/// Shown once.
#[derive(Default, Serialize, ToSchema)]
struct AccountChangeCollected {
    /// Whose account; absent for an application.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_time_password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// Of the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Makes the link, the one-time password or the application's secret that was agreed to; who asked for it, once, within a
/// day. The secret before stops working then.
#[utoipa::path(post, path = "/api/v1/admin/account-changes/{id}/collect", tag = "administration",
    params(("id" = String, Path)), responses((status = 200, body = AccountChangeCollected)))]
async fn collect_account_change(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<AccountChangeCollected>> {
    Ok(Json(match app.record.collect_account_change(&caller.0, parse(&id)?).await? {
        Collected::Password { account, password } => {
            app.sockets.close_account(account);
            AccountChangeCollected {
                user_id: Some(account.to_string()),
                one_time_password: Some(password),
                ..AccountChangeCollected::default()
            }
        }
        Collected::Link(invited) => AccountChangeCollected {
            user_id: Some(invited.account.to_string()),
            link: invited.token.as_deref().map(|token| app.record.link_address(token)),
            expires_at: Some(invited.expires_at),
            ..AccountChangeCollected::default()
        },
        Collected::Secret { client, secret } => AccountChangeCollected {
            client_id: Some(client),
            client_secret: Some(secret),
            ..AccountChangeCollected::default()
        },
    }))
}

fn parse(id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound)
}
