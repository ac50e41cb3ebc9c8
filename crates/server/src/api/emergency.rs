//! Break-glass: opening one record in an emergency, and the review that follows.

use super::consents::{ConsentSummary, summaries};
use super::proxies::{ProxyRow, proxy_rows};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use care::view::PatientRef;
use fhir::ResourceKey;
use jiff::Timestamp;
use record::Error;
use record::rights::Names;
use record::rights::emergency::{NewEmergency, REASONS};
use serde::{Deserialize, Serialize};
use store::emergency::Emergency;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(begin_emergency, list_running_emergencies))
        .routes(routes!(list_emergency_reasons))
        .routes(routes!(end_emergency))
        .routes(routes!(list_emergency_queue))
        .routes(routes!(list_emergencies_of_patient))
        .routes(routes!(review_emergency))
        .routes(routes!(show_given, decide_given_care))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmergencyStart {
    patient_id: String,
    /// A code of `emergency-access/reasons`.
    reason: String,
    /// Why it cannot wait, in a sentence of your own; 10 to 1,000 letters.
    explanation: String,
    /// 1 to 240; 60 if not given.
    minutes: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct EmergencyAccess {
    id: String,
    /// Account of the person who opened the record.
    account_id: String,
    /// Her name.
    display: String,
    patient_id: String,
    patient: PatientRef,
    reason: String,
    explanation: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<EmergencyReviewed>,
    /// Nobody has reviewed it for 72 hours.
    overdue: bool,
    /// Opened without a second factor, by a password typed anew.
    by_password: bool,
}

#[derive(Serialize, ToSchema)]
struct EmergencyReviewed {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    account_id: String,
    /// Name of the reviewer.
    display: String,
    /// `justified|unjustified|unclear`
    verdict: String,
    /// What is to follow; for the clinic only.
    note: String,
}

async fn all_shown(app: &AppState, found: Vec<Emergency>) -> Result<Vec<EmergencyAccess>, Error> {
    let openers = found.iter().map(|one| one.account);
    let people = openers.chain(found.iter().filter_map(|one| one.review.as_ref().map(|r| r.by))).collect();
    let patients = found.iter().map(|one| format!("Patient/{}", one.patient)).collect();
    let names = app.record.names(people, Vec::new(), patients).await?;
    let now = app.record.now();
    Ok(found.into_iter().map(|one| shown(one, now, &names)).collect())
}

fn shown(one: Emergency, now: Timestamp, names: &Names) -> EmergencyAccess {
    let name = |account: i64| names.account(account).unwrap_or_default().to_owned();
    let waiting = now.duration_since(one.at) >= record::rights::emergency::REVIEW_WITHIN;
    EmergencyAccess {
        overdue: one.review.is_none() && waiting,
        by_password: one.by_password,
        id: one.id.to_string(),
        account_id: one.account.to_string(),
        display: name(one.account),
        patient: match names.patient(&one.patient) {
            Some(patient) => PatientRef::read(patient),
            None => PatientRef::named(&one.patient, ""),
        },
        patient_id: one.patient,
        reason: one.reason,
        explanation: one.explanation,
        at: one.at,
        until: one.until,
        ended_at: one.ended,
        review: one.review.map(|review| EmergencyReviewed {
            at: review.at,
            account_id: review.by.to_string(),
            display: name(review.by),
            verdict: review.verdict,
            note: review.note,
        }),
    }
}

/// Opens the record of a patient who is not in your care, or facts that are sealed, for at most four hours. You must have
/// signed in within the last five minutes. The patient and the privacy officers are told; somebody reviews it.
#[utoipa::path(post, path = "/api/v1/emergency-access", tag = "rights", request_body = EmergencyStart,
    responses((status = 201, body = EmergencyAccess)))]
async fn begin_emergency(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<EmergencyStart>,
) -> Answer<(StatusCode, Json<EmergencyAccess>)> {
    let new = NewEmergency {
        patient: body.patient_id,
        reason: body.reason,
        explanation: body.explanation,
        minutes: body.minutes,
    };
    let begun = app.record.begin_emergency(&caller.0, new).await?;
    let mut rows = all_shown(&app, vec![begun]).await?;
    Ok((StatusCode::CREATED, Json(rows.pop().ok_or(Error::NotFound)?)))
}

#[derive(Serialize, ToSchema)]
struct EmergencyList {
    items: Vec<EmergencyAccess>,
}

/// What you have open at the moment.
#[utoipa::path(get, path = "/api/v1/emergency-access", tag = "rights",
    responses((status = 200, body = EmergencyList)))]
async fn list_running_emergencies(
    State(app): State<AppState>,
    caller: Caller,
) -> Answer<Json<EmergencyList>> {
    let found = app.record.running_emergencies(&caller.0).await?;
    Ok(Json(EmergencyList { items: all_shown(&app, found).await? }))
}

#[derive(Serialize, ToSchema)]
struct EmergencyReason {
    code: &'static str,
    text: &'static str,
}

#[derive(Serialize, ToSchema)]
struct EmergencyReasons {
    items: Vec<EmergencyReason>,
}

/// The reasons to choose from.
#[utoipa::path(get, path = "/api/v1/emergency-access/reasons", tag = "rights",
    responses((status = 200, body = EmergencyReasons)))]
async fn list_emergency_reasons(_caller: Caller) -> Answer<Json<EmergencyReasons>> {
    let items = REASONS.iter().map(|(code, text)| EmergencyReason { code, text }).collect();
    Ok(Json(EmergencyReasons { items }))
}

