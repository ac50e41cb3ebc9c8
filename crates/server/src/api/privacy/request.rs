//! Reports, requests and statements.

use super::parse;
use super::shown::{DataRequest, request};
use crate::api::types::PatientRef;
use crate::api::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::http::error::ApiError;
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::ResourceKey;
use jiff::Timestamp;
use record::subject::{AccessReport, NewCorrection, RequestView};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_access_report))
        .routes(routes!(list_patient_requests, make_data_request))
        .routes(routes!(list_entries))
        .routes(routes!(list_corrections))
        .routes(routes!(list_statements))
        .routes(routes!(list_data_requests))
        .routes(routes!(withdraw_data_request))
        .routes(routes!(answer_amended))
        .routes(routes!(refuse_data_request))
        .routes(routes!(disagree_data_request))
}

#[derive(Serialize, ToSchema)]
struct DataHeld {
    /// FHIR type, e.g. `Observation`.
    kind: &'static str,
    /// Class of the table of rights.
    class: &'static str,
    /// Class of the retention table.
    retention: &'static str,
    count: u64,
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct DataBesides {
    accounts: u64,
    messages: u64,
    payments: u64,
    proxies: u64,
    requests: u64,
}

#[derive(Serialize, ToSchema)]
struct DataGiven {
    /// `client/abc`
    agent: String,
    name: String,
    /// ISO 3166-1; empty where the recipient is not registered.
    country: String,
    basis: String,
    times: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct DataSeen {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    name: String,
    role: String,
    action: String,
    outcome: String,
    what: String,
    purpose: String,
}

#[derive(Serialize, ToSchema)]
struct DataReport {
    patient: PatientRef,
    #[schema(value_type = String, format = DateTime)]
    made_at: Timestamp,
    clinic: String,
    held: Vec<DataHeld>,
    besides: DataBesides,
    given: Vec<DataGiven>,
    /// Newest first.
    seen: Vec<DataSeen>,
    /// There are more accesses than `seen` has; "who saw my record" lists them all.
    more: bool,
}

fn report_of(app: &App, report: AccessReport, patient: PatientRef) -> DataReport {
    DataReport {
        patient,
        made_at: report.made,
        clinic: app.config.clinic.name.clone(),
        held: report
            .held
            .into_iter()
            .map(|one| DataHeld {
                kind: one.kind.name(),
                class: one.class.code(),
                retention: one.retention,
                count: one.count,
                changed_at: one.changed,
            })
            .collect(),
        besides: DataBesides {
            accounts: report.besides.accounts,
            messages: report.besides.messages,
            payments: report.besides.payments,
            proxies: report.besides.proxies,
            requests: report.besides.requests,
        },
        given: report
            .given
            .into_iter()
            .map(|one| DataGiven {
                agent: one.agent,
                name: one.display,
                country: one.country,
                basis: one.basis,
                times: one.times,
                first_at: one.first,
                last_at: one.last,
            })
            .collect(),
        seen: report
            .seen
            .into_iter()
            .map(|row| DataSeen {
                at: row.at,
                name: row.agent_display,
                role: row.role,
                action: row.action,
                outcome: row.outcome,
                what: row.what,
                purpose: row.purpose,
            })
            .collect(),
        more: report.more,
    }
}

/// What is held about a patient, who saw it, and to whom it was given. The patient, who acts for her, privacy officers.
#[utoipa::path(get, path = "/api/v1/privacy/patients/{id}/report", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = DataReport)))]
async fn get_access_report(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<DataReport>> {
    let report = app.record.access_report(&caller.0, &id).await?;
    let names = app.record.subject_names(Vec::new(), vec![id.clone()]).await?;
    let patient = names.patients.get(&id).map(PatientRef::of).ok_or(Error::NotFound)?;
    Ok(Json(report_of(&app, report, patient)))
}

#[derive(Serialize, ToSchema)]
struct DataRequestList {
    items: Vec<DataRequest>,
}

pub(super) async fn list(
    app: &App,
    caller: &Caller,
    found: Vec<RequestView>,
    desk: bool,
) -> Result<Vec<DataRequest>, ApiError> {
    let ones = || found.iter().map(|view| &view.request);
    let accounts = ones().flat_map(|one| [one.approved_by, one.answered_by]).flatten().collect();
    let patients = if desk { ones().map(|one| one.patient.clone()).collect() } else { Vec::new() };
    let names = app.record.subject_names(accounts, patients).await?;
    let (now, own) = (app.record.now(), caller.0.user().map(|user| user.account));
    Ok(found.into_iter().map(|view| request(view, &names, own, now, desk)).collect())
}

/// What was asked about this patient's data, newest first. The patient, who acts for her, privacy officers.
#[utoipa::path(get, path = "/api/v1/privacy/patients/{id}/requests", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = DataRequestList)))]
async fn list_patient_requests(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<DataRequestList>> {
    let found = app.record.requests_of(&caller.0, &id).await?;
    Ok(Json(DataRequestList { items: list(&app, &caller, found, false).await? }))
}

#[derive(Serialize, ToSchema)]
struct RecordEntry {
    /// `Type/id`
    entry: String,
    kind: &'static str,
    /// Its own words; may be empty.
    title: String,
    /// As written; may be empty.
    date: String,
}

#[derive(Serialize, ToSchema)]
struct RecordEntryList {
    items: Vec<RecordEntry>,
}

/// Entries that can be named in a request for correction, newest first. The patient, who acts for her.
#[utoipa::path(get, path = "/api/v1/privacy/patients/{id}/entries", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = RecordEntryList)))]
async fn list_entries(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<RecordEntryList>> {
    let found = app.record.entries(&caller.0, &id).await?;
    let items = found.into_iter().map(|one| RecordEntry {
        kind: one.key.kind.name(),
        entry: one.key.to_string(),
        title: one.title,
        date: one.date,
    });
    Ok(Json(RecordEntryList { items: items.collect() }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DataRequestNew {
    /// `correction|erasure`
    kind: String,
    /// `Type/id` of the entry that is wrong; of corrections.
    entry: Option<String>,
    /// What is wrong and what would be right; of an erasure it may be empty.
    #[serde(default)]
    text: String,
}

#[derive(Serialize, ToSchema)]
struct DataRequestMade {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
}

/// Asks that an entry be corrected, or that the record be erased. An erasure asks for a sign-in of the last five minutes.
#[utoipa::path(post, path = "/api/v1/privacy/patients/{id}/requests", tag = "privacy", params(("id" = String, Path)),
    request_body = DataRequestNew, responses((status = 201, body = DataRequestMade)))]
async fn make_data_request(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<DataRequestNew>,
) -> Answer<(StatusCode, Json<DataRequestMade>)> {
    let made = match body.kind.as_str() {
        "correction" => {
            let entry = body.entry.as_deref().and_then(ResourceKey::parse).ok_or_else(|| {
                Error::Rule(Rule::new("entry-unknown", "Name the entry, e.g. Observation/1.").at("/entry"))
            })?;
            let new = NewCorrection { patient: id, entry, text: body.text };
            app.record.ask_correction(&caller.0, new).await?
        }
        "erasure" => app.record.ask_erasure(&caller.0, &id, &body.text).await?,
        _ => {
            let rule = Rule::new("kind-wrong", "Ask for a correction or an erasure.").at("/kind");
            return Err(Error::Rule(rule).into());
        }
    };
    Ok((StatusCode::CREATED, Json(DataRequestMade { id: made.id.to_string(), due_at: made.due })))
}

/// Corrections that wait, of a patient in your care. Doctors and nurses.
#[utoipa::path(get, path = "/api/v1/privacy/patients/{id}/corrections", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = DataRequestList)))]
async fn list_corrections(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<DataRequestList>> {
    let found = app.record.corrections_for(&caller.0, &id).await?;
    Ok(Json(DataRequestList { items: list(&app, &caller, found, false).await? }))
}

#[derive(Serialize, ToSchema)]
struct EntryStatement {
    /// `Type/id`
    entry: String,
    text: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct EntryStatementList {
    items: Vec<EntryStatement>,
}

/// What the patient holds against entries that stay as they are; whoever may read the entry.
#[utoipa::path(get, path = "/api/v1/privacy/patients/{id}/statements", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = EntryStatementList)))]
async fn list_statements(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<EntryStatementList>> {
    let found = app.record.statements(&caller.0, &id).await?;
    let items = found.into_iter().map(|one| EntryStatement {
        entry: one.entry.to_string(),
        text: one.text,
        at: one.at,
    });
    Ok(Json(EntryStatementList { items: items.collect() }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DataRequestParams {
    /// `true`: also what is answered, newest first. Else what waits, the nearest deadline first.
    all: Option<bool>,
}

/// Requests of all patients. Privacy officer.
#[utoipa::path(get, path = "/api/v1/privacy/requests", tag = "privacy", params(DataRequestParams),
    responses((status = 200, body = DataRequestList)))]
async fn list_data_requests(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<DataRequestParams>,
) -> Answer<Json<DataRequestList>> {
    let found = app.record.requests(&caller.0, !params.all.unwrap_or(false)).await?;
    Ok(Json(DataRequestList { items: list(&app, &caller, found, true).await? }))
}

/// Takes a request back, while it waits.
#[utoipa::path(post, path = "/api/v1/privacy/requests/{id}/withdraw", tag = "privacy", params(("id" = String, Path)),
    responses((status = 204)))]
async fn withdraw_data_request(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.withdraw_request(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AnswerWords {
    /// To the patient; may be empty.
    #[serde(default)]
    text: String,
}

/// Says that the entry was amended; it must have changed since. Who treats the patient, privacy officers.
#[utoipa::path(post, path = "/api/v1/privacy/requests/{id}/amended", tag = "privacy", params(("id" = String, Path)),
    request_body = AnswerWords, responses((status = 204)))]
async fn answer_amended(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<AnswerWords>,
) -> Answer<StatusCode> {
    app.record.answer_amended(&caller.0, parse(&id)?, &body.text).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RequestRefusal {
    /// Of corrections `entry-correct|professional-opinion|record-of-others|not-the-person`; of erasures
    /// `retention|legal-hold|legal-duty|public-health|legal-claim|not-the-person`.
    ground: String,
    /// Why, to the patient.
    text: String,
}

/// Refuses a request on a legal ground.
#[utoipa::path(post, path = "/api/v1/privacy/requests/{id}/refuse", tag = "privacy", params(("id" = String, Path)),
    request_body = RequestRefusal, responses((status = 204)))]
async fn refuse_data_request(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<RequestRefusal>,
) -> Answer<StatusCode> {
    app.record.refuse_request(&caller.0, parse(&id)?, &body.ground, &body.text).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DisagreementNew {
    text: String,
}

/// Puts the patient's statement beside an entry whose correction was refused; once.
#[utoipa::path(post, path = "/api/v1/privacy/requests/{id}/disagree", tag = "privacy", params(("id" = String, Path)),
    request_body = DisagreementNew, responses((status = 204)))]
async fn disagree_data_request(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<DisagreementNew>,
) -> Answer<StatusCode> {
    app.record.disagree(&caller.0, parse(&id)?, &body.text).await?;
    Ok(StatusCode::NO_CONTENT)
}
