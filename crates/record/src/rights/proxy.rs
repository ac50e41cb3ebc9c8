//! Parents, guardians, and whom a patient trusts: acting for somebody with an account of one's own.

use super::RightsEffect;
use crate::{Change, ChangeSet, Effect, Error, Event, Record, Rule};
use access::policy::{self, Capability};
use access::{Class, Ctx, Role, Seals};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp};
use serde_json::{Value, json};
use store::proxy::Proxy;
use store::resource::Version;
use uuid::Uuid;

/// From this birthday on a patient decides herself, and grants for a child end.
pub const MAJORITY_YEARS: i32 = 18;
/// From this birthday on a child's sealed facts are her own; grants that open them end and are made anew without.
pub const DISCRETION_YEARS: i32 = 12;
/// Grants by an adult last so long if nothing is said, and at most.
const DEFAULT_DAYS: i64 = 365;
const MAX_DAYS: i64 = 5 * 365;
/// Versions of a Patient that are looked through: pages, and rows of one.
const MAX_PAGES: usize = 20;
const VERSIONS: u32 = 100;
pub(super) const FRESH_MINUTES: u32 = 5;

/// Why somebody may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    Parent,
    Guardian,
    /// The adult patient wants it.
    PatientChoice,
    /// A court or the law, for an adult who cannot decide.
    Court,
}

impl Basis {
    pub const ALL: [Basis; 4] = [Basis::Parent, Basis::Guardian, Basis::PatientChoice, Basis::Court];
    pub fn code(self) -> &'static str {
        match self {
            Basis::Parent => "parent",
            Basis::Guardian => "guardian",
            Basis::PatientChoice => "patient-choice",
            Basis::Court => "court",
        }
    }
    pub fn from_code(code: &str) -> Option<Basis> {
        Basis::ALL.into_iter().find(|b| b.code() == code)
    }
    pub(super) fn is_for_children(self) -> bool {
        matches!(self, Basis::Parent | Basis::Guardian)
    }
}

/// What a proxy may be given: everything the patient herself sees.
pub const CLASSES: [Class; 14] = [
    Class::Patient,
    Class::Kin,
    Class::Appointment,
    Class::Coverage,
    Class::Billing,
    Class::Visit,
    Class::Allergy,
    Class::Prescription,
    Class::Medicine,
    Class::Result,
    Class::Document,
    Class::Clinical,
    Class::Message,
    Class::Consent,
];

/// A grant to make.
#[derive(Debug, Clone)]
pub struct NewProxy {
    /// Logical id of the Patient.
    pub patient: String,
    /// Who is to act.
    pub account: i64,
    pub basis: Basis,
    /// v3-RoleCode, e.g. `MTH`.
    pub relationship: String,
    /// Of [CLASSES]; empty: all of them.
    pub classes: Vec<Class>,
    /// Whether sealed facts are open too.
    pub sealed: bool,
    pub until: Option<Timestamp>,
}

