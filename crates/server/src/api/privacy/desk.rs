//! The privacy desk: holds, retention, erasure, recipients, the country of the record.

use super::parse;
use crate::api::types::PatientRef;
use crate::api::{Answer, ApiRouter, Caller, Json, Path};
use crate::http::error::ApiError;
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::subject::{NewHold, NewRecipient, RuleChange, SubjectNames};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use store::subject::recipient;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_holds, place_hold))
        .routes(routes!(lift_hold))
        .routes(routes!(get_retention_rules, set_retention_rule))
        .routes(routes!(list_retention_due))
        .routes(routes!(approve_retention))
        .routes(routes!(keep_retention))
        .routes(routes!(list_recipients, register_recipient))
        .routes(routes!(end_recipient))
        .routes(routes!(get_region))
        .routes(routes!(agree_region))
}

fn called(names: &SubjectNames, account: i64) -> String {
    names.accounts.get(&account).cloned().unwrap_or_default()
}

fn patient_ref(names: &SubjectNames, id: &str) -> Option<PatientRef> {
    names.patients.get(id).map(PatientRef::of)
}

#[derive(Serialize, ToSchema)]
struct LegalHold {
    id: String,
    patient_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<PatientRef>,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    placed_at: Timestamp,
    placed_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    lifted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lifted_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lift_reason: Option<String>,
}

fn hold(one: store::subject::hold::Hold, names: &SubjectNames) -> LegalHold {
    LegalHold {
        id: one.id.to_string(),
        patient: patient_ref(names, &one.patient),
        patient_id: one.patient,
        reason: one.reason,
        placed_at: one.placed,
        placed_by: called(names, one.placed_by),
        lifted_at: one.lifted,
        lifted_by: one.lifted_by.map(|by| called(names, by)),
        lift_reason: one.lift_reason,
    }
}

#[derive(Serialize, ToSchema)]
struct LegalHoldList {
    items: Vec<LegalHold>,
}

/// Legal holds, those in force first. Privacy officer.
#[utoipa::path(get, path = "/api/v1/privacy/holds", tag = "privacy", responses((status = 200, body = LegalHoldList)))]
async fn list_holds(State(app): State<AppState>, caller: Caller) -> Answer<Json<LegalHoldList>> {
    let found = app.record.holds(&caller.0).await?;
    let accounts = found.iter().flat_map(|one| [Some(one.placed_by), one.lifted_by]).flatten().collect();
    let patients = found.iter().map(|one| one.patient.clone()).collect();
    let names = app.record.subject_names(accounts, patients).await?;
    Ok(Json(LegalHoldList { items: found.into_iter().map(|one| hold(one, &names)).collect() }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LegalHoldNew {
    patient_id: String,
    /// e.g. the number of the case.
    reason: String,
}

/// Places a hold: nothing of the patient is erased while it is in force. Privacy officer.
#[utoipa::path(post, path = "/api/v1/privacy/holds", tag = "privacy", request_body = LegalHoldNew,
    responses((status = 201, body = LegalHold)))]
async fn place_hold(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<LegalHoldNew>,
) -> Answer<(StatusCode, Json<LegalHold>)> {
    let new = NewHold { patient: body.patient_id, reason: body.reason };
    let placed = app.record.place_hold(&caller.0, new).await?;
    let names = app.record.subject_names(vec![placed.placed_by], vec![placed.patient.clone()]).await?;
    Ok((StatusCode::CREATED, Json(hold(placed, &names))))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LegalHoldLift {
    reason: String,
}

/// Lifts a hold. Privacy officer, freshly signed in.
#[utoipa::path(post, path = "/api/v1/privacy/holds/{id}/lift", tag = "privacy", params(("id" = String, Path)),
    request_body = LegalHoldLift, responses((status = 204)))]
