//! Break-glass: one patient's record opened without being in her care, because it cannot wait.
//!
//! The reason is written down and everybody concerned is told before the first byte is read; it ends by itself; and
//! somebody else looks at it afterwards.

use super::RightsEffect;
use super::notice::Told;
use crate::{ChangeSet, Effect, Error, Event, Record, Rule};
use access::policy::{self, Capability};
use access::{Ctx, Purpose, Role};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::emergency::{Emergency, Review};
use store::message::NewMessage;
use uuid::Uuid;

/// facts/security-controls.md Z11.
pub const MAX_MINUTES: u32 = 4 * 60;
const DEFAULT_MINUTES: u32 = 60;
/// How fresh the sign-in must be.
const FRESH_MINUTES: u32 = 5;
/// Of who has no second factor: her password typed anew right then. A life must not depend on a telephone; the privacy
/// officers are told that it was the password alone.
const PASSWORD_MINUTES: u32 = 1;
const MIN_EXPLANATION: usize = 10;
const MAX_EXPLANATION: usize = 1_000;
/// A review that has not happened by then is asked for.
pub const REVIEW_WITHIN: SignedDuration = SignedDuration::from_hours(72);
/// Privacy officers that are told by SMS.
const MAX_TOLD: usize = 20;

/// Why the glass is broken: code and words.
pub const REASONS: [(&str, &str); 6] = [
    ("life-threatening", "The patient's life or health is in danger now"),
    ("unconscious", "The patient cannot say who she is or what she has"),
    ("colleague-absent", "Whoever treats the patient cannot be reached"),
    ("continuing-care", "The patient came for care that was begun elsewhere"),
    ("public-health", "An outbreak or another danger to others"),
    ("other", "Another reason, explained"),
];

/// What the review found.
pub const VERDICTS: [&str; 3] = ["justified", "unjustified", "unclear"];

/// What a clinician asks for.
#[derive(Debug, Clone)]
pub struct NewEmergency {
    /// Logical id.
    pub patient: String,
    /// Code of [REASONS].
    pub reason: String,
    pub explanation: String,
    /// At most [MAX_MINUTES]; `None`: an hour.
    pub minutes: Option<u32>,
}

impl Record {
    /// Opens the patient's record to the caller: what her role may do for patients in care, sealed facts and whatever a
    /// consent keeps from her included. The patient and the privacy officers are told.
    /// Errors: `Denied` for other roles; `StepUpNeeded`; `NotFound`; `Rule` `reason-unknown`, `explanation-needed`,
    /// `too-long`; `Duplicate` `emergency-running`.
    pub async fn begin_emergency(&self, ctx: &Ctx, new: NewEmergency) -> Result<Emergency, Error> {
        let patient = ResourceKey::new(TypeId::PATIENT, new.patient.clone());
        let Some(user) = ctx.user().filter(|_| policy::may(ctx, Capability::BreakGlass)) else {
            return Err(self.denied(ctx, "emergency.begin", &patient.to_string()).await);
        };
        let by_password = ctx
            .session
            .as_ref()
            .is_some_and(|one| one.enrolled.is_empty() && !one.factors.iter().any(|f| f.is_strong()));
        self.require_fresh(ctx, if by_password { PASSWORD_MINUTES } else { FRESH_MINUTES }, true)?;
        if !REASONS.iter().any(|(code, _)| *code == new.reason) {
            return Err(rule("reason-unknown", "Choose one of the reasons.", "/reason"));
        }
        let explanation = new.explanation.trim().to_owned();
        if !(MIN_EXPLANATION..=MAX_EXPLANATION).contains(&explanation.chars().count()) {
            return Err(rule(
                "explanation-needed",
                "Say in a sentence why this cannot wait.",
                "/explanation",
            ));
        }
        let minutes = new.minutes.unwrap_or(DEFAULT_MINUTES);
        if minutes == 0 || minutes > MAX_MINUTES {
            return Err(rule("too-long", "At most four hours.", "/minutes"));
        }
        let system = Ctx::system("emergency", self.now());
        let Some((resource, _)) = self.load(&system, &patient).await? else {
            return Err(Error::NotFound);
        };
        let now = self.now();
        let emergency = Emergency {
            id: Uuid::now_v7(),
            account: user.account,
            patient: new.patient,
            reason: new.reason,
            explanation,
            at: now,
            until: now.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(Timestamp::MAX),
            ended: None,
            review: None,
            alerted: None,
            by_password,
        };
        let mut set = ChangeSet {
            effects: vec![Effect::Rights(RightsEffect::EmergencyBegin(emergency.clone()))],
            events: vec![Event {
                topic: "emergency.begun",
                subject: patient.clone(),
                data: json!({"emergency": emergency.id.to_string()}),
            }],
            ..ChangeSet::default()
        };
        set.effects.extend(self.tell_patient("emergency.begun", &resource, &patient).await?);
        let told = if by_password { "emergency.begun-by-password" } else { "emergency.begun" };
        set.effects.extend(self.tell_officers(told).await?);
        let ctx = Ctx { purpose: Purpose::Emergency, ..ctx.clone() };
        self.command(&ctx, "emergency.begin", set).await?;
        self.forget_standing(Some(user.account));
        Ok(emergency)
    }

