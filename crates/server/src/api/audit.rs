//! Who did what, and who saw whose record.

use super::types::{List, PageParams, limit};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::{App, AppState};
use axum::extract::State;
use jiff::Timestamp;
use record::audit::{AuditFilter, AuditRow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list_audit)).routes(routes!(who_saw))
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
    let page =
        app.record.audit_list(&caller.0, filter, params.cursor.as_deref(), limit(params.limit)).await?;
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
