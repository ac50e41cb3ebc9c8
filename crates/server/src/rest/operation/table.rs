//! The rows of the table of operations.

use super::{Call, Pending};
use ::fhir::TypeId;

/// Where an operation can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    /// `/$name`
    pub system: bool,
    /// `/Type/$name`
    pub kind: bool,
    /// `/Type/id/$name`
    pub instance: bool,
}

impl Levels {
    pub const SYSTEM: Levels = Levels { system: true, kind: false, instance: false };
    pub const KIND: Levels = Levels { system: false, kind: true, instance: false };
    pub const INSTANCE: Levels = Levels { system: false, kind: false, instance: true };
    pub const KIND_AND_INSTANCE: Levels = Levels { system: false, kind: true, instance: true };
    pub const ALL: Levels = Levels { system: true, kind: true, instance: true };
}

/// Types an operation is for; says nothing about the system level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    Every,
    These(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    In,
    Out,
}

/// One parameter, as it will stand in the OperationDefinition.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    pub used: Use,
    pub min: u32,
    /// `None` is `*`.
    pub max: Option<u32>,
    /// FHIR type, e.g. `uri`, `Coding`, `Patient`, `Resource`; empty for a parameter made of `parts`.
    pub kind: &'static str,
    /// For strings that are search values: `token`, `reference`, `date` …
    pub search: Option<&'static str>,
    /// One sentence for people.
    pub text: &'static str,
    pub parts: &'static [Parameter],
}

impl Parameter {
    /// Optional, once.
    pub const fn new(name: &'static str, kind: &'static str, text: &'static str) -> Parameter {
        Parameter { name, used: Use::In, min: 0, max: Some(1), kind, search: None, text, parts: &[] }
    }
    pub const fn required(mut self) -> Parameter {
        self.min = 1;
        self
    }
    pub const fn many(mut self) -> Parameter {
        self.max = None;
        self
    }
    pub const fn out(mut self) -> Parameter {
        self.used = Use::Out;
        self
    }
    pub const fn search(mut self, kind: &'static str) -> Parameter {
        self.search = Some(kind);
        self
    }
    pub const fn parts(mut self, parts: &'static [Parameter]) -> Parameter {
        self.parts = parts;
        self
    }
    /// Whether a URL can carry it: primitives only.
    pub fn is_simple(&self) -> bool {
        self.parts.is_empty() && self.kind.starts_with(|c: char| c.is_ascii_lowercase())
    }
    pub fn is_resource(&self) -> bool {
        !self.is_simple()
            && (TypeId::from_name(self.kind).is_some() || matches!(self.kind, "Resource" | "DomainResource"))
    }
}

/// One operation.
pub struct Operation {
    /// Without the `$`.
    pub code: &'static str,
    /// Logical id of its OperationDefinition, e.g. `Patient-everything`; unique.
    pub id: &'static str,
    /// Canonical of its definition: HL7's where the operation is HL7's, else empty for one under this server's base.
    pub url: &'static str,
    pub title: &'static str,
    /// What it does, for people; what it does differently from HL7's definition is said here.
    pub text: &'static str,
    pub levels: Levels,
    pub kinds: Kinds,
    /// Changes something: never by GET.
    pub affects_state: bool,
    pub parameters: &'static [Parameter],
    pub handler: fn(Call) -> Pending,
}

impl Operation {
    pub fn inputs(&self) -> impl Iterator<Item = &'static Parameter> {
        self.parameters.iter().filter(|p| p.used == Use::In)
    }
    pub fn input(&self, name: &str) -> Option<&'static Parameter> {
        self.inputs().find(|p| p.name == name)
    }
    /// GET works if nothing changes and every required parameter fits into a URL.
    pub fn takes_get(&self) -> bool {
        !self.affects_state && self.inputs().filter(|p| p.min > 0).all(Parameter::is_simple)
    }
    pub fn is_for(&self, kind: TypeId) -> bool {
        match self.kinds {
            // The audit trail is made by the server alone: there is nothing to tag, to check or to link.
            Kinds::Every => kind.name() != crate::rest::audit::TYPE,
            Kinds::These(kinds) => kinds.contains(&kind.name()),
        }
    }
    pub fn runs(&self, kind: Option<TypeId>, instance: bool) -> bool {
        match (kind, instance) {
            (None, _) => self.levels.system,
            (Some(kind), false) => self.levels.kind && self.is_for(kind),
            (Some(kind), true) => self.levels.instance && self.is_for(kind),
        }
    }
    /// The paths it runs at, for messages.
    pub fn places(&self) -> String {
        let kinds: Vec<&str> = match self.kinds {
            Kinds::Every => vec!["{type}"],
            Kinds::These(kinds) => kinds.to_vec(),
        };
        let mut places = Vec::new();
        if self.levels.system {
            places.push(format!("/${}", self.code));
        }
        for kind in kinds {
            if self.levels.kind {
                places.push(format!("/{kind}/${}", self.code));
            }
            if self.levels.instance {
                places.push(format!("/{kind}/{{id}}/${}", self.code));
            }
        }
        places.join(", ")
    }
}
