//! What patients allow and forbid, and who acts for them.

use super::types::RoleName;
use super::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use access::{Class, Role, Seals};
use axum::extract::State;
use axum::http::StatusCode;
use care::view::PatientRef;
use fhir::TypeId;
use jiff::Timestamp;
use record::rights::proxy::{Basis, NewProxy};
use record::rights::{Actor, ConsentRow, Giver, Names, NewConsent};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::proxy::Proxy;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_consents, give_consent))
        .routes(routes!(withdraw_consent))
        .routes(routes!(list_consent_versions))
        .routes(routes!(list_proxies, grant_proxy))
        .routes(routes!(end_proxy))
        .routes(routes!(list_acting_for))
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ConsentActor {
    /// Id of a Practitioner.
    Practitioner(String),
    /// Id of a RelatedPerson.
    RelatedPerson(String),
    Role(RoleName),
    /// Id of an OAuth client.
    Client(String),
}

/// Who decides for a patient that is not of age, where staff write it down.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ConsentGiver {
    /// Id of the RelatedPerson of somebody who acts for the patient.
    RelatedPerson(String),
    Guardian(ConsentGuardian),
}

/// A parent or guardian without an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsentGuardian {
    name: String,
    /// v3-RoleCode, e.g. `MTH`, `FTH`, `GUARD`.
    relationship: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsentGiven {
    /// `deny|permit`
    decision: String,
    /// Whom it is about; empty: everybody but the patient.
    #[serde(default)]
    actors: Vec<ConsentActor>,
    /// FHIR types, e.g. `Observation`; empty: everything.
    #[serde(default)]
    types: Vec<String>,
    /// Sealed categories (`HIV`, `SEX`, `SDV`, `MH`, `SUD`, `R`); empty: whether sealed or not. A permit that names one opens
    /// its seal.
    #[serde(default)]
    categories: Vec<String>,
    /// v3-ActReason codes, e.g. `TREAT`; empty: any.
    #[serde(default)]
    purposes: Vec<String>,
    /// `YYYY-MM-DD`
    from: Option<String>,
    /// `YYYY-MM-DD`, the last day.
    until: Option<String>,
    /// Which text was read out or shown, e.g. `privacy-2026-11`.
    text_version: String,
    /// The text itself, in `language`.
    text: String,
    /// BCP-47
    language: String,
    /// Needed of staff for a patient who is not of age.
    given_by: Option<ConsentGiver>,
}

/// Somebody whom a consent is about.
#[derive(Serialize, ToSchema)]
struct ConsentParty {
    /// `practitioner|related-person|role|client|other`
    kind: &'static str,
    /// Id of the Practitioner or RelatedPerson, code of the role, id of the client.
    id: String,
    /// Where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ConsentSummary {
    id: String,
    version: u32,
    /// `active|inactive|…`
    status: String,
    /// `deny|permit`, empty for others.
    decision: String,
    actors: Vec<String>,
    /// The same with their names.
    parties: Vec<ConsentParty>,
    types: Vec<String>,
    /// Empty for who records consents without reading them, see `veiled`.
    categories: Vec<&'static str>,
    /// It names sealed categories, and they are not for the reader; nor is `text`.
    veiled: bool,
    purposes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// When it was given or taken back.
    at: String,
    /// Who gave it or took it back, e.g. `Patient/1`, `RelatedPerson/2`, `#guardian`.
    given_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    given_by_name: Option<String>,
    /// Who wrote it down, where it was given to staff.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded_by: Option<String>,
    text_version: String,
    /// The text that was shown or read out.
    text: String,
    language: String,
}

#[derive(Serialize, ToSchema)]
struct ConsentList {
    items: Vec<ConsentSummary>,
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn each(value: &Value, pointer: &str, of: impl Fn(&Value) -> Option<String>) -> Vec<String> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten().filter_map(of).collect()
}

/// References that a consent names, for [Names].
fn references(row: &ConsentRow) -> (Vec<String>, Vec<String>) {
    let value = row.resource.value();
    let mut references = actors(value);
    references.push(text(value, "/performer/0/reference"));
    references.push(text(value, "/verification/0/extension/0/valueReference/reference"));
    let (references, clients) = references.into_iter().partition(|one| one.contains('/'));
    (clients, references)
}