async fn lift_hold(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<LegalHoldLift>,
) -> Answer<StatusCode> {
    app.record.lift_hold(&caller.0, parse(&id)?, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
struct RetentionRule {
    /// `clinical|billing|consent|appointment|message|identity|audit`
    class: &'static str,
    /// After the last entry of the class.
    years: u32,
    /// Of entries about a child: at least until this birthday.
    #[serde(skip_serializing_if = "Option::is_none")]
    minor_age: Option<u32>,
    /// The law asks for it: nothing goes earlier, even on request.
    duty: bool,
    law: String,
    /// Counsel has looked at it.
    checked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    changed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_by: Option<String>,
    /// A floor that no interface goes below.
    fixed: bool,
}

#[derive(Serialize, ToSchema)]
struct RetentionRules {
    /// Country whose rules are the starting point; missing where the installation is not pinned to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    items: Vec<RetentionRule>,
}

async fn rules(app: &App, caller: &Caller) -> Result<RetentionRules, ApiError> {
    let found = app.record.retention_rules(&caller.0).await?;
    let accounts = found.iter().filter_map(|one| one.changed.map(|(_, by)| by)).collect();
    let names = app.record.subject_names(accounts, Vec::new()).await?;
    let items = found.into_iter().map(|one| RetentionRule {
        class: one.class,
        years: one.years,
        minor_age: one.minor_age,
        duty: one.duty,
        law: one.law,
        checked: one.checked,
        changed_at: one.changed.map(|(at, _)| at),
        changed_by: one.changed.map(|(_, by)| called(&names, by)),
        fixed: one.fixed,
    });
    Ok(RetentionRules { region: app.record.region().map(str::to_owned), items: items.collect() })
}

/// How long each class of record stays, and by which law. Privacy officer.
#[utoipa::path(get, path = "/api/v1/privacy/retention", tag = "privacy",
    responses((status = 200, body = RetentionRules)))]
async fn get_retention_rules(State(app): State<AppState>, caller: Caller) -> Answer<Json<RetentionRules>> {
    Ok(Json(rules(&app, &caller).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionRuleChange {
    class: String,
    /// 0 to 100.
    years: u32,
    /// Up to 40.
    minor_age: Option<u32>,
    duty: bool,
    law: String,
    checked: bool,
}

/// Changes a rule. Privacy officer, freshly signed in.
#[utoipa::path(put, path = "/api/v1/privacy/retention", tag = "privacy", request_body = RetentionRuleChange,
    responses((status = 200, body = RetentionRules)))]
async fn set_retention_rule(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<RetentionRuleChange>,
) -> Answer<Json<RetentionRules>> {
    let change = RuleChange {
        class: body.class,
        years: body.years,
        minor_age: body.minor_age,
        duty: body.duty,
        law: body.law,
        checked: body.checked,
    };
    app.record.set_retention_rule(&caller.0, change).await?;
    Ok(Json(rules(&app, &caller).await?))
}

#[derive(Serialize, ToSchema)]
struct RetentionDue {
    patient_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<PatientRef>,
    /// When the time of the class that is kept longest was over.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    class: String,
    law: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    approved_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
    approved_by_you: bool,
}

#[derive(Serialize, ToSchema)]
struct RetentionDueList {
    items: Vec<RetentionDue>,
}

/// Records whose time is over, longest first. Privacy officer.
#[utoipa::path(get, path = "/api/v1/privacy/retention/due", tag = "privacy",
    responses((status = 200, body = RetentionDueList)))]
async fn list_retention_due(State(app): State<AppState>, caller: Caller) -> Answer<Json<RetentionDueList>> {
    let found = app.record.retention_due(&caller.0).await?;
    let accounts = found.iter().filter_map(|one| one.approved_by).collect();
    let patients = found.iter().map(|one| one.patient.clone()).collect();
    let names = app.record.subject_names(accounts, patients).await?;
    let own = caller.0.user().map(|user| user.account);
    let items = found.into_iter().map(|one| RetentionDue {
        patient: patient_ref(&names, &one.patient),
        patient_id: one.patient,
        since: one.since,
        class: one.class,
        law: one.law,
        approved_at: one.approved,
        approved_by_you: one.approved_by.is_some() && one.approved_by == own,
        approved_by: one.approved_by.map(|by| called(&names, by)),
    });
    Ok(Json(RetentionDueList { items: items.collect() }))
}

