//! The chart: everything at a glance, from one round of searches.

use super::visits::visits;
use super::{
    Allergies, AllergiesRecorded, Allergy, Chart, ClinicalProblem, CurrentMedicine, DocumentLink, entry,
};
use crate::clinic::Clinic;
use crate::consultation::require_whole_view;
use crate::element::{self, array, coding, first_coding, text};
use crate::hidden;
use crate::texts::Language;
use crate::vitals::{self, Vital, VitalPoint};
use crate::vocabulary::{CONDITION_CATEGORY, NO_KNOWN_ALLERGY};
use crate::{load, patient, prescription};
use access::Ctx;
use access::redact::is_subsetted;
use fhir::Resource;
use jiff::civil::Date;
use record::{Error, Record};
use std::collections::BTreeMap;

const ROWS_MAX: u32 = 200;
/// Vital signs read for series.
const VITALS_MAX: u32 = 400;
const SERIES_MAX: usize = 30;
const VISITS_SHOWN: u32 = 20;
const MEDICINES_SHOWN: usize = 60;

/// `GET patients/{id}/chart`. Errors: `Denied` for staff who treat nobody; `NotFound`, also for a patient who is not in the caller's care.
pub async fn chart(record: &Record, ctx: &Ctx, clinic: &Clinic, id: &str) -> Result<Chart, Error> {
    require_whole_view(ctx, id)?;
    let patient = patient::get(record, ctx, id).await?;
    let who = format!("Patient/{id}");
    let of_patient = [("patient", who.as_str())];
    let newest = [("patient", who.as_str()), ("_sort", "-_lastUpdated")];
    let vital_signs = [("patient", who.as_str()), ("category", "vital-signs"), ("_sort", "-date")];
    let (allergies, conditions, requests, observations, documents, visits) = tokio::try_join!(
        load::rows(record, ctx, "AllergyIntolerance", &of_patient, ROWS_MAX),
        load::rows(record, ctx, "Condition", &newest, ROWS_MAX),
        load::rows(record, ctx, "MedicationRequest", &newest, ROWS_MAX),
        load::rows(record, ctx, "Observation", &vital_signs, VITALS_MAX),
        load::rows(record, ctx, "DocumentReference", &newest, ROWS_MAX),
        visits(record, ctx, id, VISITS_SHOWN, None),
    )?;
    let today = ctx.now.to_zoned(clinic.zone.clone()).date();
    Ok(Chart {
        allergies: allergy_list(&allergies),
        problems: problem_list(&conditions),
        medications: medicines(&requests, today),
        vitals: vitals_with_history(&observations, &patient.birth_date),
        visits: visits.items,
        documents: documents.iter().filter_map(document).collect(),
        patient,
    })
}

pub(super) fn allergy(allergy: &Resource) -> Allergy {
    let value = allergy.value();
    let status = |element: &str| text(value, &format!("/{element}/coding/0/code"));
    let verified = status("verificationStatus").filter(|s| matches!(*s, "entered-in-error" | "refuted"));
    let manifestations = || array(value, "reaction").iter().flat_map(|r| array(r, "manifestation"));
    let reaction_hidden = hidden::any_masked(value, "reaction") || manifestations().any(fhir::is_masked);
    Allergy {
        id: allergy.id().unwrap_or_default().to_owned(),
        text: value.get("code").map(element::words).unwrap_or_default(),
        code: value.get("code").and_then(first_coding).map(|(code, _)| code.to_owned()),
        reaction: manifestations().map(element::words).find(|words| !words.is_empty()),
        criticality: entry::criticality(allergy),
        status: verified.or_else(|| status("clinicalStatus")).unwrap_or("active").to_owned(),
        recorded_at: recorded_at(allergy),
        hidden: hidden::of(&[("reaction", reaction_hidden)]),
    }
}

fn recorded_at(resource: &Resource) -> String {
    let found = resource.text("recordedDate").or_else(|| text(resource.value(), "/meta/lastUpdated"));
    found.unwrap_or_default().to_owned()
}

pub(super) fn allergy_list(rows: &[Resource]) -> Allergies {
    let mut items: Vec<Allergy> = rows.iter().map(allergy).collect();
    let is_none = |a: &Allergy| a.code.as_deref() == Some(NO_KNOWN_ALLERGY);
    let live = |a: &&Allergy| a.status == "active";
    let recorded = if items.iter().filter(live).any(|a| !is_none(a)) {
        AllergiesRecorded::Listed
    } else if items.iter().filter(live).any(is_none) {
        AllergiesRecorded::NoneKnown
    } else {
        AllergiesRecorded::NotRecorded
    };
    items.retain(|a| !is_none(a));
    let rank = |a: &Allergy| match (a.status.as_str(), a.criticality) {
        ("active", super::Criticality::High) => 0,
        ("active", _) => 1,
        ("entered-in-error", _) => 3,
        _ => 2,
    };
    items.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.text.cmp(&b.text)));
    Allergies { recorded, items }
}

/// On the problem list itself, not only the diagnosis of a visit.
pub(super) fn is_listed(condition: &Resource) -> bool {
    array(condition.value(), "category")
        .iter()
        .any(|c| coding(c, CONDITION_CATEGORY).is_some_and(|(code, _)| code == "problem-list-item"))
}

