//! Consents as people give them: recorded with the evidence, withdrawn, listed. What they do is `access::consent`.

use super::proxy;
use crate::{Change, ChangeSet, Error, Record, Rule};
use access::policy::{self, Action, Capability, Predicate};
use access::standing::Proxied;
use access::{Ctx, Role, Seals};
use fhir::{Resource, ResourceKey, TypeId};
use serde_json::{Map, Value, json};

const SCOPE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
const PURPOSE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const TYPE_SYSTEM: &str = "http://hl7.org/fhir/resource-types";
/// `policy.uri` names the text that was agreed to, with its version.
const TEXT_BASE: &str = "https://uzima.health/consent-text/";
const MAX_TEXT: usize = 20_000;
/// Consents of one patient that are listed.
const MAX_LISTED: u32 = 200;
const MAX_NAME: usize = 200;
const MAX_CODE: usize = 20;
const RELATIONSHIP_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-RoleCode";
/// Extension on `Consent.verification`: the person of the clinic who wrote it down.
const RECORDED_BY: &str = "https://uzima.health/fhir/recorded-by";

/// Whom a consent is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Logical id of a Practitioner.
    Practitioner(String),
    RelatedPerson(String),
    Role(Role),
    Client(String),
}

/// A consent to record.
#[derive(Debug, Clone)]
pub struct NewConsent {
    /// Logical id.
    pub patient: String,
    pub deny: bool,
    /// Empty: everybody but the patient.
    pub actors: Vec<Actor>,
    /// Empty: everything.
    pub kinds: Vec<TypeId>,
    /// Only what is sealed so; [Seals::NONE]: sealed or not.
    pub seals: Seals,
    /// v3-ActReason codes; empty: any purpose.
    pub purposes: Vec<String>,
    /// `YYYY-MM-DD`.
    pub from: Option<String>,
    pub until: Option<String>,
    /// Which text was read, e.g. `privacy-2026-11`.
    pub text_version: String,
    /// The text itself.
    pub text: String,
    /// BCP-47 of the text.
    pub language: String,
}

/// Who decides for a patient that does not decide herself, as staff write it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Giver {
    /// Logical id of the RelatedPerson of a grant to act for this patient.
    RelatedPerson(String),
    /// A parent or guardian who has no account; `relationship` is a v3-RoleCode, e.g. `MTH`.
    Guardian { name: String, relationship: String },
}

/// A consent as it stands, or a version of it.
#[derive(Debug, Clone)]
pub struct ConsentRow {
    pub resource: Resource,
    pub version: u32,
    /// The reader records and withdraws consents without reading what they are about: what sealed category it names, and
    /// its text, are not for her.
    pub veiled: bool,
}

impl Record {
    /// Records what the patient decided; it holds from the next request on. Given by the patient herself, by who acts for
    /// her, or in her presence to staff: the Consent says who.
    /// Errors: `Denied`, also for who acts for her and would open a category that is closed to herself; `Invalid` for what
    /// cannot be enforced; `Rule` `text-missing`.
    pub async fn give_consent(&self, ctx: &Ctx, new: NewConsent) -> Result<ConsentRow, Error> {
        self.write_consent(ctx, new, None).await
    }