/// Agrees that a record whose time is over is erased; another person carries it out. Privacy officer, freshly signed in.
#[utoipa::path(post, path = "/api/v1/privacy/retention/due/{id}/approve", tag = "privacy",
    params(("id" = String, Path)), responses((status = 204)))]
async fn approve_retention(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.approve_retention(&caller.0, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetentionKeep {
    /// RFC 3339, within five years.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    reason: String,
}

/// Keeps a record whose time is over until a day, for a reason. Privacy officer.
#[utoipa::path(post, path = "/api/v1/privacy/retention/due/{id}/keep", tag = "privacy",
    params(("id" = String, Path)), request_body = RetentionKeep, responses((status = 204)))]
async fn keep_retention(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<RetentionKeep>,
) -> Answer<StatusCode> {
    app.record.keep_retention(&caller.0, &id, body.until, &body.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
struct DataRecipient {
    id: String,
    /// `client|endpoint|gateway|backup`
    kind: &'static str,
    name: String,
    title: String,
    country: String,
    /// Code of the basis of a transfer to another country.
    basis: String,
    note: String,
    /// Another country than that of the installation.
    abroad: bool,
    #[schema(value_type = String, format = DateTime)]
    registered_at: Timestamp,
    registered_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct UnregisteredRecipient {
    kind: &'static str,
    name: String,
    title: String,
}

#[derive(Serialize, ToSchema)]
struct DataRecipients {
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    items: Vec<DataRecipient>,
    /// Known to the installation, and not in the register: nothing goes to programs, endpoints and the like among them.
    unregistered: Vec<UnregisteredRecipient>,
    /// Bases to choose from.
    bases: &'static [&'static str],
}

fn recipient_of(one: recipient::Recipient, names: &SubjectNames, region: Option<&str>) -> DataRecipient {
    DataRecipient {
        id: one.id.to_string(),
        kind: one.kind.code(),
        name: one.name,
        title: one.title,
        abroad: region.is_some_and(|home| home != one.country),
        country: one.country,
        basis: one.basis,
        note: one.note,
        registered_at: one.registered,
        registered_by: one.registered_by.map(|by| called(names, by)).unwrap_or_default(),
        ended_at: one.ended,
    }
}

/// Those to whom data may go, and those known who are not registered. Privacy officer.
#[utoipa::path(get, path = "/api/v1/privacy/recipients", tag = "privacy",
    responses((status = 200, body = DataRecipients)))]
async fn list_recipients(State(app): State<AppState>, caller: Caller) -> Answer<Json<DataRecipients>> {
    let (found, missing) = app.record.recipients(&caller.0).await?;
    let names = app
        .record
        .subject_names(found.iter().filter_map(|one| one.registered_by).collect(), Vec::new())
        .await?;
    let region = app.record.region();
    let mut unregistered: Vec<UnregisteredRecipient> = missing
        .into_iter()
        .map(|one| UnregisteredRecipient { kind: one.kind.code(), name: one.name, title: one.title })
        .collect();
    unregistered.extend(ways_out(&app).into_iter().filter(|way| {
        !found.iter().any(|one| one.ended.is_none() && one.kind.code() == way.kind && one.name == way.name)
    }));
    Ok(Json(DataRecipients {
        region: region.map(str::to_owned),
        items: found.into_iter().map(|one| recipient_of(one, &names, region)).collect(),
        unregistered,
        bases: record::subject::law::BASES,
    }))
}

