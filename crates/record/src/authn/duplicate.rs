//! Records that may be of the same person: found, shown to staff, linked or kept apart by them. Never merged silently.

use super::Resolution;
use crate::write::Request;
use crate::{Change, ChangeSet, Committed, Effect, Error, Record, Rule};
use access::{Capability, Ctx};
use fhir::search::fold;
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// From this score on a pair is shown to staff. Two strong facts (phone, birth date, name) reach it, one does not.
pub const MIN_SCORE: u8 = 60;
const PHONE_POINTS: f64 = 35.0;
const BIRTH_POINTS: f64 = 30.0;
const NAME_POINTS: f64 = 35.0;
/// Names less alike than this say nothing.
const NAME_FLOOR: f64 = 0.82;
/// People with the same birthday or phone that are compared.
const MAX_COMPARED: u32 = 300;
const MAX_CANDIDATES: usize = 5;
/// Resources moved with a linked record; a record with more is no fresh registration.
const MAX_MOVED: usize = 2000;
const SYSTEM: &str = "https://uzima.health/fhir";
/// `Task.code` of a review.
pub const REVIEW_CODE: &str = "patient-duplicate-review";

/// The Task that asks the front desk; `focus` is the new Patient, each input a candidate with its score.
pub(super) fn review_task(
    new: &ResourceKey,
    candidates: &[(ResourceKey, u8)],
    now: Timestamp,
) -> Result<Resource, Error> {
    let input: Vec<Value> = candidates
        .iter()
        .flat_map(|(key, score)| {
            [
                json!({"type": {"coding": [{"system": format!("{SYSTEM}/CodeSystem/task-input"), "code": "candidate"}]},
                    "valueReference": {"reference": key.to_string()}}),
                json!({"type": {"coding": [{"system": format!("{SYSTEM}/CodeSystem/task-input"), "code": "score"}]},
                    "valueInteger": score}),
            ]
        })
        .collect();
    Resource::from_value(json!({
        "resourceType": "Task", "id": Uuid::now_v7().to_string(), "status": "requested", "intent": "order",
        "code": {"coding": [{"system": format!("{SYSTEM}/CodeSystem/task"), "code": REVIEW_CODE}]},
        "focus": {"reference": new.to_string()},
        "authoredOn": format!("{now:.3}"),
        "input": input,
    }))
    .map_err(|o| Error::Internal(o.to_string()))
}

