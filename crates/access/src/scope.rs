//! SMART App Launch 2.2 scopes: `system/Observation.rs`, `user/*.cruds`, `patient/Patient.r`,
//! `patient/Observation.rs?category=laboratory`; and HEART's `sens/HIV` for sealed categories.

use crate::Action;
use crate::seal::Seals;
use fhir::search::{Filter, Handling, IndexEntry, IndexValue, Match, Operand, Params};
use fhir::{ParamId, TypeId};

/// Longest list of scopes one request may name.
pub const MAX_SCOPES: usize = 300;
/// Parameters of one restricted scope, and values of one of them.
const MAX_RESTRICTIONS: usize = 20;

/// <https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    System,
    User,
    Patient,
}

/// One parameter of a restricted scope: the row must have one of these tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Restriction {
    pub param: ParamId,
    /// System and code, each if it was given; `Some("")` asks for a value without a system.
    pub any: Vec<(Option<String>, Option<String>)>,
}

impl Restriction {
    /// As a filter of a search.
    pub fn filter(&self) -> Filter {
        let operand = |(system, code): &(Option<String>, Option<String>)| Operand::Token {
            system: system.clone(),
            code: code.clone(),
        };
        Filter { param: self.param, matching: Match::Default, any: self.any.iter().map(operand).collect() }
    }
    /// The same on the index entries of one version.
    pub fn holds(&self, entries: &[IndexEntry]) -> bool {
        entries.iter().filter(|e| e.param == self.param).any(|entry| match &entry.value {
            IndexValue::Token { system, code } => self
                .any
                .iter()
                .any(|(s, c)| s.as_ref().is_none_or(|s| s == system) && c.as_ref().is_none_or(|c| c == code)),
            _ => false,
        })
    }
}

/// One resource scope. `kind` `None` is `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub level: Level,
    pub kind: Option<TypeId>,
    pub create: bool,
    pub read: bool,
    pub update: bool,
    pub delete: bool,
    pub search: bool,
    /// All must hold; with a type only.
    pub restrictions: Vec<Restriction>,
    /// What stood behind the `?`.
    query: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("`{0}` is no SMART resource scope; write e.g. `system/Observation.rs` or `system/*.cruds`")]
    Syntax(String),
    #[error("`{0}` names a type that FHIR R4 does not have")]
    UnknownType(String),
    /// Granting it without the restriction would widen it, so it is refused.
    #[error(
        "`{0}`: scopes are restricted by token parameters of one type, as `?category=laboratory`; no others"
    )]
    Query(String),
    #[error("more than {MAX_SCOPES} scopes")]
    TooMany,
}

