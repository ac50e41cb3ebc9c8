//! Visits as `/api/v1` shows them.

use super::{Consultation, Facts, Session, State, is_open, plan, read};
use crate::appointment::search;
use crate::clinic::Clinic;
use crate::element::{self, array, key};
use crate::hidden;
use crate::load;
use crate::view::{Page, PatientRef, ProviderRef};
use access::Ctx;
use fhir::Resource;
use record::{Error, Record};
use std::collections::HashMap;

/// Waiting visits of one provider that are looked at for a place in the queue.
const QUEUE_MAX: u32 = 200;

#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub state: Option<State>,
    pub provider: Option<String>,
}

/// `GET consultations/{id}`. Errors: `NotFound`.
pub async fn get(record: &Record, ctx: &Ctx, clinic: &Clinic, id: &str) -> Result<Consultation, Error> {
    let encounter = load::needed(record, ctx, &key("Encounter", id)).await?;
    let mut all = views(record, ctx, clinic, &[encounter]).await?;
    all.pop().ok_or(Error::NotFound)
}

/// What the visit is about, for billing. Errors: `NotFound`.
pub async fn visit_facts(record: &Record, ctx: &Ctx, id: &str) -> Result<Facts, Error> {
    let encounter = load::needed(record, ctx, &key("Encounter", id)).await?;
    read(&encounter).ok_or(Error::NotFound)
}

