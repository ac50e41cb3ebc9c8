//! The visits of one patient.

use super::VisitSummary;
use crate::consultation::{self, Facts, State, diagnosis_keys, has_hidden_diagnoses};
use crate::element::{self, text};
use crate::hidden;
use crate::load;
use crate::view::{Coded, Page, ProviderRef};
use access::Ctx;
use fhir::Resource;
use record::{Error, Record};
use std::collections::{HashMap, HashSet};

/// `GET patients/{id}/visits`, newest first. Errors: `NotFound`; `Malformed` for a bad cursor.
pub async fn visits(
    record: &Record,
    ctx: &Ctx,
    patient: &str,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<VisitSummary>, Error> {
    load::needed(record, ctx, &element::key("Patient", patient)).await?;
    let mut parameters: Vec<(String, String)> = vec![
        ("patient".into(), format!("Patient/{patient}")),
        ("_sort".into(), "-date".into()),
        ("_count".into(), limit.to_string()),
    ];
    parameters.extend(cursor.map(|cursor| ("_cursor".to_owned(), cursor.to_owned())));
    let page = crate::appointment::search(record, ctx, "Encounter", parameters).await?;
    let mut encounters = Vec::new();
    for stored in &page.items {
        encounters.push(stored.parse()?);
    }
    let rows: Vec<(Facts, Diagnosed)> =
        encounters.iter().filter_map(|e| Some((consultation::read(e)?, Diagnosed::of(e)))).collect();
    let ids: Vec<String> = rows.iter().map(|(facts, _)| facts.key.id.clone()).collect();
    let notes = consultation::notes(record, ctx, &ids).await?;
    let prescribed = prescriptions(record, ctx, &ids).await?;
    let done = rows.iter().filter(|(facts, _)| facts.state == State::Finished);
    let invoices = load::by_id(
        record,
        ctx,
        "Invoice",
        done.map(|(f, _)| consultation::invoice_id(&f.key.id)).collect::<Vec<_>>(),
    )
    .await?;
    let conditions = load::by_id(
        record,
        ctx,
        "Condition",
        rows.iter().flat_map(|(_, diagnosed)| diagnosed.keys.clone()).collect::<Vec<_>>(),
    )
    .await?;
    let appointments = load::by_id(
        record,
        ctx,
        "Appointment",
        rows.iter()
            .filter(|(f, _)| f.start.is_none())
            .filter_map(|(f, _)| Some(f.appointment.as_ref()?.id.clone())),
    )
    .await?;
    let items = rows
        .into_iter()
        .map(|(facts, diagnosed)| {
            let id = facts.key.id.clone();
            let invoice = consultation::invoice_id(&id);
            VisitSummary {
                date: date(&facts, &appointments),
                provider: ProviderRef {
                    id: facts.provider.map(|key| key.id).unwrap_or_default(),
                    name: facts.provider_name,
                },
                kind: facts.kind,
                state: facts.state,
                reason: facts.reason,
                diagnoses: diagnosed
                    .keys
                    .iter()
                    .filter_map(|key| conditions.get(key))
                    .filter_map(coded)
                    .collect(),
                hidden: hidden::of(&[("reason", facts.reason_hidden), ("diagnoses", diagnosed.some_hidden)]),
                note_id: notes.get(&id).cloned(),
                prescription_id: prescribed.get(&id).cloned(),
                invoice_id: Some(invoice).filter(|id| invoices.contains_key(id)),
                consultation_id: id,
            }
        })
        .collect();
    Ok(Page { items, next: page.next })
}

/// What the Encounter says was found.
struct Diagnosed {
    keys: Vec<String>,
    some_hidden: bool,
}

impl Diagnosed {
    fn of(encounter: &Resource) -> Diagnosed {
        Diagnosed { keys: diagnosis_keys(encounter), some_hidden: has_hidden_diagnoses(encounter) }
    }
}

fn date(facts: &Facts, appointments: &HashMap<String, Resource>) -> String {
    let booked = facts.appointment.as_ref().and_then(|key| appointments.get(&key.id));
    let start = facts.start.or(facts.session.waiting_since).map(element::written);
    start.or_else(|| booked.and_then(|a| a.text("start")).map(str::to_owned)).unwrap_or_default()
}

fn coded(condition: &Resource) -> Option<Coded> {
    if text(condition.value(), "/verificationStatus/coding/0/code") == Some("entered-in-error") {
        return None;
    }
    let found = crate::note::diagnosis(condition);
    Some(Coded { code: found.code, display: found.display })
}

/// The visits of these that have something prescribed and signed.
async fn prescriptions(record: &Record, ctx: &Ctx, visits: &[String]) -> Result<HashSet<String>, Error> {
    let mut found = HashSet::new();
    for batch in visits.chunks(50) {
        let list = batch.iter().map(|id| format!("Encounter/{id}")).collect::<Vec<_>>().join(",");
        for request in load::rows(record, ctx, "MedicationRequest", &[("encounter", &list)], 500).await? {
            if matches!(request.text("status"), Some("draft" | "cancelled" | "entered-in-error")) {
                continue;
            }
            let visit = request.get("encounter").and_then(|e| element::target_id(e, "Encounter"));
            found.extend(visit);
        }
    }
    Ok(found)
}