    /// Closes it before its time. Errors: `Duplicate` if it is over; `NotFound` if it is not the caller's.
    pub async fn end_emergency(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let account = ctx.user().ok_or(Error::Denied)?.account;
        let found = self.reading(move |tx| Ok(store::emergency::load(tx, &id)?)).await?;
        let found = found.filter(|one| one.account == account).ok_or(Error::NotFound)?;
        let effect = RightsEffect::EmergencyEnd { id, account, at: self.now() };
        self.about_emergency(ctx, "emergency.end", &found, effect).await?;
        self.forget_standing(Some(account));
        Ok(())
    }

    /// The caller's own that are running.
    pub async fn running_emergencies(&self, ctx: &Ctx) -> Result<Vec<Emergency>, Error> {
        let account = ctx.user().ok_or(Error::Denied)?.account;
        let now = self.now();
        self.reading(move |tx| Ok(store::emergency::running(tx, account, now)?)).await
    }

    /// The queue of reviews; `open`: only what nobody has reviewed. Errors: `Denied`.
    pub async fn emergencies(&self, ctx: &Ctx, open: bool) -> Result<Vec<Emergency>, Error> {
        if !policy::may(ctx, Capability::ReviewEmergencies) {
            return Err(self.denied(ctx, "emergency.list", "").await);
        }
        let found = self.reading(move |tx| Ok(store::emergency::list(tx, open)?)).await?;
        let mut patients: Vec<String> = found.iter().map(|one| one.patient.clone()).collect();
        patients.sort();
        patients.dedup();
        self.audit_one(ctx, "emergency.list", store::audit::Outcome::Success, "", &patients).await?;
        Ok(found)
    }

    /// Those about one patient, newest first: the patient herself, who decides about consents for her, administrator,
    /// privacy officer. Errors: `NotFound` for another patient; `Denied` for other staff.
    pub async fn emergencies_of(&self, ctx: &Ctx, patient: &str) -> Result<Vec<Emergency>, Error> {
        let own = super::proxy::decides_for(ctx, patient);
        let what = format!("Patient/{patient}");
        if !own && !policy::may(ctx, Capability::ReadAudit) {
            let denied = self.denied(ctx, "emergency.list", &what).await;
            return Err(if policy::existence_is_private(ctx, TypeId::PATIENT) {
                Error::NotFound
            } else {
                denied
            });
        }
        let wanted = patient.to_owned();
        let found = self.reading(move |tx| Ok(store::emergency::of_patient(tx, &wanted)?)).await?;
        let patients = [patient.to_owned()];
        self.audit_one(ctx, "emergency.list", store::audit::Outcome::Success, &what, &patients).await?;
        Ok(found)
    }

    /// Writes down what the review found. Nobody reviews her own.
    /// Errors: `Denied`; `NotFound`; `Rule` `own-emergency`, `verdict-unknown`, `note-needed`; `Duplicate`.
    pub async fn review_emergency(
        &self,
        ctx: &Ctx,
        id: Uuid,
        verdict: &str,
        note: &str,
    ) -> Result<(), Error> {
        let Some(user) = ctx.user().filter(|_| policy::may(ctx, Capability::ReviewEmergencies)) else {
            return Err(self.denied(ctx, "emergency.review", "").await);
        };
        let found = self.reading(move |tx| Ok(store::emergency::load(tx, &id)?)).await?;
        let found = found.ok_or(Error::NotFound)?;
        if found.account == user.account {
            return Err(rule("own-emergency", "Somebody else must review this.", ""));
        }
        if !VERDICTS.contains(&verdict) {
            return Err(rule("verdict-unknown", "Say justified, unjustified or unclear.", "/verdict"));
        }
        let note = note.trim();
        if verdict != "justified" && note.is_empty() {
            return Err(rule("note-needed", "Say what is to follow.", "/note"));
        }
        let review = Review {
            at: self.now(),
            by: user.account,
            verdict: verdict.to_owned(),
            note: note.chars().take(MAX_EXPLANATION).collect(),
        };
        let effect = RightsEffect::EmergencyReview { id, review };
        self.about_emergency(ctx, "emergency.review", &found, effect).await
    }

