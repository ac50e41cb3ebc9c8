//! Why somebody may or may not see something: the question an administrator asks.

use super::{Facts, Version};
use crate::{Error, Record};
use access::explain::{Explanation, explain};
use access::policy::{self, Capability, Needs};
use access::{Action, Ctx, Predicate, Principal};
use fhir::{Resource, ResourceKey, TypeId};

/// Of whom and what.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose access.
    pub account: i64,
    /// Logical id of the Patient.
    pub patient: String,
    pub kind: TypeId,
    /// One row; `None`: any such row of the patient, as it would be without a seal.
    pub id: Option<String>,
    pub action: Action,
}

impl Record {
    /// Errors: `Denied` for who does not manage rights; `NotFound` for an account or row that is not there, or a row that
    /// is another patient's.
    pub async fn explain_access(&self, ctx: &Ctx, question: Question) -> Result<Explanation, Error> {
        let what = format!(
            "explain account/{} Patient/{} {}{}",
            question.account,
            question.patient,
            question.kind.name(),
            question.id.as_ref().map(|id| format!("/{id}")).unwrap_or_default()
        );
        if !policy::may(ctx, Capability::ManageRights) {
            return Err(self.denied(ctx, "rights.explain", &what).await);
        }
        let system = Ctx::system("explain", self.now());
        let mut asked = self.user_of(&system, question.account).await?;
        asked.standing = self.standing(&asked).await?;
        let mut subject = Ctx::system("explain", self.now());
        subject.purpose = access::Purpose::Treatment;
        subject.principal = Principal::User(asked);
        let patient = question.patient.clone();
        let now = self.now();
        let answer = self
            .reading(move |tx| {
                let mut patients = vec![question.patient.clone()];
                let key = match &question.id {
                    Some(id) => ResourceKey::new(question.kind, id.clone()),
                    None => ResourceKey::new(question.kind, "any"),
                };
                let mut status_hidden = false;
                if question.id.is_some() {
                    let row = store::resource::load(tx, &key)?.filter(|row| !row.deleted);
                    let row = row.filter(|row| row.patients.contains(&question.patient));
                    let row = row.ok_or(Error::NotFound)?;
                    let resource = Resource::parse(&row.content)
                        .map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
                    let drafts = policy::unreadable_statuses(&subject, key.kind);
                    status_hidden = resource.text("status").is_some_and(|status| drafts.contains(&status));
                    patients = row.patients;
                }
                let practitioner =
                    subject.user().and_then(|user| user.practitioner.as_ref()).map(|key| key.id.clone());
                let mut reasons = Vec::new();
                if let Some(practitioner) = &practitioner {
                    for (source, until) in
                        store::care_link::reasons(tx, practitioner, &question.patient, now)?
                    {
                        let until = until.map(|at| at.strftime("%Y-%m-%d").to_string());
                        reasons.push((source.to_string(), until));
                    }
                }
                // Everything that could matter is looked up, whatever the role.
                let predicate = everything_asked(&subject, practitioner);
                debug_assert!(predicate.needs() != Needs::default());
                let mut facts = Facts::new(now);
                facts.with(tx, &predicate, &key, &patients, Version::Current, |row| {
                    Ok(explain(&subject, question.action, &row, &reasons, status_hidden))
                })
            })
            .await?;
        // Who looks after accounts has no business with what somebody is treated for.
        let knows = policy::may(ctx, Capability::ManagePrivacy);
        let answer = if knows { answer } else { answer.without_categories() };
        let patients = [patient];
        self.audit_one(ctx, "rights.explain", store::audit::Outcome::Success, &what, &patients).await?;
        Ok(answer)
    }
}

fn everything_asked(ctx: &Ctx, practitioner: Option<String>) -> Predicate {
    let asker = access::consent::Asker::of(ctx);
    let opener = policy::Opener {
        clear: access::Seals::NONE,
        practitioner: practitioner.clone(),
        asker: asker.clone(),
    };
    let mut all = vec![Predicate::Open(opener), Predicate::Consented(asker)];
    all.extend(practitioner.map(Predicate::InCareOf));
    Predicate::All(all)
}
