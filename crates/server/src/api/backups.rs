//! Backups of the installation: where they stand, what was done, and doing it now.

use super::admin::require;
use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, Json, Params};
use crate::backups::{Doing, Kind, Run, Schedule, Target, TargetKind};
use crate::state::AppState;
use access::Ctx;
use access::policy::Capability;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::Error;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(show_backups))
        .routes(routes!(list_backup_runs))
        .routes(routes!(run_backup))
        .routes(routes!(run_backup_drill))
        .routes(routes!(change_backup_policy))
}

/// Runs shown with the state.
const RECENT: u32 = 10;

#[derive(Serialize, ToSchema)]
struct BackupState {
    /// `sqlite|postgres`
    engine: &'static str,
    /// Whether backups are made: there is a place for them (`backup.to`), or PostgreSQL archives its log.
    enabled: bool,
    targets: Vec<Target>,
    /// The last whole copy, good or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_base: Option<Run>,
    /// The last restore drill with what it checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_drill: Option<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_good_drill_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_base_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_drill_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Doing>,
    policy: Schedule,
    /// What the configuration says; put it to return to that.
    policy_default: Schedule,
    /// What is wrong, in English; empty if nothing is.
    alarms: Vec<String>,
    /// The newest ten.
    recent: Vec<Run>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BackupRunParams {
    /// All if not given.
    #[param(inline)]
    kind: Option<Kind>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// Where backups go, how old the newest is, how the last restore drill went, and what comes next.
#[utoipa::path(get, path = "/api/v1/admin/backups", tag = "administration",
    responses((status = 200, body = BackupState)))]
async fn show_backups(State(app): State<AppState>, caller: Caller) -> Answer<Json<BackupState>> {
    require(&caller.0, Capability::ManageJobs)?;
    Ok(Json(state(&app).await?))
}

async fn state(app: &AppState) -> Result<BackupState, Error> {
    let now = app.record.now();
    let whole = app.parts.backups.whole(now);
    let standing = app.parts.backups.standing(now);
    let page = app.record.store_read(|tx| store::backup_run::list(tx, None, None, RECENT)).await?;
    let recent = page.rows.into_iter().filter_map(Run::of).collect();
    let engine = match app.record.store().dialect() {
        store::Dialect::Sqlite => "sqlite",
        store::Dialect::Postgres => "postgres",
    };
    let mut targets = whole.targets;
    let mut alarms = standing.alarms;
    if app.record.store().dialect() == store::Dialect::Postgres {
        match app.record.store_read(store::backup::archive).await? {
            Some(archive) => {
                if let Some(at) = archive.failed {
                    alarms.push(format!("PostgreSQL could not archive its log at {at:.0}"));
                }
                targets.push(Target {
                    place: "archive_command".into(),
                    kind: TargetKind::Archive,
                    until: archive.last,
                    lag_seconds: archive.last.map(|at| crate::backups::seconds(at, now)),
                    waiting_bytes: 0,
                    error: archive.failed.map(|_| "the last try to archive failed".into()),
                });
            }
            None => alarms.push("PostgreSQL does not archive its log (archive_mode)".into()),
        }
    }
    Ok(BackupState {
        engine,
        enabled: !targets.is_empty(),
        targets,
        last_base: whole.base,
        last_drill: whole.drill,
        last_good_drill_at: whole.last_good,
        next_base_at: whole.next_base,
        next_drill_at: whole.next_drill,
        running: whole.doing,
        policy: whole.schedule,
        policy_default: app.parts.backups.default_schedule(),
        alarms,
        recent,
    })
}

/// Whole copies, drills, restores, and times in which nothing could be sent; newest first.
#[utoipa::path(get, path = "/api/v1/admin/backups/runs", tag = "administration", params(BackupRunParams),
    responses((status = 200, body = List<Run>)))]
async fn list_backup_runs(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<BackupRunParams>,
) -> Answer<Json<List<Run>>> {
    require(&caller.0, Capability::ManageJobs)?;
    let (kind, limit) = (params.kind.map(Kind::code), limit(params.limit));
    let page = app
        .record
        .store_read(move |tx| store::backup_run::list(tx, kind, params.cursor.as_deref(), limit))
        .await?;
    Ok(Json(List::new(page.rows.into_iter().filter_map(Run::of).collect(), page.next)))
}

/// Has a whole copy made now; look at the state to see how it goes. Freshly signed in.
#[utoipa::path(post, path = "/api/v1/admin/backups/run", tag = "administration",
    responses((status = 202, body = BackupState)))]
async fn run_backup(State(app): State<AppState>, caller: Caller) -> Answer<(StatusCode, Json<BackupState>)> {
    ask(&app, &caller.0, Kind::Base).await
}

/// Has the newest backup restored into a scratch folder, checked and thrown away. Freshly signed in.
#[utoipa::path(post, path = "/api/v1/admin/backups/drill", tag = "administration",
    responses((status = 202, body = BackupState)))]
async fn run_backup_drill(
    State(app): State<AppState>,
    caller: Caller,
) -> Answer<(StatusCode, Json<BackupState>)> {
    ask(&app, &caller.0, Kind::Drill).await
}

async fn ask(app: &AppState, ctx: &Ctx, kind: Kind) -> Answer<(StatusCode, Json<BackupState>)> {
    require(ctx, Capability::ManageJobs)?;
    app.record.require_fresh(ctx, record::authn::SENSITIVE_MINUTES, true)?;
    // Before it begins; its end is in the trail too, see [crate::backups].
    app.record.audit_deed(ctx, "backup.run", &format!("backup/{}", kind.code())).await?;
    app.parts.backups.ask(kind, ctx.principal.display())?;
    Ok((StatusCode::ACCEPTED, Json(state(app).await?)))
}

/// When copies and drills are made and how long copies stay. Freshly signed in.
#[utoipa::path(put, path = "/api/v1/admin/backups/policy", tag = "administration", request_body = Schedule,
    responses((status = 200, body = BackupState)))]
async fn change_backup_policy(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<Schedule>,
) -> Answer<Json<BackupState>> {
    require(&caller.0, Capability::ManageJobs)?;
    app.record.require_fresh(&caller.0, record::authn::SENSITIVE_MINUTES, true)?;
    let before = app.parts.backups.schedule();
    app.parts.backups.reschedule(body).await?;
    let what = format!("backup/policy#from={}&to={}", words(&before), words(&body));
    app.record.audit_deed(&caller.0, "backup.policy", &what).await?;
    Ok(Json(state(&app).await?))
}

/// In the order of its fields, for the audit trail.
fn words(schedule: &Schedule) -> String {
    format!(
        "{}h,{}d,{}d,{}w,{}h,{}d",
        schedule.base_hours,
        schedule.keep_instant_days,
        schedule.keep_daily_days,
        schedule.keep_weekly_weeks,
        schedule.drill_hours,
        schedule.drill_alarm_days
    )
}
