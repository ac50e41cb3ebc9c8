//! The rules of the note. Pure.

use super::{
    DIAGNOSES_MAX, FOLLOW_UP_CHARS_MAX, Note, NoteInput, SECTION_CHARS_MAX, Status, from_xhtml, to_xhtml,
};
use crate::element::{
    self, array, coding, concept, extension, kind as type_of, set_extension, target, text, version,
};
use crate::hidden::{self, Hidden};
use crate::rule::{self, fits};
use crate::view::SystemCode;
use crate::vocabulary::{
    ASSESSMENT, CONDITION_CATEGORY, CONDITION_CLINICAL, CONDITION_STATUS, FINDINGS, FOLLOW_UP, LOINC, NOTE,
    PLAN, REASON,
};
use access::redact::is_subsetted;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::{Change, ChangeSet, Event, Rule};
use serde_json::{Value, json};

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    pub key: &'a ResourceKey,
    pub name: &'a str,
    pub now: Timestamp,
}

/// What the rules of saving look at.
#[derive(Debug, Clone, Copy)]
pub struct SaveSnapshot<'a> {
    pub encounter: &'a Resource,
    pub note: Option<&'a Resource>,
    /// The Conditions of this visit.
    pub conditions: &'a [Resource],
    pub author: &'a Signer<'a>,
    /// Ids for new Conditions, at least as many as diagnoses.
    pub new_ids: &'a [String],
}

/// `note-incomplete` with the JSON pointer of every field that is missing.
pub fn incomplete(fields: &[&str]) -> Rule {
    let rules = fields
        .iter()
        .map(|field| {
            let what = match *field {
                "/reason" => "Write why the patient came.",
                _ => "Write an assessment or a plan.",
            };
            Rule::new("note-incomplete", what).at(*field)
        })
        .collect();
    let fields: Vec<&str> = fields.to_vec();
    let rule: Rule =
        rule::all(rules).unwrap_or_else(|| Rule::new("note-incomplete", "The note is incomplete."));
    let mut details = rule.details.clone();
    if details.is_null() {
        details = json!({});
    }
    details["fields"] = json!(fields);
    rule.with(details)
}

fn section<'a>(note: &'a Resource, code: &str) -> Option<&'a Value> {
    let sections = array(note.value(), "section");
    sections.iter().find(|s| s.get("code").and_then(|c| coding(c, LOINC)).is_some_and(|(c, _)| c == code))
}

fn section_text(note: &Resource, code: &str) -> String {
    section(note, code).and_then(|s| text(s, "/text/div")).map(from_xhtml).unwrap_or_default()
}

/// The Conditions that the note names, in its order.
pub fn condition_keys(note: &Resource) -> Vec<ResourceKey> {
    let entries = section(note, ASSESSMENT).map(|s| array(s, "entry")).unwrap_or_default();
    entries.iter().filter_map(target).filter(|key| key.kind.name() == "Condition").collect()
}

/// The code of a Condition as the note shows it.
pub(crate) fn diagnosis(condition: &Resource) -> SystemCode {
    let code = condition.get("code").cloned().unwrap_or(Value::Null);
    let first = array(&code, "coding").first();
    let part = |name| first.map(|c| element::owned(c, name)).unwrap_or_default();
    let words = element::words(&code);
    SystemCode {
        code: part("/code"),
        display: Some(part("/display")).filter(|d| !d.is_empty()).unwrap_or(words),
        system: part("/system"),
    }
}

/// What of a note that is not whole is hidden: with one part go the words of all sections, since nothing tells which of
/// them speak of it; a section that is a part itself does not say which one it was.
fn hidden_fields(note: &Resource, follow_up: bool) -> Hidden {
    let gone = |code: &str| section_text(note, code).is_empty();
    let sections = array(note.value(), "section");
    let entry = |s: &Value| hidden::any_masked(s, "entry");
    hidden::of(&[
        ("reason", gone(REASON)),
        ("findings", gone(FINDINGS)),
        ("assessment", gone(ASSESSMENT)),
        ("diagnoses", sections.iter().any(|s| fhir::is_masked(s) || entry(s))),
        ("plan", gone(PLAN)),
        ("follow_up", !follow_up),
    ])
}

