//! "Who saw my record": the patient's view of the audit trail.

use super::audit::{instant, parameter};
use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use access::Purpose;
use axum::extract::State;
use jiff::Timestamp;
use record::audit::AuditFilter;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(who_saw))
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
    /// v3-ActReason; `BTG`: in an emergency.
    purpose: String,
    /// `success|denied|failed`
    outcome: String,
    /// Name of the application that acted for the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SightingParams {
    /// `looks`, `changes` or `emergencies`; everything if not given.
    kind: Option<String>,
    /// `false`: without what the caller did herself.
    own: Option<bool>,
    /// First instant, RFC 3339, or first day.
    from: Option<String>,
    /// First instant no longer wanted, or last day.
    to: Option<String>,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Looking at a record, as the audit calls it.
const LOOKS: [&str; 5] = ["read", "vread", "history", "search", "query"];

/// Who saw or changed this patient's record: for the patient, the privacy officer and the administrator.
#[utoipa::path(get, path = "/api/v1/patients/{id}/who-saw", tag = "patients",
    params(("id" = String, Path), SightingParams), responses((status = 200, body = List<Sighting>)))]
async fn who_saw(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<SightingParams>,
) -> Answer<Json<List<Sighting>>> {
    let all = || LOOKS.map(str::to_owned).to_vec();
    let (actions, without, purpose) = match params.kind.as_deref() {
        None => (Vec::new(), Vec::new(), None),
        Some("looks") => (all(), Vec::new(), None),
        Some("changes") => (Vec::new(), all(), None),
        Some("emergencies") => (Vec::new(), Vec::new(), Some(Purpose::Emergency)),
        Some(_) => return Err(parameter("kind", "Expected looks, changes or emergencies.")),
    };
    let own = caller.0.user().filter(|_| params.own == Some(false));
    let filter = AuditFilter {
        patient: Some(id),
        actions,
        without,
        purpose,
        not_agent: own.map(|user| format!("account/{}", user.account)),
        from: params.from.as_deref().map(|text| instant(&app, "from", text, false)).transpose()?,
        to: params.to.as_deref().map(|text| instant(&app, "to", text, true)).transpose()?,
        ..AuditFilter::default()
    };
    let asked = limit(params.limit);
    let page = app.record.who_saw_filtered(&caller.0, filter, params.cursor.as_deref(), asked).await?;
    let clients = page.rows.iter().filter_map(|row| row.client.clone()).collect();
    let names = app.record.names(Vec::new(), clients, Vec::new()).await?;
    let rows = page.rows.into_iter().map(|row| Sighting {
        at: row.at,
        agent: row.agent_display,
        role: row.role,
        action: row.action,
        what: row.what,
        purpose: row.purpose,
        outcome: row.outcome,
        application: row.client.as_deref().and_then(|id| names.client(id)).map(str::to_owned),
    });
    Ok(Json(List::new(rows.collect(), page.next)))
}
