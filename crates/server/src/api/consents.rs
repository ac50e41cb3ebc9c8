//! What patients allow and forbid, and who acts for them.

use super::types::RoleName;
use super::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use access::{Class, Role, Seals};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::TypeId;
use jiff::Timestamp;
use record::rights::proxy::{Basis, NewProxy};
use record::rights::{Actor, ConsentRow, NewConsent};
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
    types: Vec<String>,
    categories: Vec<&'static str>,
    purposes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// When it was given or taken back.
    at: String,
    /// Who gave it, e.g. `Patient/1`, `RelatedPerson/2`.
    given_by: String,
    text_version: String,
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

fn summary(row: &ConsentRow) -> ConsentSummary {
    let value = row.resource.value();
    let code = |v: &Value| v.get("code").and_then(Value::as_str).map(str::to_owned);
    let optional = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let labels = value.pointer("/provision/securityLabel").and_then(Value::as_array);
    let seals = labels.into_iter().flatten().fold(Seals::NONE, |all, one| all.with(Seals::of_coding(one)));
    ConsentSummary {
        id: row.resource.id().unwrap_or_default().to_owned(),
        version: row.version,
        status: text(value, "/status"),
        decision: text(value, "/provision/type"),
        actors: each(value, "/provision/actor", |actor| {
            let reference = actor.get("reference")?;
            let named = reference.get("reference").and_then(Value::as_str).map(str::to_owned);
            named.or_else(|| reference.pointer("/identifier/value")?.as_str().map(str::to_owned))
        }),
        types: each(value, "/provision/class", code),
        categories: seals.codes(),
        purposes: each(value, "/provision/purpose", code),
        from: optional("/provision/period/start"),
        until: optional("/provision/period/end"),
        at: text(value, "/dateTime"),
        given_by: text(value, "/performer/0/reference"),
        text_version: text(value, "/sourceAttachment/title"),
        language: text(value, "/sourceAttachment/language"),
    }
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
    Ok(Json(ConsentList { items: found.iter().map(summary).collect() }))
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
    let row = app.record.give_consent(&caller.0, new).await?;
    Ok((StatusCode::CREATED, Json(summary(&row))))
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
    Ok(Json(summary(&row)))
}

#[derive(Serialize, ToSchema)]
struct ProxyRow {
    id: String,
    account_id: String,
    patient_id: String,
    related_person_id: String,
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

impl From<Proxy> for ProxyRow {
    fn from(row: Proxy) -> ProxyRow {
        ProxyRow {
            id: row.id.to_string(),
            account_id: row.account.to_string(),
            patient_id: row.patient,
            related_person_id: row.related_person,
            basis: row.basis,
            classes: row.classes.iter().map(|class| class.code()).collect(),
            sealed: !row.seals.is_none(),
            from: row.from,
            until: row.until,
            ended_at: row.ended,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct ProxyList {
    items: Vec<ProxyRow>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProxyGrant {
    /// Who is to act: a personal account, not one of the staff.
    account_id: String,
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
    Ok(Json(ProxyList { items: found.into_iter().map(ProxyRow::from).collect() }))
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
    let new = NewProxy {
        patient: id,
        account: body.account_id.parse().map_err(|_| Error::NotFound)?,
        basis: Basis::from_code(&body.basis)
            .ok_or_else(|| wrong("/basis", "Say parent, guardian, patient-choice or court."))?,
        relationship: body.relationship,
        classes,
        sealed: body.sealed,
        until: body.until,
    };
    let row = app.record.grant_proxy(&caller.0, new).await?;
    Ok((StatusCode::CREATED, Json(row.into())))
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
    Ok(Json(ProxyList { items: found.into_iter().map(ProxyRow::from).collect() }))
}