/// Closes it before its time.
#[utoipa::path(post, path = "/api/v1/emergency-access/{id}/end", tag = "rights", params(("id" = String, Path)),
    responses((status = 204)))]
async fn end_emergency(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.end_emergency(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EmergencyQueueParams {
    /// `true`: also those that were reviewed, newest first. Else what waits, oldest first.
    all: Option<bool>,
}

/// Emergency access that waits for review. Privacy officer.
#[utoipa::path(get, path = "/api/v1/emergency-access/queue", tag = "rights", params(EmergencyQueueParams),
    responses((status = 200, body = EmergencyList)))]
async fn list_emergency_queue(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<EmergencyQueueParams>,
) -> Answer<Json<EmergencyList>> {
    let found = app.record.emergencies(&caller.0, !params.all.unwrap_or(false)).await?;
    Ok(Json(EmergencyList { items: all_shown(&app, found).await? }))
}

/// Emergency access to one patient's record, newest first: the patient herself, administrator, privacy officer. What the
/// review noted for the clinic is not told to the patient.
#[utoipa::path(get, path = "/api/v1/patients/{id}/emergency-access", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = EmergencyList)))]
async fn list_emergencies_of_patient(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<EmergencyList>> {
    let found = app.record.emergencies_of(&caller.0, &id).await?;
    let mut items = all_shown(&app, found).await?;
    if !access::policy::may(&caller.0, access::policy::Capability::ReadAudit) {
        for review in items.iter_mut().filter_map(|one| one.review.as_mut()) {
            review.note = String::new();
        }
    }
    Ok(Json(EmergencyList { items }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmergencyReviewAnswer {
    /// `justified|unjustified|unclear`
    verdict: String,
    /// What is to follow; may be empty only if it was justified.
    #[serde(default)]
    note: String,
}

/// Writes down what the review found. Privacy officer, and never for oneself.
#[utoipa::path(post, path = "/api/v1/emergency-access/{id}/review", tag = "rights", params(("id" = String, Path)),
    request_body = EmergencyReviewAnswer, responses((status = 204)))]
async fn review_emergency(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<EmergencyReviewAnswer>,
) -> Answer<StatusCode> {
    app.record.review_emergency(&caller.0, parse(&id)?, &body.verdict, &body.note).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Somebody whom an entry lets into the patient's care.
#[derive(Serialize, ToSchema)]
struct CareGiven {
    /// The entry, e.g. `CareTeam/7`.
    source: String,
    practitioner_id: String,
    /// Her name.
    display: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Account of who wrote it, and her name.
    written_by: String,
    written_by_display: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// `bound`: ends with the emergency; `kept` or `ended` by a reviewer; `gone`: the entry names her no more; `lasting`: as
    /// long as the entry says, it was in force before or who wrote it was in care otherwise.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    /// Name of the reviewer who kept or ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by_display: Option<String>,
}

/// What an emergency left behind.
#[derive(Serialize, ToSchema)]
struct EmergencyGiven {
    care: Vec<CareGiven>,
    /// Consents that were written meanwhile.
    consents: Vec<ConsentSummary>,
    /// Grants to act that were asked for or confirmed meanwhile.
    proxies: Vec<ProxyRow>,
}

/// What was written during an emergency that gives care or rights to anybody, with names. Privacy officer.
#[utoipa::path(get, path = "/api/v1/emergency-access/{id}/given", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = EmergencyGiven)))]
async fn show_given(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<EmergencyGiven>> {
    let given = app.record.given_in_emergency(&caller.0, parse(&id)?).await?;
    let decided = given.care.iter().filter_map(|one| one.decided.map(|(_, by)| by));
    let people = given.care.iter().map(|one| one.account).chain(decided).collect();
    let practitioner = |id: &str| format!("Practitioner/{id}");
    let named = given.care.iter().map(|one| practitioner(&one.practitioner)).collect();
    let names = app.record.names(people, Vec::new(), named).await?;
    let name = |account: i64| names.account(account).unwrap_or_default().to_owned();
    let care = given.care.iter().map(|one| CareGiven {
        source: one.source.to_string(),
        practitioner_id: one.practitioner.clone(),
        display: names.called(&practitioner(&one.practitioner)).unwrap_or_default(),
        at: one.at,
        written_by: one.account.to_string(),
        written_by_display: name(one.account),
        until: one.until,
        state: one.state.map_or("lasting", |state| state.code()),
        decided_at: one.decided.map(|(at, _)| at),
        decided_by_display: one.decided.map(|(_, by)| name(by)),
    });
    Ok(Json(EmergencyGiven {
        care: care.collect(),
        consents: summaries(&app, &given.consents).await?,
        proxies: proxy_rows(&app, given.proxies).await?,
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CareDecision {
    /// As in `given`, e.g. `CareTeam/7`.
    source: String,
    practitioner_id: String,
    /// `true`: it lasts as long as the entry says; `false`: it ends now.
    keep: bool,
}

/// Ends what an entry gives somebody, or lets it last although it was written in an emergency. Privacy officer; nobody
/// keeps what she wrote herself or what is given to herself.
#[utoipa::path(post, path = "/api/v1/emergency-access/{id}/given", tag = "rights", params(("id" = String, Path)),
    request_body = CareDecision, responses((status = 204)))]
async fn decide_given_care(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<CareDecision>,
) -> Answer<StatusCode> {
    let source = ResourceKey::parse(&body.source).ok_or(Error::NotFound)?;
    app.record.decide_given_care(&caller.0, parse(&id)?, &source, &body.practitioner_id, body.keep).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound)
}
