//! People, audit, jobs, messages and the state of the system.

use super::types::{List, PageParams, RoleName, limit};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::{App, AppState};
use access::policy::Capability;
use access::{Ctx, Role};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::audit::{AuditFilter, AuditRow};
use record::authn::{AccountChange, AccountRow, AccountSpec};
use record::{Change, ChangeSet, Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_users, create_user))
        .routes(routes!(change_user))
        .routes(routes!(reset_user_password))
        .routes(routes!(list_audit))
        .routes(routes!(who_saw))
        .routes(routes!(list_jobs))
        .routes(routes!(replay_job))
        .routes(routes!(list_messages))
        .routes(routes!(retry_message))
        .routes(routes!(list_integrations))
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
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    display: String,
    /// User name, unique.
    login: String,
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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UserParams {
    /// Name, user name or phone.
    q: Option<String>,
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
    let (rows, next) = app.record.accounts(&caller.0, text, limit(params.limit), params.cursor.as_deref()).await?;
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
    require(&caller.0, Capability::ManageAccounts)?;
    let practitioner = match &body.practitioner {
        Some(new) => Some(create_practitioner(&app, &caller.0, &body, new).await?),
        None => None,
    };
    let spec = AccountSpec {
        display: body.display,
        login: Some(body.login),
        phone: body.phone,
        email: body.email,
        password: None,
        roles: body.roles.into_iter().map(Role::from).collect(),
        patient: None,
        practitioner: practitioner.as_ref().map(|keys| keys.0.clone()),
        language: body.language,
    };
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
    let keys = practitioner.key().zip(role.key()).ok_or_else(|| Error::Internal("a resource without a key".into()))?;
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
    let undone = app.record.command(&ctx, "account.undo", ChangeSet { changes, ..ChangeSet::default() }).await;
    if let Err(error) = undone {
        tracing::error!(%error, "a Practitioner without an account stays behind");
    }
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

#[derive(Serialize, ToSchema)]
struct AuditEntry {
    seq: i64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `account/7`, `client/abc`, `system/reminders`, `anonymous`.
    agent: String,
    agent_display: String,
    /// Role codes at that time, comma separated.
    role: String,
    action: String,
    /// `success|denied|failed`
    outcome: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<String>,
    purpose: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> AuditEntry {
        AuditEntry {
            seq: row.seq,
            at: row.at,
            agent: row.agent,
            agent_display: row.agent_display,
            role: row.role,
            action: row.action,
            outcome: row.outcome,
            what: row.what,
            patient: row.patient,
            purpose: row.purpose,
            address: row.address,
        }
    }
}

/// One look at or change of a patient's record, as she sees it.
#[derive(Serialize, ToSchema)]
struct Sighting {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Name of the person or program.
    agent: String,
    role: String,
    action: String,
    what: String,
    purpose: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    patient_id: Option<String>,
    /// As in `agent` of an entry.
    agent: Option<String>,
    /// As in `action` of an entry.
    action: Option<String>,
    /// First instant, RFC 3339, or first day.
    from: Option<String>,
    /// First instant no longer wanted, or last day.
    to: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Who did what, newest first. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "administration", params(AuditParams),
    responses((status = 200, body = List<AuditEntry>)))]
async fn list_audit(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<AuditParams>,
) -> Answer<Json<List<AuditEntry>>> {
    let filter = AuditFilter {
        patient: params.patient_id,
        agent: params.agent,
        action: params.action,
        from: params.from.as_deref().map(|text| instant(&app, "from", text, false)).transpose()?,
        to: params.to.as_deref().map(|text| instant(&app, "to", text, true)).transpose()?,
    };
    let page = app.record.audit_list(&caller.0, filter, params.cursor.as_deref(), limit(params.limit)).await?;
    Ok(Json(List::new(page.rows.into_iter().map(AuditEntry::from).collect(), page.next)))
}