    /// As [Record::give_consent], at a desk: for a patient who is not of age somebody must be named who decides for her.
    /// Errors: likewise; `Rule` `guardian-needed`, `guardian-unknown`.
    pub async fn give_consent_by(
        &self,
        ctx: &Ctx,
        new: NewConsent,
        by: Option<Giver>,
    ) -> Result<ConsentRow, Error> {
        let is_staff = ctx.user().is_some_and(|u| u.roles.iter().any(|role| role.is_staff()));
        if giver(ctx, &new.patient).is_some() || !is_staff {
            return self.write_consent(ctx, new, None).await;
        }
        let unknown = |at| {
            let text = "Name the parent or guardian who decides.";
            Error::Rule(Rule::new("guardian-unknown", text).at(at))
        };
        match &by {
            None => {
                let key = ResourceKey::new(TypeId::PATIENT, new.patient.clone());
                let system = Ctx::system("consent", self.now());
                let found = self.load(&system, &key).await?;
                let is_child = found.is_some_and(|(patient, _)| proxy::is_child(&patient, self.now()));
                if is_child {
                    let text = "This patient is not of age: say who decides for her.";
                    return Err(Error::Rule(Rule::new("guardian-needed", text).at("/given_by")));
                }
            }
            Some(Giver::RelatedPerson(id)) => {
                let (patient, id, now) = (new.patient.clone(), id.clone(), self.now());
                let found = self.reading(move |tx| Ok(store::proxy::of_patient(tx, &patient)?)).await?;
                let acts = |p: &store::proxy::Proxy| {
                    p.related_person == id && p.ended.is_none() && !p.waits && p.until > now
                };
                if !found.iter().any(acts) {
                    return Err(unknown("/given_by"));
                }
            }
            Some(Giver::Guardian { name, relationship }) => {
                let length = name.trim().chars().count();
                if length == 0 || length > MAX_NAME {
                    return Err(unknown("/given_by/guardian/name"));
                }
                let is_code = relationship.chars().all(|c| c.is_ascii_alphanumeric());
                if relationship.is_empty() || relationship.len() > MAX_CODE || !is_code {
                    return Err(unknown("/given_by/guardian/relationship"));
                }
            }
        }
        self.write_consent(ctx, new, by).await
    }

    async fn write_consent(
        &self,
        ctx: &Ctx,
        new: NewConsent,
        by: Option<Giver>,
    ) -> Result<ConsentRow, Error> {
        if new.text_version.trim().is_empty() || new.text.trim().is_empty() || new.text.len() > MAX_TEXT {
            let text = "The text that was agreed to, and its version, belong to the evidence.";
            return Err(Error::Rule(Rule::new("text-missing", text).at("/text")));
        }
        // Who acts for the patient opens to nobody what is closed to herself: a parent asks her child of fourteen.
        if !new.deny && acting(ctx, &new.patient).is_some_and(|acting| !acting.seals.has_all(new.seals)) {
            return Err(self.denied(ctx, "consent.give", &format!("Patient/{}", new.patient)).await);
        }
        let resource = self.consent_of(ctx, &new, by)?;
        let set = ChangeSet { changes: vec![Change::Create { resource }], ..ChangeSet::default() };
        let committed = self.command(ctx, "consent.give", set).await?;
        self.forget_standing(None);
        row(committed.written)
    }

    /// Takes it back: a new version that is `inactive`. What the patient decided herself, who acts for her does not take
    /// back: it may be about her. Errors: `NotFound`; `Denied`; `Rule` `not-active`.
    pub async fn withdraw_consent(&self, ctx: &Ctx, id: &str) -> Result<ConsentRow, Error> {
        let key = ResourceKey::new(crate::read::kind("Consent"), id);
        let system = Ctx::system("consent", self.now());
        // Whether the caller may change it is decided when it is written; front desks do not read consents.
        let Some((mut resource, version)) = self.load(&system, &key).await? else {
            return Err(Error::NotFound);
        };
        if resource.text("status") != Some("active") {
            let text = "This consent is not in force any more.";
            return Err(Error::Rule(Rule::new("not-active", text)));
        }
        let patient = resource.value().pointer("/patient/reference").and_then(Value::as_str);
        let patient = patient.and_then(|reference| reference.strip_prefix("Patient/")).map(str::to_owned);
        let given_by = resource.value().pointer("/performer/0/reference").and_then(Value::as_str);
        if let Some(patient) = patient.as_deref().filter(|patient| acting(ctx, patient).is_some())
            && given_by.is_none_or(|giver| giver.strip_prefix("Patient/") == Some(patient))
        {
            return Err(self.denied(ctx, "consent.withdraw", &format!("Patient/{patient}")).await);
        }
        if let Some(object) = resource.value_mut().as_object_mut() {
            object.insert("status".into(), json!("inactive"));
            object.insert("dateTime".into(), json!(self.now().to_string()));
        }
        if let Some(giver) = patient.and_then(|patient| giver(ctx, &patient))
            && let Some(object) = resource.value_mut().as_object_mut()
        {
            object.insert("performer".into(), json!([giver]));
        }
        let set = ChangeSet {
            changes: vec![Change::Update { resource, if_match: Some(version) }],
            ..ChangeSet::default()
        };
        let committed = self.command(ctx, "consent.withdraw", set).await?;
        self.forget_standing(None);
        row(committed.written)
    }

