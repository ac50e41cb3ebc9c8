//! `$lookup` and `$subsumes`: one code of a code system; and the codes above and below one, for searches.

use super::{Code, Terminology, language, too_costly};
use crate::Error;
use store::Tx;
use store::terminology::{Designation, Property, Ranges, Value};

/// Children of one concept that are told.
const MAX_CHILDREN: usize = 1_000;

#[derive(Debug, Clone, Default)]
pub struct Lookup {
    pub system: String,
    pub code: String,
    /// `None`: the one in use.
    pub version: Option<String>,
    /// As in Accept-Language.
    pub display_language: String,
    /// Children are looked for only if `child` or nothing stands here.
    pub properties: Vec<String>,
}

/// A code and what its system says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Concept {
    pub system: String,
    /// Of the system, for people.
    pub name: String,
    /// "" if it has none.
    pub version: String,
    pub code: String,
    pub display: String,
    /// "" if it has none.
    pub definition: String,
    pub inactive: bool,
    pub is_abstract: bool,
    pub designations: Vec<Designation>,
    /// Those of the concept, with `parent`, `child` and `inactive`; in a Coding the display is filled in where it is known.
    pub properties: Vec<Property>,
}

/// How two codes of one system stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subsumption {
    Equivalent,
    Subsumes,
    SubsumedBy,
    NotSubsumed,
}

impl Subsumption {
    pub fn code(self) -> &'static str {
        match self {
            Subsumption::Equivalent => "equivalent",
            Subsumption::Subsumes => "subsumes",
            Subsumption::SubsumedBy => "subsumed-by",
            Subsumption::NotSubsumed => "not-subsumed",
        }
    }
}

impl Terminology {
    /// Errors: `Invalid` with `not-found` for an unknown system, version or code.
    pub fn lookup(&self, tx: &mut dyn Tx, request: &Lookup) -> Result<Concept, Error> {
        let system = self.known_system(tx, &request.system, request.version.as_deref())?;
        let Some(mut concept) = system.concept(tx, &request.code)? else {
            return Err(super::refuse(
                fhir::IssueCode::NotFound,
                format!(
                    "`{}` is no code of `{}`{}.",
                    request.code,
                    system.url(),
                    in_version(system.version())
                ),
            ));
        };
        self.supplements(tx, &system)?.add_to(&mut concept);
        let wishes = language::wishes(&request.display_language);
        let display = language::display(Some(&concept), None, &[], &wishes, system.text("language"));
        let mut properties = concept.detail.properties.clone();
        let wants = |name: &str| {
            request.properties.is_empty() || request.properties.iter().any(|p| p == name || p == "*")
        };
        if wants("parent") {
            system.brief(tx, &concept.parents, &mut |_, code, display| {
                properties
                    .push(Property { code: "parent".into(), value: coding(system.url(), code, display) });
            })?;
        }
        if wants("child") && !concept.descendants.is_empty() {
            let children = system.posting(tx, &format!("p:parent={}", concept.code))?.slice(0, MAX_CHILDREN);
            system.brief(tx, &children, &mut |_, code, display| {
                properties
                    .push(Property { code: "child".into(), value: coding(system.url(), code, display) });
            })?;
        }
        if !properties.iter().any(|p| p.code == "inactive") && wants("inactive") {
            properties.push(Property { code: "inactive".into(), value: Value::Boolean(concept.inactive) });
        }
        for property in &mut properties {
            if let Value::Coding { system: of, code, display } = &mut property.value
                && display.is_empty()
                && of == system.url()
                && let Some((number, _)) = system.place(tx, code)?
            {
                system.brief(tx, &Ranges::one(number), &mut |_, _, d| d.clone_into(display))?;
            }
        }
        properties.retain(|p| wants(&p.code) && p.code != wire::terminology::rf2::ROLE_GROUP);
        Ok(Concept {
            name: system.text("title").or(system.text("name")).unwrap_or(system.url()).to_owned(),
            version: system.version().to_owned(),
            system: system.url().to_owned(),
            display: display.unwrap_or_default(),
            code: concept.code,
            definition: concept.detail.definition,
            inactive: concept.inactive,
            is_abstract: concept.is_abstract,
            designations: concept.detail.designations,
            properties,
        })
    }

    /// Whether `a` is above, below or the same as `b`. Errors: an unknown system, version or code.
    pub fn subsumes(
        &self,
        tx: &mut dyn Tx,
        system: &str,
        version: Option<&str>,
        a: &str,
        b: &str,
    ) -> Result<Subsumption, Error> {
        let system = self.known_system(tx, system, version)?;
        let mut place = |code: &str| {
            system.place(tx, code)?.ok_or_else(|| {
                super::refuse(
                    fhir::IssueCode::NotFound,
                    format!("`{code}` is no code of `{}`{}.", system.url(), in_version(system.version())),
                )
            })
        };
        let (first, below_first) = place(a)?;
        let (second, below_second) = place(b)?;
        Ok(if first == second {
            Subsumption::Equivalent
        } else if below_first.contains(second) {
            Subsumption::Subsumes
        } else if below_second.contains(first) {
            Subsumption::SubsumedBy
        } else {
            Subsumption::NotSubsumed
        })
    }

    /// Whether `code` is `ancestor` or lies below it; `None` if the system or a code is not known.
    pub fn is_below(
        &self,
        tx: &mut dyn Tx,
        system: &str,
        ancestor: &str,
        code: &str,
    ) -> Result<Option<bool>, Error> {
        let Some(system) = self.system(tx, system, None)? else { return Ok(None) };
        let (Some((above, below)), Some((number, _))) =
            (system.place(tx, ancestor)?, system.place(tx, code)?)
        else {
            return Ok(None);
        };
        Ok(Some(above == number || below.contains(number)))
    }

    /// A code with all below it (`up` false) or all above it (`up` true), itself first: what a search by `:below` or
    /// `:above` looks for. A system or code that is not known here has only itself.
    /// Errors: `too-costly` for more than `limit`.
    pub fn hierarchy(
        &self,
        tx: &mut dyn Tx,
        system: &str,
        code: &str,
        up: bool,
        limit: usize,
    ) -> Result<Vec<Code>, Error> {
        let own = Code { system: system.to_owned(), code: code.to_owned() };
        let Some(known) = self.system(tx, system, None)? else { return Ok(vec![own]) };
        let Some((number, below)) = known.place(tx, code)? else { return Ok(vec![own]) };
        let others = if up { known.ancestors(tx, number)? } else { below };
        if others.len() >= limit {
            return Err(too_costly(
                &format!("`{code}` with what is {} it", if up { "above" } else { "below" }),
                limit,
            ));
        }
        let mut codes = vec![own];
        known.brief(tx, &others, &mut |_, code, _| {
            codes.push(Code { system: system.to_owned(), code: code.to_owned() });
        })?;
        Ok(codes)
    }
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    Value::Coding { system: system.to_owned(), code: code.to_owned(), display: display.to_owned() }
}

pub(super) fn in_version(version: &str) -> String {
    if version.is_empty() { String::new() } else { format!(" in version `{version}`") }
}
