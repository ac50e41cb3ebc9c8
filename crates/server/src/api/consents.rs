//! What patients allow and forbid.

use super::types::RoleName;
use super::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use access::{Role, Seals};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::TypeId;
use record::rights::{Actor, ConsentRow, Giver, Names, NewConsent};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_consents, give_consent))
        .routes(routes!(withdraw_consent))
        .routes(routes!(list_consent_versions))
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
pub(super) struct ConsentSummary {
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

pub(super) fn text(value: &Value, pointer: &str) -> String {
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

/// As they are listed, with the names in them.
pub(super) async fn summaries(app: &AppState, rows: &[ConsentRow]) -> Result<Vec<ConsentSummary>, Error> {
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

pub(super) fn wrong(field: &'static str, text: &str) -> Error {
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