impl Scope {
    /// Reads SMART v2 (`.cruds`, letters in this order) and v1 (`.read`, `.write`, `.*`) forms. Errors: [ScopeError].
    pub fn parse(text: &str) -> Result<Scope, ScopeError> {
        let syntax = || ScopeError::Syntax(text.to_owned());
        let whole = text;
        let (text, query) = text.split_once('?').map_or((text, None), |(text, query)| (text, Some(query)));
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
            name => Some(TypeId::from_name(name).ok_or_else(|| ScopeError::UnknownType(whole.to_owned()))?),
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
        let restrictions = match (query, kind) {
            (None, _) => Vec::new(),
            (Some(query), Some(kind)) => {
                restrictions(kind, query).ok_or_else(|| ScopeError::Query(whole.to_owned()))?
            }
            (Some(_), None) => return Err(ScopeError::Query(whole.to_owned())),
        };
        Ok(Scope {
            restrictions,
            query: query.unwrap_or_default().to_owned(),
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
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        Ok(())
    }
}

/// `name=value&…` as token restrictions; `None` for anything else. Values may be percent-encoded.
fn restrictions(kind: TypeId, query: &str) -> Option<Vec<Restriction>> {
    let mut pairs = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=')?;
        if name.starts_with('_') || name.contains([':', '.']) {
            return None;
        }
        pairs.push((decoded(name)?, decoded(value)?));
    }
    if pairs.len() > MAX_RESTRICTIONS {
        return None;
    }
    let (parsed, _) = fhir::search::parse(&Params::standard(), kind, &pairs, Handling::Strict).ok()?;
    if !parsed.conditions.is_empty() || parsed.filters.len() != pairs.len() {
        return None;
    }
    parsed.filters.into_iter().map(restriction).collect()
}

fn restriction(filter: Filter) -> Option<Restriction> {
    if filter.matching != Match::Default || filter.any.is_empty() {
        return None;
    }
    let any = filter.any.into_iter().map(|operand| match operand {
        Operand::Token { system, code } => Some((system, code)),
        _ => None,
    });
    Some(Restriction { param: filter.param, any: any.collect::<Option<Vec<_>>>()? })
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
            out.push(digit(bytes.next()?)? * 16 + digit(bytes.next()?)?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Scopes of one token; their rights add up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeSet {
    scopes: Vec<Scope>,
    /// Sealed categories that `sens/…` scopes open to a client.
    seals: Seals,
    /// The patient in whose context an app was launched: what `patient/` scopes are about.
    patient: Option<String>,
}

impl ScopeSet {
    /// Errors: the first scope that is wrong.
    pub fn parse<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<ScopeSet, ScopeError> {
        let mut set = ScopeSet::default();
        for text in scopes {
            if set.scopes.len() == MAX_SCOPES {
                return Err(ScopeError::TooMany);
            }
            match sealed(text) {
                Some(seals) => set.seals = set.seals.with(seals),
                None => set.scopes.push(Scope::parse(text)?),
            }
        }
        Ok(set)
    }
    /// As [ScopeSet::parse] for scopes that were checked when they were granted: what this build does not know grants
    /// nothing.
    pub fn parse_known<'a>(scopes: impl IntoIterator<Item = &'a str>) -> ScopeSet {
        let mut set = ScopeSet::default();
        for text in scopes.into_iter().take(MAX_SCOPES) {
            match sealed(text) {
                Some(seals) => set.seals = set.seals.with(seals),
                None => set.scopes.extend(Scope::parse(text)),
            }
        }
        set
    }
    /// For an app launched about this patient (logical id): `patient/` scopes mean her, also for a clinician.
    pub fn with_patient(mut self, id: impl Into<String>) -> ScopeSet {
        self.patient = Some(id.into());
        self
    }
    /// See [ScopeSet::with_patient].
    pub fn patient(&self) -> Option<&str> {
        self.patient.as_deref()
    }
    /// Sealed categories that the token opens.
    pub fn seals(&self) -> Seals {
        self.seals
    }
    /// Only the resource scopes of this level, with the sealed categories.
    pub fn at(mut self, level: Level) -> ScopeSet {
        self.scopes.retain(|scope| scope.level == level);
        self
    }
    /// The resource scopes.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.iter()
    }
    /// The scopes of this level that name the action on the type.
    pub fn naming(&self, level: Level, action: Action, kind: TypeId) -> impl Iterator<Item = &Scope> {
        self.scopes.iter().filter(move |s| s.level == level && s.names(action, kind))
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
    /// Those of `asked` that this set covers whole, for granting a token: never more than was registered. A restricted
    /// scope is covered by the same restriction or by the scope without one.
    pub fn grant(&self, asked: &ScopeSet) -> ScopeSet {
        let covered = |a: &Scope| {
            let may_cover = |s: &&Scope| {
                s.level == a.level && (s.restrictions.is_empty() || s.restrictions == a.restrictions)
            };
            let own = self.scopes.iter().filter(may_cover);
            match a.kind {
                Some(kind) => Action::ALL
                    .iter()
                    .all(|action| !a.names(*action, kind) || own.clone().any(|s| s.names(*action, kind))),
                // `*` is covered only by `*`: types of later releases count too.
                None => {
                    let stars: Vec<&Scope> = own.filter(|s| s.kind.is_none()).collect();
                    (!a.create || stars.iter().any(|s| s.create))
                        && (!a.read || stars.iter().any(|s| s.read))
                        && (!a.update || stars.iter().any(|s| s.update))
                        && (!a.delete || stars.iter().any(|s| s.delete))
                        && (!a.search || stars.iter().any(|s| s.search))
                }
            }
        };
        ScopeSet {
            scopes: asked.scopes.iter().filter(|a| covered(a)).cloned().collect(),
            seals: Seals(asked.seals.0 & self.seals.0),
            patient: asked.patient.clone(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.seals.is_none()
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
        for (n, code) in self.seals.codes().into_iter().enumerate() {
            let between = if n > 0 || !self.scopes.is_empty() { " " } else { "" };
            write!(f, "{between}sens/{code}")?;
        }
        Ok(())
    }
}

/// `sens/HIV`, `sens/*`: <https://openid.net/specs/openid-heart-fhir-oauth2-1_0-2017-05-31.html>.
fn sealed(text: &str) -> Option<Seals> {
    match text.strip_prefix("sens/")? {
        "*" => Some(Seals::ALL),
        code => Seals::from_code(code),
    }
}
