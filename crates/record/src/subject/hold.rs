//! Legal holds: nothing of the patient goes while a case needs it.

use super::{SubjectEffect, event, reason};
use crate::{ChangeSet, Effect, Error, Record};
use access::Ctx;
use serde_json::json;
use store::audit::Outcome;
use store::subject::hold::Hold;
use uuid::Uuid;

/// A hold to place.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// Logical id.
    pub patient: String,
    pub reason: String,
}

impl Record {
    /// Places a hold; a request for erasure and retention wait until it is lifted. Privacy officer.
    /// Errors: `Denied`, `NotFound`; `Rule` `reason-needed`; `Duplicate` `hold-running`.
    pub async fn place_hold(&self, ctx: &Ctx, new: NewHold) -> Result<Hold, Error> {
        let what = format!("Patient/{}", new.patient);
        let by = self.require_officer(ctx, "hold.place", &what).await?;
        let reason = reason(&new.reason, "/reason")?;
        self.patient_resource(&new.patient).await?;
        let hold = Hold {
            id: Uuid::now_v7(),
            patient: new.patient,
            reason,
            placed: self.now(),
            placed_by: by,
            lifted: None,
            lifted_by: None,
            lift_reason: None,
        };
        let set = ChangeSet {
            effects: vec![Effect::Subject(SubjectEffect::Hold(hold.clone()))],
            events: vec![event("hold.placed", &hold.patient, json!({"hold": hold.id.to_string()}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "hold.place", set).await?;
        Ok(hold)
    }

    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `reason-needed`; `Duplicate` `already-settled`.
    pub async fn lift_hold(&self, ctx: &Ctx, id: Uuid, why: &str) -> Result<Hold, Error> {
        let by = self.require_officer(ctx, "hold.lift", "").await?;
        // What it protected may be erased afterwards.
        self.require_fresh(ctx, super::FRESH_MINUTES, true)?;
        let reason = reason(why, "/reason")?;
        let hold = self.reading(move |tx| Ok(store::subject::hold::load(tx, &id)?)).await?;
        let hold = hold.ok_or(Error::NotFound)?;
        let at = self.now();
        let effect = SubjectEffect::Lift { id, by, at, reason: reason.clone() };
        let set = ChangeSet {
            effects: vec![Effect::Subject(effect)],
            events: vec![event("hold.lifted", &hold.patient, json!({"hold": id.to_string()}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "hold.lift", set).await?;
        Ok(Hold { lifted: Some(at), lifted_by: Some(by), lift_reason: Some(reason), ..hold })
    }

    /// All of them, those in force first. Errors: `Denied`.
    pub async fn holds(&self, ctx: &Ctx) -> Result<Vec<Hold>, Error> {
        self.require_officer(ctx, "hold.list", "").await?;
        let found = self.reading(|tx| Ok(store::subject::hold::list(tx)?)).await?;
        let mut patients: Vec<String> = found.iter().map(|one| one.patient.clone()).collect();
        patients.sort();
        patients.dedup();
        self.audit_one(ctx, "hold.list", Outcome::Success, "", &patients).await?;
        Ok(found)
    }
}
