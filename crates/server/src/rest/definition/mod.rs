//! What the server knows about itself, as resources that nobody stored: SearchParameters, OperationDefinitions and
//! CompartmentDefinitions. They are read and found like any others, beside those that clients have written.
//!
//! **Invariant:** a built-in is made from what runs: the definitions of `fhir`, the table of operations.

mod compartment;
mod find;
mod operation;
mod search_parameter;

use crate::http::error::FhirError;
use crate::state::App;
use ::fhir::search::{IndexEntry, Params, Query, Total, extract};
use ::fhir::{Resource, ResourceKey, TypeId};
use access::policy::{self, Predicate};
use access::{Action, Ctx};
use jiff::Timestamp;
use record::{SearchPage, Stored};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

pub use operation::canonical as operation_url;
pub(super) use search_parameter::{COMMON, common_url};

/// Marks the cursors of pages that consist of built-ins.
const CURSOR: &str = "builtin.";
/// When R4 (4.0.1) was published, in seconds since the epoch: built-ins do not change while a server runs.
const PUBLISHED_S: i64 = 1_572_424_163;

/// Stored resources of one of these types that are looked through for ids of built-ins.
const MAX_REPLACED: u32 = 20_000;

/// A resource that is not stored.
pub struct BuiltIn {
    key: ResourceKey,
    content: Arc<[u8]>,
    entries: Vec<IndexEntry>,
}

impl BuiltIn {
    fn stored(&self) -> Stored {
        Stored { key: self.key.clone(), version: 1, last_updated: published(), content: self.content.clone() }
    }
}

fn published() -> Timestamp {
    Timestamp::from_second(PUBLISHED_S).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// All built-ins of the type in order of their ids; `None` for types without any.
fn all(kind: TypeId) -> Option<&'static [BuiltIn]> {
    static SEARCH_PARAMETERS: OnceLock<Vec<BuiltIn>> = OnceLock::new();
    static OPERATIONS: OnceLock<Vec<BuiltIn>> = OnceLock::new();
    static COMPARTMENTS: OnceLock<Vec<BuiltIn>> = OnceLock::new();
    Some(match kind.name() {
        "SearchParameter" => SEARCH_PARAMETERS.get_or_init(|| made(search_parameter::all())),
        "OperationDefinition" => OPERATIONS.get_or_init(|| made(operation::all())),
        "CompartmentDefinition" => COMPARTMENTS.get_or_init(|| made(compartment::all())),
        _ => return None,
    })
}

fn made(values: Vec<Value>) -> Vec<BuiltIn> {
    let params = Params::standard();
    let mut all: Vec<BuiltIn> = values
        .into_iter()
        .filter_map(|value| {
            let mut resource = Resource::from_value(value).ok()?;
            resource.set_version(1, published());
            Some(BuiltIn {
                key: resource.key()?,
                entries: extract(&params, &resource),
                content: Arc::from(resource.to_json().into_bytes()),
            })
        })
        .collect();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

fn find_by(key: &ResourceKey) -> Option<&'static BuiltIn> {
    let all = all(key.kind)?;
    let at = all.binary_search_by(|built_in| built_in.key.cmp(key)).ok()?;
    all.get(at)
}

/// The built-in with this key, unless somebody has stored a resource of her own there. For anybody who is signed in: it
/// says nothing that `metadata` does not. Errors: `Busy`.
pub async fn read(app: &App, key: &ResourceKey) -> Result<Option<Stored>, FhirError> {
    let Some(built_in) = find_by(key) else { return Ok(None) };
    let replaced = app.record.is_definition_stored(key).await?;
    Ok((!replaced).then(|| built_in.stored()))
}

/// Whether searches of the type go through [search].
pub fn has(kind: TypeId) -> bool {
    all(kind).is_some()
}

/// What is stored, in the order of the query, then the built-ins that match, by id. Whoever may not search the type finds
/// the built-ins alone. Errors: as [record::Record::search].
pub async fn search(app: &App, ctx: &Ctx, query: Query) -> Result<SearchPage, FhirError> {
    let kind = query.kind;
    let replaced = app.record.stored_definitions(kind, MAX_REPLACED).await?;
    let replaced: HashSet<String> = replaced.into_iter().collect();
    let built_in: Vec<&BuiltIn> = all(kind)
        .unwrap_or_default()
        .iter()
        .filter(|built_in| find::matches(&query, &built_in.key, &built_in.entries, published()))
        .filter(|built_in| !replaced.contains(&built_in.key.id))
        .collect();
    let start: Option<usize> = query
        .cursor
        .as_deref()
        .and_then(|cursor| cursor.strip_prefix(CURSOR))
        .map(|number| number.parse().map_err(|_| crate::rest::read::wrong("_cursor")))
        .transpose()?;
    let count = query.count as usize;
    let wants_total = query.total != Total::None || count == 0;
    let is_open = policy::predicate(ctx, Action::Search, query.kind) != Predicate::Nothing;
    let mut page = match start {
        None if is_open => app.record.search(ctx, query).await?,
        _ => SearchPage::default(),
    };
    if wants_total {
        page.total = match (start, page.total) {
            (None, total) => Some(total.unwrap_or(0) + built_in.len() as u64),
            // Later pages: what is stored was counted with the first.
            (Some(_), _) => None,
        };
    }
    if page.next.is_some() {
        return Ok(page);
    }
    let start = start.unwrap_or(0);
    let room = count.saturating_sub(page.items.len());
    page.items.extend(built_in.iter().skip(start).take(room).map(|b| b.stored()));
    if count > 0 && start + room < built_in.len() {
        page.next = Some(format!("{CURSOR}{}", start + room));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn built_ins_are_valid_and_have_their_own_ids() {
        for name in ["SearchParameter", "OperationDefinition", "CompartmentDefinition"] {
            let kind = TypeId::from_name(name).unwrap();
            let all = all(kind).unwrap();
            assert!(!all.is_empty());
            let ids: BTreeSet<&str> = all.iter().map(|b| b.key.id.as_str()).collect();
            assert_eq!(ids.len(), all.len(), "{name}");
            let mut wrong = Vec::new();
            for built_in in all {
                let resource = Resource::parse(&built_in.content).unwrap();
                assert!(::fhir::resource::valid_id(&built_in.key.id), "{}", built_in.key);
                for issue in ::fhir::validate::validate(&resource) {
                    if matches!(issue.severity, ::fhir::Severity::Error | ::fhir::Severity::Fatal) {
                        wrong.push(format!("{}: {} {}", built_in.key, issue.expression, issue.text));
                    }
                }
            }
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }

    #[test]
    fn well_known_ids_are_there() {
        for key in [
            "SearchParameter/Patient-name",
            "SearchParameter/clinical-patient",
            "SearchParameter/Resource-id",
            "OperationDefinition/Patient-everything",
            "CompartmentDefinition/patient",
        ] {
            assert!(find_by(&ResourceKey::parse(key).unwrap()).is_some(), "{key}");
        }
        assert!(find_by(&ResourceKey::parse("SearchParameter/nonsense").unwrap()).is_none());
    }
}