/// References, role codes and client ids.
fn actors(value: &Value) -> Vec<String> {
    each(value, "/provision/actor", |actor| {
        let reference = actor.get("reference")?;
        let named = reference.get("reference").and_then(Value::as_str).map(str::to_owned);
        named.or_else(|| reference.pointer("/identifier/value")?.as_str().map(str::to_owned))
    })
}

fn parties(value: &Value, names: &Names) -> Vec<ConsentParty> {
    let actors = value.pointer("/provision/actor").and_then(Value::as_array);
    actors
        .into_iter()
        .flatten()
        .filter_map(|actor| {
            let reference = actor.get("reference")?;
            if let Some(named) = reference.get("reference").and_then(Value::as_str) {
                let (kind, id) = named.split_once('/')?;
                let kind = match kind {
                    "Practitioner" => "practitioner",
                    "RelatedPerson" => "related-person",
                    _ => "other",
                };
                return Some(ConsentParty { kind, id: id.to_owned(), name: names.called(named) });
            }
            let id = reference.pointer("/identifier/value")?.as_str()?;
            let is_role = text(reference, "/identifier/system") == access::consent::ROLE_SYSTEM;
            let name = names.client(id).map(str::to_owned);
            Some(ConsentParty { kind: if is_role { "role" } else { "client" }, id: id.to_owned(), name })
        })
        .collect()
}