/// Gateways and places of backups as configured.
fn ways_out(app: &App) -> Vec<UnregisteredRecipient> {
    let config = &app.config;
    let mut ways = Vec::new();
    let mut gateway = |name: &str, title: &str| {
        ways.push(UnregisteredRecipient { kind: "gateway", name: name.to_owned(), title: title.to_owned() });
    };
    if config.africastalking.api_key.is_some() {
        gateway("africastalking", "Africa's Talking (SMS)");
    }
    if config.daraja.consumer_key.is_some() {
        gateway("daraja", "Safaricom Daraja (M-PESA)");
    }
    if config.mail.url.is_some() {
        gateway("mail", "E-mail");
    }
    if let Some((name, _)) = crate::residency::backup_place(config) {
        ways.push(UnregisteredRecipient { kind: "backup", title: name.clone(), name });
    }
    ways
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RecipientNew {
    /// `client|endpoint|gateway|backup`
    kind: String,
    /// Id of the client, host of the endpoint, name of the gateway.
    name: String,
    title: String,
    /// ISO 3166-1, two letters.
    country: String,
    /// Needed for another country.
    #[serde(default)]
    basis: String,
    #[serde(default)]
    note: String,
}

/// Registers a recipient. Privacy officer, freshly signed in.
#[utoipa::path(post, path = "/api/v1/privacy/recipients", tag = "privacy", request_body = RecipientNew,
    responses((status = 201, body = DataRecipient)))]
async fn register_recipient(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<RecipientNew>,
) -> Answer<(StatusCode, Json<DataRecipient>)> {
    let kind = recipient::Kind::from_code(&body.kind)
        .ok_or_else(|| Error::Rule(Rule::new("kind-wrong", "There is no such kind.").at("/kind")))?;
    let new = NewRecipient {
        kind,
        name: body.name,
        title: body.title,
        country: body.country,
        basis: body.basis,
        note: body.note,
    };
    let made = app.record.register_recipient(&caller.0, new).await?;
    let names = app.record.subject_names(made.registered_by.into_iter().collect(), Vec::new()).await?;
    Ok((StatusCode::CREATED, Json(recipient_of(made, &names, app.record.region()))))
}

/// From now on nothing goes there. Privacy officer.
#[utoipa::path(post, path = "/api/v1/privacy/recipients/{id}/end", tag = "privacy", params(("id" = String, Path)),
    responses((status = 204)))]
async fn end_recipient(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.end_recipient(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
struct RegionAgreement {
    /// Two letters, or `--` for no pin.
    region: String,
    name: String,
    reason: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct RegionState {
    /// The country the record is pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// Where backups lie, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup_region: Option<String>,
    /// `backup-abroad|backup-somewhere`
    alarms: Vec<&'static str>,
    /// Agreements to a move that is not done yet.
    agreements: Vec<RegionAgreement>,
}

async fn region(app: &App, caller: &Caller) -> Result<RegionState, ApiError> {
    let found = app.record.region_agreements(&caller.0).await?;
    let names = app.record.subject_names(found.iter().map(|one| one.account).collect(), Vec::new()).await?;
    let state = app.residency.clone();
    let (backup, backup_region) = state.residency.backup.unzip();
    Ok(RegionState {
        region: state.residency.region,
        database: state.residency.database,
        backup,
        backup_region: backup_region.flatten(),
        alarms: state.alarms,
        agreements: found
            .into_iter()
            .map(|one| RegionAgreement {
                name: called(&names, one.account),
                region: one.region,
                reason: one.reason,
                at: one.at,
            })
            .collect(),
    })
}

/// The country of the record and where its copies are. Privacy officer, administrator.
#[utoipa::path(get, path = "/api/v1/privacy/region", tag = "privacy", responses((status = 200, body = RegionState)))]
async fn get_region(State(app): State<AppState>, caller: Caller) -> Answer<Json<RegionState>> {
    Ok(Json(region(&app, &caller).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegionAgreementNew {
    /// Two letters, or `--` for no pin.
    region: String,
    reason: String,
}

/// Agrees that the record may be served from another country; two people are needed. Privacy officer, administrator;
/// freshly signed in.
#[utoipa::path(post, path = "/api/v1/privacy/region/agreements", tag = "privacy", request_body = RegionAgreementNew,
    responses((status = 200, body = RegionState)))]
async fn agree_region(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<RegionAgreementNew>,
) -> Answer<Json<RegionState>> {
    app.record.agree_region(&caller.0, &body.region, &body.reason).await?;
    Ok(Json(region(&app, &caller).await?))
}
