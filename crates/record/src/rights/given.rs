//! What an emergency left behind: who was let into the patient's care, and what was decided in her name, while her record
//! was open to the person who broke the glass. A reviewer ends it, or lets care last that would end with the emergency.

use super::agreement::ConsentRow;
use super::{RightsEffect, second};
use crate::audit::AuditFilter;
use crate::write::care::gives_care;
use crate::{ChangeSet, Effect, Error, Event, Record};
use access::Ctx;
use access::policy::{self, Capability};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use store::audit::Outcome;
use store::emergency::Emergency;
use store::emergency_care::{Bound, State};
use store::proxy::Proxy;
use uuid::Uuid;

/// Events of one emergency that are looked through: pages, and rows of one.
const MAX_PAGES: usize = 10;
const PAGE: u32 = 200;
/// Consents of one emergency that are shown.
const MAX_CONSENTS: usize = 50;
/// What is no writing.
const LOOKS: [&str; 5] = ["read", "vread", "history", "search", "query"];
/// How fresh the sign-in must be to let care last.
const FRESH_MINUTES: u32 = 15;

/// One person whom one resource lets into the patient's care.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenCare {
    /// e.g. `CareTeam/7`
    pub source: ResourceKey,
    /// Logical id of the Practitioner.
    pub practitioner: String,
    pub at: Timestamp,
    /// Who wrote it.
    pub account: i64,
    /// When it ends; `None`: not by itself.
    pub until: Option<Timestamp>,
    /// `None`: as long as the resource says, since who wrote it was in care otherwise, or it stood there before.
    pub state: Option<State>,
    /// When and by whom (account) a reviewer decided.
    pub decided: Option<(Timestamp, i64)>,
}

/// All that an emergency left behind.
#[derive(Debug, Clone)]
pub struct Given {
    pub emergency: Emergency,
    pub care: Vec<GivenCare>,
    /// Written by who broke the glass, as they stand now.
    pub consents: Vec<ConsentRow>,
    /// Asked for or confirmed by her meanwhile.
    pub proxies: Vec<Proxy>,
}

impl Record {
    /// What was written during an emergency that gives care or rights to anybody. Errors: `Denied` for others than
    /// reviewers, `NotFound`.
    pub async fn given_in_emergency(&self, ctx: &Ctx, id: Uuid) -> Result<Given, Error> {
        let emergency = self.emergency_to_review(ctx, "emergency.given", id).await?;
        let written = self.written_in(&emergency).await?;
        let (patient, sources) = (emergency.patient.clone(), written.clone());
        let (bounds, standing, proxies) = self
            .reading(move |tx| {
                let bounds = store::emergency_care::of_emergency(tx, &id)?;
                let mut standing = Vec::new();
                let named = bounds.iter().map(|bound| bound.source.clone());
                for source in sources.into_keys().chain(named).filter(gives_care) {
                    for link in store::care_link::of_source(tx, &source)? {
                        standing.push((source.clone(), link));
                    }
                }
                standing.dedup();
                Ok((bounds, standing, store::proxy::of_patient(tx, &patient)?))
            })
            .await?;
        let end = emergency.ended.unwrap_or(emergency.until);
        let meanwhile = |at: Timestamp| emergency.at <= at && at <= end;
        let mut care: Vec<GivenCare> = bounds
            .iter()
            .map(|bound| GivenCare {
                source: bound.source.clone(),
                practitioner: bound.practitioner.clone(),
                at: bound.at,
                account: bound.account,
                until: match bound.state {
                    State::Kept => standing
                        .iter()
                        .find(|(source, link)| {
                            *source == bound.source && link.practitioner == bound.practitioner
                        })
                        .and_then(|(_, link)| link.until),
                    _ => Some(bound.until),
                },
                state: Some(bound.state),
                decided: bound.decided,
            })
            .collect();
        for (source, link) in standing {
            let Some(at) = written.get(&source).filter(|_| link.patient == emergency.patient) else {
                continue;
            };
            let known = |one: &GivenCare| one.source == source && one.practitioner == link.practitioner;
            if care.iter().any(known) {
                continue;
            }
            let (practitioner, until) = (link.practitioner, link.until);
            care.push(GivenCare {
                source,
                practitioner,
                at: *at,
                account: emergency.account,
                until,
                state: None,
                decided: None,
            });
        }
        care.sort_by(|a, b| (a.at, &a.practitioner).cmp(&(b.at, &b.practitioner)));
        let mut consents = Vec::new();
        for source in written.keys().filter(|key| key.kind.name() == "Consent").take(MAX_CONSENTS) {
            let system = Ctx::system("review", self.now());
            if let Some((resource, version)) = self.load(&system, source).await? {
                consents.push(ConsentRow { resource, version, veiled: false });
            }
        }
        let hers = |one: &Proxy| {
            one.made_by == Some(emergency.account) && meanwhile(one.made)
                || one.confirmed.is_some_and(|c| c.by == emergency.account && meanwhile(c.at))
        };
        let proxies = proxies.into_iter().filter(hers).collect();
        Ok(Given { emergency, care, consents, proxies })
    }

