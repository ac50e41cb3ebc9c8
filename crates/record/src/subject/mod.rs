//! People's rights about their own data, and what the clinic must be able to show about it: reports of what is held,
//! corrections, erasure, legal holds, retention, the register of recipients, the country the record stays in.
//!
//! **Invariant:** who wrote what lies in Communications under the patient's key; the rows of `store::subject` hold who,
//! when, which ground, and outlive it.
//! **Invariant:** nothing is erased while a legal hold is in force or a class of record is within its time, and never by
//! one person alone.

mod effect;
mod erase;
mod hold;
pub mod law;
mod names;
mod recipient;
mod region;
mod report;
mod request;
mod retention;

pub use effect::SubjectEffect;
pub(crate) use effect::run;
pub use erase::{EraseStart, ErasureWaiting};
pub use hold::NewHold;
pub use names::SubjectNames;
pub use recipient::{Destination, NewRecipient, Unregistered};
pub use region::{Residency, ResidencyState};
pub use report::{AccessReport, Entry, Given, Held, Holding, date};
pub use request::{NewCorrection, RequestView, Statement};
pub use retention::{Obstacle, RetentionRow, RuleChange};

use crate::write::Request;
use crate::{ChangeSet, Committed, Effect, Error, Event, Record, Rule};
use access::policy::{self, Capability};
use access::{Class, Ctx, Role};
use fhir::{Resource, ResourceKey, TypeId};
use serde_json::{Value, json};
use uuid::Uuid;

/// How fresh a sign-in must be for what cannot be taken back, or hands much out.
pub(crate) const FRESH_MINUTES: u32 = 5;
/// Letters of a reason or a statement.
const MAX_WORDS: usize = 4_000;
const MIN_REASON: usize = 5;
/// Accounts looked through for privacy officers.
const MAX_ACCOUNTS: u32 = 1_000;
/// Officers that are told by SMS.
const MAX_TOLD: usize = 20;
const CATEGORY: &str = "https://uzima.health/fhir/CodeSystem/data-request";

/// In what way somebody asks about a patient's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    Own,
    /// Acts for the patient.
    Proxy,
    Officer,
}

impl Record {
    /// Which country the record is pinned to, if any; ISO 3166-1, two letters.
    pub fn region(&self) -> Option<&str> {
        self.inner.region.get().map(String::as_str)
    }
    /// Called once at start, before anything is served; the first call counts.
    pub fn set_region(&self, region: &str) {
        let _ = self.inner.region.set(region.to_owned());
    }

    /// Who asks about this patient. Errors: `Denied` for staff that are no privacy officers, `NotFound` for other patients;
    /// both audited.
    pub(crate) async fn asker(&self, ctx: &Ctx, patient: &str, action: &str) -> Result<Asker, Error> {
        let what = format!("Patient/{patient}");
        if ctx.scopes.is_none()
            && let Some(user) = ctx.user()
        {
            if user.patient.as_ref().is_some_and(|own| own.id == patient) {
                return Ok(Asker::Own);
            }
            // Whoever may see who the patient is: a proxy for bookings alone does not ask for the record.
            let proxied = user.standing.proxied_at(self.now());
            if proxied.into_iter().any(|p| p.patient == patient && p.classes.contains(&Class::Patient)) {
                return Ok(Asker::Proxy);
            }
        }
        if policy::may(ctx, Capability::ManagePrivacy) {
            return Ok(Asker::Officer);
        }
        let denied = self.denied(ctx, action, &what).await;
        let private = policy::existence_is_private(ctx, TypeId::PATIENT);
        Err(if private { Error::NotFound } else { denied })
    }

    /// Errors: `Denied`, audited.
    pub(crate) async fn require_officer(&self, ctx: &Ctx, action: &str, what: &str) -> Result<i64, Error> {
        match ctx.user() {
            Some(user) if policy::may(ctx, Capability::ManagePrivacy) => Ok(user.account),
            _ => Err(self.denied(ctx, action, what).await),
        }
    }

    /// The patient's resource. Errors: `NotFound`.
    pub(crate) async fn patient_resource(&self, patient: &str) -> Result<Resource, Error> {
        let system = Ctx::system("privacy", self.now());
        let key = ResourceKey::new(TypeId::PATIENT, patient);
        Ok(self.load(&system, &key).await?.ok_or(Error::NotFound)?.0)
    }

    /// Rows and what was written beside them, on behalf of a caller who had the right to ask.
    async fn settle_subject(
        &self,
        ctx: &Ctx,
        name: &'static str,
        set: ChangeSet,
    ) -> Result<Committed, Error> {
        let mut request = Request::raw(set);
        request.command = Some(name);
        // The caller has no right to write messages freely, only to ask and to answer.
        request.on_behalf = true;
        self.commit(ctx, request).await
    }