/// The note as `/api/v1` shows it.
pub fn read(note: &Resource, conditions: &[Resource]) -> Note {
    let value = note.value();
    let status = match note.text("status") {
        Some("final") => Status::Signed,
        Some("amended") => Status::Amended,
        _ => Status::Draft,
    };
    let named = condition_keys(note);
    let follow_up = extension(value, FOLLOW_UP).and_then(|e| text(e, "/valueString")).map(str::to_owned);
    let hidden = match is_subsetted(note) {
        true => hidden_fields(note, follow_up.is_some()),
        false => Vec::new(),
    };
    let attested = array(value, "attester").iter().filter_map(|a| text(a, "/time")).next_back();
    Note {
        id: note.id().map(str::to_owned),
        version: version(note),
        status,
        reason: section_text(note, REASON),
        findings: section_text(note, FINDINGS),
        assessment: section_text(note, ASSESSMENT),
        diagnoses: named
            .iter()
            .filter_map(|key| conditions.iter().find(|c| c.key().as_ref() == Some(key)))
            .map(diagnosis)
            .collect(),
        plan: section_text(note, PLAN),
        follow_up,
        hidden,
        author: array(value, "author").first().map(|a| element::owned(a, "/display")).unwrap_or_default(),
        updated_at: text(value, "/meta/lastUpdated")
            .or_else(|| note.text("date"))
            .unwrap_or_default()
            .to_owned(),
        signed_at: match status {
            Status::Draft => None,
            _ => attested.or_else(|| note.text("date")).map(str::to_owned),
        },
    }
}

/// Every problem of the texts.
fn check(input: &NoteInput) -> Result<(), Rule> {
    let mut problems: Vec<Rule> = Vec::new();
    let sections = [
        ("/reason", &input.reason),
        ("/findings", &input.findings),
        ("/assessment", &input.assessment),
        ("/plan", &input.plan),
    ];
    for (field, words) in sections {
        problems.extend(fits(words, field, SECTION_CHARS_MAX).err());
    }
    if let Some(words) = &input.follow_up {
        problems.extend(fits(words, "/follow_up", FOLLOW_UP_CHARS_MAX).err());
    }
    if input.diagnoses.len() > DIAGNOSES_MAX {
        problems.push(Rule::new("too-many", format!("At most {DIAGNOSES_MAX} diagnoses.")).at("/diagnoses"));
    }
    for (index, diagnosis) in input.diagnoses.iter().enumerate() {
        let at = |name: &str| format!("/diagnoses/{index}/{name}");
        problems.extend(rule::needed(&diagnosis.code, &at("code"), 64).err());
        problems.extend(rule::needed(&diagnosis.display, &at("display"), 300).err());
        problems.extend(rule::needed(&diagnosis.system, &at("system"), 200).err());
        if diagnosis.code.contains(char::is_whitespace) || diagnosis.system.contains(char::is_whitespace) {
            problems.push(Rule::new("code-invalid", "A code has no spaces.").at(at("code")));
        }
        let same = |d: &SystemCode| d.code == diagnosis.code && d.system == diagnosis.system;
        if input.diagnoses[..index].iter().any(same) {
            problems.push(Rule::new("diagnosis-twice", "This diagnosis is there already.").at(at("code")));
        }
    }
    rule::all(problems).map_or(Ok(()), Err)
}

/// Saves a draft. The first save makes the note; its id is that of the visit, so that two first saves meet.
///
/// Errors: `note-signed`; `visit-unknown`; every problem of the texts.
pub fn plan_save(input: &NoteInput, snapshot: &SaveSnapshot<'_>) -> Result<ChangeSet, Rule> {
    if snapshot.note.is_some_and(|note| note.text("status") != Some("preliminary")) {
        return Err(Rule::new("note-signed", "This note is signed; amend it instead."));
    }
    write(input, snapshot, "preliminary")
}

/// Changes a signed note in the open: its status says so, the old text stays in the history.
///
/// Errors: `note-not-signed`; `note-incomplete`; every problem of the texts.
pub fn plan_amend(input: &NoteInput, snapshot: &SaveSnapshot<'_>) -> Result<ChangeSet, Rule> {
    if !snapshot.note.is_some_and(|note| matches!(note.text("status"), Some("final" | "amended"))) {
        return Err(Rule::new("note-not-signed", "This note is still a draft; change it directly."));
    }
    let mut set = write(input, snapshot, "amended")?;
    for change in &mut set.changes {
        if let Change::Update { resource, .. } | Change::Create { resource } = change {
            match resource.kind().name() {
                "Composition" => {
                    complete(resource)?;
                    attest(resource, snapshot.author);
                }
                "Condition" => confirm(resource),
                _ => {}
            }
        }
    }
    if let Some(key) = snapshot.note.and_then(Resource::key) {
        let visit = snapshot.encounter.id().unwrap_or_default();
        set.events.push(Event { topic: "note.amended", subject: key, data: json!({ "id": visit }) });
    }
    Ok(set)
}