impl Record {
    /// Lets an account act for a patient. Staff who manage consents do it for children and by court; an adult patient
    /// for herself, freshly signed in. Grants for children end on the 18th birthday, those that open sealed facts of a
    /// child on the 12th. What one person of the clinic writes down is in force at once for a small child only; else it
    /// waits for the patient's code ([Record::send_proxy_code]) or a second person ([Record::confirm_proxy]).
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `basis-wrong`, `of-age`, `birth-date-needed`,
    /// `account-unfit`, `relationship-wrong`, `until-wrong`; `Duplicate` `proxy-running`, `proxy-waiting`.
    pub async fn grant_proxy(&self, ctx: &Ctx, new: NewProxy) -> Result<Proxy, Error> {
        let patient = ResourceKey::new(TypeId::PATIENT, new.patient.clone());
        let own = ctx.user().is_some_and(|u| u.patient.as_ref() == Some(&patient));
        let staff = policy::may(ctx, Capability::ManageConsents);
        if !own && !staff {
            return Err(self.denied(ctx, "proxy.grant", &patient.to_string()).await);
        }
        self.require_fresh(ctx, FRESH_MINUTES, false)?;
        let allowed = match new.basis {
            Basis::PatientChoice => own || staff,
            Basis::Parent | Basis::Guardian | Basis::Court => staff,
        };
        if !allowed {
            return Err(rule("basis-wrong", "Only the clinic records this.", "/basis"));
        }
        if new.relationship.is_empty() || !new.relationship.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(rule("relationship-wrong", "Name the relationship, e.g. MTH.", "/relationship"));
        }
        let system = Ctx::system("proxy", self.now());
        let Some((resource, _)) = self.load(&system, &patient).await? else { return Err(Error::NotFound) };
        let now = self.now();
        let until = until(&new, &resource, now)?;
        let wanted = new.account;
        let account = self.reading(move |tx| Ok(store::account::load(tx, wanted)?)).await?;
        let account = account.filter(|a| !a.disabled).ok_or(Error::NotFound)?;
        if account.roles.iter().any(|role| role.is_staff()) || account.patient.as_ref() == Some(&patient) {
            let text = "Acting for somebody needs a personal account of another person.";
            return Err(rule("account-unfit", text, "/account"));
        }
        // The patient's own choice, in her own account, is hers already; a System principal is no person at a desk.
        let chosen = own && new.basis == Basis::PatientChoice;
        let waits = !chosen && ctx.user().is_some() && !self.is_small_child(&new, &patient, now).await?;
        let proxy = Proxy {
            id: Uuid::now_v7(),
            account: account.id,
            patient: new.patient.clone(),
            related_person: Uuid::now_v7().to_string(),
            basis: new.basis.code().to_owned(),
            classes: if new.classes.is_empty() { CLASSES.to_vec() } else { new.classes.clone() },
            seals: if new.sealed { Seals::ALL } else { Seals::NONE },
            from: now,
            until,
            made: now,
            made_by: ctx.user().map(|u| u.account),
            ended: None,
            waits,
            relationship: Some(new.relationship),
            code: None,
            confirmed: None,
        };
        if waits {
            self.about_proxy(
                ctx,
                "proxy.ask",
                "proxy.asked",
                &proxy,
                RightsEffect::ProxyGrant(proxy.clone()),
            )
            .await?;
            return Ok(proxy);
        }
        let mut set = self.coming_into_force(&proxy, &account, now)?;
        set.effects.insert(0, Effect::Rights(RightsEffect::ProxyGrant(proxy.clone())));
        if !own {
            set.effects.extend(self.tell_patient("proxy.granted", &resource, &patient).await?);
        }
        self.command(ctx, "proxy.grant", set).await?;
        self.forget_standing(Some(account.id));
        Ok(proxy)
    }

    /// What is written with the grant: the RelatedPerson and the role of the account. The person is written by the
    /// program: what the caller may do is give the grant.
    pub(super) fn coming_into_force(
        &self,
        proxy: &Proxy,
        account: &store::account::Account,
        from: Timestamp,
    ) -> Result<ChangeSet, Error> {
        let patient = ResourceKey::new(TypeId::PATIENT, proxy.patient.clone());
        let person = json!({
            "resourceType": "RelatedPerson", "id": proxy.related_person, "active": true,
            "patient": {"reference": patient.to_string()},
            "relationship": [{"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode", "code": proxy.relationship,
            }]}],
            "name": [{"text": account.display}],
            "period": {"start": from.to_string(), "end": proxy.until.to_string()},
        });
        let mut set = ChangeSet {
            events: vec![Event {
                topic: "proxy.granted",
                subject: patient,
                data: json!({"proxy": proxy.id.to_string()}),
            }],
            ..ChangeSet::default()
        };
        set.changes
            .push(Change::Create { resource: Resource::from_value(person).map_err(Error::Malformed)? });
        if !account.roles.contains(&Role::Proxy) {
            let mut roles = account.roles.clone();
            roles.push(Role::Proxy);
            set.effects.push(Effect::AccountUpdate(store::account::Update {
                account: account.id,
                roles: Some(roles),
                ..store::account::Update::default()
            }));
        }
        Ok(set)
    }

    /// Whether a parent or guardian acts for somebody who is too young to be asked, by every date of birth that the
    /// record ever held: one that was changed for this is worth no more than the word of who changed it.
    async fn is_small_child(
        &self,
        new: &NewProxy,
        patient: &ResourceKey,
        now: Timestamp,
    ) -> Result<bool, Error> {
        if !new.basis.is_for_children() {
            return Ok(false);
        }
        let versions = self.versions_of(patient).await?;
        let mut dates = versions.iter().filter_map(|(_, version)| version.get("birthDate")?.as_str());
        Ok(dates.all(|text| day(text).is_some_and(|born| birthday(born, DISCRETION_YEARS) > now)))
    }

    /// What the record said of a patient, newest first, each with when it was written.
    pub(super) async fn versions_of(
        &self,
        patient: &ResourceKey,
    ) -> Result<Vec<(Timestamp, Resource)>, Error> {
        let key = patient.clone();
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let (key, from) = (key.clone(), cursor.take());
            let page = self
                .reading(move |tx| Ok(store::resource::history(tx, &key, from.as_deref(), VERSIONS)?))
                .await?
                .ok_or(Error::NotFound)?;
            let read = |row: &Version| Some((row.last_updated, Resource::parse(&row.content).ok()?));
            found.extend(page.rows.iter().filter(|row| !row.deleted).filter_map(read));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Ends it: staff, the patient, or the proxy herself. Errors: `Denied`, `NotFound`, `Duplicate`.
    pub async fn end_proxy(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let found = self.reading(move |tx| Ok(store::proxy::load(tx, &id)?)).await?;
        let found = found.ok_or(Error::NotFound)?;
        let concerns = ctx.user().is_some_and(|u| {
            u.account == found.account || u.patient.as_ref().is_some_and(|p| p.id == found.patient)
        });
        if !concerns && !policy::may(ctx, Capability::ManageConsents) {
            return Err(self.denied(ctx, "proxy.end", &format!("Patient/{}", found.patient)).await);
        }
        let effect = RightsEffect::ProxyEnd { id, by: ctx.user().map(|u| u.account), at: self.now() };
        let (name, topic) = match found.waits {
            true => ("proxy.refuse", "proxy.refused"),
            false => ("proxy.end", "proxy.ended"),
        };
        self.about_proxy(ctx, name, topic, &found, effect).await?;
        self.forget_standing(Some(found.account));
        Ok(())
    }

    async fn about_proxy(
        &self,
        ctx: &Ctx,
        name: &'static str,
        topic: &'static str,
        of: &Proxy,
        effect: RightsEffect,
    ) -> Result<(), Error> {
        let set = ChangeSet {
            effects: vec![Effect::Rights(effect)],
            events: vec![Event {
                topic,
                subject: ResourceKey::new(TypeId::PATIENT, of.patient.clone()),
                data: json!({"proxy": of.id.to_string()}),
            }],
            ..ChangeSet::default()
        };
        self.command(ctx, name, set).await.map(|_| ())
    }

    /// Who acts or acted for the patient, newest first. Errors: `Denied`.
    pub async fn proxies(&self, ctx: &Ctx, patient: &str) -> Result<Vec<Proxy>, Error> {
        let own = ctx.user().is_some_and(|u| u.patient.as_ref().is_some_and(|p| p.id == patient));
        let what = format!("Patient/{patient}");
        if !own && !policy::may(ctx, Capability::ManageConsents) {
            return Err(self.denied(ctx, "proxy.list", &what).await);
        }
        let wanted = patient.to_owned();
        let found = self.reading(move |tx| Ok(store::proxy::of_patient(tx, &wanted)?)).await?;
        let patients = [patient.to_owned()];
        self.audit_one(ctx, "proxy.list", store::audit::Outcome::Success, &what, &patients).await?;
        Ok(found)
    }

    /// For whom the caller acts now.
    pub async fn acting_for(&self, ctx: &Ctx) -> Result<Vec<Proxy>, Error> {
        let account = ctx.user().ok_or(Error::Denied)?.account;
        let now = self.now();
        self.reading(move |tx| Ok(store::proxy::of_account(tx, account, now)?)).await
    }
}