    /// All consents of a patient that the caller may read, newest first; those who record and withdraw them see that
    /// they are there, see [ConsentRow::veiled]. Errors: `Denied`.
    pub async fn consents(&self, ctx: &Ctx, patient: &str) -> Result<Vec<ConsentRow>, Error> {
        let subject = format!("Patient/{patient}");
        let parameters = [("patient", subject.as_str()), ("_sort", "-date")];
        let veiled = is_veiled(ctx);
        let found = if veiled {
            let system = Ctx::system("consent", self.now());
            let found = self.find(&system, "Consent", &parameters, MAX_LISTED).await?;
            let patients = [patient.to_owned()];
            let done = store::audit::Outcome::Success;
            self.audit_one(ctx, "consent.list", done, &subject, &patients).await?;
            found
        } else {
            self.find(ctx, "Consent", &parameters, MAX_LISTED).await?
        };
        Ok(found.into_iter().map(|(resource, version)| ConsentRow { resource, version, veiled }).collect())
    }

    /// The versions of one consent, newest first: who decided what, when. Errors: `Denied`, `NotFound`.
    pub async fn consent_versions(&self, ctx: &Ctx, id: &str) -> Result<Vec<ConsentRow>, Error> {
        let key = ResourceKey::new(crate::read::kind("Consent"), id);
        let veiled = is_veiled(ctx);
        let system = Ctx::system("consent", self.now());
        let reader = if veiled { &system } else { ctx };
        let page = self.history(reader, &key, None, MAX_LISTED).await?;
        let mut rows = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            let Some(content) = entry.content else { continue };
            let resource =
                Resource::parse(&content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
            rows.push(ConsentRow { resource, version: entry.version, veiled });
        }
        if veiled {
            let patient = rows.first().and_then(|row| row.resource.value().pointer("/patient/reference"));
            let patient = patient.and_then(Value::as_str).and_then(|r| r.strip_prefix("Patient/"));
            let patients: Vec<String> = patient.map(str::to_owned).into_iter().collect();
            let done = store::audit::Outcome::Success;
            self.audit_one(ctx, "consent.history", done, &key.to_string(), &patients).await?;
        }
        Ok(rows)
    }

