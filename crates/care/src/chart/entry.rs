//! Recording allergies and problems, and taking back what was wrong.

use super::{Allergy, AllergyNew, ClinicalProblem, Criticality, ProblemNew, summary};
use crate::consultation::require_clinician;
use crate::element::{self, concept, key, kind as type_of, text, version};
use crate::note::{Signer, author_of};
use crate::rule::{self, fits, needed};
use crate::vocabulary::{
    ALLERGY_CLINICAL, ALLERGY_STATUS, CONDITION_CATEGORY, CONDITION_CLINICAL, CONDITION_STATUS,
    NO_KNOWN_ALLERGY, SNOMED,
};
use crate::{load, new_id};
use access::Ctx;
use fhir::{Resource, ResourceKey};
use record::{Change, ChangeSet, Error, Event, Record, Rule};
use serde_json::{Value, json};

/// What can be marked as entered in error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Allergies,
    Problems,
    Vitals,
}

impl EntryKind {
    /// Path segments of the API: `allergies`, `problems`, `vitals`.
    pub fn from_path(segment: &str) -> Option<EntryKind> {
        match segment {
            "allergies" => Some(EntryKind::Allergies),
            "problems" => Some(EntryKind::Problems),
            "vitals" => Some(EntryKind::Vitals),
            _ => None,
        }
    }
    fn kind(self) -> &'static str {
        match self {
            EntryKind::Allergies => "AllergyIntolerance",
            EntryKind::Problems => "Condition",
            EntryKind::Vitals => "Observation",
        }
    }
}

fn create(resource: Resource, topic: &'static str, patient: &ResourceKey) -> ChangeSet {
    let mut set = ChangeSet { changes: vec![Change::Create { resource }], ..ChangeSet::default() };
    set.events.push(Event { topic, subject: patient.clone(), data: json!({ "id": patient.id }) });
    set
}

/// Records an allergy. "No known allergies" and a listed one exclude each other.
///
/// Errors: `required`, `too-long`; `allergy-known` if it is there already; `allergies-listed` for "none known" beside
/// listed ones.
pub fn plan_allergy(
    id: &str,
    new: &AllergyNew,
    patient: &Resource,
    before: &[Resource],
    author: &Signer<'_>,
) -> Result<ChangeSet, Rule> {
    let words = needed(&new.text, "/text", 200)?;
    let code = fits(new.code.as_deref().unwrap_or_default().trim(), "/code", 64)?;
    let reaction = fits(new.reaction.as_deref().unwrap_or_default().trim(), "/reaction", 300)?;
    if code.contains(char::is_whitespace) {
        return Err(Rule::new("code-invalid", "A code has no spaces.").at("/code"));
    }
    let none = code == NO_KNOWN_ALLERGY;
    let live: Vec<Allergy> = before.iter().map(summary::allergy).filter(|a| a.status == "active").collect();
    let is_none = |a: &Allergy| a.code.as_deref() == Some(NO_KNOWN_ALLERGY);
    if none && live.iter().any(|a| !is_none(a)) {
        return Err(Rule::new(
            "allergies-listed",
            "Allergies are listed; take them back first if they are wrong.",
        ));
    }
    let same = |a: &Allergy| fhir::search::fold(&a.text) == fhir::search::fold(&words);
    if live.iter().any(|a| same(a) || (none && is_none(a))) {
        return Err(Rule::new("allergy-known", "This is recorded already.").at("/text"));
    }
    let patient_key =
        patient.key().ok_or_else(|| Rule::new("patient-unknown", "There is no such patient."))?;
    let name = crate::view::PersonName::read(patient.value()).whole();
    let mut allergy = Resource::new(type_of("AllergyIntolerance"));
    allergy.set_id(id);
    allergy.set("clinicalStatus", json!({"coding": [{"system": ALLERGY_CLINICAL, "code": "active"}]}));
    allergy.set("verificationStatus", json!({"coding": [{"system": ALLERGY_STATUS, "code": "confirmed"}]}));
    if let Some(criticality) = new.criticality.filter(|_| !none) {
        allergy.set("criticality", json!(criticality));
    }
    let what = if code.is_empty() { json!({ "text": words }) } else { concept(SNOMED, &code, &words) };
    allergy.set("code", what);
    allergy.set("patient", element::reference(&patient_key, &name));
    allergy.set("recordedDate", json!(element::written(author.now)));
    allergy.set("recorder", element::reference(author.key, author.name));
    if !reaction.is_empty() && !none {
        allergy.set("reaction", json!([{"manifestation": [{"text": reaction}]}]));
    }
    let mut set = create(allergy, "allergy.recorded", &patient_key);
    // What is known now replaces "none known".
    for old in before
        .iter()
        .filter(|old| !none && is_none(&summary::allergy(old)) && summary::allergy(old).status == "active")
    {
        let mut gone = old.clone();
        gone.set("clinicalStatus", json!({"coding": [{"system": ALLERGY_CLINICAL, "code": "inactive"}]}));
        set.changes.push(Change::Update { resource: gone, if_match: Some(version(old)) });
    }
    Ok(set)
}

