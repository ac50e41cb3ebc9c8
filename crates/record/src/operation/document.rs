//! `$document`: a Composition and all it speaks of, as one Bundle that stands for itself.

use super::Sight;
use crate::rights::veil::Lens;
use crate::{Error, Record, Rule};
use access::Ctx;
use fhir::search::references;
use fhir::{Reference, Resource, ResourceKey, TypeId};
use serde_json::{Value, json};
use std::collections::HashSet;
use store::Tx;
use store::audit::Outcome as AuditOutcome;
use uuid::Uuid;

/// Resources of one document.
const MAX_ENTRIES: usize = 5_000;
/// Beyond what the Composition names: results of a report, the practice of a doctor …
const ROUNDS: usize = 3;

/// Elements of a Composition in the order in which their resources stand in the document.
const ORDER: [&str; 7] = ["subject", "encounter", "author", "attester", "custodian", "event", "section"];

impl Record {
    /// The document of this Composition: Bundle with identifier and timestamp, the Composition first, then whom it is
    /// about, the encounter, the authors, the custodian, the entries of its sections in their order, and what these
    /// refer to as far as the caller may read it.
    /// Errors: as [Record::read] for the Composition; `Denied` if the caller may not read something that it names itself;
    /// `Rule` `document-incomplete` if that is deleted or was never here; `document-too-large`.
    pub async fn document(
        &self,
        ctx: &Ctx,
        composition: &ResourceKey,
        base: &str,
    ) -> Result<Resource, Error> {
        let (root, own) = self.read_within(ctx, composition).await?;
        let root = root.parse()?;
        let gathering =
            Gathering { ctx: ctx.clone(), lens: self.lens().await?, root: root.clone(), now: self.now() };
        let (entries, mut patients) = self.reading(move |tx| gathering.run(tx)).await?;
        patients.extend(own);
        patients.sort();
        patients.dedup();
        self.audit_one(
            ctx,
            "document",
            AuditOutcome::Success,
            &format!("{composition}/$document"),
            &patients,
        )
        .await?;
        let entry: Vec<Value> = std::iter::once(root)
            .chain(entries)
            .filter_map(|resource| {
                let url = format!("{base}/{}", resource.key()?);
                Some(json!({"fullUrl": url, "resource": resource.into_value()}))
            })
            .collect();
        let now = self.now();
        Resource::from_value(json!({
            "resourceType": "Bundle",
            "meta": {"lastUpdated": format!("{now:.3}")},
            "identifier": {"system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{}", Uuid::now_v7())},
            "type": "document",
            "timestamp": format!("{now:.3}"),
            "entry": entry,
        }))
        .map_err(|o| Error::Internal(o.to_string()))
    }
}

struct Gathering {
    ctx: Ctx,
    lens: Lens,
    root: Resource,
    now: jiff::Timestamp,
}

impl Gathering {
    fn run(&self, tx: &mut dyn Tx) -> Result<(Vec<Resource>, Vec<String>), Error> {
        let mut sight = Sight::new(&self.ctx, self.lens.clone(), self.now);
        let mut done: HashSet<ResourceKey> = self.root.key().into_iter().collect();
        let mut entries: Vec<Resource> = Vec::new();
        let mut patients: Vec<String> = Vec::new();
        let mut round: Vec<(ResourceKey, bool)> =
            first(&self.root).into_iter().map(|key| (key, true)).collect();
        for _ in 0..=ROUNDS {
            let mut next = Vec::new();
            for (key, needed) in round {
                if !done.insert(key.clone()) {
                    continue;
                }
                let row = store::resource::load(tx, &key)?.filter(|row| !row.deleted);
                let Some(row) = row else {
                    if needed {
                        let text = format!("The composition refers to {key}, which is not here.");
                        return Err(Error::Rule(Rule::new("document-incomplete", text)));
                    }
                    continue;
                };
                if !sight.sees(tx, &row)? {
                    if needed {
                        return Err(Error::Denied);
                    }
                    continue;
                }
                if entries.len() >= MAX_ENTRIES {
                    let text = format!("The document has more than {MAX_ENTRIES} resources.");
                    return Err(Error::Rule(Rule::new("document-too-large", text)));
                }
                let whose = row.patients.clone();
                let Some(shown) = sight.shown(tx, row)? else {
                    if needed {
                        return Err(Error::Denied);
                    }
                    continue;
                };
                let resource = shown.parse()?;
                next.extend(further(&resource).into_iter().map(|key| (key, false)));
                patients.extend(whose);
                entries.push(resource);
            }
            round = next;
        }
        Ok((entries, patients))
    }
}

/// What the Composition names itself, in the order of the document. Whom it replaces or appends to is no part of it.
fn first(composition: &Resource) -> Vec<ResourceKey> {
    let mut ranked: Vec<(usize, ResourceKey)> = references(composition)
        .into_iter()
        .filter_map(|(expression, reference)| {
            let Reference::Local { key, .. } = reference else { return None };
            let element = expression.split(['.', '[']).nth(1)?;
            (element != "relatesTo")
                .then(|| (ORDER.iter().position(|e| *e == element).unwrap_or(ORDER.len()), key))
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, key)| key).collect()
}

/// What a resource of the document brings along. Patients and visits lead to the rest of the chart: only staff, places
/// and organizations are taken from them.
fn further(resource: &Resource) -> Vec<ResourceKey> {
    let is_hub = matches!(resource.kind(), TypeId::PATIENT | TypeId::ENCOUNTER);
    references(resource)
        .into_iter()
        .filter_map(|(_, reference)| match reference {
            Reference::Local { key, .. } => Some(key),
            _ => None,
        })
        .filter(|key| !is_hub || access::policy::is_impersonal(key.kind))
        .filter(|key| !matches!(key.kind, TypeId::PATIENT | TypeId::ENCOUNTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_begins_with_whom_it_is_about() {
        let composition = Resource::from_value(json!({"resourceType": "Composition",
            "author": [{"reference": "Practitioner/a"}],
            "section": [{"entry": [{"reference": "Condition/b"}, {"reference": "Observation/c"}]}],
            "custodian": {"reference": "Organization/d"},
            "relatesTo": [{"code": "replaces", "targetReference": {"reference": "Composition/old"}}],
            "subject": {"reference": "Patient/e"}}))
        .unwrap();
        let order: Vec<String> = first(&composition).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["Patient/e", "Practitioner/a", "Organization/d", "Condition/b", "Observation/c"]);
    }

    #[test]
    fn hubs_do_not_bring_the_rest_of_the_chart() {
        let encounter = Resource::from_value(json!({"resourceType": "Encounter",
            "subject": {"reference": "Patient/1"}, "diagnosis": [{"condition": {"reference": "Condition/1"}}],
            "location": [{"location": {"reference": "Location/1"}}]}))
        .unwrap();
        assert_eq!(further(&encounter), [ResourceKey::parse("Location/1").unwrap()]);
    }
}