impl Record {
    /// Patients that may be the same person as one with these facts, best first: `(Patient, version, score 0–100)`.
    /// For front desk, clinicians and System principals. Errors: `Denied`.
    pub async fn duplicate_candidates(
        &self,
        ctx: &Ctx,
        given: &str,
        family: &str,
        birth_date: &str,
        phone: Option<&str>,
    ) -> Result<Vec<(Resource, u32, u8)>, Error> {
        if !access::policy::may(ctx, Capability::SearchPatients) {
            return Err(self.denied(ctx, "patient.candidates", "Patient").await);
        }
        // The caller may not read all these records; what is shown of them is the directory row.
        let system = Ctx::system("duplicates", ctx.now);
        let mut found: BTreeMap<String, (Resource, u32)> = BTreeMap::new();
        let mut queries = vec![vec![("birthdate", birth_date)]];
        if let Some(phone) = phone {
            queries.push(vec![("phone", phone)]);
        }
        for query in queries {
            for (resource, version) in self.find(&system, "Patient", &query, MAX_COMPARED).await? {
                if let Some(id) = resource.id() {
                    found.insert(id.to_owned(), (resource, version));
                }
            }
        }
        let mut scored: Vec<(Resource, u32, u8)> = found
            .into_values()
            .filter(|(r, _)| r.get("active") != Some(&Value::Bool(false)))
            .map(|(r, version)| {
                let score = score(r.value(), given, family, birth_date, phone);
                (r, version, score)
            })
            .filter(|(.., score)| *score >= MIN_SCORE)
            .collect();
        scored.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.id().cmp(&b.0.id())));
        scored.truncate(MAX_CANDIDATES);
        let patients: Vec<String> = scored.iter().filter_map(|(r, ..)| r.id().map(str::to_owned)).collect();
        if !matches!(ctx.principal, access::Principal::System(_)) {
            self.audit_one(ctx, "patient.candidates", store::audit::Outcome::Success, "Patient", &patients)
                .await?;
        }
        Ok(scored)
    }

    /// Ends a `patient-duplicate-review` Task. Front desk and administrators. Linking keeps the candidate: the new record
    /// becomes inactive and `replaced-by` it, what was already recorded under it moves over, and so does the account.
    /// Errors: `Denied`, `NotFound`, `Rule` `review-closed`, `candidate-unknown`, `record-too-large`; `VersionConflict`.
    pub async fn resolve_duplicate(
        &self,
        ctx: &Ctx,
        task: &ResourceKey,
        resolution: Resolution,
    ) -> Result<Committed, Error> {
        if !access::policy::may(ctx, Capability::ResolveDuplicates) {
            return Err(self.denied(ctx, "duplicate.resolve", &task.to_string()).await);
        }
        let (mut review, review_version) = self.load(ctx, task).await?.ok_or(Error::NotFound)?;
        if coding(&review) != Some(REVIEW_CODE) {
            return Err(Error::NotFound);
        }
        if review.text("status") != Some("requested") {
            return Err(Error::Rule(Rule::new("review-closed", "Somebody has already decided this.")));
        }
        let system = Ctx::system("duplicates", self.now());
        let focus =
            reference(review.get("focus")).ok_or_else(|| Error::Internal("review without focus".into()))?;
        let (mut new, new_version) = self.load(&system, &focus).await?.ok_or(Error::NotFound)?;
        drop_tag(&mut new);
        review.set("status", json!("completed"));

        let mut request = Request::raw(ChangeSet::default());
        request.command = Some("duplicate.resolve");
        let outcome = match &resolution {
            Resolution::NotDuplicate => "not-duplicate".to_owned(),
            Resolution::Link { candidate } => {
                let kept_key = ResourceKey::new(focus.kind, candidate.clone());
                if !candidates(&review).contains(&kept_key) {
                    return Err(Error::Rule(
                        Rule::new("candidate-unknown", "This record was not offered for linking.")
                            .at("/candidate_id"),
                    ));
                }
                let (mut kept, kept_version) = self.load(&system, &kept_key).await?.ok_or(Error::NotFound)?;
                link(&mut kept, &focus, "replaces");
                adopt_telecom(&mut kept, &new);
                link(&mut new, &kept_key, "replaced-by");
                new.set("active", json!(false));
                request.push(Change::Update { resource: kept, if_match: Some(kept_version) }, String::new());
                for (mut resource, version) in self.record_of(&system, &focus).await? {
                    if resource.key().as_ref() == Some(task) {
                        continue;
                    }
                    let (from, to) = (focus.to_string(), kept_key.to_string());
                    fhir::search::rewrite_references(&mut resource, &mut |text| {
                        (text == from).then(|| to.clone())
                    });
                    request.push(Change::Update { resource, if_match: Some(version) }, String::new());
                }
                let subject = focus.clone();
                let accounts = self.reading(move |tx| Ok(store::account::by_patient(tx, &subject)?)).await?;
                for account in accounts {
                    self.forget_account(account.id);
                    request.effects.push(Effect::AccountUpdate(store::account::Update {
                        account: account.id,
                        patient: Some(Some(kept_key.clone())),
                        ..store::account::Update::default()
                    }));
                }
                format!("linked:{candidate}")
            }
        };
        review.set("output", json!([{"type": {"text": "decision"}, "valueString": outcome}]));
        request.push(Change::Update { resource: new, if_match: Some(new_version) }, String::new());
        request.push(Change::Update { resource: review, if_match: Some(review_version) }, String::new());
        request.events.push(crate::Event {
            topic: "duplicate.resolved",
            subject: focus,
            data: json!({"task": task.id, "linked": matches!(resolution, Resolution::Link { .. })}),
        });
        // The desk decides, but what moves includes clinical rows that the desk may not open: the record itself moves
        // them, on the desk's behalf, and the audit names the desk.
        request.on_behalf = true;
        self.commit(ctx, request).await
    }

    /// Everything recorded in the compartment of a patient but the Patient. Errors: `Rule` `record-too-large`.
    async fn record_of(&self, system: &Ctx, patient: &ResourceKey) -> Result<Vec<(Resource, u32)>, Error> {
        let text = patient.to_string();
        let mut found: BTreeMap<ResourceKey, (Resource, u32)> = BTreeMap::new();
        for kind in TypeId::all().filter(|k| *k != patient.kind) {
            for param in fhir::definitions::in_patient_compartment(kind) {
                let Some(param) = fhir::definitions::param_by_id(*param) else { continue };
                let limit = fhir::search::MAX_PAGE;
                for (resource, version) in
                    self.find(system, kind.name(), &[(param.code, &text)], limit).await?
                {
                    if let Some(key) = resource.key() {
                        found.insert(key, (resource, version));
                    }
                }
            }
        }
        if found.len() > MAX_MOVED {
            return Err(Error::Rule(Rule::new(
                "record-too-large",
                "Both records are in use; merge them by hand.",
            )));
        }
        Ok(found.into_values().collect())
    }
}

fn coding(task: &Resource) -> Option<&str> {
    task.get("code")?.get("coding")?.get(0)?.get("code")?.as_str()
}

fn reference(value: Option<&Value>) -> Option<ResourceKey> {
    ResourceKey::parse(value?.get("reference")?.as_str()?)
}

