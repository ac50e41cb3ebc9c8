//! The R4 definitions as data: types, elements, search parameters, compartments.

mod element;
mod load;
mod names;
mod param;
mod primary;

pub(crate) use element::{Class, Element, ElementType, Primitive, TypeDef, TypeNumber};
pub(crate) use load::Definitions;
pub use param::{Component, Param, ParamType};
pub use primary::primary_date;

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

/// Loads the definitions now instead of at first use, so that the first request does not wait for it.
pub fn preload() {
    Definitions::get();
}

/// The search parameter `code` of `kind`; `_tag`, `_profile`, `_security` and `_source` included,
/// `_id` and `_lastUpdated` not.
pub fn param(kind: TypeId, code: &str) -> Option<&'static Param> {
    let params = Definitions::get().params_of(kind);
    params.binary_search_by(|p| p.code.cmp(code)).ok().map(|n| &params[n])
}

/// All search parameters of `kind`, sorted by code.
pub fn params(kind: TypeId) -> impl Iterator<Item = &'static Param> {
    Definitions::get().params_of(kind).iter()
}

/// As [params].
pub(crate) fn standard(kind: TypeId) -> &'static [Param] {
    Definitions::get().params_of(kind)
}

/// The parameter with this stored number; `None` for numbers this build does not know.
pub fn param_by_id(id: ParamId) -> Option<&'static Param> {
    Definitions::get().param_by_id(id)
}

/// The parameters of `kind` that link it to the Patient compartment
/// (<http://hl7.org/fhir/R4/compartmentdefinition-patient.html>); empty if it is not part of it.
pub fn in_patient_compartment(kind: TypeId) -> &'static [ParamId] {
    in_compartment(TypeId::PATIENT, kind)
}

/// The types that have a compartment: Device, Encounter, Patient, Practitioner, RelatedPerson.
pub const COMPARTMENTS: [TypeId; 5] =
    [TypeId::DEVICE, TypeId::ENCOUNTER, TypeId::PATIENT, TypeId::PRACTITIONER, TypeId::RELATED_PERSON];

/// The parameters of `kind` that link it to the compartment of a resource of type `of`
/// (<http://hl7.org/fhir/R4/compartmentdefinition.html>); empty if it is not part of it.
pub fn in_compartment(of: TypeId, kind: TypeId) -> &'static [ParamId] {
    Definitions::get().compartment(of, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_code_and_number() {
        let name = param(TypeId::PATIENT, "name").unwrap();
        assert_eq!((name.param_type, name.expression), (ParamType::String, "Patient.name"));
        assert_eq!(param_by_id(name.id), Some(name));
        assert_eq!(param(TypeId::PATIENT, "nonsense"), None);
        assert!(param_by_id(ParamId(u16::MAX)).is_none());
        for kind in TypeId::all() {
            assert!(params(kind).any(|p| p.code == "_tag"), "{}", kind.name());
            for p in params(kind) {
                assert_eq!(p.kind, kind);
                assert_eq!(param(kind, p.code), Some(p));
            }
        }
    }

    #[test]
    fn compartment_parameters() {
        let codes = |kind| -> Vec<&str> {
            in_patient_compartment(kind).iter().map(|p| param_by_id(*p).unwrap().code).collect()
        };
        assert_eq!(codes(TypeId::OBSERVATION), ["subject", "performer"]);
        assert_eq!(codes(TypeId::APPOINTMENT), ["actor"]);
        assert!(codes(TypeId::LOCATION).is_empty());
        let codes = |of, kind| -> Vec<&str> {
            in_compartment(of, kind).iter().map(|p| param_by_id(*p).unwrap().code).collect()
        };
        assert_eq!(codes(TypeId::ENCOUNTER, TypeId::OBSERVATION), ["encounter"]);
        assert_eq!(codes(TypeId::PRACTITIONER, TypeId::APPOINTMENT), ["actor"]);
        assert_eq!(codes(TypeId::DEVICE, TypeId::OBSERVATION), ["subject", "device"]);
        for of in COMPARTMENTS {
            assert!(TypeId::all().any(|kind| !in_compartment(of, kind).is_empty()), "{}", of.name());
        }
    }

    #[test]
    fn every_element_is_found_by_its_keys() {
        let d = Definitions::get();
        for t in &d.types {
            assert!(t.elements.len() <= 128, "{} has too many elements for a bit set", t.name);
            for e in &t.elements {
                for et in &e.types {
                    let mut key = e.name.to_owned();
                    if e.choice {
                        key.push_str(&et.code[..1].to_ascii_uppercase());
                        key.push_str(&et.code[1..]);
                    }
                    let (_, found, _) = t.lookup(&key).unwrap();
                    assert_eq!(found.name, e.name, "{}.{key}", t.name);
                }
            }
        }
        assert!(d.by_name("Observation").unwrap().lookup("valueMoney").is_none());
    }
}