/// The text of the evidence.
fn evidence(value: &Value) -> String {
    use base64::Engine;
    let data = text(value, "/sourceAttachment/data");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

fn summary(row: &ConsentRow, names: &Names) -> ConsentSummary {
    let value = row.resource.value();
    let code = |v: &Value| v.get("code").and_then(Value::as_str).map(str::to_owned);
    let optional = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let labels = value.pointer("/provision/securityLabel").and_then(Value::as_array);
    let seals = labels.into_iter().flatten().fold(Seals::NONE, |all, one| all.with(Seals::of_coding(one)));
    let veiled = row.veiled && !seals.is_none();
    let given_by = text(value, "/performer/0/reference");
    let writer = "/verification/0/extension/0/valueReference";
    ConsentSummary {
        id: row.resource.id().unwrap_or_default().to_owned(),
        version: row.version,
        status: text(value, "/status"),
        decision: text(value, "/provision/type"),
        actors: actors(value),
        parties: parties(value, names),
        types: each(value, "/provision/class", code),
        categories: if veiled { Vec::new() } else { seals.codes() },
        veiled,
        purposes: each(value, "/provision/purpose", code),
        from: optional("/provision/period/start"),
        until: optional("/provision/period/end"),
        at: text(value, "/dateTime"),
        given_by_name: optional("/performer/0/display").or_else(|| names.called(&given_by)),
        given_by,
        recorded_by: optional(&format!("{writer}/display"))
            .or_else(|| names.called(&text(value, &format!("{writer}/reference")))),
        text_version: text(value, "/sourceAttachment/title"),
        text: if veiled { String::new() } else { evidence(value) },
        language: text(value, "/sourceAttachment/language"),
    }
}

async fn summaries(app: &AppState, rows: &[ConsentRow]) -> Result<Vec<ConsentSummary>, Error> {
    let (mut clients, mut named) = (Vec::new(), Vec::new());
    for row in rows {
        let (of_clients, of_people) = references(row);
        clients.extend(of_clients);
        named.extend(of_people);
    }
    let names = app.record.names(Vec::new(), clients, named).await?;
    Ok(rows.iter().map(|row| summary(row, &names)).collect())
}

async fn one_summary(app: &AppState, row: ConsentRow) -> Result<ConsentSummary, Error> {
    let mut all = summaries(app, std::slice::from_ref(&row)).await?;
    all.pop().ok_or(Error::NotFound)
}

/// What the patient allows and forbids, newest first.
#[utoipa::path(get, path = "/api/v1/patients/{id}/consents", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = ConsentList)))]
async fn list_consents(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<ConsentList>> {
    let found = app.record.consents(&caller.0, &id).await?;
    Ok(Json(ConsentList { items: summaries(&app, &found).await? }))
}

/// What was decided when: the versions of one consent, newest first.
#[utoipa::path(get, path = "/api/v1/consents/{id}/versions", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = ConsentList)))]
async fn list_consent_versions(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<ConsentList>> {
    let found = app.record.consent_versions(&caller.0, &id).await?;
    Ok(Json(ConsentList { items: summaries(&app, &found).await? }))
}

fn wrong(field: &'static str, text: &str) -> Error {
    Error::Rule(Rule::new("value-unknown", text).at(field))
}

/// Records what the patient decided; it holds at once. The patient, who acts for her, front desk and privacy officer.
#[utoipa::path(post, path = "/api/v1/patients/{id}/consents", tag = "rights", params(("id" = String, Path)),
    request_body = ConsentGiven, responses((status = 201, body = ConsentSummary)))]
async fn give_consent(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ConsentGiven>,
) -> Answer<(StatusCode, Json<ConsentSummary>)> {
    let deny = match body.decision.as_str() {
        "deny" => true,
        "permit" => false,
        _ => return Err(wrong("/decision", "Say deny or permit.").into()),
    };
    let mut kinds = Vec::new();
    for name in &body.types {
        kinds.push(TypeId::from_name(name).ok_or_else(|| wrong("/types", "Name FHIR types."))?);
    }
    let mut seals = Seals::NONE;
    for code in &body.categories {
        let own = Seals::from_code(code);
        seals = seals.with(own.ok_or_else(|| wrong("/categories", "This is no sealed category."))?);
    }
    let actors = body.actors.into_iter().map(|actor| match actor {
        ConsentActor::Practitioner(id) => Actor::Practitioner(id),
        ConsentActor::RelatedPerson(id) => Actor::RelatedPerson(id),
        ConsentActor::Role(role) => Actor::Role(Role::from(role)),
        ConsentActor::Client(id) => Actor::Client(id),
    });
    let new = NewConsent {
        patient: id,
        deny,
        actors: actors.collect(),
        kinds,
        seals,
        purposes: body.purposes,
        from: body.from,
        until: body.until,
        text_version: body.text_version,
        text: body.text,
        language: body.language,
    };
    let by = body.given_by.map(|giver| match giver {
        ConsentGiver::RelatedPerson(id) => Giver::RelatedPerson(id),
        ConsentGiver::Guardian(ConsentGuardian { name, relationship }) => {
            Giver::Guardian { name, relationship }
        }
    });
    let row = app.record.give_consent_by(&caller.0, new, by).await?;
    Ok((StatusCode::CREATED, Json(one_summary(&app, row).await?)))
}

/// Takes a consent back; it holds at once.
#[utoipa::path(post, path = "/api/v1/consents/{id}/withdraw", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = ConsentSummary)))]
async fn withdraw_consent(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<ConsentSummary>> {
    let row = app.record.withdraw_consent(&caller.0, &id).await?;
    Ok(Json(one_summary(&app, row).await?))
}

#[derive(Serialize, ToSchema)]
struct ProxyRow {
    id: String,
    account_id: String,
    /// Name of who acts.
    display: String,
    patient_id: String,
    /// For whom.
    patient: PatientRef,
    related_person_id: String,
    /// v3-RoleCode, e.g. `MTH`.
    relationship: String,
    /// `parent|guardian|patient-choice|court`
    basis: String,
    /// Parts of the record, e.g. `result`, `appointment`.
    classes: Vec<&'static str>,
    /// Sealed facts are open too.
    sealed: bool,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
}

async fn proxy_rows(app: &AppState, rows: Vec<Proxy>) -> Result<Vec<ProxyRow>, Error> {
    let related = |row: &Proxy| format!("RelatedPerson/{}", row.related_person);
    let people = rows.iter().map(|row| row.account).collect();
    let patients = rows.iter().map(|row| format!("Patient/{}", row.patient));
    let named = patients.chain(rows.iter().map(related)).collect();
    let names = app.record.names(people, Vec::new(), named).await?;
    let shown = |row: Proxy| {
        let relative =
            names.resource(&related(&row)).map(|r| text(r.value(), "/relationship/0/coding/0/code"));
        ProxyRow {
            id: row.id.to_string(),
            account_id: row.account.to_string(),
            display: names.account(row.account).unwrap_or_default().to_owned(),
            patient: match names.patient(&row.patient) {
                Some(patient) => PatientRef::read(patient),
                None => PatientRef::named(&row.patient, ""),
            },
            patient_id: row.patient,
            related_person_id: row.related_person,
            relationship: relative.unwrap_or_default(),
            basis: row.basis,
            classes: row.classes.iter().map(|class| class.code()).collect(),
            sealed: !row.seals.is_none(),
            from: row.from,
            until: row.until,
            ended_at: row.ended,
        }
    };
    Ok(rows.into_iter().map(shown).collect())
}

#[derive(Serialize, ToSchema)]
struct ProxyList {
    items: Vec<ProxyRow>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProxyGrant {
    /// Telephone number or e-mail address of the personal account of who is to act.
    contact: String,
    /// Family name in that account: both must fit.
    family: String,
    /// `parent|guardian|patient-choice|court`
    basis: String,
    /// v3-RoleCode, e.g. `MTH`, `FTH`, `GUARD`, `SPS`.
    relationship: String,
    /// Parts of the record; empty: all that the patient sees.
    #[serde(default)]
    classes: Vec<String>,
    /// Open sealed facts too. Of a child: until the 12th birthday.
    #[serde(default)]
    sealed: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// Who acts or acted for the patient. The patient, front desk and privacy officer.
#[utoipa::path(get, path = "/api/v1/patients/{id}/proxies", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = ProxyList)))]
async fn list_proxies(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<ProxyList>> {
    let found = app.record.proxies(&caller.0, &id).await?;
    Ok(Json(ProxyList { items: proxy_rows(&app, found).await? }))
}

/// Lets somebody act for the patient. For a child it ends on the 18th birthday.
#[utoipa::path(post, path = "/api/v1/patients/{id}/proxies", tag = "rights", params(("id" = String, Path)),
    request_body = ProxyGrant, responses((status = 201, body = ProxyRow)))]
async fn grant_proxy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ProxyGrant>,
) -> Answer<(StatusCode, Json<ProxyRow>)> {
    let mut classes = Vec::new();
    for code in &body.classes {
        let class = Class::from_code(code).filter(|c| record::rights::proxy::CLASSES.contains(c));
        classes.push(class.ok_or_else(|| wrong("/classes", "This part cannot be given."))?);
    }
    let account = app.record.account_to_act(&caller.0, &id, &body.contact, &body.family).await?;
    let new = NewProxy {
        patient: id,
        account,
        basis: Basis::from_code(&body.basis)
            .ok_or_else(|| wrong("/basis", "Say parent, guardian, patient-choice or court."))?,
        relationship: body.relationship,
        classes,
        sealed: body.sealed,
        until: body.until,
    };
    let row = app.record.grant_proxy(&caller.0, new).await?;
    let mut rows = proxy_rows(&app, vec![row]).await?;
    Ok((StatusCode::CREATED, Json(rows.pop().ok_or(Error::NotFound)?)))
}

/// Ends it: the clinic, the patient, or the person herself.
#[utoipa::path(post, path = "/api/v1/proxies/{id}/end", tag = "rights", params(("id" = String, Path)),
    responses((status = 204)))]
async fn end_proxy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = Uuid::parse_str(&id).map_err(|_| Error::NotFound)?;
    app.record.end_proxy(&caller.0, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For whom you act.
#[utoipa::path(get, path = "/api/v1/me/acting-for", tag = "rights", responses((status = 200, body = ProxyList)))]
async fn list_acting_for(State(app): State<AppState>, caller: Caller) -> Answer<Json<ProxyList>> {
    let found = app.record.acting_for(&caller.0).await?;
    Ok(Json(ProxyList { items: proxy_rows(&app, found).await? }))
}