pub(super) fn problem(condition: &Resource) -> ClinicalProblem {
    let value = condition.value();
    let status = |element: &str| text(value, &format!("/{element}/coding/0/code"));
    let verified = status("verificationStatus").filter(|s| matches!(*s, "entered-in-error" | "refuted"));
    let diagnosis = crate::note::diagnosis(condition);
    let onset = text(value, "/onsetDateTime").or_else(|| text(value, "/onsetString"));
    ClinicalProblem {
        id: condition.id().unwrap_or_default().to_owned(),
        code: diagnosis.code,
        system: diagnosis.system,
        display: diagnosis.display,
        status: verified.or_else(|| status("clinicalStatus")).unwrap_or("active").to_owned(),
        onset: onset.map(str::to_owned),
        recorded_at: recorded_at(condition),
    }
}

/// Problems, each code once: active ones first. Diagnoses of drafts are not there yet.
pub(super) fn problem_list(rows: &[Resource]) -> Vec<ClinicalProblem> {
    let signed = |c: &&Resource| text(c.value(), "/verificationStatus/coding/0/code") != Some("provisional");
    let rank = |status: &str| match status {
        "active" | "recurrence" | "relapse" => 0,
        "entered-in-error" => 2,
        _ => 1,
    };
    let mut all: Vec<(bool, ClinicalProblem)> =
        rows.iter().filter(signed).map(|c| (!is_listed(c), problem(c))).collect();
    all.sort_by(|(a_visit, a), (b_visit, b)| {
        (rank(&a.status), a_visit)
            .cmp(&(rank(&b.status), b_visit))
            .then_with(|| b.recorded_at.cmp(&a.recorded_at))
    });
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|(_, p)| {
        p.status == "entered-in-error" || seen.insert((p.system.clone(), p.code.clone(), p.display.clone()))
    });
    all.into_iter().map(|(_, problem)| problem).collect()
}

fn last_day(request: &Resource) -> Option<Date> {
    let start: Date = request.text("authoredOn")?.get(..10)?.parse().ok()?;
    let days = request.value().pointer("/dispenseRequest/expectedSupplyDuration/value")?.as_i64()?;
    let refills = request
        .value()
        .pointer("/dispenseRequest/numberOfRepeatsAllowed")
        .and_then(serde_json::Value::as_i64);
    let days = i32::try_from(days.checked_mul(1 + refills.unwrap_or(0))?).ok()?;
    start.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// Signed medicines, those still running first; a course whose days are over is `completed`.
pub(super) fn medicines(rows: &[Resource], today: Date) -> Vec<CurrentMedicine> {
    let shown = |r: &&Resource| !matches!(r.text("status"), Some("draft" | "cancelled" | "entered-in-error"));
    let mut all: Vec<CurrentMedicine> = rows
        .iter()
        .filter(shown)
        .map(|request| {
            let until = last_day(request);
            let over = until.is_some_and(|day| day < today);
            let status = request.text("status").unwrap_or("unknown");
            CurrentMedicine {
                id: request.id().unwrap_or_default().to_owned(),
                name: prescription::tall_man(&prescription::item_of(request).name),
                line: prescription::shown_line(request, Language::English),
                status: if status == "active" && over { "completed" } else { status }.to_owned(),
                prescribed_at: request.text("authoredOn").unwrap_or_default().to_owned(),
                until: until.map(|day| day.to_string()),
                prescriber: element::owned(request.value(), "/requester/display"),
            }
        })
        .collect();
    all.sort_by(|a, b| {
        (a.status != "active")
            .cmp(&(b.status != "active"))
            .then_with(|| b.prescribed_at.cmp(&a.prescribed_at))
    });
    all.truncate(MEDICINES_SHOWN);
    all
}

/// The latest value per code with the one before it and the series, oldest first.
pub fn vitals_with_history(observations: &[Resource], birth_date: &str) -> Vec<Vital> {
    let mut by_code: BTreeMap<usize, Vec<Vital>> = BTreeMap::new();
    for vital in vitals::read(observations, birth_date) {
        by_code.entry(vitals::sort(&vital.code)).or_default().push(vital);
    }
    let mut all = Vec::new();
    for mut values in by_code.into_values() {
        // Instants may be written with any offset: compare them as instants where they are whole.
        values.sort_by_cached_key(|v| (v.at.parse::<jiff::Timestamp>().ok(), v.at.clone()));
        let from = values.len().saturating_sub(SERIES_MAX);
        let point = |v: &Vital| VitalPoint { at: v.at.clone(), value: v.value.clone() };
        let series: Vec<VitalPoint> = values[from..].iter().map(point).collect();
        if let Some(mut latest) = values.pop() {
            latest.previous = values.last().map(point);
            latest.series = series;
            all.push(latest);
        }
    }
    all
}

fn document(document: &Resource) -> Option<DocumentLink> {
    let value = document.value();
    if document.text("status") == Some("entered-in-error") {
        return None;
    }
    let kind = value.get("type").map(element::words).unwrap_or_default();
    let title = text(value, "/content/0/attachment/title").or_else(|| text(value, "/description"));
    Some(DocumentLink {
        id: document.id()?.to_owned(),
        hidden: hidden::of(&[("title", title.is_none() && is_subsetted(document))]),
        title: title.unwrap_or(&kind).to_owned(),
        at: document.text("date").unwrap_or_default().to_owned(),
        author: array(value, "author").first().map(|a| element::owned(a, "/display")).unwrap_or_default(),
        kind,
    })
}
