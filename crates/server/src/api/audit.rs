//! Who did what.

use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, Json, Params};
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::{App, AppState};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use record::audit::{AuditFilter, AuditRow, Outcome, to_fhir, unhex};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list_audit)).routes(routes!(export_audit))
}

#[derive(Serialize, ToSchema)]
pub(super) struct AuditEntry {
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
    /// Names the session of a signed-in person; gives no access.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// The application that acted for the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
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
            session: row.session,
            client: row.client,
        }
    }
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
    /// `success|denied|failed`
    outcome: Option<String>,
    /// As in `purpose` of an entry; `BTG` is an emergency.
    purpose: Option<String>,
    /// Id of an OAuth client.
    client: Option<String>,
    /// Network address, whole.
    address: Option<String>,
    /// As in `session` of an entry.
    session: Option<String>,
    /// What was touched, `Type/id`.
    what: Option<String>,
    /// First instant, RFC 3339, or first day.
    from: Option<String>,
    /// First instant no longer wanted, or last day.
    to: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The same filters, for all entries at once.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AuditExportParams {
    /// `csv` or `ndjson` (one FHIR AuditEvent per line); `csv` if not given.
    format: Option<String>,
    patient_id: Option<String>,
    /// As in `agent` of an entry.
    agent: Option<String>,
    /// As in `action` of an entry.
    action: Option<String>,
    /// `success|denied|failed`
    outcome: Option<String>,
    /// As in `purpose` of an entry; `BTG` is an emergency.
    purpose: Option<String>,
    /// Id of an OAuth client.
    client: Option<String>,
    /// Network address, whole.
    address: Option<String>,
    /// As in `session` of an entry.
    session: Option<String>,
    /// What was touched, `Type/id`.
    what: Option<String>,
    /// First instant, RFC 3339, or first day.
    from: Option<String>,
    /// First instant no longer wanted, or last day.
    to: Option<String>,
}

pub(super) fn parameter(field: &str, text: &str) -> ApiError {
    Refusal::new(RefusalKind::ParameterWrong, text).at(field).into()
}

fn outcome(text: &str) -> Result<Outcome, ApiError> {
    let all = [Outcome::Success, Outcome::Denied, Outcome::Failed];
    let found = all.into_iter().find(|outcome| outcome.code() == text);
    found.ok_or_else(|| parameter("outcome", "Expected success, denied or failed."))
}

fn purpose(text: &str) -> Result<access::Purpose, ApiError> {
    use access::Purpose::{Emergency, Operations, PatientRequest, Payment, System, Treatment};
    let all = [Treatment, Payment, Operations, PatientRequest, System, Emergency];
    let found = all.into_iter().find(|purpose| purpose.code() == text);
    found.ok_or_else(|| parameter("purpose", "Expected TREAT, HPAYMT, HOPERAT, PATRQT, HSYSADMIN or BTG."))
}

fn address(text: &str) -> Result<std::net::IpAddr, ApiError> {
    text.parse().map_err(|_| parameter("address", "Expected an IP address."))
}

fn session(text: &str) -> Result<[u8; 8], ApiError> {
    unhex(text).ok_or_else(|| parameter("session", "Expected 16 hexadecimal digits."))
}

fn target(text: &str) -> Result<fhir::ResourceKey, ApiError> {
    fhir::ResourceKey::parse(text).ok_or_else(|| parameter("what", "Expected Type/id."))
}

fn filter(app: &App, params: AuditExportParams) -> Result<AuditFilter, ApiError> {
    Ok(AuditFilter {
        patient: params.patient_id,
        agent: params.agent,
        action: params.action,
        outcome: params.outcome.as_deref().map(outcome).transpose()?,
        purpose: params.purpose.as_deref().map(purpose).transpose()?,
        client: params.client,
        address: params.address.as_deref().map(address).transpose()?,
        session: params.session.as_deref().map(session).transpose()?,
        target: params.what.as_deref().map(target).transpose()?,
        from: params.from.as_deref().map(|text| instant(app, "from", text, false)).transpose()?,
        to: params.to.as_deref().map(|text| instant(app, "to", text, true)).transpose()?,
        ..AuditFilter::default()
    })
}

/// Who did what, newest first. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "administration", params(AuditParams),
    responses((status = 200, body = List<AuditEntry>)))]
async fn list_audit(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<AuditParams>,
) -> Answer<Json<List<AuditEntry>>> {
    let (asked, cursor) = (limit(params.limit), params.cursor);
    let filter = filter(
        &app,
        AuditExportParams {
            format: None,
            patient_id: params.patient_id,
            agent: params.agent,
            action: params.action,
            outcome: params.outcome,
            purpose: params.purpose,
            client: params.client,
            address: params.address,
            session: params.session,
            what: params.what,
            from: params.from,
            to: params.to,
        },
    )?;
    let page = app.record.audit_list(&caller.0, filter, cursor.as_deref(), asked).await?;
    Ok(Json(List::new(page.rows.into_iter().map(AuditEntry::from).collect(), page.next)))
}