fn candidates(task: &Resource) -> Vec<ResourceKey> {
    task.get("input")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|input| reference(input.get("valueReference")))
        .collect()
}

fn drop_tag(patient: &mut Resource) {
    let Some(mut meta) = patient.get("meta").cloned() else { return };
    if let Some(tags) = meta.get_mut("tag").and_then(Value::as_array_mut) {
        tags.retain(|t| t["code"] != "possible-duplicate");
        if tags.is_empty() {
            meta.as_object_mut().map(|m| m.shift_remove("tag"));
        }
    }
    patient.set("meta", meta);
}

fn link(patient: &mut Resource, other: &ResourceKey, kind: &str) {
    let mut links = patient.get("link").and_then(Value::as_array).cloned().unwrap_or_default();
    links.push(json!({"other": {"reference": other.to_string()}, "type": kind}));
    patient.set("link", Value::Array(links));
}

/// The phone she registered with is the one she can be reached by.
fn adopt_telecom(kept: &mut Resource, new: &Resource) {
    let mut known = kept.get("telecom").and_then(Value::as_array).cloned().unwrap_or_default();
    for contact in new.get("telecom").and_then(Value::as_array).into_iter().flatten() {
        if !known.iter().any(|k| k["value"] == contact["value"]) {
            known.push(contact.clone());
        }
    }
    if !known.is_empty() {
        kept.set("telecom", Value::Array(known));
    }
}

/// 0–100: how likely the Patient is the person with these facts.
pub(crate) fn score(patient: &Value, given: &str, family: &str, birth_date: &str, phone: Option<&str>) -> u8 {
    let mut points = 0.0;
    if let Some(phone) = phone {
        let phones = patient["telecom"].as_array().into_iter().flatten();
        let mut same = phones.filter(|t| t["system"] == "phone").filter_map(|t| t["value"].as_str());
        if same.any(|p| p == phone || super::phone_e164(p).as_deref() == Some(phone)) {
            points += PHONE_POINTS;
        }
    }
    points += BIRTH_POINTS * birth_likeness(patient["birthDate"].as_str().unwrap_or_default(), birth_date);
    let asked: Vec<String> = words(&format!("{given} {family}"));
    let best = patient["name"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|name| {
            let given = name["given"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let whole = given.chain(name["family"].as_str()).collect::<Vec<_>>().join(" ");
            name_likeness(&asked, &words(&whole))
        })
        .fold(0.0, f64::max);
    if best >= NAME_FLOOR {
        points += NAME_POINTS * best;
    }
    points.round() as u8
}

/// 1 for the same day; day and month swapped or one digit mistyped count for half.
fn birth_likeness(a: &str, b: &str) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    if a == b {
        return 1.0;
    }
    let parts = |t: &str| t.split('-').map(str::to_owned).collect::<Vec<_>>();
    let (x, y) = (parts(a), parts(b));
    let swapped = x.len() == 3 && y.len() == 3 && x[0] == y[0] && x[1] == y[2] && x[2] == y[1];
    let mistyped = a.len() == b.len() && a.bytes().zip(b.bytes()).filter(|(p, q)| p != q).count() == 1;
    if swapped || mistyped { 0.5 } else { 0.0 }
}

fn words(text: &str) -> Vec<String> {
    fold(text).split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

/// Each word of the shorter name against its best partner in the longer one: order and middle names do not matter.
fn name_likeness(a: &[String], b: &[String]) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.is_empty() {
        return 0.0;
    }
    let sum: f64 = short.iter().map(|w| long.iter().map(|v| jaro_winkler(w, v)).fold(0.0, f64::max)).sum();
    let whole = sum / short.len() as f64;
    // One shared word of several is a family, not a person.
    if short.len() == 1 && long.len() > 1 { whole * 0.85 } else { whole }
}

/// Jaro–Winkler likeness of two words, 0–1.
fn jaro_winkler(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a == b {
        return 1.0;
    }
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let reach = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut matched_a = Vec::new();
    for (i, c) in a.iter().enumerate() {
        let range = i.saturating_sub(reach)..(i + reach + 1).min(b.len());
        if let Some(j) = range.into_iter().find(|j| !taken[*j] && b[*j] == *c) {
            taken[j] = true;
            matched_a.push(*c);
        }
    }
    if matched_a.is_empty() {
        return 0.0;
    }
    let matched_b = b.iter().zip(&taken).filter(|(_, t)| **t).map(|(c, _)| *c);
    let half_transposed = matched_a.iter().zip(matched_b).filter(|(x, y)| **x != *y).count();
    let m = matched_a.len() as f64;
    let jaro = (m / a.len() as f64 + m / b.len() as f64 + (m - half_transposed as f64 / 2.0) / m) / 3.0;
    let prefix = a.iter().zip(&b).take(4).take_while(|(x, y)| x == y).count() as f64;
    jaro + prefix * 0.1 * (1.0 - jaro)
}
