//! What people are told inside the program.

use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use access::Capability;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_notices))
        .routes(routes!(count_notices))
        .routes(routes!(see_notices))
        .routes(routes!(see_notice))
        .routes(routes!(show_labelling))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NoticeParams {
    /// Only what the caller has not seen.
    unseen: Option<bool>,
    /// 1 to 100; 50 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Notice {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `emergency.begun|overdue|reviewed`, `rights.changed|asked|agreed|refused`, `sensitivity.changed`,
    /// `proxy.asked|confirmed|refused|granted|ending`
    topic: String,
    /// Whoever has this role is told; absent: the caller alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    /// Id of the emergency, change or grant.
    subject: String,
    /// Codes and ids, by topic: `account`, `reason`, `verdict`, `until`, `role`, `class`, `verb`, `before`, `after`.
    #[schema(value_type = Object)]
    data: Value,
    seen: bool,
}

#[derive(Serialize, ToSchema)]
struct NoticeList {
    /// Newest first.
    items: Vec<Notice>,
    /// All that the caller has not seen.
    unseen: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What the caller is told: privacy officers of emergencies, late reviews, changed rights and rules, those who can agree of
/// what waits for a second person, everybody of what is about herself.
#[utoipa::path(get, path = "/api/v1/notices", tag = "rights", params(NoticeParams),
    responses((status = 200, body = NoticeList)))]
async fn list_notices(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<NoticeParams>,
) -> Answer<Json<NoticeList>> {
    let limit = params.limit.unwrap_or(50);
    let after = params.cursor.as_deref().map(parse).transpose()?;
    let found = app.record.notices_after(&caller.0, params.unseen.unwrap_or(false), after, limit).await?;
    let next = found.rows.last().filter(|_| found.more).map(|row| row.id.to_string());
    let items = found.rows.into_iter().map(|row| Notice {
        id: row.id.to_string(),
        at: row.at,
        topic: row.topic,
        role: (!row.role.is_empty()).then_some(row.role),
        patient_id: row.patient,
        subject: row.subject,
        data: row.data,
        seen: row.seen,
    });
    Ok(Json(NoticeList { items: items.collect(), unseen: found.unseen, next }))
}

#[derive(Serialize, ToSchema)]
struct NoticeCount {
    unseen: u64,
}

/// How much the caller has not seen; for the bell.
#[utoipa::path(get, path = "/api/v1/notices/unseen", tag = "rights", responses((status = 200, body = NoticeCount)))]
async fn count_notices(State(app): State<AppState>, caller: Caller) -> Answer<Json<NoticeCount>> {
    Ok(Json(NoticeCount { unseen: app.record.unseen_notices(&caller.0).await? }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NoticesSeen {
    /// Id of the newest that was shown: it and all before it are seen.
    through: String,
}

/// The caller has seen all of hers up to one.
#[utoipa::path(post, path = "/api/v1/notices/seen", tag = "rights", request_body = NoticesSeen,
    responses((status = 204)))]
async fn see_notices(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NoticesSeen>,
) -> Answer<StatusCode> {
    app.record.see_notices(&caller.0, parse(&body.through)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller has seen it.
#[utoipa::path(post, path = "/api/v1/notices/{id}/seen", tag = "rights", params(("id" = String, Path)),
    responses((status = 204)))]
async fn see_notice(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.see_notice(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound)
}

#[derive(Serialize, ToSchema)]
struct Labelling {
    /// Every stored row is labelled by the rules of sealing that are in force.
    settled: bool,
    /// Rows looked at since the rules changed, and all there are.
    done: u64,
    total: u64,
    /// Rows that got labels.
    labelled: u64,
}

/// How far the labelling of stored rows is after the rules of sealing changed. Until it is settled, rows are judged as
/// they are read.
#[utoipa::path(get, path = "/api/v1/admin/labelling", tag = "administration",
    responses((status = 200, body = Labelling)))]
async fn show_labelling(State(app): State<AppState>, caller: Caller) -> Answer<Json<Labelling>> {
    if !access::policy::may(&caller.0, Capability::ManageJobs) {
        return Err(Error::Denied.into());
    }
    let state = app.record.labelling().await?;
    Ok(Json(Labelling {
        settled: state.settled,
        done: state.done,
        total: state.total,
        labelled: state.labelled,
    }))
}
