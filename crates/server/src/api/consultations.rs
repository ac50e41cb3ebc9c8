//! Visits: waiting room, call, note, vital signs, prescription, end.

use super::directory::clinic;
use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, IfMatch, Json, MaybeJson, Params, Path, Versioned};
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::StatusCode;
use billing::invoice::InvoiceView;
use care::consultation::{Consultation, Device, Entry, Filter, Part, Quality, State as VisitState};
use care::note::{Note, NoteInput};
use care::prescription::{Prescription, PrescriptionInput, PrescriptionSign};
use care::vitals::{Vitals, VitalsInput};
use jiff::Timestamp;
use reach::consult::{Grant, GrantError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_consultations, open_consultation))
        .routes(routes!(get_consultation))
        .routes(routes!(join_consultation))
        .routes(routes!(admit_patient))
        .routes(routes!(start_consultation))
        .routes(routes!(end_consultation))
        .routes(routes!(finish_consultation))
        .routes(routes!(report_quality))
        .routes(routes!(get_note, put_note))
        .routes(routes!(sign_note))
        .routes(routes!(amend_note))
        .routes(routes!(get_vitals, put_vitals))
        .routes(routes!(get_visit_prescription, put_visit_prescription))
        .routes(routes!(sign_visit_prescription))
        .routes(routes!(get_turn_credentials))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsultationOpen {
    appointment_id: String,
}

/// The visit of an appointment, opened if it is not yet.
#[utoipa::path(post, path = "/api/v1/consultations", tag = "consultations", request_body = ConsultationOpen,
    responses((status = 201, body = Consultation)))]
async fn open_consultation(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<ConsultationOpen>,
) -> Answer<(StatusCode, Json<Consultation>)> {
    let visit = care::consultation::open(&app.record, &caller.0, &clinic(&app), &body.appointment_id).await?;
    Ok((StatusCode::CREATED, Json(visit)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ConsultationParams {
    state: Option<VisitState>,
    provider_id: Option<String>,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Visits; waiting ones by the time they wait, others newest first.
#[utoipa::path(get, path = "/api/v1/consultations", tag = "consultations", params(ConsultationParams),
    responses((status = 200, body = List<Consultation>)))]
async fn list_consultations(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<ConsultationParams>,
) -> Answer<Json<List<Consultation>>> {
    let filter = Filter { state: params.state, provider: params.provider_id };
    let (count, cursor) = (limit(params.limit), params.cursor.as_deref());
    let page =
        care::consultation::list(&app.record, &caller.0, &clinic(&app), &filter, count, cursor).await?;
    Ok(Json(List::new(page.items, page.next)))
}

fn versioned(visit: Consultation) -> Versioned<Consultation> {
    Versioned(visit.version, visit)
}

/// One visit.
#[utoipa::path(get, path = "/api/v1/consultations/{id}", tag = "consultations", params(("id" = String, Path)),
    responses((status = 200, body = Consultation)))]
