//! Jobs, messages, integrations and the state of the system.

use super::directory::clinic;
use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::ApiError;
use crate::state::{App, AppState};
use access::Ctx;
use access::policy::Capability;
use axum::extract::State;
use axum::http::StatusCode;
use care::appointment::{Appointment, Filter, Status};
use fhir::TypeId;
use fhir::search::Total;
use jiff::{SignedDuration, Timestamp};
use record::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_jobs))
        .routes(routes!(replay_job))
        .routes(routes!(list_messages))
        .routes(routes!(retry_message))
        .routes(routes!(list_integrations))
        .routes(routes!(get_overview))
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
    #[param(inline)]
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
    let page =
        app.record.store_read(move |tx| store::job::list(tx, state, params.cursor.as_deref(), limit)).await?;
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
    #[param(inline)]
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
    let filter =
        store::message::Filter { state: params.state.map(MessageState::stored), ..Default::default() };
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
async fn retry_message(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
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

/// Appointments shown in the overview.
const TODAY_MAX: usize = 500;
/// Messages that failed within this time are counted.
const FAILED_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

#[derive(Serialize, ToSchema)]
struct OverviewCounts {
    patients: u64,
    /// Patients that are here and wait.
    waiting: u64,
    booked_today: u64,
    dead_jobs: u64,
    /// Of the last seven days.
    failed_messages: u64,
}

#[derive(Serialize, ToSchema)]
struct Overview {
    appointments_today: Vec<Appointment>,
    counts: OverviewCounts,
    /// What is wrong with sealing or anchoring the audit trail, in words; empty if nothing is.
    audit_alarms: Vec<String>,
    /// Copies of the embedded database elsewhere, and what is wrong with them.
    backup: crate::backups::Standing,
    /// Of the program.
    version: &'static str,
    /// `sqlite|postgres`
    engine: &'static str,
}

/// The day at a glance. Administrator and front desk.
#[utoipa::path(get, path = "/api/v1/admin/overview", tag = "administration", responses((status = 200, body = Overview)))]
async fn get_overview(State(app): State<AppState>, caller: Caller) -> Answer<Json<Overview>> {
    require(&caller.0, Capability::ReadOverview)?;
    let appointments_today = today(&app, &caller.0).await?;
    let now = app.record.now();
    let since = now.checked_sub(FAILED_WITHIN).unwrap_or(Timestamp::MIN);
    let (jobs, messages) = app
        .record
        .store_read(move |tx| Ok((store::job::counts(tx)?, store::message::counts(tx, since, now)?)))
        .await?;
    let whole = |count: i64| u64::try_from(count).unwrap_or_default();
    let dead_jobs = jobs.iter().filter(|(s, _)| *s == store::job::State::Dead).map(|(_, n)| whole(*n)).sum();
    let is_failed =
        |s: store::message::State| matches!(s, store::message::State::Failed | store::message::State::Dead);
    let failed_messages = messages.iter().filter(|(s, _)| is_failed(*s)).map(|(_, n)| whole(*n)).sum();
    let counts = OverviewCounts {
        patients: patients(&app).await?,
        waiting: count(&appointments_today, |status| status == Status::Arrived),
        booked_today: count(&appointments_today, |status| status != Status::Cancelled),
        dead_jobs,
        failed_messages,
    };
    let engine = match app.record.store().dialect() {
        store::Dialect::Sqlite => "sqlite",
        store::Dialect::Postgres => "postgres",
    };
    let standing = app.record.audit_standing().await?;
    let mut audit_alarms = crate::worker::audit::alarms(&app.config.audit, &standing, now);
    let feeds = app.record.audit_feeds(&crate::worker::feed::PLACES).await?;
    audit_alarms.extend(crate::worker::feed::alarms(&feeds, now));
    let backup = app.parts.backups.standing(now);
    Ok(Json(Overview {
        appointments_today,
        counts,
        audit_alarms,
        backup,
        version: env!("CARGO_PKG_VERSION"),
        engine,
    }))
}

fn count(appointments: &[Appointment], is_counted: impl Fn(Status) -> bool) -> u64 {
    appointments.iter().filter(|appointment| is_counted(appointment.status)).count() as u64
}

async fn today(app: &App, ctx: &Ctx) -> Result<Vec<Appointment>, Error> {
    let date = app.record.now().to_zoned(app.timezone.clone()).date();
    let filter = Filter { from: Some(date), to: Some(date), ..Filter::default() };
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = care::appointment::list(
            &app.record,
            ctx,
            &clinic(app),
            &filter,
            super::types::LIMIT_MAX,
            cursor.as_deref(),
        )
        .await?;
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() || all.len() >= TODAY_MAX {
            return Ok(all);
        }
    }
}

/// Only the number: whoever may read the overview may know it.
async fn patients(app: &App) -> Result<u64, Error> {
    let Some(kind) = TypeId::from_name("Patient") else { return Ok(0) };
    let parsed =
        fhir::search::parse(&fhir::search::Params::standard(), kind, &[], fhir::search::Handling::Strict);
    let (mut query, _) = parsed.map_err(Error::Malformed)?;
    query.count = 0;
    query.total = Total::Accurate;
    let ctx = Ctx::system("overview", app.record.now());
    Ok(app.record.search(&ctx, query).await?.total.unwrap_or_default())
}

/// Errors: `Denied` without the right.
pub(super) fn require(ctx: &Ctx, capability: Capability) -> Result<(), ApiError> {
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
