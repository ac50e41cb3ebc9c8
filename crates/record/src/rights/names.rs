//! What people, patients and applications are called in the lists of this module.

use crate::{Error, Record, Rule};
use access::Ctx;
use access::policy::{self, Capability};
use fhir::{Resource, ResourceKey, TypeId};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// Most names of one kind that are looked up for one list.
const MAX_NAMES: usize = 500;
/// How fresh the sign-in must be to ask whose account a telephone number is.
const FRESH_MINUTES: u32 = 5;

/// Names by what they belong to; what is not there is unknown or gone.
#[derive(Debug, Clone, Default)]
pub struct Names {
    accounts: HashMap<i64, String>,
    clients: HashMap<String, String>,
    resources: HashMap<ResourceKey, Resource>,
}

impl Names {
    /// The person's name as in her account.
    pub fn account(&self, id: i64) -> Option<&str> {
        self.accounts.get(&id).map(String::as_str)
    }
    /// The name of an OAuth client.
    pub fn client(&self, id: &str) -> Option<&str> {
        self.clients.get(id).map(String::as_str)
    }
    pub fn patient(&self, id: &str) -> Option<&Resource> {
        self.resources.get(&ResourceKey::new(TypeId::PATIENT, id))
    }
    /// A Practitioner, RelatedPerson or Patient by its reference, e.g. `Practitioner/7`.
    pub fn resource(&self, reference: &str) -> Option<&Resource> {
        self.resources.get(&ResourceKey::parse(reference)?)
    }
    /// What somebody with this reference is called, with title.
    pub fn called(&self, reference: &str) -> Option<String> {
        called(self.resource(reference)?)
    }
}

/// `name.text`, or title, given names and family name of the first name.
fn called(person: &Resource) -> Option<String> {
    let name = person.value().pointer("/name/0")?;
    if let Some(text) = name.get("text").and_then(Value::as_str) {
        return Some(text.to_owned());
    }
    let words =
        |part: &str| name.get(part).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let family = name.get("family").and_then(Value::as_str);
    let whole: Vec<&str> = words("prefix").chain(words("given")).chain(family).collect();
    (!whole.is_empty()).then(|| whole.join(" "))
}

impl Record {
    /// Names for a list that the caller was given and that names these: accounts, OAuth clients, and Patients,
    /// Practitioners and RelatedPersons by reference. Only for what such a list itself says. Errors: `Busy`, `Internal`.
    pub async fn names(
        &self,
        accounts: Vec<i64>,
        clients: Vec<String>,
        references: Vec<String>,
    ) -> Result<Names, Error> {
        let accounts: BTreeSet<i64> = accounts.into_iter().take(MAX_NAMES).collect();
        let clients: BTreeSet<String> = clients.into_iter().take(MAX_NAMES).collect();
        let keys: BTreeSet<String> = references.into_iter().take(MAX_NAMES).collect();
        let (accounts, clients) = self
            .reading(move |tx| {
                let mut people = HashMap::new();
                for id in accounts {
                    people.extend(store::account::load(tx, id)?.map(|found| (id, found.display)));
                }
                let mut applications = HashMap::new();
                for id in clients {
                    applications.extend(store::oauth::client(tx, &id)?.map(|found| (id, found.name)));
                }
                Ok((people, applications))
            })
            .await?;
        let system = Ctx::system("names", self.now());
        let mut resources = HashMap::new();
        for key in keys.iter().filter_map(|reference| ResourceKey::parse(reference)) {
            if let Some((resource, _)) = self.load(&system, &key).await? {
                resources.insert(key, resource);
            }
        }
        Ok(Names { accounts, clients, resources })
    }

    /// The personal account with this telephone number or e-mail address and this family name, for a grant to act for
    /// `patient`. Both must fit, and nobody learns which one did not: that somebody is known to a clinic is a fact about
    /// her. Errors: `Denied`; `StepUpNeeded`; `Rule` `account-unknown`; `Throttled` for who guesses.
    pub async fn account_to_act(
        &self,
        ctx: &Ctx,
        patient: &str,
        contact: &str,
        family: &str,
    ) -> Result<i64, Error> {
        let own = ctx.user().is_some_and(|u| u.patient.as_ref().is_some_and(|p| p.id == patient));
        if !own && !policy::may(ctx, Capability::ManageConsents) {
            return Err(self.denied(ctx, "proxy.grant", &format!("Patient/{patient}")).await);
        }
        self.require_fresh(ctx, FRESH_MINUTES, false)?;
        // Going through numbers with a common name would tell who is a patient here.
        let tries = format!("act-for/{}", ctx.principal.agent());
        self.inner.throttle.attempt(&tries, crate::authn::PER_NAME, self.now())?;
        let (phone, email) = (crate::authn::phone_e164(contact), contact.trim().to_lowercase());
        let found = self
            .reading(move |tx| {
                Ok(match phone {
                    Some(phone) => store::account::by_phone(tx, &phone)?,
                    None if email.contains('@') => store::account::by_email(tx, &email)?,
                    None => Vec::new(),
                })
            })
            .await?;
        let family = family.trim().to_lowercase();
        let fits = |display: &str| {
            let display = display.to_lowercase();
            !family.is_empty() && (display == family || display.ends_with(&format!(" {family}")))
        };
        let mut fitting = found.into_iter().filter(|a| !a.disabled && fits(&a.display));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => {
                self.inner.throttle.forgive(&tries, self.now());
                Ok(one.id)
            }
            _ => {
                let text = "No account has this number and this family name.";
                Err(Error::Rule(Rule::new("account-unknown", text).at("/contact")))
            }
        }
    }
}