async fn get_consultation(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Consultation>> {
    Ok(versioned(care::consultation::get(&app.record, &caller.0, &clinic(&app), &id).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsultationJoin {
    device: Device,
}

/// One entry of a browser's `iceServers`.
#[derive(Serialize, ToSchema)]
struct IceServer {
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// Leave to take part in the call.
#[derive(Serialize, ToSchema)]
struct JoinGrant {
    /// For `ws_url?session=…`; shown once.
    session_token: String,
    ws_url: String,
    ice_servers: Vec<IceServer>,
    expires_at: String,
    /// `relay` where the network must not be told addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    ice_transport_policy: Option<String>,
    consultation: Consultation,
}

/// In what capacity the caller takes part in this visit.
fn role_of(caller: &Caller, visit: &Consultation) -> reach::consult::Role {
    crate::ws::part::role_of(Part::of(&caller.0, &visit.patient.id))
}

/// Servers for the connection, and credentials for this call or for none; empty where no relay is configured.
fn ice_servers(app: &App, account: i64, call: Option<&str>) -> (Vec<IceServer>, Option<Timestamp>) {
    let Some(turn) = &app.parts.calls.turn else { return (Vec::new(), None) };
    let issued = turn.credentials(&account.to_string(), call, Timestamp::now());
    let servers = issued.ice_servers.into_iter();
    let servers = servers.map(|s| IceServer { urls: s.urls, username: s.username, credential: s.credential });
    (servers.collect(), Some(issued.expires_at))
}

/// Tells everybody who waits for this provider her place.
async fn tell_places(app: &App, provider: &str) {
    match care::consultation::queue_places(&app.record, provider).await {
        Ok(places) => places.iter().for_each(|(id, place)| app.parts.calls.hub.set_position(id, *place)),
        Err(error) => tracing::warn!(%error, "places in the queue could not be told"),
    }
}

/// Enters the waiting room (patient) or the call (clinician). The patient counts as arrived.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/join", tag = "consultations", params(("id" = String, Path)),
    request_body = ConsultationJoin, responses((status = 200, body = JoinGrant)))]
async fn join_consultation(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ConsultationJoin>,
) -> Answer<Json<JoinGrant>> {
    let user = caller.user()?.clone();
    let visit = care::consultation::join(&app.record, &caller.0, &clinic(&app), &id, body.device).await?;
    let grant = Grant {
        consultation_id: id.clone(),
        role: role_of(&caller, &visit),
        account: user.account.to_string(),
        display: user.display.clone(),
        audio_only: body.device.audio_only,
        admitted: visit.state == VisitState::Active,
    };
    let granted = app.parts.calls.hub.grant(grant, Timestamp::now()).map_err(|error| match error {
        GrantError::Full => ApiError::from(Refusal::new(RefusalKind::Overloaded, "Too many calls at once.")),
        GrantError::Randomness => ApiError::from(record::Error::Internal(error.to_string())),
    })?;
    tell_places(&app, &visit.provider.id).await;
    let (ice_servers, _) = ice_servers(&app, user.account, Some(&id));
    Ok(Json(JoinGrant {
        session_token: granted.token,
        ws_url: format!("/ws/consultation/{id}"),
        ice_servers,
        expires_at: granted.expires_at.to_string(),
        ice_transport_policy: None,
        consultation: visit,
    }))
}

async fn admit(app: &App, caller: &Caller, id: &str) -> Result<Consultation, ApiError> {
    let visit = care::consultation::admit(&app.record, &caller.0, &clinic(app), id).await?;
    app.parts.calls.hub.admit(id, Timestamp::now());
    tell_places(app, &visit.provider.id).await;
    Ok(visit)
}

/// The doctor lets the patient in.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/admit", tag = "consultations", params(("id" = String, Path)),
    responses((status = 200, body = Consultation)))]
async fn admit_patient(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Consultation>> {
    Ok(versioned(admit(&app, &caller, &id).await?))
}

/// Starts a visit in person; the same as admitting.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/start", tag = "consultations", params(("id" = String, Path)),
    responses((status = 200, body = Consultation)))]
async fn start_consultation(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Consultation>> {
    Ok(versioned(admit(&app, &caller, &id).await?))
}

#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct ConsultationEnd {
    quality: Option<Quality>,
}

/// Clinicians end the call for both; the note stays open. A patient leaves by closing her connection.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/end", tag = "consultations", params(("id" = String, Path)),
    request_body = Option<ConsultationEnd>, responses((status = 200, body = Consultation)))]
async fn end_consultation(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeJson(body): MaybeJson<ConsultationEnd>,
) -> Answer<Versioned<Consultation>> {
    let quality = body.unwrap_or_default().quality;
    flush_log(&app, &id).await;
    let visit = care::consultation::end(&app.record, &caller.0, &clinic(&app), &id, quality).await?;
    if visit.state == VisitState::Ended {
        app.parts.calls.hub.end(&id, Some(role_of(&caller, &visit)), Timestamp::now());
    }
    Ok(versioned(visit))
}

/// A log that cannot be written now must not keep a visit from ending; it is tried again with the next entry.
async fn flush_log(app: &App, id: &str) {
    if let Err(error) = app.parts.call_log.flush(&app.record, id).await {
        tracing::warn!(%error, "a call's session log waits to be written");
    }
}

/// What finishing made.
#[derive(Serialize, ToSchema)]
struct VisitFinished {
    consultation: Consultation,
    /// Absent where the visit has no price.
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<InvoiceView>,
}

/// Finishes the visit: signs the note, makes the invoice. 422 `note-incomplete` names what is missing.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/finish", tag = "consultations", params(("id" = String, Path)),
    responses((status = 200, body = VisitFinished)))]
