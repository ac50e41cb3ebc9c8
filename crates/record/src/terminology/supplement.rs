//! CodeSystem supplements: names and properties that a resource adds to the concepts of another code system.
//! <http://hl7.org/fhir/R4/codesystem.html#supplements>

use super::canonical::{self, Identity};
use super::memory::Memory;
use super::system::System;
use super::{Kind, Terminology};
use crate::Error;
use fhir::definitions;
use serde_json::Value as Json;
use std::sync::Arc;
use store::Tx;
use store::terminology::{self, Concept, Designation};

/// All that supplements one version of a code system.
#[derive(Debug, Clone, Default)]
pub(super) struct Supplements(Vec<Arc<Memory>>);

impl Terminology {
    /// Resources with `content` supplement that name the system, or this version of it; drafts do not count.
    pub(super) fn supplements(&self, tx: &mut dyn Tx, system: &System) -> Result<Supplements, Error> {
        let Some(kind) = fhir::TypeId::from_name(Kind::CodeSystem.name()) else {
            return Ok(Supplements::default());
        };
        let Some(param) = definitions::param(kind, "supplements") else { return Ok(Supplements::default()) };
        let mut all = Vec::new();
        for found in terminology::resources(tx, kind, param.id, system.url())? {
            let identity = Identity::Resource(found.rid, found.version);
            let Some(definition) = self.definition(tx, &identity)? else { continue };
            let text = |name: &str| definition.value.get(name).and_then(Json::as_str);
            let (_, version) = super::split_version(text("supplements").unwrap_or_default());
            if text("status") == Some("draft") || version.is_some_and(|version| version != system.version()) {
                continue;
            }
            all.extend(canonical::supplement(&definition)?);
        }
        Ok(Supplements(all))
    }
}

impl Supplements {
    /// Adds what there is about a concept, behind its own names and properties.
    pub fn add_to(&self, concept: &mut Concept) {
        for memory in &self.0 {
            let Some(more) = memory.get(&concept.code) else { continue };
            let language = memory.header.get("language").and_then(Json::as_str).unwrap_or_default();
            let display =
                (!more.display.is_empty() && more.display != concept.display).then(|| Designation {
                    language: language.to_owned(),
                    value: more.display.clone(),
                    ..Designation::default()
                });
            concept.detail.designations.extend(display);
            concept.detail.designations.extend(more.detail.designations.iter().cloned());
            concept.detail.properties.extend(more.detail.properties.iter().cloned());
        }
    }
}
