//! SMART App Launch 2.2 scopes: `system/Observation.rs`, `user/*.cruds`, `patient/Patient.r`.

use crate::Action;
use fhir::TypeId;

/// Longest list of scopes one request may name.
pub const MAX_SCOPES: usize = 300;

/// <https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    System,
    User,
    Patient,
}

/// One resource scope. `kind` `None` is `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope {
    pub level: Level,
    pub kind: Option<TypeId>,
    pub create: bool,
    pub read: bool,
    pub update: bool,
    pub delete: bool,
    pub search: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("`{0}` is no SMART resource scope; write e.g. `system/Observation.rs` or `system/*.cruds`")]
    Syntax(String),
    #[error("`{0}` names a type that FHIR R4 does not have")]
    UnknownType(String),
    /// `?category=…`: granting it without the restriction would widen it, so it is refused.
    #[error("`{0}`: scopes restricted by a query are not supported")]
    Query(String),
    #[error("more than {MAX_SCOPES} scopes")]
    TooMany,
}

impl Scope {
    /// Reads SMART v2 (`.cruds`, letters in this order) and v1 (`.read`, `.write`, `.*`) forms. Errors: [ScopeError].
    pub fn parse(text: &str) -> Result<Scope, ScopeError> {
        let syntax = || ScopeError::Syntax(text.to_owned());
        if text.contains('?') {
            return Err(ScopeError::Query(text.to_owned()));
        }
        let (level, rest) = text.split_once('/').ok_or_else(syntax)?;
        let level = match level {
            "system" => Level::System,
            "user" => Level::User,
            "patient" => Level::Patient,
            _ => return Err(syntax()),
        };
        let (kind, letters) = rest.rsplit_once('.').ok_or_else(syntax)?;
        let kind = match kind {
            "*" => None,
            name => Some(TypeId::from_name(name).ok_or_else(|| ScopeError::UnknownType(text.to_owned()))?),
        };
        let letters = match letters {
            "read" => "rs",
            "write" => "cud",
            "*" => "cruds",
            other => other,
        };
        let mut order = "cruds".chars();
        if letters.is_empty() || !letters.chars().all(|l| order.any(|o| o == l)) {
            return Err(syntax());
        }
        Ok(Scope {
            level,
            kind,
            create: letters.contains('c'),
            read: letters.contains('r'),
            update: letters.contains('u'),
            delete: letters.contains('d'),
            search: letters.contains('s'),
        })
    }

    /// Whether this scope names the action on the type, whatever its level.
    pub fn names(&self, action: Action, kind: TypeId) -> bool {
        self.kind.is_none_or(|k| k == kind)
            && match action {
                Action::Create => self.create,
                // SMART: `r` is read, vread and history of one resource; type history belongs to `s`.
                Action::Read | Action::History => self.read,
                Action::Update => self.update,
                Action::Delete => self.delete,
                Action::Search => self.search,
            }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            Level::System => "system",
            Level::User => "user",
            Level::Patient => "patient",
        };
        write!(f, "{level}/{}.", self.kind.map_or("*", TypeId::name))?;
        for (on, letter) in
            [(self.create, 'c'), (self.read, 'r'), (self.update, 'u'), (self.delete, 'd'), (self.search, 's')]
        {
            if on {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Scopes of one token; their rights add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeSet {
    scopes: Vec<Scope>,
}

impl ScopeSet {
    /// Errors: the first scope that is wrong.
    pub fn parse<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<ScopeSet, ScopeError> {
        let mut set = ScopeSet::default();
        for text in scopes {
            if set.scopes.len() == MAX_SCOPES {
                return Err(ScopeError::TooMany);
            }
            set.scopes.push(Scope::parse(text)?);
        }
        Ok(set)
    }
    /// As [ScopeSet::parse] for scopes that were checked when they were granted: what this build does not know grants
    /// nothing.
    pub fn parse_known<'a>(scopes: impl IntoIterator<Item = &'a str>) -> ScopeSet {
        ScopeSet {
            scopes: scopes.into_iter().take(MAX_SCOPES).filter_map(|s| Scope::parse(s).ok()).collect(),
        }
    }
    pub fn system_allows(&self, action: Action, kind: TypeId) -> bool {
        self.allows(Level::System, action, kind)
    }
    pub fn user_allows(&self, action: Action, kind: TypeId) -> bool {
        self.allows(Level::User, action, kind)
    }
    pub fn patient_allows(&self, action: Action, kind: TypeId) -> bool {
        self.allows(Level::Patient, action, kind)
    }
    fn allows(&self, level: Level, action: Action, kind: TypeId) -> bool {
        self.scopes.iter().any(|s| s.level == level && s.names(action, kind))
    }
    /// Those of `asked` that this set covers whole, for granting a token: never more than was registered.
    pub fn grant(&self, asked: &ScopeSet) -> ScopeSet {
        let covered = |a: &Scope| {
            let one = ScopeSet { scopes: vec![*a] };
            match a.kind {
                Some(kind) => Action::ALL
                    .iter()
                    .all(|action| !one.allows(a.level, *action, kind) || self.allows(a.level, *action, kind)),
                // `*` is covered only by `*`: types of later releases count too.
                None => {
                    let stars: Vec<&Scope> =
                        self.scopes.iter().filter(|s| s.level == a.level && s.kind.is_none()).collect();
                    (!a.create || stars.iter().any(|s| s.create))
                        && (!a.read || stars.iter().any(|s| s.read))
                        && (!a.update || stars.iter().any(|s| s.update))
                        && (!a.delete || stars.iter().any(|s| s.delete))
                        && (!a.search || stars.iter().any(|s| s.search))
                }
            }
        };
        ScopeSet { scopes: asked.scopes.iter().copied().filter(covered).collect() }
    }
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty()
    }
}

impl std::fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, s) in self.scopes.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{s}")?;
        }
        Ok(())
    }
}
