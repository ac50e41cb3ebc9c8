//! The R4 definitions as data: types, elements, search parameters, compartments.

mod names;

/// An R4 resource type. The number is stable (alphabetical R4 list) and stored in databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u16);

/// A search parameter of one resource type. The number is stable and stored in databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u16);

impl TypeId {
    pub fn from_name(name: &str) -> Option<TypeId> {
        names::TYPES.binary_search(&name).ok().map(|n| TypeId(n as u16))
    }
    /// The FHIR name. Unknown numbers (a newer database) print as `Resource`.
    pub fn name(self) -> &'static str {
        names::TYPES.get(self.0 as usize).copied().unwrap_or("Resource")
    }
    pub fn all() -> impl Iterator<Item = TypeId> {
        (0..names::TYPES.len()).map(|n| TypeId(n as u16))
    }
}