/// Puts a problem on the list. Errors: `required`, `too-long`, `date-invalid`, `date-future`, `problem-known`.
pub fn plan_problem(
    id: &str,
    new: &ProblemNew,
    patient: &Resource,
    before: &[Resource],
    author: &Signer<'_>,
) -> Result<ChangeSet, Rule> {
    let code = needed(&new.code, "/code", 64)?;
    let display = needed(&new.display, "/display", 300)?;
    let system = needed(&new.system, "/system", 200)?;
    if code.contains(char::is_whitespace) || system.contains(char::is_whitespace) {
        return Err(Rule::new("code-invalid", "A code has no spaces.").at("/code"));
    }
    let onset = new.onset.as_deref().map(str::trim).filter(|onset| !onset.is_empty());
    if let Some(onset) = onset {
        let whole = match onset.len() {
            4 => format!("{onset}-01-01"),
            7 => format!("{onset}-01"),
            _ => onset.to_owned(),
        };
        let day = rule::date(&whole, "/onset")?;
        if day > author.now.to_zoned(jiff::tz::TimeZone::UTC).date() {
            return Err(Rule::new("date-future", "This date is in the future.").at("/onset"));
        }
    }
    let known = before
        .iter()
        .map(summary::problem)
        .any(|p| p.code == code && p.system == system && p.status == "active");
    if known && before.iter().any(|c| summary::problem(c).code == code && summary::is_listed(c)) {
        return Err(Rule::new("problem-known", "This problem is on the list already.").at("/code"));
    }
    let patient_key =
        patient.key().ok_or_else(|| Rule::new("patient-unknown", "There is no such patient."))?;
    let name = crate::view::PersonName::read(patient.value()).whole();
    let mut problem = Resource::new(type_of("Condition"));
    problem.set_id(id);
    problem.set("clinicalStatus", json!({"coding": [{"system": CONDITION_CLINICAL, "code": "active"}]}));
    problem.set("verificationStatus", json!({"coding": [{"system": CONDITION_STATUS, "code": "confirmed"}]}));
    problem.set("category", json!([concept(CONDITION_CATEGORY, "problem-list-item", "Problem List Item")]));
    problem.set("code", concept(&system, &code, &display));
    problem.set("subject", element::reference(&patient_key, &name));
    if let Some(onset) = onset {
        problem.set("onsetDateTime", json!(onset));
    }
    problem.set("recordedDate", json!(element::written(author.now)));
    problem.set("recorder", element::reference(author.key, author.name));
    Ok(create(problem, "problem.recorded", &patient_key))
}

