//! Records that may be of one person: the front desk's list, and its decision.

use crate::element::{self, array, coding, key, target};
use crate::load;
use crate::patient::{Candidate, PatientRow};
use crate::view::Page;
use crate::vocabulary::TASK;
use access::{Capability, Ctx};
use fhir::Resource;
use record::authn::Resolution;
use record::authn::duplicate::REVIEW_CODE;
use record::{Error, Record};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One open question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DuplicateReview {
    pub task_id: String,
    pub new: PatientRow,
    /// Best first.
    pub candidates: Vec<Candidate>,
    pub created_at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateAction {
    /// The new record is the same person as the candidate, which is kept.
    Link,
    Distinct,
}

/// `POST duplicates/{task_id}/resolve`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DuplicateDecision {
    pub action: DuplicateAction,
    /// With `link`.
    #[serde(default)]
    pub candidate_id: Option<String>,
}

fn is_review(task: &Resource) -> bool {
    task.get("code").and_then(|code| coding(code, TASK)).is_some_and(|(code, _)| code == REVIEW_CODE)
}

/// Ids of the candidates with their scores.
fn candidates(task: &Resource) -> Vec<(String, u8)> {
    let mut found: Vec<(String, u8)> = Vec::new();
    for input in array(task.value(), "input") {
        if let Some(key) = input.get("valueReference").and_then(target) {
            found.push((key.id, 0));
        } else if let (Some(score), Some(last)) =
            (input.get("valueInteger").and_then(serde_json::Value::as_u64), found.last_mut())
        {
            last.1 = u8::try_from(score).unwrap_or(100);
        }
    }
    found
}

/// `GET duplicates`, oldest first. Errors: `Denied`; `Malformed` for a bad cursor.
pub async fn list(
    record: &Record,
    ctx: &Ctx,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<DuplicateReview>, Error> {
    if !access::policy::may(ctx, Capability::ResolveDuplicates) {
        return Err(Error::Denied);
    }
    let mut parameters: Vec<(String, String)> = vec![
        ("status".into(), "requested".into()),
        ("code".into(), format!("{TASK}|{REVIEW_CODE}")),
        ("_sort".into(), "authored-on".into()),
        ("_count".into(), limit.to_string()),
    ];
    parameters.extend(cursor.map(|cursor| ("_cursor".to_owned(), cursor.to_owned())));
    let page = crate::appointment::search(record, ctx, "Task", parameters).await?;
    let mut tasks = Vec::new();
    for stored in &page.items {
        tasks.push(stored.parse()?);
    }
    tasks.retain(is_review);
    let focus = |task: &Resource| task.get("focus").and_then(|f| element::target_id(f, "Patient"));
    let ids = tasks.iter().flat_map(|t| candidates(t).into_iter().map(|(id, _)| id).chain(focus(t)));
    let patients = load::by_id(record, ctx, "Patient", ids.collect::<Vec<_>>()).await?;
    let items = tasks.iter().filter_map(|task| {
        let new = patients.get(&focus(task)?)?;
        let mut all: Vec<Candidate> = candidates(task)
            .into_iter()
            .filter_map(|(id, score)| Some(Candidate::new(patients.get(&id)?, score)))
            .collect();
        all.sort_by_key(|candidate| std::cmp::Reverse(candidate.score));
        Some(DuplicateReview {
            task_id: task.id()?.to_owned(),
            new: PatientRow::read(new),
            candidates: all,
            created_at: task.text("authoredOn").unwrap_or_default().to_owned(),
        })
    });
    Ok(Page { items: items.collect(), next: page.next })
}

/// `POST duplicates/{task_id}/resolve`.
///
/// Errors: of [Record::resolve_duplicate]; `Rule` `required` for a link without a candidate.
pub async fn resolve(
    record: &Record,
    ctx: &Ctx,
    task: &str,
    decision: &DuplicateDecision,
) -> Result<(), Error> {
    let resolution = match (decision.action, &decision.candidate_id) {
        (DuplicateAction::Link, Some(candidate)) => Resolution::Link { candidate: candidate.clone() },
        (DuplicateAction::Link, None) => {
            let rule = record::Rule::new("required", "Say which record is kept.").at("/candidate_id");
            return Err(crate::rule::refuse(rule));
        }
        (DuplicateAction::Distinct, _) => Resolution::NotDuplicate,
    };
    record.resolve_duplicate(ctx, &key("Task", task), resolution).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn candidates_come_with_their_scores() {
        let task = Resource::from_value(json!({"resourceType": "Task", "input": [
            {"valueReference": {"reference": "Patient/a"}}, {"valueInteger": 93},
            {"valueReference": {"reference": "Patient/b"}}, {"valueInteger": 61},
        ]}))
        .unwrap();
        assert_eq!(candidates(&task), [("a".to_owned(), 93), ("b".to_owned(), 61)]);
    }
}
