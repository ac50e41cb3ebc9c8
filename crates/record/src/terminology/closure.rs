//! `$closure`: a client's own table of which of its concepts lie above which, kept up to date a few concepts at a time.
//! <http://hl7.org/fhir/R4/terminology-service.html#closure>
//!
//! Only the concepts are stored. What comes back for a version is worked out anew from the code systems in use.

use super::{Terminology, refuse};
use crate::{Error, Record};
use access::{Ctx, Principal};
use fhir::IssueCode;
use store::Tx;
use store::terminology::Ranges;
use store::terminology::closure::{self, Member};

/// Concepts of one table.
pub const MAX_CONCEPTS: u32 = 10_000;
/// Tables of one client.
const MAX_TABLES: u32 = 20;
/// Characters of a table's name.
const MAX_NAME: usize = 200;
/// Entries of one answer.
const MAX_ENTRIES: usize = 200_000;

/// What to do with the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Make it, or empty it.
    Start,
    /// Add concepts: (system, code).
    Add(Vec<(String, String)>),
    /// Tell again what came after a version.
    Since(u32),
}

/// How one concept of a table stands to another of the same code system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub system: String,
    pub source: String,
    /// `None` for a code that its system does not have, or whose system is not known here.
    pub target: Option<String>,
}

impl Entry {
    /// ConceptMapEquivalence: the target subsumes the source.
    pub fn equivalence(&self) -> &'static str {
        if self.target.is_some() { "subsumes" } else { "unmatched" }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Closure {
    /// Of the table now.
    pub version: u32,
    /// The new entries, by system and source.
    pub entries: Vec<Entry>,
}

impl Record {
    /// Errors: `NotFound` for a table that was never started; `Invalid` for too many tables, concepts or entries;
    /// `Unauthenticated`; `Denied` for patients.
    pub async fn closure(&self, ctx: &Ctx, name: &str, request: Request) -> Result<Closure, Error> {
        let owner = match &ctx.principal {
            Principal::Anonymous => return Err(Error::Unauthenticated),
            Principal::User(user) if !user.roles.iter().any(|role| role.is_staff()) => {
                return Err(self.denied(ctx, "closure", "").await);
            }
            Principal::User(user) => format!("user:{}", user.account),
            Principal::Client { client_id, .. } => format!("client:{client_id}"),
            Principal::System(name) => format!("system:{name}"),
        };
        if name.is_empty() || name.chars().count() > MAX_NAME {
            let text = format!("The name of a closure table has 1 to {MAX_NAME} characters.");
            return Err(refuse(IssueCode::Value, text));
        }
        let name = name.to_owned();
        let (since, until) = match request {
            Request::Start => {
                return self
                    .writing(move |tx| match closure::start(tx, &owner, &name, MAX_TABLES)? {
                        true => Ok(Closure { version: 0, entries: Vec::new() }),
                        false => Err(refuse(
                            IssueCode::TooCostly,
                            format!("You have {MAX_TABLES} closure tables already; use one of them anew."),
                        )),
                    })
                    .await;
            }
            Request::Add(concepts) => {
                let (owner, name) = (owner.clone(), name.clone());
                self.writing(move |tx| {
                    let table = closure::find(tx, &owner, &name)?.ok_or(Error::NotFound)?;
                    closure::add(tx, table, &concepts, MAX_CONCEPTS)?.ok_or_else(|| {
                        refuse(
                            IssueCode::TooCostly,
                            format!("A closure table has at most {MAX_CONCEPTS} concepts."),
                        )
                    })
                })
                .await?
            }
            Request::Since(version) => (version, u32::MAX),
        };
        let terminology = self.terminology().clone();
        self.reading(move |tx| {
            let table = closure::find(tx, &owner, &name)?.ok_or(Error::NotFound)?;
            let until = until.min(table.version);
            let members = closure::members(tx, table, until)?;
            Ok(Closure { version: until, entries: terminology.new_entries(tx, &members, since)? })
        })
        .await
    }
}

impl Terminology {
    /// What the members that came after `since` add to the table.
    fn new_entries(&self, tx: &mut dyn Tx, members: &[Member], since: u32) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for same in members.chunk_by(|a, b| a.system == b.system) {
            if !same.iter().any(|member| member.version > since) {
                continue;
            }
            let system = self.system(tx, &same[0].system, None)?;
            let mut places: Vec<(&Member, Option<(u32, Ranges)>)> = Vec::with_capacity(same.len());
            for member in same {
                let place = match &system {
                    Some(system) => system.place(tx, &member.code)?,
                    None => None,
                };
                places.push((member, place));
            }
            let entry = |source: &Member, target: Option<&Member>| Entry {
                system: source.system.clone(),
                source: source.code.clone(),
                target: target.map(|target| target.code.clone()),
            };
            for (member, place) in &places {
                let Some((number, _)) = place else {
                    if member.version > since {
                        entries.push(entry(member, None));
                    }
                    continue;
                };
                for (above, below) in &places {
                    let is_new = member.version > since || above.version > since;
                    if is_new && below.as_ref().is_some_and(|(_, below)| below.contains(*number)) {
                        entries.push(entry(member, Some(above)));
                    }
                }
                if entries.len() > MAX_ENTRIES {
                    return Err(super::too_costly("The answer", MAX_ENTRIES));
                }
            }
        }
        Ok(entries)
    }
}