async fn finish_consultation(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<VisitFinished>> {
    flush_log(&app, &id).await;
    let finished = care::consultation::finish(&app.record, &caller.0, &clinic(&app), &id).await?;
    app.parts.calls.hub.end(&id, Some(role_of(&caller, &finished)), Timestamp::now());
    // The key of the request belongs to the visit's own write.
    let ctx = access::Ctx { idempotency_key: None, ..caller.0.clone() };
    // The visit is finished whatever happens here: the subscriber of `visit.finished` makes the invoice then.
    let invoice = match app.parts.billing.invoice_for_encounter(&ctx, &id).await {
        Ok(invoice) => invoice,
        Err(error) => {
            tracing::warn!(%error, "the invoice is left to the worker");
            None
        }
    };
    let consultation = care::consultation::get(&app.record, &caller.0, &clinic(&app), &id).await?;
    Ok(Json(VisitFinished { consultation, invoice }))
}

/// How good the connection was over the last seconds; both sides send it every 30 seconds.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/quality", tag = "consultations",
    params(("id" = String, Path)), request_body = Quality, responses((status = 204)))]
async fn report_quality(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<Quality>,
) -> Answer<StatusCode> {
    // Only somebody who may see the visit may add to its log.
    care::consultation::visit_facts(&app.record, &caller.0, &id).await?;
    if app.parts.call_log.add(&id, Entry::Quality(body)) {
        flush_log(&app, &id).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, ToSchema)]
struct TurnCredentials {
    ice_servers: Vec<IceServer>,
    expires_at: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TurnParams {
    /// The call that the caller is in: its credentials end with her part in it.
    consultation_id: Option<String>,
}

/// The relay, for the check before a call, or again for a call that lasts. 404 for a call that the caller is not in.
#[utoipa::path(get, path = "/api/v1/turn-credentials", tag = "consultations", params(TurnParams),
    responses((status = 200, body = TurnCredentials)))]
async fn get_turn_credentials(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<TurnParams>,
) -> Answer<Json<TurnCredentials>> {
    let account = caller.user()?.account;
    let call = params.consultation_id.as_deref();
    if call.is_some_and(|call| !app.parts.calls.hub.has(call, &account.to_string())) {
        return Err(record::Error::NotFound.into());
    }
    let (ice_servers, expires_at) = ice_servers(&app, account, call);
    Ok(Json(TurnCredentials { ice_servers, expires_at: expires_at.unwrap_or(caller.0.now).to_string() }))
}

/// Stores what happens in the rooms (who came, who left, how good it was) until the server stops.
pub(crate) async fn keep_call_log(app: AppState) {
    use reach::consult::{LeftReason, LogKind};
    let Some(mut events) = app.parts.calls.take_events() else { return };
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = app.stopping.cancelled() => None,
        };
        let Some(event) = event else { break };
        let role = |role: reach::consult::protocol::Role| match role {
            reach::consult::protocol::Role::Patient => "patient".to_owned(),
            reach::consult::protocol::Role::Clinician => "clinician".to_owned(),
            reach::consult::protocol::Role::Guest => "guest".to_owned(),
        };
        let entry = match event.kind {
            LogKind::Joined { role: who, account, audio_only } => {
                Some(Entry::Joined { role: role(who), who: account, at: event.at, audio_only })
            }
            LogKind::Left { role: who, account, reason } => {
                let put_out = reason == LeftReason::PutOut;
                Some(Entry::Left { role: role(who), who: account, at: event.at, put_out })
            }
            // The record says when a visit was admitted and ended; figures come by REST as well, once is enough.
            LogKind::Admitted | LogKind::Ended { .. } | LogKind::Quality { .. } => None,
        };
        let Some(entry) = entry else { continue };
        if app.parts.call_log.add(&event.consultation_id, entry)
            && let Err(error) = app.parts.call_log.flush(&app.record, &event.consultation_id).await
        {
            tracing::warn!(%error, "a call's session log waits to be written");
        }
    }
    if let Err(error) = app.parts.call_log.flush_all(&app.record).await {
        tracing::warn!(%error, "session logs of calls were not written at the stop");
    }
}

/// The note; patients see it once it is signed.
#[utoipa::path(get, path = "/api/v1/consultations/{id}/note", tag = "note", params(("id" = String, Path)),
    responses((status = 200, body = Note)))]