/// An instant, or a day of the clinic's zone: its begin, or with `end` the begin of the next one.
pub(super) fn instant(app: &App, field: &str, text: &str, end: bool) -> Result<Timestamp, ApiError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let day = text.parse::<jiff::civil::Date>().ok();
    let day = day.and_then(|day| if end { day.tomorrow().ok() } else { Some(day) });
    let at = day.and_then(|day| day.to_zoned(app.timezone.clone()).ok()).map(|zoned| zoned.timestamp());
    at.ok_or_else(|| parameter(field, "Expected an RFC 3339 instant or a date, e.g. 2026-11-21."))
}

/// Rows of one piece of an export.
const EXPORT_ROWS: u32 = 1000;

/// All entries that fit, newest first, as CSV or as FHIR AuditEvents (one per patient, as IHE BALP asks). Administrator and
/// privacy officer; noted in the audit trail.
#[utoipa::path(get, path = "/api/v1/admin/audit/export", tag = "administration", params(AuditExportParams),
    responses((status = 200, description = "The entries, sent as they are read.",
        content((String = "text/csv"), (String = "application/fhir+ndjson")))))]
async fn export_audit(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<AuditExportParams>,
) -> Answer<Response> {
    let is_csv = match params.format.as_deref().unwrap_or("csv") {
        "csv" => true,
        "ndjson" => false,
        _ => return Err(parameter("format", "Expected csv or ndjson.")),
    };
    let filter = filter(&app, params)?;
    // The first piece is read before the answer begins, so that a refusal has its status.
    let first = app.record.audit_export(&caller.0, &filter, None, EXPORT_ROWS).await?;
    let begin = if is_csv { CSV_HEAD.to_owned() } else { String::new() };
    let (ctx, state) = (caller.0, (Some(first), begin));
    let pieces = futures_util::stream::try_unfold(state, move |(page, begin)| {
        let (app, ctx, filter) = (app.clone(), ctx.clone(), filter.clone());
        let base = app.fhir_base();
        async move {
            let Some(page) = page else { return Ok::<_, std::io::Error>(None) };
            let text = page.rows.iter().fold(begin, |text, row| text + &lines(row, is_csv, &base));
            let next = match page.next {
                None => None,
                Some(cursor) => {
                    let next = app.record.audit_export(&ctx, &filter, Some(&cursor), EXPORT_ROWS).await;
                    Some(next.map_err(|error| {
                        tracing::info!(%error, "an export of the audit trail ended early");
                        std::io::Error::other("the export ended early")
                    })?)
                }
            };
            Ok(Some((text, (next, String::new()))))
        }
    });
    let media_type = if is_csv { "text/csv; charset=utf-8" } else { "application/fhir+ndjson" };
    let name = if is_csv { "audit.csv" } else { "audit.ndjson" };
    Ok(file(media_type, name, Body::from_stream(pieces)))
}

/// A download.
pub(super) fn file(media_type: &'static str, name: &str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, media_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    (headers, body).into_response()
}

const CSV_HEAD: &str =
    "number,at,agent,name,role,action,outcome,what,patients,purpose,address,session,client,request\r\n";

fn lines(row: &AuditRow, is_csv: bool, base: &str) -> String {
    if !is_csv {
        return row.per_patient().iter().map(|row| format!("{}\n", to_fhir(row, base))).collect();
    }
    let seq = row.seq.to_string();
    let at = format!("{:.6}", row.at);
    let patients = row.patients.join(" ");
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let (address, session, client) = (or_empty(&row.address), or_empty(&row.session), or_empty(&row.client));
    csv_line(&[
        &seq,
        &at,
        &row.agent,
        &row.agent_display,
        &row.role,
        &row.action,
        &row.outcome,
        &row.what,
        &patients,
        &row.purpose,
        &address,
        &session,
        &client,
        &row.request_id,
    ])
}

/// RFC 4180. A field that a spreadsheet would take for a formula gets a quote before it, as OWASP advises.
pub(super) fn csv_line(fields: &[&str]) -> String {
    let mut line = String::new();
    for (n, field) in fields.iter().enumerate() {
        if n > 0 {
            line.push(',');
        }
        let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        if !guard.is_empty() || field.contains([',', '"', '\r', '\n']) {
            line.push_str(&format!("\"{guard}{}\"", field.replace('"', "\"\"")));
        } else {
            line.push_str(field);
        }
    }
    line + "\r\n"
}
