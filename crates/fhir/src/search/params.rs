//! The search parameters in force: those of R4, and a server's own.

use super::IndexEntry;
use super::plan::{self, Reading, Source, ValueType};
use crate::definitions::{self, Param};
use crate::{ParamId, Resource, TypeId};
use std::sync::Arc;

/// The search parameters that queries may use and resources are indexed by. Cheap to clone; a changed set is a
/// new value, so that a running search or write keeps the one it began with.
#[derive(Debug, Clone, Default)]
pub struct Params(Option<Arc<Vec<Param>>>);

impl Params {
    /// Those of R4 alone.
    pub fn standard() -> Params {
        Params(None)
    }

    /// The parameter `code` of `kind`; `_tag`, `_profile`, `_security` and `_source` included, `_id` and
    /// `_lastUpdated` not.
    pub fn param(&self, kind: TypeId, code: &str) -> Option<&Param> {
        definitions::param(kind, code)
            .or_else(|| self.custom().iter().find(|p| p.kind == kind && p.code == code))
    }

    /// The parameter with this stored number.
    pub fn by_id(&self, id: ParamId) -> Option<&Param> {
        definitions::param_by_id(id).or_else(|| self.custom().iter().find(|p| p.id == id))
    }

    /// All parameters of `kind`: those of R4 by code, then the server's own.
    pub fn of(&self, kind: TypeId) -> impl Iterator<Item = &Param> + use<'_> {
        let standard: &[Param] = definitions::standard(kind);
        standard.iter().chain(self.custom().iter().filter(move |p| p.kind == kind))
    }

    /// Whether the parameter is defined but not all resources are indexed by it yet.
    pub(super) fn is_building(&self, _kind: TypeId, _code: &str) -> bool {
        false
    }

    pub(super) fn types(&self, p: &Param) -> &[ValueType] {
        plan::value_types(p)
    }

    /// How a composite parameter is answered and read.
    pub(super) fn composite(&self, p: &Param) -> Option<(&[Source], &[Reading])> {
        plan::plan(p.kind).composite(p.id)
    }

    pub(super) fn extract_own(&self, _resource: &Resource, _out: &mut Vec<IndexEntry>) {}

    fn custom(&self) -> &[Param] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}