async fn get_note(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Note>> {
    let note = care::note::get(&app.record, &caller.0, &id).await?;
    Ok(Versioned(note.version, note))
}

/// Saves the draft. 412 if `version` (or If-Match) is not the current one; 409 `note-signed`.
#[utoipa::path(put, path = "/api/v1/consultations/{id}/note", tag = "note", params(("id" = String, Path)),
    request_body = NoteInput, responses((status = 200, body = Note)))]
async fn put_note(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
    Json(mut body): Json<NoteInput>,
) -> Answer<Versioned<Note>> {
    body.version = if_match.or(body.version);
    let note = care::note::save(&app.record, &caller.0, &id, &body).await?;
    Ok(Versioned(note.version, note))
}

/// Signs the note; 422 `note-incomplete` names what is missing.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/note/sign", tag = "note", params(("id" = String, Path)),
    responses((status = 200, body = Note)))]
async fn sign_note(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Note>> {
    let note = care::note::sign(&app.record, &caller.0, &id).await?;
    Ok(Versioned(note.version, note))
}

/// Changes a signed note; the old text stays in its history.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/note/amend", tag = "note", params(("id" = String, Path)),
    request_body = NoteInput, responses((status = 200, body = Note)))]
async fn amend_note(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
    Json(mut body): Json<NoteInput>,
) -> Answer<Versioned<Note>> {
    body.version = if_match.or(body.version);
    let note = care::note::amend(&app.record, &caller.0, &id, &body).await?;
    Ok(Versioned(note.version, note))
}

/// Vital signs of the visit.
#[utoipa::path(get, path = "/api/v1/consultations/{id}/vitals", tag = "vitals", params(("id" = String, Path)),
    responses((status = 200, body = Vitals)))]
async fn get_vitals(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Vitals>> {
    Ok(Json(care::vitals::get(&app.record, &caller.0, &id).await?))
}

/// Records vital signs; 422 `value-implausible` for what cannot be.
#[utoipa::path(put, path = "/api/v1/consultations/{id}/vitals", tag = "vitals", params(("id" = String, Path)),
    request_body = VitalsInput, responses((status = 200, body = Vitals)))]
async fn put_vitals(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<VitalsInput>,
) -> Answer<Json<Vitals>> {
    Ok(Json(care::vitals::put(&app.record, &caller.0, &id, &body).await?))
}

/// The prescription of the visit; an empty draft before the first item.
#[utoipa::path(get, path = "/api/v1/consultations/{id}/prescription", tag = "prescriptions",
    params(("id" = String, Path)), responses((status = 200, body = Prescription)))]
async fn get_visit_prescription(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Prescription>> {
    let english = care::texts::Language::English;
    let found = care::prescription::get_by_visit(&app.record, &caller.0, &clinic(&app), &id, english).await?;
    Ok(Versioned(found.version, found))
}

/// Saves the draft; `warnings` of the answer name recorded allergies that an item touches.
#[utoipa::path(put, path = "/api/v1/consultations/{id}/prescription", tag = "prescriptions",
    params(("id" = String, Path)), request_body = PrescriptionInput, responses((status = 200, body = Prescription)))]
async fn put_visit_prescription(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
    Json(mut body): Json<PrescriptionInput>,
) -> Answer<Versioned<Prescription>> {
    body.version = if_match.or(body.version);
    let saved = care::prescription::put(&app.record, &caller.0, &clinic(&app), &id, &body).await?;
    Ok(Versioned(saved.version, saved))
}

/// Signs the prescription. 422 `allergy-clash` until the warnings are acknowledged.
#[utoipa::path(post, path = "/api/v1/consultations/{id}/prescription/sign", tag = "prescriptions",
    params(("id" = String, Path)), request_body = Option<PrescriptionSign>,
    responses((status = 200, body = Prescription)))]
async fn sign_visit_prescription(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    MaybeJson(body): MaybeJson<PrescriptionSign>,
) -> Answer<Versioned<Prescription>> {
    let acknowledged = body.unwrap_or_default().acknowledge_warnings;
    let signed = care::prescription::sign(&app.record, &caller.0, &clinic(&app), &id, acknowledged).await?;
    Ok(Versioned(signed.version, signed))
}