fn until(new: &NewProxy, patient: &Resource, now: Timestamp) -> Result<Timestamp, Error> {
    let days = |n: i64| now.checked_add(SignedDuration::from_hours(n * 24)).unwrap_or(Timestamp::MAX);
    let most = if new.basis.is_for_children() {
        let born = patient.get("birthDate").and_then(Value::as_str).and_then(day);
        let born = born.ok_or_else(|| {
            rule("birth-date-needed", "The patient's date of birth must be known.", "/patient")
        })?;
        let of_age = birthday(born, MAJORITY_YEARS);
        if of_age <= now {
            return Err(rule("of-age", "This patient is of age and decides herself.", "/basis"));
        }
        if new.sealed { birthday(born, DISCRETION_YEARS) } else { of_age }
    } else {
        days(MAX_DAYS)
    };
    if most <= now {
        let text = "At this age sealed facts are the child's own; make the grant without them.";
        return Err(rule("of-age", text, "/sealed"));
    }
    let wanted = new.until.unwrap_or(if new.basis.is_for_children() { most } else { days(DEFAULT_DAYS) });
    if wanted <= now {
        return Err(rule("until-wrong", "The end must lie ahead.", "/until"));
    }
    Ok(wanted.min(most))
}

/// Whether the caller decides about consents for this patient: the patient herself, and who acts for her in that.
pub(crate) fn decides_for(ctx: &Ctx, patient: &str) -> bool {
    ctx.user().is_some_and(|user| {
        let mut proxied = user.standing.proxied_at(ctx.now);
        user.patient.as_ref().is_some_and(|own| own.id == patient)
            || proxied.any(|one| one.patient == patient && one.classes.contains(&Class::Consent))
    })
}

/// Whether the patient is known not to be of age.
pub(super) fn is_child(patient: &Resource, now: Timestamp) -> bool {
    let born = patient.get("birthDate").and_then(Value::as_str).and_then(day);
    born.is_some_and(|born| birthday(born, MAJORITY_YEARS) > now)
}

/// A year or a month counts from its beginning: the grant ends rather too early.
fn day(text: &str) -> Option<Date> {
    let whole = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    whole.parse().ok()
}

fn birthday(born: Date, years: i32) -> Timestamp {
    born.checked_add(Span::new().years(years))
        .ok()
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

fn rule(code: &'static str, text: &str, at: &'static str) -> Error {
    Error::Rule(Rule::new(code, text).at(at))
}
