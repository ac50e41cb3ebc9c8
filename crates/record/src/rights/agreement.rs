//! Consents as people give them: recorded with the evidence, withdrawn, listed. What they do is `access::consent`.

use crate::{Change, ChangeSet, Error, Record, Rule};
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

/// A consent as it stands.
#[derive(Debug, Clone)]
pub struct ConsentRow {
    pub resource: Resource,
    pub version: u32,
}

impl Record {
    /// Records what the patient decided; it holds from the next request on. Given by the patient herself, by who acts for
    /// her, or in her presence to staff: the Consent says who.
    /// Errors: `Denied`; `Invalid` for what cannot be enforced; `Rule` `text-missing`.
    pub async fn give_consent(&self, ctx: &Ctx, new: NewConsent) -> Result<ConsentRow, Error> {
        if new.text_version.trim().is_empty() || new.text.trim().is_empty() || new.text.len() > MAX_TEXT {
            let text = "The text that was agreed to, and its version, belong to the evidence.";
            return Err(Error::Rule(Rule::new("text-missing", text).at("/text")));
        }
        let resource = self.consent_of(ctx, &new)?;
        let set = ChangeSet { changes: vec![Change::Create { resource }], ..ChangeSet::default() };
        let committed = self.command(ctx, "consent.give", set).await?;
        self.forget_standing(None);
        row(committed.written)
    }

    /// Takes it back: a new version that is `inactive`. Errors: `NotFound`; `Denied`; `Rule` `not-active`.
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
        if let Some(object) = resource.value_mut().as_object_mut() {
            object.insert("status".into(), json!("inactive"));
            object.insert("dateTime".into(), json!(self.now().to_string()));
            if let Some(giver) = giver(ctx) {
                object.insert("performer".into(), json!([giver]));
            }
        }
        let set = ChangeSet {
            changes: vec![Change::Update { resource, if_match: Some(version) }],
            ..ChangeSet::default()
        };
        let committed = self.command(ctx, "consent.withdraw", set).await?;
        self.forget_standing(None);
        row(committed.written)
    }

    /// All consents of a patient that the caller may read, newest first. Errors: `Denied`.
    pub async fn consents(&self, ctx: &Ctx, patient: &str) -> Result<Vec<ConsentRow>, Error> {
        let subject = format!("Patient/{patient}");
        let parameters = [("patient", subject.as_str()), ("_sort", "-date")];
        let found = self.find(ctx, "Consent", &parameters, MAX_LISTED).await?;
        Ok(found.into_iter().map(|(resource, version)| ConsentRow { resource, version }).collect())
    }

    fn consent_of(&self, ctx: &Ctx, new: &NewConsent) -> Result<Resource, Error> {
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
        let performer =
            giver(ctx).unwrap_or_else(|| json!({"reference": format!("Patient/{}", new.patient)}));
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
        // Who wrote it down, where that is somebody else.
        if let Some(writer) = ctx.user().and_then(|u| u.practitioner.as_ref()) {
            consent["verification"] = json!([{
                "verified": true,
                "verifiedWith": {"reference": format!("Patient/{}", new.patient)},
                "verificationDate": now.to_string(),
                "extension": [{
                    "url": "https://uzima.health/fhir/recorded-by",
                    "valueReference": {"reference": writer.to_string()},
                }],
            }]);
        }
        Resource::from_value(consent).map_err(Error::Malformed)
    }
}

/// Who gives it: the patient or her proxy; `None` for staff, to whom the patient gave it.
fn giver(ctx: &Ctx) -> Option<Value> {
    let user = ctx.user()?;
    if let Some(own) = &user.patient {
        return Some(json!({"reference": own.to_string()}));
    }
    let proxied = user.standing.proxied_at(ctx.now).next()?;
    Some(json!({"reference": format!("RelatedPerson/{}", proxied.related_person)}))
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
    Ok(ConsentRow { resource: (*resource).clone(), version })
}
