//! Search parameters as the definitions give them.

use super::{ParamId, TypeId};

/// <http://hl7.org/fhir/R4/valueset-search-param-type.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamType {
    Token,
    String,
    Date,
    Number,
    Quantity,
    Reference,
    Uri,
    Composite,
    Special,
}

impl ParamType {
    /// The FHIR code, as in `SearchParameter.type`.
    pub fn code(self) -> &'static str {
        match self {
            ParamType::Token => "token",
            ParamType::String => "string",
            ParamType::Date => "date",
            ParamType::Number => "number",
            ParamType::Quantity => "quantity",
            ParamType::Reference => "reference",
            ParamType::Uri => "uri",
            ParamType::Composite => "composite",
            ParamType::Special => "special",
        }
    }
    /// The inverse of [ParamType::code].
    pub fn from_code(code: &str) -> Option<ParamType> {
        Some(match code {
            "token" => ParamType::Token,
            "string" => ParamType::String,
            "date" => ParamType::Date,
            "number" => ParamType::Number,
            "quantity" => ParamType::Quantity,
            "reference" => ParamType::Reference,
            "uri" => ParamType::Uri,
            "composite" => ParamType::Composite,
            "special" => ParamType::Special,
            _ => return None,
        })
    }
}

/// One search parameter of one resource type. `SearchParameter`s with several bases become one per base.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Stable; stored in databases.
    pub id: ParamId,
    pub kind: TypeId,
    /// As in the query, e.g. `birthdate`, `_tag`.
    pub code: &'static str,
    pub param_type: ParamType,
    /// FHIRPath, only the branches that apply to `kind`; empty for parameters without one.
    pub expression: &'static str,
    /// Types a reference parameter may point at; empty means any type.
    pub targets: Vec<TypeId>,
    /// Canonical URL of the SearchParameter.
    pub url: &'static str,
    /// Of composite parameters, in the order in which their values are written.
    pub components: Vec<Component>,
}

/// One part of a composite parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Code of the parameter of the same type that says how the value is read.
    pub code: &'static str,
    /// Where the value stands, seen from the composite's own expression.
    pub expression: &'static str,
}

impl Param {
    /// Whether queries may use it: parameters without expression are described only.
    pub fn is_searchable(&self) -> bool {
        !self.expression.is_empty()
    }
}