fn write(input: &NoteInput, snapshot: &SaveSnapshot<'_>, status: &str) -> Result<ChangeSet, Rule> {
    check(input)?;
    let visit = crate::consultation::read(snapshot.encounter)
        .ok_or_else(|| Rule::new("visit-unknown", "This is no visit of this clinic."))?;
    let mut set = ChangeSet::default();
    let entries = diagnoses(input, snapshot, &visit, status == "amended", &mut set);
    let author = element::reference(snapshot.author.key, snapshot.author.name);
    let mut note = snapshot.note.cloned().unwrap_or_else(|| {
        let mut new = Resource::new(type_of("Composition"));
        new.set_id(&visit.key.id);
        new
    });
    let subject = element::reference(&visit.patient, &visit.patient_name);
    note.set("status", json!(status));
    note.set("type", concept(LOINC, NOTE, "Progress note"));
    note.set("subject", subject);
    note.set("encounter", json!({"reference": visit.key.to_string()}));
    let mut authors = array(note.value(), "author").to_vec();
    if !authors.iter().any(|a| text(a, "/reference") == text(&author, "/reference")) {
        authors.push(author);
    }
    note.set("author", json!(authors));
    note.set("title", json!("Visit note"));
    let sections: Vec<Value> = [
        (REASON, "Reason for visit", &input.reason, Vec::new()),
        (FINDINGS, "Findings", &input.findings, Vec::new()),
        (ASSESSMENT, "Assessment", &input.assessment, entries),
        (PLAN, "Plan", &input.plan, Vec::new()),
    ]
    .into_iter()
    .filter(|(_, _, words, entries)| !words.trim().is_empty() || !entries.is_empty())
    .map(|(code, title, words, entries)| {
        let mut section = json!({"title": title, "code": concept(LOINC, code, title)});
        // A narrative must have content (txt-2); a section may have its entries alone (cmp-1).
        if !words.trim().is_empty() {
            section["text"] = json!({"status": "additional", "div": to_xhtml(words)});
        }
        if !entries.is_empty() {
            section["entry"] = Value::Array(entries);
        }
        section
    })
    .collect();
    // R4 wants at least one element in a list, or no list.
    note.set("section", if sections.is_empty() { Value::Null } else { Value::Array(sections) });
    let follow_up = input.follow_up.as_deref().map(str::trim).filter(|words| !words.is_empty());
    let follow_up = follow_up.map(|words| json!({"url": FOLLOW_UP, "valueString": words}));
    set_extension(note.value_mut(), FOLLOW_UP, follow_up);
    // The moment of the last change; a save that changes nothing writes nothing.
    let unchanged = snapshot.note.is_some_and(|old| *old == note) && set.changes.is_empty();
    if unchanged {
        return Ok(ChangeSet::default());
    }
    note.set("date", json!(element::written(snapshot.author.now)));
    set.changes.push(match snapshot.note {
        Some(before) => Change::Update { resource: note, if_match: Some(version(before)) },
        None => Change::Create { resource: note },
    });
    Ok(set)
}

/// Makes the Conditions follow the list; returns the section's entries.
fn diagnoses(
    input: &NoteInput,
    snapshot: &SaveSnapshot<'_>,
    visit: &crate::consultation::Facts,
    signed: bool,
    set: &mut ChangeSet,
) -> Vec<Value> {
    let named = snapshot.note.map(condition_keys).unwrap_or_default();
    let old: Vec<&Resource> =
        snapshot.conditions.iter().filter(|c| c.key().is_some_and(|key| named.contains(&key))).collect();
    let same = |condition: &Resource, wanted: &SystemCode| {
        let found = diagnosis(condition);
        found.code == wanted.code && found.system == wanted.system
    };
    let mut entries = Vec::new();
    let mut ids = snapshot.new_ids.iter();
    for wanted in &input.diagnoses {
        if let Some(key) = old.iter().find(|c| same(c, wanted)).and_then(|c| c.key()) {
            entries.push(json!({"reference": key.to_string()}));
            continue;
        }
        let Some(id) = ids.next() else { break };
        let condition = new_condition(id, wanted, visit, snapshot.author);
        entries.push(json!({"reference": format!("Condition/{id}")}));
        set.changes.push(Change::Create { resource: condition });
    }
    for condition in old.into_iter().filter(|c| !input.diagnoses.iter().any(|wanted| same(c, wanted))) {
        let if_match = Some(version(condition));
        set.changes.push(if signed {
            // What was signed once stays visible, struck through.
            let mut wrong = condition.clone();
            let status = json!({"coding": [{"system": CONDITION_STATUS, "code": "entered-in-error"}]});
            wrong.set("verificationStatus", status);
            wrong.set("clinicalStatus", Value::Null);
            Change::Update { resource: wrong, if_match }
        } else {
            match condition.key() {
                Some(key) => Change::Delete { key, if_match },
                None => continue,
            }
        });
    }
    entries
}