/// An instant, or a day of the clinic's zone: its begin, or with `end` the begin of the next one.
fn instant(app: &App, field: &str, text: &str, end: bool) -> Result<Timestamp, ApiError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let day = text.parse::<jiff::civil::Date>().ok();
    let day = day.and_then(|day| if end { day.tomorrow().ok() } else { Some(day) });
    let at = day.and_then(|day| day.to_zoned(app.timezone.clone()).ok()).map(|zoned| zoned.timestamp());
    at.ok_or_else(|| {
        let text = "Expected an RFC 3339 instant or a date, e.g. 2026-11-21.";
        Refusal::new(RefusalKind::ParameterWrong, text).at(field).into()
    })
}

/// Who saw or changed this patient's record: for the patient, the privacy officer and the administrator.
#[utoipa::path(get, path = "/api/v1/patients/{id}/who-saw", tag = "patients", params(("id" = String, Path), PageParams),
    responses((status = 200, body = List<Sighting>)))]
async fn who_saw(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<PageParams>,
) -> Answer<Json<List<Sighting>>> {
    let page = app.record.who_saw(&caller.0, &id, params.cursor.as_deref(), params.limit()).await?;
    let sighting = |row: AuditRow| Sighting {
        at: row.at,
        agent: row.agent_display,
        role: row.role,
        action: row.action,
        what: row.what,
        purpose: row.purpose,
    };
    Ok(Json(List::new(page.rows.into_iter().map(sighting).collect(), page.next)))
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum JobState {
    Ready,
    Leased,
    Done,
    Dead,
}

impl JobState {
    fn stored(self) -> store::job::State {
        match self {
            JobState::Ready => store::job::State::Ready,
            JobState::Leased => store::job::State::Leased,
            JobState::Done => store::job::State::Done,
            JobState::Dead => store::job::State::Dead,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct JobParams {
    /// `dead` if not given.
    state: Option<JobState>,
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct JobRow {
    id: String,
    /// Which handler runs it.
    queue: String,
    key: String,
    /// Ids only.
    #[schema(value_type = Object)]
    data: Value,
    /// `ready|leased|done|dead`
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    run_at: Timestamp,
    attempts: u32,
    max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// Jobs of one state, newest first; dead letters by default.
#[utoipa::path(get, path = "/api/v1/admin/jobs", tag = "administration", params(JobParams),
    responses((status = 200, body = List<JobRow>)))]
async fn list_jobs(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<JobParams>,
) -> Answer<Json<List<JobRow>>> {
    require(&caller.0, Capability::ManageJobs)?;
    let state = params.state.unwrap_or(JobState::Dead).stored();
    let limit = limit(params.limit);
    let page = app
        .record
        .store_read(move |tx| store::job::list(tx, state, params.cursor.as_deref(), limit))
        .await?;
    let row = |job: store::job::Job| JobRow {
        id: job.id.to_string(),
        queue: job.queue,
        key: job.key,
        data: job.data,
        state: match job.state {
            store::job::State::Ready => "ready",
            store::job::State::Leased => "leased",
            store::job::State::Done => "done",
            store::job::State::Dead => "dead",
        },
        run_at: job.run_at,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        last_error: job.last_error,
        created_at: job.created,
    };
    Ok(Json(List::new(page.rows.into_iter().map(row).collect(), page.next)))
}

/// Gives a dead job new tries, now.
#[utoipa::path(post, path = "/api/v1/admin/jobs/{id}/replay", tag = "administration", params(("id" = String, Path)),
    responses((status = 204)))]
async fn replay_job(State(app): State<AppState>, caller: Caller, Path(id): Path<i64>) -> Answer<StatusCode> {
    require(&caller.0, Capability::ManageJobs)?;
    let done = app.record.store().write(move |tx| store::job::replay(tx, id)).await;
    found(done.map_err(crate::storage::error)?)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessageParams {
    state: Option<MessageState>,
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum MessageState {
    Queued,
    Sending,
    Sent,
    Delivered,
    Failed,
    Dead,
}

impl MessageState {
    fn stored(self) -> store::message::State {
        match self {
            MessageState::Queued => store::message::State::Queued,
            MessageState::Sending => store::message::State::Sending,
            MessageState::Sent => store::message::State::Sent,
            MessageState::Delivered => store::message::State::Delivered,
            MessageState::Failed => store::message::State::Failed,
            MessageState::Dead => store::message::State::Dead,
        }
    }
    fn of(state: store::message::State) -> MessageState {
        match state {
            store::message::State::Queued => MessageState::Queued,
            store::message::State::Sending => MessageState::Sending,
            store::message::State::Sent => MessageState::Sent,
            store::message::State::Delivered => MessageState::Delivered,
            store::message::State::Failed => MessageState::Failed,
            store::message::State::Dead => MessageState::Dead,
        }
    }
}

/// Without the text, which may be about a person's health.
#[derive(Serialize, ToSchema)]
struct MessageRow {
    id: String,
    channel: &'static str,
    to_masked: String,
    template: String,
    language: String,
    state: MessageState,
    attempts: u32,
    max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Messages to people, newest first.
#[utoipa::path(get, path = "/api/v1/admin/messages", tag = "administration", params(MessageParams),
    responses((status = 200, body = List<MessageRow>)))]
async fn list_messages(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<MessageParams>,
) -> Answer<Json<List<MessageRow>>> {
    require(&caller.0, Capability::ManageJobs)?;
    let filter = store::message::Filter { state: params.state.map(MessageState::stored), ..Default::default() };
    let limit = limit(params.limit);
    let page = app
        .record
        .store_read(move |tx| store::message::list(tx, &filter, params.cursor.as_deref(), limit))
        .await?;
    let row = |message: store::message::Message| MessageRow {
        id: message.id.to_string(),
        channel: match message.channel {
            store::message::Channel::Sms => "sms",
            store::message::Channel::Email => "email",
        },
        to_masked: mask(&message.to),
        template: message.template,
        language: message.language,
        state: MessageState::of(message.state),
        attempts: message.attempts,
        max_attempts: message.max_attempts,
        cost: message.cost,
        error: message.error,
        created_at: message.created,
        updated_at: message.updated,
    };
    Ok(Json(List::new(page.rows.into_iter().map(row).collect(), page.next)))
}

/// The first four and the last three characters.
fn mask(to: &str) -> String {
    let characters: Vec<char> = to.chars().collect();
    if characters.len() < 9 {
        return "•••".into();
    }
    let head: String = characters[..4].iter().collect();
    let tail: String = characters[characters.len() - 3..].iter().collect();
    format!("{head}•••{tail}")
}

/// Puts a failed message back into the queue.
#[utoipa::path(post, path = "/api/v1/admin/messages/{id}/retry", tag = "administration",
    params(("id" = String, Path)), responses((status = 204)))]
async fn retry_message(State(app): State<AppState>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    require(&caller.0, Capability::ManageJobs)?;
    let id: Uuid = id.parse().map_err(|_| Error::NotFound)?;
    let done = app.record.store().write(move |tx| store::message::requeue(tx, &id)).await;
    found(done.map_err(crate::storage::error)?)
}

#[derive(Serialize, ToSchema)]
struct Integration {
    name: &'static str,
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_ok: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_error_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// Outside providers that are set up, and how the last calls went.
#[utoipa::path(get, path = "/api/v1/admin/integrations", tag = "administration",
    responses((status = 200, body = Vec<Integration>)))]
async fn list_integrations(State(app): State<AppState>, caller: Caller) -> Answer<Json<Vec<Integration>>> {
    require(&caller.0, Capability::ManageJobs)?;
    let row = |health: crate::parts::ProviderHealth| Integration {
        name: health.name,
        healthy: health.is_healthy(),
        last_ok: health.last_ok,
        last_error_at: health.last_error.as_ref().map(|(at, _)| *at),
        last_error: health.last_error.map(|(_, text)| text),
    };
    Ok(Json(app.parts.providers().into_iter().map(row).collect()))
}

fn require(ctx: &Ctx, capability: Capability) -> Result<(), ApiError> {
    if access::policy::may(ctx, capability) { Ok(()) } else { Err(Error::Denied.into()) }
}

/// 204, or 404 if there was nothing of the kind.
fn found(done: bool) -> Answer<StatusCode> {
    if done { Ok(StatusCode::NO_CONTENT) } else { Err(Error::NotFound.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_masked() {
        assert_eq!(mask("+254712345678"), "+254•••678");
        assert_eq!(mask("123"), "•••");
    }
}