    /// What somebody wrote about her data, or was answered, as a Communication; with its key.
    fn words(&self, of: &Words<'_>) -> Result<(ResourceKey, Resource), Error> {
        let kind = crate::read::kind("Communication");
        let id = Uuid::now_v7().to_string();
        let mut value = json!({
            "resourceType": "Communication", "id": id, "status": "completed",
            "category": [{"coding": [{"system": CATEGORY, "code": of.category}]}],
            "subject": {"reference": format!("Patient/{}", of.patient)},
            "sent": self.now().to_string(),
            "payload": [{"contentString": of.text}],
        });
        if let Some(entry) = of.about {
            value["about"] = json!([{"reference": entry.to_string()}]);
        }
        if let Some(sender) = of.sender {
            value["sender"] = json!({"reference": sender.to_string()});
        }
        if let Some(answered) = of.answers {
            value["inResponseTo"] = json!([{"reference": answered.to_string()}]);
        }
        if !of.security.is_empty() {
            value["meta"] = json!({"security": of.security});
        }
        let resource = Resource::from_value(value).map_err(Error::Malformed)?;
        Ok((ResourceKey::new(kind, id), resource))
    }

    /// The words of a Communication; `None` where they are gone.
    async fn text_of(&self, key: Option<&ResourceKey>) -> Result<Option<String>, Error> {
        let Some(key) = key else { return Ok(None) };
        let wanted = key.clone();
        let found = self.reading(move |tx| Ok(store::resource::load(tx, &wanted)?)).await?;
        let Some(found) = found.filter(|row| !row.deleted) else { return Ok(None) };
        let resource =
            Resource::parse(&found.content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
        let text = resource.value().pointer("/payload/0/contentString").and_then(Value::as_str);
        Ok(text.map(str::to_owned))
    }

    /// An SMS that says that there is an answer, not which. Nobody is told who has no account with a phone.
    async fn tell_answered(&self, patient: &str) -> Result<Option<Effect>, Error> {
        let key = ResourceKey::new(TypeId::PATIENT, patient);
        let wanted = key.clone();
        let accounts = self.reading(move |tx| Ok(store::account::by_patient(tx, &wanted)?)).await?;
        let Some(account) = accounts.into_iter().find(|a| !a.disabled && a.phone.is_some()) else {
            return Ok(None);
        };
        let Some(phone) = account.phone else { return Ok(None) };
        let body = match account.language.split('-').next().unwrap_or_default() {
            "sw" => "Ombi lako kuhusu data yako limejibiwa. Tazama Data yangu kwenye akaunti yako.",
            "fr" => "Votre demande sur vos donnees a une reponse. Voyez Mes donnees dans votre compte.",
            _ => "Your request about your data was answered. See My data in your account.",
        };
        let template = "privacy.answered";
        let mut sms = store::message::NewMessage::sms(
            phone,
            account.language,
            template,
            body,
            self.now(),
            Uuid::now_v7(),
        );
        sms.patient = Some(key);
        sms.account = Some(account.id);
        Ok(Some(Effect::Message(sms)))
    }

    /// SMS to the privacy officers that have a phone.
    async fn tell_privacy_officers(&self, template: &'static str, body: &str) -> Result<Vec<Effect>, Error> {
        let accounts = self.reading(|tx| Ok(store::account::list(tx, None, None, MAX_ACCOUNTS)?)).await?;
        let now = self.now();
        let officers = accounts.rows.into_iter();
        let officers = officers.filter(|a| !a.disabled && a.roles.contains(&Role::PrivacyOfficer));
        Ok(officers
            .take(MAX_TOLD)
            .filter_map(|account| {
                let phone = account.phone?;
                let mut sms = store::message::NewMessage::sms(
                    phone,
                    account.language,
                    template,
                    body,
                    now,
                    Uuid::now_v7(),
                );
                sms.account = Some(account.id);
                Some(Effect::Message(sms))
            })
            .collect())
    }
}

/// See [Record::words].
struct Words<'a> {
    category: &'static str,
    patient: &'a str,
    text: &'a str,
    about: Option<&'a ResourceKey>,
    sender: Option<&'a ResourceKey>,
    answers: Option<&'a ResourceKey>,
    security: Vec<Value>,
}

fn event(topic: &'static str, patient: &str, data: Value) -> Event {
    Event { topic, subject: ResourceKey::new(TypeId::PATIENT, patient), data }
}

/// Trimmed. Errors: `Rule` `reason-needed`.
fn reason(text: &str, field: &'static str) -> Result<String, Error> {
    let text = text.trim();
    if !(MIN_REASON..=MAX_WORDS).contains(&text.chars().count()) {
        return Err(refuse("reason-needed", "Say in a sentence why.", field));
    }
    Ok(text.to_owned())
}

fn refuse(code: &'static str, text: &str, field: &'static str) -> Error {
    Error::Rule(Rule::new(code, text).at(field))
}
