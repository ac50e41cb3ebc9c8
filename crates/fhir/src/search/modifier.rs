//! Modifiers: which parameter takes which (<http://hl7.org/fhir/R4/search.html#modifiers>).

use super::Match;
use super::operand::{Problem, Reads};
use crate::definitions::ParamType;
use crate::suggest::nearest;
use crate::{IssueCode, TypeId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modifier {
    None,
    Missing,
    Exact,
    Contains,
    Not,
    Above,
    Below,
    In,
    NotIn,
    OfType,
    Identifier,
    Text,
    /// `subject:Patient`
    Type(TypeId),
}

const ALL: &[(&str, Modifier)] = &[
    ("missing", Modifier::Missing),
    ("exact", Modifier::Exact),
    ("contains", Modifier::Contains),
    ("not", Modifier::Not),
    ("above", Modifier::Above),
    ("below", Modifier::Below),
    ("in", Modifier::In),
    ("not-in", Modifier::NotIn),
    ("of-type", Modifier::OfType),
    ("identifier", Modifier::Identifier),
    ("text", Modifier::Text),
];

impl Modifier {
    /// How the operands are compared.
    pub fn matching(self) -> Match {
        match self {
            Modifier::Missing => Match::Missing,
            Modifier::Exact => Match::Exact,
            Modifier::Contains => Match::Contains,
            Modifier::Not | Modifier::NotIn => Match::Not,
            Modifier::Above => Match::Above,
            Modifier::Below => Match::Below,
            Modifier::None
            | Modifier::In
            | Modifier::OfType
            | Modifier::Identifier
            | Modifier::Text
            | Modifier::Type(_) => Match::Default,
        }
    }

    fn fits(self, reads: &Reads<'_>) -> bool {
        let of =
            |types: &[&str]| reads.types.is_empty() || reads.types.iter().any(|(t, _)| types.contains(t));
        match (self, reads.param_type) {
            (Modifier::None | Modifier::Missing, _) => true,
            (Modifier::Exact | Modifier::Contains, ParamType::String) => true,
            (Modifier::Not, ParamType::Token) => true,
            (Modifier::In | Modifier::NotIn | Modifier::Above | Modifier::Below, ParamType::Token) => {
                of(&["code", "Coding", "CodeableConcept", "string", "uri"])
            }
            (Modifier::Text, ParamType::Token) => of(&["Coding", "CodeableConcept", "Identifier"]),
            (Modifier::OfType, ParamType::Token) => of(&["Identifier"]),
            (Modifier::Above | Modifier::Below, ParamType::Uri) => true,
            (
                Modifier::Above | Modifier::Below | Modifier::Identifier | Modifier::Type(_),
                ParamType::Reference,
            ) => !reads.is_canonical(),
            _ => false,
        }
    }
}

/// Reads the modifier of a parameter. Errors: none such, or not for this parameter; the text names those that are.
pub(super) fn read(reads: &Reads<'_>, text: Option<&str>) -> Result<Modifier, Problem> {
    let Some(text) = text else { return Ok(Modifier::None) };
    let modifier = match ALL.iter().find(|(name, _)| *name == text) {
        Some((_, modifier)) => Some(*modifier),
        None => TypeId::from_name(text).map(Modifier::Type),
    };
    match modifier {
        Some(Modifier::Type(kind)) if reads.param_type == ParamType::Reference && !reads.is_canonical() => {
            if reads.targets.is_empty() || reads.targets.contains(&kind) {
                return Ok(Modifier::Type(kind));
            }
            let names: Vec<&str> = reads.targets.iter().map(|t| t.name()).collect();
            Err(Problem::new(
                IssueCode::NotSupported,
                format!("`{}` never points at {text}; it points at {}.", reads.code, names.join(", ")),
            ))
        }
        Some(modifier) if modifier.fits(reads) => Ok(modifier),
        _ => Err(refusal(reads, text, modifier.is_some())),
    }
}

fn refusal(reads: &Reads<'_>, text: &str, known: bool) -> Problem {
    let fitting: Vec<&str> = ALL.iter().filter(|(_, m)| m.fits(reads)).map(|(name, _)| *name).collect();
    let mut names: Vec<String> = fitting.iter().map(|name| format!("`:{name}`")).collect();
    let mut hint = String::new();
    if reads.param_type == ParamType::Reference && !reads.is_canonical() {
        let example = reads.targets.first().map_or("Patient", |t| t.name());
        names.push(format!("a type such as `:{example}`"));
        if !known {
            let types = TypeId::all().filter(|t| reads.targets.is_empty() || reads.targets.contains(t));
            if let Some(near) = nearest(text, types.map(TypeId::name)) {
                hint = format!(" Did you mean `:{near}`?");
            }
        }
    }
    if !known
        && hint.is_empty()
        && let Some(near) = nearest(text, fitting.iter().copied())
    {
        hint = format!(" Did you mean `:{near}`?");
    }
    let what = if known { "does not fit" } else { "is unknown for" };
    Problem::new(
        IssueCode::NotSupported,
        format!(
            "The modifier `:{text}` {what} the {} parameter `{}`, which takes {}.{hint}",
            reads.param_type.code(),
            reads.code,
            names.join(", ")
        ),
    )
}