/// `GET consultations`; those that wait longest first, others newest first. Errors: `Malformed` for a bad cursor.
pub async fn list(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    filter: &Filter,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<Consultation>, Error> {
    let status = match filter.state {
        Some(State::Waiting) => "arrived,triaged",
        Some(State::Active | State::Ended) => "in-progress,onleave",
        Some(State::Finished) => "finished",
        Some(State::Cancelled) => "cancelled",
        None => "planned,arrived,triaged,in-progress,onleave,finished,cancelled",
    };
    let sort = if filter.state == Some(State::Waiting) { "_lastUpdated" } else { "-_lastUpdated" };
    let mut parameters: Vec<(String, String)> = vec![
        ("status".into(), status.into()),
        ("_count".into(), limit.to_string()),
        ("_sort".into(), sort.into()),
    ];
    parameters
        .extend(filter.provider.as_ref().map(|id| ("practitioner".into(), format!("Practitioner/{id}"))));
    parameters.extend(cursor.map(|cursor| ("_cursor".into(), cursor.to_owned())));
    let page = search(record, ctx, "Encounter", parameters).await?;
    let mut rows = Vec::with_capacity(page.items.len());
    for stored in &page.items {
        rows.push(stored.parse()?);
    }
    let mut items = views(record, ctx, clinic, &rows).await?;
    items.retain(|item| filter.state.is_none_or(|state| state == item.state));
    if filter.state == Some(State::Waiting) {
        items.sort_by(|a, b| a.waiting_since.cmp(&b.waiting_since));
    }
    Ok(Page { items, next: page.next })
}

/// Who waits for this provider. Sees no patient: only since when.
async fn queue(record: &Record, provider: &str) -> Result<Vec<Session>, Error> {
    let ctx = Ctx::system("waiting-room", record.now());
    let practitioner = format!("Practitioner/{provider}");
    let parameters = [("status", "arrived,triaged"), ("practitioner", practitioner.as_str())];
    let rows = record.find(&ctx, "Encounter", &parameters, QUEUE_MAX).await?;
    Ok(rows.iter().map(|(encounter, _)| Session::of(encounter)).collect())
}

/// Places in the queue of one provider: `(visit id, place from 1)`. Names nobody. Errors: of `record`.
pub async fn queue_places(record: &Record, provider: &str) -> Result<Vec<(String, u32)>, Error> {
    let ctx = Ctx::system("waiting-room", record.now());
    let practitioner = format!("Practitioner/{provider}");
    let parameters = [("status", "arrived,triaged"), ("practitioner", practitioner.as_str())];
    let rows = record.find(&ctx, "Encounter", &parameters, QUEUE_MAX).await?;
    let mut waiting: Vec<(jiff::Timestamp, String)> = rows
        .iter()
        .filter_map(|(encounter, _)| {
            Some((Session::of(encounter).waiting_since?, encounter.id()?.to_owned()))
        })
        .collect();
    waiting.sort();
    Ok(waiting.into_iter().zip(1..).map(|((_, id), place)| (id, place)).collect())
}

/// The notes of these visits that the caller may know of: `(visit id, note id)`.
pub(crate) async fn notes(
    record: &Record,
    ctx: &Ctx,
    visits: &[String],
) -> Result<HashMap<String, String>, Error> {
    let mut found = HashMap::new();
    let clinician = super::command::is_clinician(ctx);
    for batch in visits.chunks(50) {
        let list = batch.iter().map(|id| format!("Encounter/{id}")).collect::<Vec<_>>().join(",");
        let rows = load::rows(record, ctx, "Composition", &[("encounter", &list)], 200).await?;
        for note in rows {
            let done = matches!(note.text("status"), Some("final" | "amended"));
            let visit = note.get("encounter").and_then(|e| element::target_id(e, "Encounter"));
            if let (Some(visit), Some(id), true) = (visit, note.id(), done || clinician) {
                found.insert(visit, id.to_owned());
            }
        }
    }
    Ok(found)
}

async fn views(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    rows: &[Resource],
) -> Result<Vec<Consultation>, Error> {
    let _ = clinic;
    let facts: Vec<Facts> = rows.iter().filter_map(read).collect();
    let ids: Vec<String> = facts.iter().map(|f| f.key.id.clone()).collect();
    let patients = load::by_id(record, ctx, "Patient", facts.iter().map(|f| f.patient.id.clone())).await?;
    let notes = notes(record, ctx, &ids).await?;
    let finished = facts.iter().filter(|f| f.state == State::Finished).map(|f| invoice_id(&f.key.id));
    let invoices = load::by_id(record, ctx, "Invoice", finished).await?;
    let mut queues: HashMap<String, Vec<Session>> = HashMap::new();
    let mut all = Vec::with_capacity(facts.len());
    for facts in facts {
        let provider = facts.provider.as_ref().map(|key| key.id.clone()).unwrap_or_default();
        if is_open(&facts) && !queues.contains_key(&provider) {
            queues.insert(provider.clone(), queue(record, &provider).await?);
        }
        let position = queues.get(&provider).and_then(|queue| plan::position(&facts, queue));
        let patient = patients
            .get(&facts.patient.id)
            .map_or_else(|| PatientRef::named(&facts.patient.id, &facts.patient_name), PatientRef::read);
        let session = &facts.session;
        let at = |moment: Option<jiff::Timestamp>| moment.map(element::written);
        all.push(Consultation {
            version: facts.version,
            appointment_id: facts.appointment.as_ref().map(|key| key.id.clone()).unwrap_or_default(),
            kind: facts.kind,
            state: facts.state,
            reason: facts.reason.clone(),
            patient,
            device_checked: session.device_checked,
            waiting_since: at(session.waiting_since.filter(|_| facts.state == State::Waiting)),
            admitted_at: at(session.admitted_at),
            started_at: at(session.started_at.or(facts.start)),
            ended_at: at(session.ended_at),
            position,
            note_id: notes.get(&facts.key.id).cloned(),
            invoice_id: Some(invoice_id(&facts.key.id)).filter(|id| invoices.contains_key(id)),
            log: session.log(),
            hidden: hidden::of(&[("reason", facts.reason_hidden)]),
            provider: ProviderRef { id: provider, name: facts.provider_name },
            id: facts.key.id,
        });
    }
    Ok(all)
}

/// The id that billing gives the invoice of a visit; the server's tests hold the two together.
pub fn invoice_id(visit: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(format!("uzima/invoice/{visit}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// Whether a diagnosis of a visit was taken out for who reads it.
pub(crate) fn has_hidden_diagnoses(encounter: &Resource) -> bool {
    let condition = |d: &serde_json::Value| d.get("condition").is_some_and(fhir::is_masked);
    array(encounter.value(), "diagnosis").iter().any(|d| fhir::is_masked(d) || condition(d))
}

/// Diagnoses of a visit, from the Encounter and its Conditions.
pub(crate) fn diagnosis_keys(encounter: &Resource) -> Vec<String> {
    array(encounter.value(), "diagnosis")
        .iter()
        .filter_map(|d| element::target_id(d.get("condition")?, "Condition"))
        .collect()
}