/// Marks an entry as wrong; it stays visible, struck through. Doing it twice changes nothing.
///
/// Errors: `entry-other` if it belongs to another patient or list.
pub fn plan_error(entry: &Resource, kind: EntryKind, patient: &str) -> Result<ChangeSet, Rule> {
    let value = entry.value();
    let owner =
        value.get("subject").or_else(|| value.get("patient")).and_then(|r| element::target_id(r, "Patient"));
    if owner.as_deref() != Some(patient) || entry.kind().name() != kind.kind() {
        return Err(Rule::new("entry-other", "This entry is not on this list."));
    }
    let mut wrong = entry.clone();
    let status = |system: &str| json!({"coding": [{"system": system, "code": "entered-in-error"}]});
    match kind {
        // R4 forbids a clinical status beside "entered in error" (ait-2, con-5).
        EntryKind::Allergies => {
            wrong.set("verificationStatus", status(ALLERGY_STATUS));
            wrong.set("clinicalStatus", Value::Null);
        }
        EntryKind::Problems => {
            wrong.set("verificationStatus", status(CONDITION_STATUS));
            wrong.set("clinicalStatus", Value::Null);
        }
        EntryKind::Vitals => wrong.set("status", json!("entered-in-error")),
    }
    if wrong == *entry {
        return Ok(ChangeSet::default());
    }
    let change = Change::Update { resource: wrong, if_match: Some(version(entry)) };
    Ok(ChangeSet { changes: vec![change], ..ChangeSet::default() })
}

/// `POST patients/{id}/allergies`. Errors: `Denied`; `NotFound`; those of [plan_allergy].
pub async fn add_allergy(
    record: &Record,
    ctx: &Ctx,
    patient: &str,
    new: &AllergyNew,
) -> Result<Allergy, Error> {
    require_clinician(ctx)?;
    let (author, name) = author_of(ctx)?;
    if let Some(id) = load::replayed(record, ctx, "allergy.record", "AllergyIntolerance").await? {
        return Ok(summary::allergy(&load::needed(record, ctx, &key("AllergyIntolerance", id)).await?));
    }
    let owner = load::needed(record, ctx, &key("Patient", patient)).await?;
    let who = format!("Patient/{patient}");
    let before = load::rows(record, ctx, "AllergyIntolerance", &[("patient", &who)], 200).await?;
    let author = Signer { key: &author, name: &name, now: ctx.now };
    let set = plan_allergy(&new_id(), new, &owner, &before, &author).map_err(rule::refuse)?;
    let done = record.command(ctx, "allergy.record", set).await?;
    let stored = done.written.first().and_then(|w| w.resource.clone()).ok_or(Error::NotFound)?;
    Ok(summary::allergy(&stored))
}

/// `POST patients/{id}/problems`. Errors: `Denied`; `NotFound`; those of [plan_problem].
pub async fn add_problem(
    record: &Record,
    ctx: &Ctx,
    patient: &str,
    new: &ProblemNew,
) -> Result<ClinicalProblem, Error> {
    require_clinician(ctx)?;
    let (author, name) = author_of(ctx)?;
    if let Some(id) = load::replayed(record, ctx, "problem.record", "Condition").await? {
        return Ok(summary::problem(&load::needed(record, ctx, &key("Condition", id)).await?));
    }
    let owner = load::needed(record, ctx, &key("Patient", patient)).await?;
    let who = format!("Patient/{patient}");
    let before = load::rows(record, ctx, "Condition", &[("patient", &who)], 500).await?;
    let author = Signer { key: &author, name: &name, now: ctx.now };
    let set = plan_problem(&new_id(), new, &owner, &before, &author).map_err(rule::refuse)?;
    let done = record.command(ctx, "problem.record", set).await?;
    let stored = done.written.first().and_then(|w| w.resource.clone()).ok_or(Error::NotFound)?;
    Ok(summary::problem(&stored))
}

/// `POST patients/{id}/{kind}/{rid}/entered-in-error`. Errors: `Denied`; `NotFound`; those of [plan_error].
pub async fn entered_in_error(
    record: &Record,
    ctx: &Ctx,
    patient: &str,
    kind: EntryKind,
    id: &str,
) -> Result<(), Error> {
    require_clinician(ctx)?;
    let entry = load::needed(record, ctx, &key(kind.kind(), id)).await?;
    let set = plan_error(&entry, kind, patient).map_err(rule::refuse)?;
    if set != ChangeSet::default() {
        record.command(ctx, "entry.error", set).await?;
    }
    Ok(())
}

/// `criticality` as FHIR writes it.
pub(super) fn criticality(allergy: &Resource) -> Criticality {
    match text(allergy.value(), "/criticality") {
        Some("low") => Criticality::Low,
        Some("high") => Criticality::High,
        _ => Criticality::UnableToAssess,
    }
}