fn new_condition(
    id: &str,
    wanted: &SystemCode,
    visit: &crate::consultation::Facts,
    author: &Signer<'_>,
) -> Resource {
    let mut condition = Resource::new(type_of("Condition"));
    condition.set_id(id);
    condition.set("clinicalStatus", json!({"coding": [{"system": CONDITION_CLINICAL, "code": "active"}]}));
    condition
        .set("verificationStatus", json!({"coding": [{"system": CONDITION_STATUS, "code": "provisional"}]}));
    let category = concept(CONDITION_CATEGORY, "encounter-diagnosis", "Encounter Diagnosis");
    condition.set("category", json!([category]));
    condition.set("code", concept(&wanted.system, &wanted.code, &wanted.display));
    condition.set("subject", element::reference(&visit.patient, &visit.patient_name));
    condition.set("encounter", json!({"reference": visit.key.to_string()}));
    condition.set("recordedDate", json!(element::written(author.now)));
    condition.set("recorder", element::reference(author.key, author.name));
    condition
}

/// Errors: `note-incomplete`.
fn complete(note: &Resource) -> Result<(), Rule> {
    let empty = |code| section_text(note, code).trim().is_empty();
    let mut missing = Vec::new();
    if empty(REASON) {
        missing.push("/reason");
    }
    if empty(ASSESSMENT) && condition_keys(note).is_empty() && empty(PLAN) {
        missing.push("/assessment");
    }
    if missing.is_empty() { Ok(()) } else { Err(incomplete(&missing)) }
}

fn attest(note: &mut Resource, signer: &Signer<'_>) {
    let party = element::reference(signer.key, signer.name);
    let mut attesters = array(note.value(), "attester").to_vec();
    attesters.push(json!({"mode": "legal", "time": element::written(signer.now), "party": party}));
    note.set("attester", Value::Array(attesters));
    note.set("date", json!(element::written(signer.now)));
}

fn confirm(condition: &mut Resource) {
    let provisional = condition
        .get("verificationStatus")
        .and_then(|status| coding(status, CONDITION_STATUS))
        .is_some_and(|(code, _)| code == "provisional");
    if provisional {
        condition.set(
            "verificationStatus",
            json!({"coding": [{"system": CONDITION_STATUS, "code": "confirmed"}]}),
        );
    }
}

/// Signs the note: it is final, its diagnoses are confirmed. Signing twice changes nothing.
///
/// Errors: `note-incomplete` with every missing field.
pub fn plan_sign(note: &Resource, conditions: &[Resource], signer: &Signer<'_>) -> Result<ChangeSet, Rule> {
    if matches!(note.text("status"), Some("final" | "amended")) {
        return Ok(ChangeSet::default());
    }
    complete(note)?;
    let mut set = ChangeSet::default();
    let named = condition_keys(note);
    for condition in conditions.iter().filter(|c| c.key().is_some_and(|key| named.contains(&key))) {
        let mut next = condition.clone();
        confirm(&mut next);
        if next != *condition {
            set.changes.push(Change::Update { resource: next, if_match: Some(version(condition)) });
        }
    }
    let mut next = note.clone();
    next.set("status", json!("final"));
    attest(&mut next, signer);
    set.changes.push(Change::Update { resource: next, if_match: Some(version(note)) });
    if let Some(key) = note.key() {
        let visit = note.get("encounter").and_then(|e| element::target_id(e, "Encounter"));
        set.events.push(Event { topic: "note.signed", subject: key, data: json!({ "id": visit }) });
    }
    Ok(set)
}
