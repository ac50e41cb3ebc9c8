//! `$match`, and the look for duplicates at registration: who among the patients may be this person.

use super::likeness::{Grade, Likeness, Person, compare};
use crate::{Error, Record};
use access::policy;
use access::{Action, Capability, Ctx, Predicate};
use fhir::{Resource, TypeId};
use serde_json::Value;
use std::collections::BTreeMap;
use store::audit::Outcome as AuditOutcome;

/// People with the same birthday, phone or beginning of the name that are compared.
const MAX_COMPARED: u32 = 300;
/// Most that one question returns.
pub const MAX_MATCHES: usize = 50;
/// Letters of each word of a name that candidates must share.
const PREFIX: usize = 3;

/// A patient who may be the one asked for.
#[derive(Debug, Clone)]
pub struct Match {
    /// Whole where the caller may open the record; else cut down to what finding a patient shows (see
    /// [Record::directory]).
    pub patient: Resource,
    pub version: u32,
    pub likeness: Likeness,
    pub in_reach: bool,
}

impl Record {
    /// Patients who may be the person that `described` tells of, the likeliest first, only those that are at least
    /// possible. For staff who may search patients, and for clients whose scopes let them search Patients.
    /// Errors: `Denied`; `Busy`.
    pub async fn match_patients(
        &self,
        ctx: &Ctx,
        described: &Resource,
        only_certain: bool,
        count: usize,
    ) -> Result<Vec<Match>, Error> {
        let own = policy::predicate(ctx, Action::Search, TypeId::PATIENT);
        if !policy::may(ctx, Capability::SearchPatients) && own != Predicate::Everything {
            return Err(self.denied(ctx, "patient.match", "Patient/$match").await);
        }
        let floor = if only_certain { Grade::Certain } else { Grade::Possible };
        let mut found = self.similar(&Person::of(described.value())).await?;
        found.retain(|(.., likeness)| likeness.grade() >= floor);
        // Two records that are both certainly this person: then neither is certain.
        if only_certain && found.len() > 1 {
            found.clear();
        }
        found.truncate(count.clamp(1, MAX_MATCHES));
        let reach = self.in_reach(&own, &found).await?;
        let ids: Vec<String> = found.iter().filter_map(|(r, ..)| r.id().map(str::to_owned)).collect();
        self.audit_one(ctx, "patient.match", AuditOutcome::Success, "Patient/$match", &ids).await?;
        let mut matches = Vec::with_capacity(found.len());
        for ((patient, version, likeness), in_reach) in found.into_iter().zip(reach) {
            let patient = if in_reach { patient } else { crate::read::minimal(patient)? };
            matches.push(Match { patient, version, likeness, in_reach });
        }
        Ok(matches)
    }

    async fn in_reach(
        &self,
        own: &Predicate,
        found: &[(Resource, u32, Likeness)],
    ) -> Result<Vec<bool>, Error> {
        let keys: Vec<fhir::ResourceKey> = found.iter().filter_map(|(r, ..)| r.key()).collect();
        let (own, now) = (own.clone(), self.now());
        self.reading(move |tx| {
            let mut reach = Vec::with_capacity(keys.len());
            for key in &keys {
                let patients = [key.id.clone()];
                reach.push(crate::rights::holds(tx, &own, key, &patients, now)?);
            }
            Ok(reach)
        })
        .await
    }

    /// Active patients who are at all like this person, the likeliest first. The caller has checked the right and audits.
    pub(crate) async fn similar(&self, person: &Person) -> Result<Vec<(Resource, u32, Likeness)>, Error> {
        let system = Ctx::system("duplicates", self.now());
        let mut found: BTreeMap<String, (Resource, u32)> = BTreeMap::new();
        for query in queries(person) {
            let query: Vec<(&str, &str)> =
                query.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for (resource, version) in self.find(&system, "Patient", &query, MAX_COMPARED).await? {
                if let Some(id) = resource.id() {
                    found.insert(id.to_owned(), (resource, version));
                }
            }
        }
        let mut scored: Vec<(Resource, u32, Likeness)> = found
            .into_values()
            .filter(|(r, _)| r.get("active") != Some(&Value::Bool(false)))
            .map(|(resource, version)| {
                let likeness = compare(person, &Person::of(resource.value()));
                (resource, version, likeness)
            })
            .collect();
        scored.sort_by(|a, b| b.2.0.total_cmp(&a.2.0).then_with(|| a.0.id().cmp(&b.0.id())));
        Ok(scored)
    }
}

/// Searches that find whoever shares a telling fact: the rest is not worth comparing.
fn queries(person: &Person) -> Vec<Vec<(&'static str, String)>> {
    let mut all: Vec<Vec<(&'static str, String)>> = Vec::new();
    for (system, value) in person.identifiers.iter().take(10) {
        all.push(vec![("identifier", format!("{}|{}", escape(system), escape(value)))]);
    }
    for phone in person.phones.iter().take(5) {
        all.push(vec![("phone", escape(phone))]);
    }
    for email in person.emails.iter().take(5) {
        all.push(vec![("email", escape(email))]);
    }
    let prefix = |word: &String| word.chars().take(PREFIX).collect::<String>();
    let named = |words: &Vec<String>| -> Vec<(&'static str, String)> {
        words.iter().take(2).map(|word| ("name", escape(&prefix(word)))).collect()
    };
    let is_date = person.birth.len() == 10 && fhir::range_us(&person.birth).is_some();
    for words in person.names.iter().take(5) {
        let mut query = named(words);
        // With the name alone there may be thousands; the sex halves them.
        if !is_date && !person.sex.is_empty() {
            query.push(("gender", person.sex.clone()));
        }
        all.push(query);
    }
    if is_date {
        all.push(vec![("birthdate", person.birth.clone())]);
        // A birthday that thousands share (1 January) is narrowed by the names.
        for words in person.names.iter().take(2) {
            let Some(word) = words.first() else { continue };
            all.push(vec![("birthdate", person.birth.clone()), ("name", escape(&prefix(word)))]);
        }
        if let [year, month, day] = person.birth.split('-').collect::<Vec<_>>()[..]
            && month != day
            && day <= "12"
        {
            all.push(vec![("birthdate", format!("{year}-{day}-{month}"))]);
        }
    }
    all
}

/// `,`, `|`, `$` and `\` have a meaning in search values.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ',' | '|' | '$' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