    /// Ends what a resource gives a practitioner, or lets it last (`keep`) although it was written in an emergency.
    /// Nobody keeps what she wrote or what is given to herself.
    /// Errors: `Denied`, `NotFound`; `StepUpNeeded` and `Rule` `second-person-needed` to keep.
    pub async fn decide_given_care(
        &self,
        ctx: &Ctx,
        id: Uuid,
        source: &ResourceKey,
        practitioner: &str,
        keep: bool,
    ) -> Result<(), Error> {
        let given = self.given_in_emergency(ctx, id).await?;
        let found = given.care.iter().find(|one| one.source == *source && one.practitioner == practitioner);
        let found = found.ok_or(Error::NotFound)?;
        let by = ctx.user().ok_or(Error::Denied)?;
        if keep {
            self.require_fresh(ctx, FRESH_MINUTES, true)?;
            second::another(ctx, Some(given.emergency.account))?;
            second::another(ctx, Some(found.account))?;
            if by.practitioner.as_ref().is_some_and(|own| own.id == practitioner) {
                return Err(second::needed("Somebody else must agree to this.", ""));
            }
        }
        let at = self.now();
        let bound = Bound {
            source: source.clone(),
            practitioner: practitioner.to_owned(),
            emergency: id,
            at: found.at,
            account: found.account,
            until: if keep { found.until.unwrap_or(at) } else { at },
            state: if keep { State::Kept } else { State::Ended },
            decided: Some((at, by.account)),
        };
        let set = ChangeSet {
            effects: vec![Effect::Rights(RightsEffect::CareDecide(bound))],
            events: vec![Event {
                topic: "emergency.care-decided",
                subject: ResourceKey::new(TypeId::PATIENT, given.emergency.patient.clone()),
                data: json!({"emergency": id.to_string(), "source": source.to_string()}),
            }],
            ..ChangeSet::default()
        };
        self.command(ctx, if keep { "emergency.keep-care" } else { "emergency.end-care" }, set).await?;
        Ok(())
    }

    async fn emergency_to_review(&self, ctx: &Ctx, name: &'static str, id: Uuid) -> Result<Emergency, Error> {
        if !policy::may(ctx, Capability::ReviewEmergencies) {
            return Err(self.denied(ctx, name, "").await);
        }
        let found = self.reading(move |tx| Ok(store::emergency::load(tx, &id)?)).await?;
        let found = found.ok_or(Error::NotFound)?;
        let what = format!("Patient/{}", found.patient);
        self.audit_one(ctx, name, Outcome::Success, &what, std::slice::from_ref(&found.patient)).await?;
        Ok(found)
    }

    /// What who broke the glass wrote about the patient meanwhile, each with the first time.
    async fn written_in(&self, emergency: &Emergency) -> Result<BTreeMap<ResourceKey, Timestamp>, Error> {
        let filter = AuditFilter {
            patient: Some(emergency.patient.clone()),
            agent: Some(format!("account/{}", emergency.account)),
            without: LOOKS.map(str::to_owned).to_vec(),
            outcome: Some(Outcome::Success),
            from: Some(emergency.at),
            to: Some(emergency.ended.unwrap_or(emergency.until)),
            ..AuditFilter::default()
        };
        let mut written = BTreeMap::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = self.audit_rows(filter.clone(), cursor.as_deref(), PAGE).await?;
            for row in &page.rows {
                let Some(key) = ResourceKey::parse(&row.what) else { continue };
                if gives_care(&key) || key.kind.name() == "Consent" {
                    // Newest first: the earliest stays.
                    written.insert(key, row.at);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(written)
    }
}