    /// Reminds the privacy officers of what nobody has reviewed within [REVIEW_WITHIN]; once each. Returns how many.
    pub async fn remind_of_reviews(&self) -> Result<usize, Error> {
        let now = self.now();
        let before = now.checked_sub(REVIEW_WITHIN).unwrap_or(Timestamp::MIN);
        let overdue = self
            .writing(move |tx| {
                let overdue = store::emergency::overdue(tx, before, now)?;
                for one in &overdue {
                    let data = json!({"account": one.account, "at": one.at.to_string()});
                    Told::officers("emergency.overdue", now, one.id).of(&one.patient).with(data).write(tx)?;
                }
                Ok(overdue)
            })
            .await?;
        if overdue.is_empty() {
            return Ok(0);
        }
        let events = overdue.iter().map(|one| Event {
            topic: "emergency.overdue",
            subject: ResourceKey::new(TypeId::PATIENT, one.patient.clone()),
            data: json!({"emergency": one.id.to_string()}),
        });
        let set = ChangeSet {
            effects: self.tell_officers("emergency.overdue").await?,
            events: events.collect(),
            ..ChangeSet::default()
        };
        let system = Ctx::system("emergency", now);
        self.command(&system, "emergency.remind", set).await?;
        Ok(overdue.len())
    }

    async fn about_emergency(
        &self,
        ctx: &Ctx,
        name: &'static str,
        of: &Emergency,
        effect: RightsEffect,
    ) -> Result<(), Error> {
        let event = Event {
            topic: match name {
                "emergency.end" => "emergency.ended",
                _ => "emergency.reviewed",
            },
            subject: ResourceKey::new(TypeId::PATIENT, of.patient.clone()),
            data: json!({"emergency": of.id.to_string()}),
        };
        let set =
            ChangeSet { effects: vec![Effect::Rights(effect)], events: vec![event], ..ChangeSet::default() };
        self.command(ctx, name, set).await.map(|_| ())
    }

    /// An SMS that says that, not what. Nobody is told who has no phone.
    pub(super) async fn tell_patient(
        &self,
        template: &'static str,
        resource: &Resource,
        key: &ResourceKey,
    ) -> Result<Option<Effect>, Error> {
        let wanted = key.clone();
        let accounts = self.reading(move |tx| Ok(store::account::by_patient(tx, &wanted)?)).await?;
        let account = accounts.iter().find(|a| !a.disabled && a.phone.is_some());
        let of_record = || {
            let telecom = resource.get("telecom").and_then(Value::as_array)?;
            let phone = telecom.iter().find(|c| c["system"] == "phone")?.get("value")?.as_str()?;
            crate::authn::phone_e164(phone)
        };
        let Some(phone) = account.and_then(|a| a.phone.clone()).or_else(of_record) else { return Ok(None) };
        let of_record = || crate::authn::language_of(resource.value()).unwrap_or("en");
        let language = account.map_or_else(of_record, |a| a.language.as_str());
        let body = match (template, language.split('-').next().unwrap_or_default()) {
            ("proxy.granted", "sw") => {
                "Kituo chako kimemruhusu mtu kukuwakilisha kwenye rekodi yako ya afya. Tazama nani kwenye akaunti yako, au uliza kituo chako."
            }
            ("proxy.granted", "fr") => {
                "Votre centre a permis a quelqu'un d'agir pour vous dans votre dossier. Voyez qui dans votre compte, ou demandez a votre centre."
            }
            ("proxy.granted", _) => {
                "Your clinic let somebody act for you in your health record. See who in your account, or ask your clinic."
            }
            (_, "sw") => {
                "Rekodi yako ya afya imefunguliwa kwa dharura. Tazama nani na kwa nini kwenye akaunti yako, au uliza kituo chako."
            }
            (_, "fr") => {
                "Votre dossier a ete ouvert en urgence. Voyez par qui et pourquoi dans votre compte, ou demandez a votre centre."
            }
            _ => {
                "Your health record was opened in an emergency. See by whom and why in your account, or ask your clinic."
            }
        };
        let mut sms = NewMessage::sms(phone, language, template, body, self.now(), Uuid::now_v7());
        sms.patient = Some(key.clone());
        sms.account = account.map(|a| a.id);
        Ok(Some(Effect::Message(sms)))
    }

    async fn tell_officers(&self, template: &'static str) -> Result<Vec<Effect>, Error> {
        let officers =
            self.reading(|tx| Ok(store::account::with_roles(tx, &[Role::PrivacyOfficer])?)).await?;
        let officers = officers.into_iter().take(MAX_TOLD);
        let body = match template {
            "emergency.overdue" => "Emergency access waits for your review for more than three days.",
            "emergency.begun-by-password" => {
                "A record was opened in an emergency without a second factor. Please review it at once."
            }
            _ => "A record was opened in an emergency. Please review it within three days.",
        };
        let now = self.now();
        Ok(officers
            .filter_map(|account| {
                let phone = account.phone?;
                let mut sms = NewMessage::sms(phone, account.language, template, body, now, Uuid::now_v7());
                sms.account = Some(account.id);
                Some(Effect::Message(sms))
            })
            .collect())
    }
}

fn rule(code: &'static str, text: &str, at: &'static str) -> Error {
    Error::Rule(Rule::new(code, text).at(at))
}
