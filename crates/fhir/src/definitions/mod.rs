//! The R4 definitions as data: types, elements, search parameters, compartments.

mod names;
mod param;

pub use param::{Param, ParamType};

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

/// The search parameter `code` of `kind`, `_tag`, `_profile`, `_security` and `_source` included.
pub fn param(kind: TypeId, code: &str) -> Option<&'static Param> {
    params(kind).find(|p| p.code == code)
}

/// All search parameters of `kind`.
pub fn params(_kind: TypeId) -> impl Iterator<Item = &'static Param> {
    std::iter::empty()
}

/// The parameter with this stored number; `None` for numbers this build does not know.
pub fn param_by_id(_id: ParamId) -> Option<&'static Param> {
    None
}

/// The parameters of `kind` that link it to the Patient compartment
/// (<http://hl7.org/fhir/R4/compartmentdefinition-patient.html>); empty if it is not part of it.
pub fn in_patient_compartment(_kind: TypeId) -> &'static [ParamId] {
    &[]
}

/// The date parameter by which clinicians list resources of `kind`.
pub fn primary_date(_kind: TypeId) -> Option<ParamId> {
    None
}