    fn consent_of(&self, ctx: &Ctx, new: &NewConsent, by: Option<Giver>) -> Result<Resource, Error> {
        let now = self.now();
        let mut provision = Map::new();
        provision.insert("type".into(), json!(if new.deny { "deny" } else { "permit" }));
        let mut period = Map::new();
        for (name, value) in [("start", &new.from), ("end", &new.until)] {
            if let Some(value) = value {
                period.insert(name.into(), json!(value));
            }
        }
        if !period.is_empty() {
            provision.insert("period".into(), Value::Object(period));
        }
        let actors: Vec<Value> = new.actors.iter().map(actor).collect();
        let kinds: Vec<Value> =
            new.kinds.iter().map(|kind| json!({"system": TYPE_SYSTEM, "code": kind.name()})).collect();
        let purposes: Vec<Value> =
            new.purposes.iter().map(|code| json!({"system": PURPOSE_SYSTEM, "code": code})).collect();
        for (name, list) in [
            ("actor", actors),
            ("securityLabel", new.seals.codings()),
            ("purpose", purposes),
            ("class", kinds),
        ] {
            if !list.is_empty() {
                provision.insert(name.into(), Value::Array(list));
            }
        }
        let own = json!({"reference": format!("Patient/{}", new.patient)});
        let mut contained = Vec::new();
        let performer = match by {
            Some(Giver::RelatedPerson(id)) => json!({"reference": format!("RelatedPerson/{id}")}),
            Some(Giver::Guardian { name, relationship }) => {
                contained.push(json!({
                    "resourceType": "RelatedPerson", "id": "guardian", "patient": own,
                    "relationship": [{"coding": [{"system": RELATIONSHIP_SYSTEM, "code": relationship}]}],
                    "name": [{"text": name.trim()}],
                }));
                json!({"reference": "#guardian", "display": name.trim()})
            }
            None => giver(ctx, &new.patient).unwrap_or_else(|| own.clone()),
        };
        let mut consent = json!({
            "resourceType": "Consent",
            "status": "active",
            "scope": {"coding": [{"system": SCOPE_SYSTEM, "code": access::consent::PRIVACY}]},
            "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
            "patient": {"reference": format!("Patient/{}", new.patient)},
            "dateTime": now.to_string(),
            "performer": [performer],
            "policy": [{"uri": format!("{TEXT_BASE}{}", new.text_version.trim())}],
            "sourceAttachment": {
                "contentType": "text/plain",
                "language": new.language,
                "title": new.text_version.trim(),
                "creation": now.to_string(),
                "data": base64(&new.text),
            },
            "provision": provision,
        });
        if !contained.is_empty() {
            consent["contained"] = Value::Array(contained);
        }
        // Who wrote it down, where that is somebody else. Not everybody at a desk is in the directory.
        let writer = ctx.user().filter(|user| giver(ctx, &new.patient).is_none() && !user.display.is_empty());
        if let Some(user) = writer {
            let mut writer = json!({"display": user.display});
            if let Some(practitioner) = &user.practitioner {
                writer["reference"] = json!(practitioner.to_string());
            }
            consent["verification"] = json!([{
                "verified": true,
                "verifiedWith": {"reference": format!("Patient/{}", new.patient)},
                "verificationDate": now.to_string(),
                "extension": [{"url": RECORDED_BY, "valueReference": writer}],
            }]);
        }
        Resource::from_value(consent).map_err(Error::Malformed)
    }
}

/// Who gives it: the patient or who acts for her; `None` for staff, to whom the patient gave it.
fn giver(ctx: &Ctx, patient: &str) -> Option<Value> {
    let user = ctx.user()?;
    if let Some(own) = user.patient.as_ref().filter(|own| own.id == patient) {
        return Some(json!({"reference": own.to_string()}));
    }
    Some(json!({"reference": format!("RelatedPerson/{}", acting(ctx, patient)?.related_person)}))
}

/// By what grant the caller acts for the patient; `None` for the patient herself.
fn acting<'c>(ctx: &'c Ctx, patient: &str) -> Option<&'c Proxied> {
    let user = ctx.user().filter(|user| user.patient.as_ref().is_none_or(|own| own.id != patient))?;
    user.standing.proxied_at(ctx.now).find(|proxied| proxied.patient == patient)
}

/// Records and withdraws consents without a right to read them.
fn is_veiled(ctx: &Ctx) -> bool {
    policy::may(ctx, Capability::ManageConsents)
        && policy::predicate(ctx, Action::Search, crate::read::kind("Consent")) == Predicate::Nothing
}

fn actor(actor: &Actor) -> Value {
    let reference = match actor {
        Actor::Practitioner(id) => json!({"reference": format!("Practitioner/{id}")}),
        Actor::RelatedPerson(id) => json!({"reference": format!("RelatedPerson/{id}")}),
        Actor::Role(role) => {
            json!({"identifier": {"system": access::consent::ROLE_SYSTEM, "value": role.code()}})
        }
        Actor::Client(id) => json!({"identifier": {"system": access::consent::CLIENT_SYSTEM, "value": id}}),
    };
    let role = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]});
    json!({"role": role, "reference": reference})
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn row(written: Vec<crate::Written>) -> Result<ConsentRow, Error> {
    let one = written.into_iter().next();
    let (version, resource) = match one {
        Some(written) => (written.version, written.resource),
        None => (0, None),
    };
    let resource =
        resource.ok_or_else(|| Error::Internal("a consent was written and is not there".into()))?;
    Ok(ConsentRow { resource: (*resource).clone(), version, veiled: false })
}
