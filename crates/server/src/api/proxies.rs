//! Who acts for whom, and the second word that a grant by the clinic needs.

use super::consents::{text, wrong};
use super::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use access::Class;
use axum::extract::State;
use axum::http::StatusCode;
use care::view::PatientRef;
use jiff::Timestamp;
use record::Error;
use record::rights::confirm::{WAITS_FOR, is_waiting};
use record::rights::proxy::{Basis, NewProxy};
use serde::{Deserialize, Serialize};
use store::proxy::Proxy;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_proxies, grant_proxy))
        .routes(routes!(list_waiting_proxies))
        .routes(routes!(send_proxy_code))
        .routes(routes!(confirm_proxy))
        .routes(routes!(end_proxy))
        .routes(routes!(list_acting_for))
}

#[derive(Serialize, ToSchema)]
pub(super) struct ProxyRow {
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
    /// `in-force`, `waiting` for the patient's code or a second person, `over`.
    state: &'static str,
    /// Account of who wrote it down, where somebody did, and her name.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_by_display: Option<String>,
    /// When it was written down.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// Of one that waits: when it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    waits_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<ProxyConfirmed>,
}

/// Whose second word put it in force.
#[derive(Serialize, ToSchema)]
struct ProxyConfirmed {
    /// `patient-code`: the patient told a code sent to her phone; `second-person`: somebody else of the clinic agreed.
    way: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Account of who typed the code or agreed.
    account_id: String,
    display: String,
}

/// As they are listed, with the names in them.
pub(super) async fn proxy_rows(app: &AppState, rows: Vec<Proxy>) -> Result<Vec<ProxyRow>, Error> {
    let related = |row: &Proxy| format!("RelatedPerson/{}", row.related_person);
    let now = app.record.now();
    let of_row = |row: &Proxy| [Some(row.account), row.made_by, row.confirmed.map(|c| c.by)];
    let people = rows.iter().flat_map(of_row).flatten().collect();
    let patients = rows.iter().map(|row| format!("Patient/{}", row.patient));
    let named = patients.chain(rows.iter().map(related)).collect();
    let names = app.record.names(people, Vec::new(), named).await?;
    let name = |account: i64| names.account(account).unwrap_or_default().to_owned();
    let shown = |row: Proxy| {
        let relative =
            names.resource(&related(&row)).map(|r| text(r.value(), "/relationship/0/coding/0/code"));
        let waiting = is_waiting(&row, now);
        let in_force = !row.waits && row.ended.is_none() && row.until > now;
        let waits_until = row.made.checked_add(WAITS_FOR).unwrap_or(Timestamp::MAX);
        ProxyRow {
            state: match (waiting, in_force) {
                (true, _) => "waiting",
                (_, true) => "in-force",
                _ => "over",
            },
            asked_by: row.made_by.map(|by| by.to_string()),
            asked_by_display: row.made_by.map(name),
            asked_at: row.made,
            waits_until: waiting.then_some(waits_until),
            confirmed: row.confirmed.map(|confirmed| ProxyConfirmed {
                way: confirmed.way.code(),
                at: confirmed.at,
                account_id: confirmed.by.to_string(),
                display: name(confirmed.by),
            }),
            id: row.id.to_string(),
            account_id: row.account.to_string(),
            display: name(row.account),
            patient: match names.patient(&row.patient) {
                Some(patient) => PatientRef::read(patient),
                None => PatientRef::named(&row.patient, ""),
            },
            patient_id: row.patient,
            related_person_id: row.related_person,
            relationship: relative.or(row.relationship).unwrap_or_default(),
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

/// Lets somebody act for the patient. For a child it ends on the 18th birthday. What the clinic writes down for anybody but
/// a small child waits (`state`) until the patient tells a code sent to her phone, or a second person agrees.
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

/// Grants that wait for the patient's code or a second person, oldest first. Front desk and privacy officer.
#[utoipa::path(get, path = "/api/v1/proxies/waiting", tag = "rights", responses((status = 200, body = ProxyList)))]
async fn list_waiting_proxies(State(app): State<AppState>, caller: Caller) -> Answer<Json<ProxyList>> {
    let found = app.record.waiting_proxies(&caller.0).await?;
    Ok(Json(ProxyList { items: proxy_rows(&app, found).await? }))
}

#[derive(Serialize, ToSchema)]
struct ProxyCodeSent {
    /// e.g. `+254 7•• ••• 123`
    phone_masked: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    resend_after_s: u32,
}

/// Sends the patient a code to the number that the clinic knows her by; again: another one. She tells it to the desk if she
/// wants the grant. Front desk and privacy officer, freshly signed in.
#[utoipa::path(post, path = "/api/v1/proxies/{id}/code", tag = "rights", params(("id" = String, Path)),
    responses((status = 200, body = ProxyCodeSent)))]
async fn send_proxy_code(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<ProxyCodeSent>> {
    let sent = app.record.send_proxy_code(&caller.0, parse(&id)?).await?;
    let (phone_masked, expires_at, resend_after_s) =
        (sent.phone_masked, sent.expires_at, sent.resend_after_s);
    Ok(Json(ProxyCodeSent { phone_masked, expires_at, resend_after_s }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProxyConfirmation {
    /// The digits that the patient told; without them the caller agrees as the second person.
    code: Option<String>,
}

/// Puts a grant that waits in force: with the patient's code, or as a second person, who is never the one that wrote it
/// down. Front desk and privacy officer, freshly signed in.
#[utoipa::path(post, path = "/api/v1/proxies/{id}/confirm", tag = "rights", params(("id" = String, Path)),
    request_body = ProxyConfirmation, responses((status = 200, body = ProxyRow)))]
async fn confirm_proxy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ProxyConfirmation>,
) -> Answer<Json<ProxyRow>> {
    let id = parse(&id)?;
    let row = match body.code {
        Some(code) => app.record.confirm_proxy_by_code(&caller.0, id, &code).await?,
        None => app.record.confirm_proxy(&caller.0, id).await?,
    };
    let mut rows = proxy_rows(&app, vec![row]).await?;
    Ok(Json(rows.pop().ok_or(Error::NotFound)?))
}

/// Ends it: the clinic, the patient, or the person herself. Of one that waits: refuses it.
#[utoipa::path(post, path = "/api/v1/proxies/{id}/end", tag = "rights", params(("id" = String, Path)),
    responses((status = 204)))]
async fn end_proxy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.end_proxy(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For whom you act.
#[utoipa::path(get, path = "/api/v1/me/acting-for", tag = "rights", responses((status = 200, body = ProxyList)))]
async fn list_acting_for(State(app): State<AppState>, caller: Caller) -> Answer<Json<ProxyList>> {
    let found = app.record.acting_for(&caller.0).await?;
    Ok(Json(ProxyList { items: proxy_rows(&app, found).await? }))
}

fn parse(id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound)
}
