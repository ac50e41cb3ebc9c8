//! Records that may be of the same person: found, shown to staff, linked or kept apart by them. Never merged silently.

use super::Resolution;
use crate::operation::Merge;
use crate::operation::likeness::Person;
use crate::operation::merge::drop_duplicate_tag;
use crate::write::Request;
use crate::{Change, ChangeSet, Committed, Error, Record, Rule};
use access::{Capability, Ctx};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// From this score on a pair is shown to staff. Two strong facts (phone, birth date, name) reach it, one does not: see
/// [crate::operation::likeness].
pub const MIN_SCORE: u8 = 60;
const MAX_CANDIDATES: usize = 5;
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
        let mut described = json!({"name": [{"given": [given], "family": family}], "birthDate": birth_date});
        if let Some(phone) = phone {
            described["telecom"] = json!([{"system": "phone", "value": phone}]);
        }
        // The caller may not read all these records; what is shown of them is the directory row.
        let mut scored: Vec<(Resource, u32, u8)> = self
            .similar(&Person::of(&described))
            .await?
            .into_iter()
            .map(|(resource, version, likeness)| (resource, version, likeness.score()))
            .filter(|(.., score)| *score >= MIN_SCORE)
            .collect();
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
        let focus =
            reference(review.get("focus")).ok_or_else(|| Error::Internal("review without focus".into()))?;
        review.set("status", json!("completed"));
        let mut request = Request::raw(ChangeSet::default());
        let outcome = match &resolution {
            Resolution::NotDuplicate => {
                let system = Ctx::system("duplicates", self.now());
                let (mut new, new_version) = self.load(&system, &focus).await?.ok_or(Error::NotFound)?;
                drop_duplicate_tag(&mut new);
                request.push(Change::Update { resource: new, if_match: Some(new_version) }, String::new());
                "not-duplicate".to_owned()
            }
            Resolution::Link { candidate } => {
                let kept = ResourceKey::new(focus.kind, candidate.clone());
                if !candidates(&review).contains(&kept) {
                    return Err(Error::Rule(
                        Rule::new("candidate-unknown", "This record was not offered for linking.")
                            .at("/candidate_id"),
                    ));
                }
                let merge = Merge { source: focus.clone(), target: kept, result: None, preview: false };
                request = self.plan_merge(ctx, &merge, std::slice::from_ref(task)).await?.request;
                format!("linked:{candidate}")
            }
        };
        request.command = Some("duplicate.resolve");
        review.set("output", json!([{"type": {"text": "decision"}, "valueString": outcome}]));
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
