//! The service for callers with rights: anybody who is signed in. Nothing here is about a patient, so nothing is audited.

use super::{
    Code, Concept, Expand, Expansion, Kind, Lookup, Source, Terminology, Translate, Translation,
    ValidateCode, Validation, built_in,
};
use crate::terminology::lookup::Subsumption;
use crate::{Error, Record};
use access::{Ctx, Principal};
use serde_json::Value as Json;
use std::sync::Arc;
use store::Tx;

/// Whether a code is in a value set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    In,
    Out,
    /// The value set, or a code system it needs, is not known here.
    Unknown,
}

impl Terminology {
    /// For validation: `system` `None` for an element of type code, whose system the value set says. Never an error for
    /// what is not known. Errors: of the database.
    pub fn membership(
        &self,
        tx: &mut dyn Tx,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Membership, Error> {
        let set = match self.set(tx, &Source::Url(value_set.to_owned()), &[]) {
            Ok(set) => set,
            Err(Error::Invalid(_)) => return Ok(Membership::Unknown),
            Err(other) => return Err(other),
        };
        for part in set.parts.iter().filter(|p| system.is_none_or(|s| s == p.system)) {
            if part.contains(tx, code)? {
                return Ok(Membership::In);
            }
        }
        Ok(Membership::Out)
    }

    /// The resource behind a canonical: `CodeSystem`, `ValueSet` or `ConceptMap`; what FHIR itself defines without
    /// narrative, a loaded system without concepts. `None` if it is not known.
    pub fn find(&self, tx: &mut dyn Tx, kind: &str, canonical: &str) -> Result<Option<Arc<Json>>, Error> {
        let kind = match kind {
            "CodeSystem" => Kind::CodeSystem,
            "ValueSet" => Kind::ValueSet,
            "ConceptMap" => Kind::ConceptMap,
            _ => return Ok(None),
        };
        if let Some((_, value)) = self.resource(tx, kind, canonical)? {
            return Ok(Some(value));
        }
        if kind == Kind::CodeSystem
            && let Some(system) = self.system(tx, canonical, None)?
        {
            return Ok(Some(Arc::new(system.header().clone())));
        }
        Ok(None)
    }

    /// URL and versions of every code system that is known, the default version first.
    pub fn systems(&self, tx: &mut dyn Tx) -> Result<Vec<(String, Vec<String>)>, Error> {
        let mut all: std::collections::BTreeMap<String, Vec<String>> = built_in::urls(Kind::CodeSystem)
            .into_iter()
            .map(|(url, version)| (url.to_owned(), vec![version.to_owned()]))
            .collect();
        for entry in store::terminology::in_use(tx, store::terminology::Kind::CodeSystem)? {
            let versions = all.entry(entry.url).or_default();
            versions.retain(|v| *v != entry.version);
            if entry.is_default {
                versions.insert(0, entry.version);
            } else {
                versions.push(entry.version);
            }
        }
        if let Some(kind) = fhir::TypeId::from_name("CodeSystem") {
            for url in
                store::terminology::urls(tx, kind, fhir::definitions::param(kind, "url").map(|p| p.id))?
            {
                all.entry(url).or_default();
            }
        }
        Ok(all.into_iter().collect())
    }
}

impl Record {
    /// The terminology service of this record, for use inside a transaction.
    pub fn terminology(&self) -> &Terminology {
        &self.inner.terminology
    }

    async fn terms<T: Send + 'static>(
        &self,
        ctx: &Ctx,
        work: impl FnOnce(&Terminology, &mut dyn Tx) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if ctx.principal == Principal::Anonymous {
            return Err(Error::Unauthenticated);
        }
        let terminology = self.inner.terminology.clone();
        self.reading(move |tx| work(&terminology, tx)).await
    }

    /// [Terminology::expand]. Errors: also `Unauthenticated`, `Busy`.
    pub async fn expand(&self, ctx: &Ctx, request: Expand) -> Result<Expansion, Error> {
        self.terms(ctx, move |terminology, tx| terminology.expand(tx, &request)).await
    }
    /// [Terminology::lookup]. Errors: also `Unauthenticated`, `Busy`.
    pub async fn lookup(&self, ctx: &Ctx, request: Lookup) -> Result<Concept, Error> {
        self.terms(ctx, move |terminology, tx| terminology.lookup(tx, &request)).await
    }
    /// [Terminology::validate_code]. Errors: also `Unauthenticated`, `Busy`.
    pub async fn validate_code(&self, ctx: &Ctx, request: ValidateCode) -> Result<Validation, Error> {
        self.terms(ctx, move |terminology, tx| terminology.validate_code(tx, &request)).await
    }
    /// [Terminology::translate]. Errors: also `Unauthenticated`, `Busy`.
    pub async fn translate(&self, ctx: &Ctx, request: Translate) -> Result<Translation, Error> {
        self.terms(ctx, move |terminology, tx| terminology.translate(tx, &request)).await
    }
    /// [Terminology::subsumes]. Errors: also `Unauthenticated`, `Busy`.
    pub async fn subsumes(
        &self,
        ctx: &Ctx,
        system: &str,
        version: Option<&str>,
        a: &str,
        b: &str,
    ) -> Result<Subsumption, Error> {
        let (system, version) = (system.to_owned(), version.map(str::to_owned));
        let (a, b) = (a.to_owned(), b.to_owned());
        self.terms(ctx, move |terminology, tx| terminology.subsumes(tx, &system, version.as_deref(), &a, &b))
            .await
    }
    /// [Terminology::hierarchy]: a code with all above or below it. Errors: also `Unauthenticated`, `Busy`.
    pub async fn hierarchy(
        &self,
        ctx: &Ctx,
        system: &str,
        code: &str,
        up: bool,
        limit: usize,
    ) -> Result<Vec<Code>, Error> {
        let (system, code) = (system.to_owned(), code.to_owned());
        self.terms(ctx, move |terminology, tx| terminology.hierarchy(tx, &system, &code, up, limit)).await
    }
    /// [Terminology::find]. Errors: `Unauthenticated`, `Busy`.
    pub async fn terminology_resource(
        &self,
        ctx: &Ctx,
        kind: &'static str,
        canonical: &str,
    ) -> Result<Option<Arc<Json>>, Error> {
        let canonical = canonical.to_owned();
        self.terms(ctx, move |terminology, tx| terminology.find(tx, kind, &canonical)).await
    }
    /// [Terminology::systems]. Errors: `Unauthenticated`, `Busy`.
    pub async fn code_systems(&self, ctx: &Ctx) -> Result<Vec<(String, Vec<String>)>, Error> {
        self.terms(ctx, |terminology, tx| terminology.systems(tx)).await
    }
}
