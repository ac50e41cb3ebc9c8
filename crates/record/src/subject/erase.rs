//! Erasure: what two people agreed to, carried out. The record's contents become unreadable, also in every backup; what
//! stays is that it was there, who saw it, and who erased it under which law.

use super::retention::{obstacles, refusal};
use super::{FRESH_MINUTES, SubjectEffect, event, law, refuse};
use crate::rights::second;
use crate::{ChangeSet, Effect, Error, Record};
use access::{Capability, Ctx};
use jiff::Timestamp;
use serde_json::json;
use store::Tx;
use store::audit::Outcome;
use store::subject::erasure::{self, Erasure};
use store::subject::request::{self, Answer, Answered, Kind, Request, State};
use store::subject::retention;
use uuid::Uuid;

/// What is written before anything is destroyed, in one transaction that looks for obstacles once more.
#[derive(Debug, Clone, PartialEq)]
pub struct EraseStart {
    pub erasure: Erasure,
    pub region: Option<String>,
}

/// An erasure that waits for its second person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureWaiting {
    /// `None`: its time is over.
    pub request: Option<Uuid>,
    /// Logical id of the Patient.
    pub patient: String,
    pub at: Timestamp,
    /// Account of who agreed.
    pub by: i64,
    pub law: String,
}

impl Record {
    /// One person agrees to an erasure that was asked for; another one carries it out.
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `legal-hold`, `retention-not-over` (with the classes of record
    /// and until when), `erased-already`, `own-request`, `kind-wrong`; `Duplicate` `already-settled`.
    pub async fn approve_erasure(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let by = self.require_officer(ctx, "erasure.approve", "").await?;
        self.require_fresh(ctx, FRESH_MINUTES, true)?;
        let request = self.erasable(ctx, id, "erasure.approve").await?;
        self.refuse_obstacles(&request.patient).await?;
        let effect = SubjectEffect::Approve { id, by, at: self.now() };
        let set = ChangeSet {
            effects: vec![Effect::Subject(effect)],
            events: vec![event("erasure.approved", &request.patient, json!({"request": id.to_string()}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "erasure.approve", set).await.map(|_| ())
    }

    /// Carries out an erasure that another person agreed to: the contents of the record, its index, messages, sessions and
    /// grants, the account's name and numbers, portable copies. Cannot be taken back.
    /// Errors: as [Record::approve_erasure]; `Rule` `second-person-needed`, `not-approved`.
    pub async fn carry_out_erasure(&self, ctx: &Ctx, id: Uuid) -> Result<Erasure, Error> {
        let by = self.second_person(ctx, "erasure.carry-out").await?;
        let request = self.erasable(ctx, id, "erasure.carry-out").await?;
        let (State::Approved, Some(approved_by)) = (request.state, request.approved_by) else {
            return Err(refuse("not-approved", "A privacy officer must agree to it first.", ""));
        };
        let law = law::erasure_law(self.region()).to_owned();
        self.erase(ctx, &request.patient, Some(id), approved_by, by, law).await
    }

    /// As [Record::carry_out_erasure], of a record whose time is over ([Record::approve_retention]).
    pub async fn erase_due(&self, ctx: &Ctx, patient: &str) -> Result<Erasure, Error> {
        let by = self.second_person(ctx, "retention.erase").await?;
        let wanted = patient.to_owned();
        let due = self.reading(move |tx| Ok(retention::due_of(tx, &wanted)?)).await?;
        let due = due.ok_or(Error::NotFound)?;
        let Some(approved_by) = due.approved_by else {
            return Err(refuse("not-approved", "A privacy officer must agree to it first.", ""));
        };
        self.erase(ctx, patient, None, approved_by, by, due.law).await
    }

    async fn erase(
        &self,
        ctx: &Ctx,
        patient: &str,
        request: Option<Uuid>,
        approved_by: i64,
        carried_out_by: i64,
        law: String,
    ) -> Result<Erasure, Error> {
        if approved_by == carried_out_by {
            return Err(second::needed("Somebody else must carry it out.", ""));
        }
        let erasure = Erasure {
            patient: patient.to_owned(),
            at: self.now(),
            request,
            approved_by,
            carried_out_by,
            law,
            resources: 0,
            done: None,
        };
        let start = EraseStart { erasure, region: self.region().map(str::to_owned) };
        let mut effects = Vec::new();
        if let Some(id) = request {
            let answered = Answered {
                answer: Answer::Erased,
                ground: None,
                at: self.now(),
                by: carried_out_by,
                words: None,
            };
            effects.push(Effect::Subject(SubjectEffect::Answer { id, answered }));
        }
        let accounts = self.accounts_of_patient(patient).await?;
        effects.push(Effect::Subject(SubjectEffect::Erase(start)));
        let set = ChangeSet {
            effects,
            events: vec![event("erasure.begun", patient, json!({}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "erasure.carry-out", set).await?;
        // Nobody is answered from memory any more.
        for account in accounts {
            self.forget_standing(Some(account));
        }
        self.finish_erasure(ctx, patient).await
    }

    /// Destroys what an erasure that was begun still leaves readable. Errors: `NotFound` for none; those of the database:
    /// call it again.
    async fn finish_erasure(&self, ctx: &Ctx, patient: &str) -> Result<Erasure, Error> {
        let shredded = self.shred_patient(ctx, patient).await?;
        let (wanted, now) = (patient.to_owned(), self.now());
        let done = self
            .writing(move |tx| {
                erasure::finish(tx, &wanted, shredded.resources, now)?;
                Ok(erasure::load(tx, &wanted)?)
            })
            .await?;
        done.ok_or(Error::NotFound)
    }

    /// Goes on with erasures that a stop has cut off. For the worker. Returns how many were finished.
    pub async fn resume_erasures(&self) -> Result<usize, Error> {
        let begun = self.reading(|tx| Ok(erasure::unfinished(tx)?)).await?;
        let ctx = Ctx::system("erasure", self.now());
        let mut done = 0;
        for one in begun {
            self.finish_erasure(&ctx, &one.patient).await?;
            done += 1;
        }
        Ok(done)
    }

    /// What was erased, newest first. Errors: `Denied`.
    pub async fn erasures(&self, ctx: &Ctx) -> Result<Vec<Erasure>, Error> {
        self.require_officer(ctx, "erasure.list", "").await?;
        let found = self.reading(|tx| Ok(erasure::list(tx)?)).await?;
        self.audit_one(ctx, "erasure.list", Outcome::Success, "", &[]).await?;
        Ok(found)
    }

    /// Erasures that one person agreed to and a second one must carry out. Privacy officers, administrators: who is
    /// concerned is named by id alone. Errors: `Denied`.
    pub async fn erasures_waiting(&self, ctx: &Ctx) -> Result<Vec<ErasureWaiting>, Error> {
        if !access::policy::may(ctx, Capability::AgreePrivacy) {
            return Err(self.denied(ctx, "erasure.list", "").await);
        }
        let (now, law) = (self.now(), law::erasure_law(self.region()).to_owned());
        self.reading(move |tx| {
            let mut waiting = Vec::new();
            for one in request::open(tx)? {
                if let (State::Approved, Some(at), Some(by)) = (one.state, one.approved, one.approved_by) {
                    let request = Some(one.id);
                    waiting.push(ErasureWaiting { request, patient: one.patient, at, by, law: law.clone() });
                }
            }
            for due in retention::due(tx, now)? {
                if let (Some(at), Some(by)) = (due.approved, due.approved_by) {
                    waiting.push(ErasureWaiting {
                        request: None,
                        patient: due.patient,
                        at,
                        by,
                        law: due.law,
                    });
                }
            }
            Ok(waiting)
        })
        .await
    }

    async fn second_person(&self, ctx: &Ctx, action: &str) -> Result<i64, Error> {
        let Some(user) = ctx.user().filter(|_| access::policy::may(ctx, Capability::AgreePrivacy)) else {
            return Err(self.denied(ctx, action, "").await);
        };
        self.require_fresh(ctx, FRESH_MINUTES, true)?;
        Ok(user.account)
    }

    async fn erasable(&self, ctx: &Ctx, id: Uuid, action: &str) -> Result<Request, Error> {
        let request = self.reading(move |tx| Ok(request::load(tx, &id)?)).await?.ok_or(Error::NotFound)?;
        if request.kind != Kind::Erasure {
            return Err(refuse("kind-wrong", "This is another kind of request.", ""));
        }
        // Who is the patient, or asked for it herself, does not decide on it.
        let user = ctx.user();
        if user.is_some_and(|user| user.patient.as_ref().is_some_and(|own| own.id == request.patient)) {
            self.audit_refusal(ctx, action, Outcome::Denied, &format!("Patient/{}", request.patient), &[])
                .await;
            return Err(refuse("own-request", "Somebody else must answer this.", ""));
        }
        Ok(request)
    }

    async fn accounts_of_patient(&self, patient: &str) -> Result<Vec<i64>, Error> {
        let key = fhir::ResourceKey::new(fhir::TypeId::PATIENT, patient);
        let found = self.reading(move |tx| Ok(store::account::by_patient(tx, &key)?)).await?;
        Ok(found.into_iter().map(|account| account.id).collect())
    }
}

/// In the transaction: obstacles once more, the tombstone, and everything that would let somebody in or out meanwhile.
pub(super) fn start(tx: &mut dyn Tx, start: &EraseStart) -> Result<(), Error> {
    let Erasure { patient, at, .. } = &start.erasure;
    if let Some(rule) = refusal(&obstacles(tx, start.region.as_deref(), patient, *at)?) {
        return Err(Error::Rule(rule));
    }
    if start.erasure.request.is_none() {
        let rules = super::retention::rules(tx, start.region.as_deref())?;
        if super::retention::over(tx, &rules, patient, *at)?.is_none() {
            return Err(refuse("retention-not-over", "The record was used again; its time is not over.", ""));
        }
    }
    erasure::insert(tx, &start.erasure)?;
    retention::forget_due(tx, patient)?;
    let key = fhir::ResourceKey::new(fhir::TypeId::PATIENT, patient.clone());
    for account in store::account::by_patient(tx, &key)? {
        store::session::end_all(tx, account.id, None)?;
        end_copies(tx, &format!("account/{}", account.id))?;
        // Who works here goes on working here.
        if account.practitioner.is_none() {
            let closed = store::account::Update {
                account: account.id,
                disabled: Some(true),
                ..store::account::Update::default()
            };
            store::account::update(tx, &closed).map_err(crate::write::account_error)?;
            store::oauth::revoke_of_account(tx, account.id, *at)?;
        }
    }
    // Portable copies that others made for her.
    for job in store::bulk::job::copies_of(tx, patient)? {
        store::bulk::job::cancel(tx, job.id)?;
    }
    Ok(())
}

fn end_copies(tx: &mut dyn Tx, owner: &str) -> Result<(), Error> {
    for job in store::bulk::job::list(tx, Some(owner), 100)? {
        store::bulk::job::cancel(tx, job.id)?;
    }
    Ok(())
}
