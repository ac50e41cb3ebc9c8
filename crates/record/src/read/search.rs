//! Searches: of one type, of several, with what goes with the rows found.

use super::{Stored, describe};
use crate::{Error, Record};
use access::policy;
use access::{Action, Ctx, Predicate};
use fhir::search::{Condition, Filter, Handling, Match, Operand, Query};
use fhir::{Issue, IssueCode, Outcome, Resource, ResourceKey, TypeId};
use store::search::{Right, Rights};

#[derive(Debug, Clone, Default)]
pub struct SearchPage {
    pub items: Vec<Stored>,
    /// What `_include` and `_revinclude` brought; each once, and none of `items`.
    pub included: Vec<Stored>,
    /// There was more to include than a page holds ([store::search::MAX_INCLUDED]).
    pub included_cut: bool,
    pub next: Option<String>,
    /// Only when the query asked for it.
    pub total: Option<u64>,
    /// For a search by `_text` or `_content`: about how many of the latest changes their index does not know yet.
    pub words_behind: u64,
}

/// What the caller finds of any type by searching, chains and includes among it. Drafts are hidden as
/// [Record::read] refuses them: they are not there, not even in the total.
pub(crate) fn rights(ctx: &Ctx) -> Rights {
    let ctx = ctx.clone();
    Rights::new(move |kind| Right {
        predicate: policy::predicate(&ctx, Action::Search, kind),
        hidden: drafts(&ctx, kind),
    })
}

fn has_words(condition: &Condition) -> bool {
    match condition {
        Condition::Words { .. } => true,
        Condition::Chain { condition, .. }
        | Condition::Has { condition, .. }
        | Condition::CanonicalChain { condition, .. }
        | Condition::Not(condition) => has_words(condition),
        Condition::All(all) | Condition::Any(all) => all.iter().any(has_words),
        Condition::Filter(_)
        | Condition::Ids(_)
        | Condition::LastUpdated { .. }
        | Condition::Compartment(_) => false,
    }
}

fn drafts(ctx: &Ctx, kind: TypeId) -> Option<Condition> {
    let statuses = policy::unreadable_statuses(ctx, kind);
    if statuses.is_empty() {
        return None;
    }
    let param = fhir::definitions::param(kind, "status")?.id;
    let any =
        statuses.iter().map(|code| Operand::Token { system: None, code: Some((*code).to_owned()) }).collect();
    Some(Condition::Filter(Filter { param, matching: Match::Default, any }))
}

impl Record {
    /// Includes are those of the query. Errors: `Denied` if the caller may see no resource of the type at all;
    /// `Malformed` for a bad cursor; `TooCostly`; `Unauthenticated`, `Busy`.
    pub async fn search(&self, ctx: &Ctx, query: Query) -> Result<SearchPage, Error> {
        let what = describe::query(&self.params(), &query);
        self.search_as(ctx, query, &what).await
    }

    pub(super) async fn search_as(&self, ctx: &Ctx, query: Query, what: &str) -> Result<SearchPage, Error> {
        if policy::predicate(ctx, Action::Search, query.kind) == Predicate::Nothing {
            return Err(self.denied(ctx, "query", what).await);
        }
        self.search_all(ctx, vec![query], what).await
    }

    /// A search over several types (all that exist if `kinds` is empty), within a compartment if one is given:
    /// `GET /?_type=A,B&…`, `GET /Patient/1/*`. `pairs` are as for one type, `_type` taken out; they must have a
    /// meaning for every type. Sorted over all types; without `_sort` type by type. Returns the page and a warning for each
    /// ignored parameter. Errors: `Denied` if the caller may see none of the types; `Malformed`; as [Record::search].
    pub async fn search_types(
        &self,
        ctx: &Ctx,
        kinds: &[TypeId],
        pairs: &[(String, String)],
        handling: Handling,
        within: Option<&ResourceKey>,
    ) -> Result<(SearchPage, Vec<Issue>), Error> {
        let all: Vec<TypeId> = match kinds {
            [] => self.reading(|tx| Ok(store::history::kinds(tx)?)).await?,
            kinds => kinds.to_vec(),
        };
        let pairs_text = crate::bundle::query_text(pairs);
        let place = within.map_or_else(String::new, |key| format!("{key}/*"));
        let what = format!("{place}?{pairs_text}");
        let allowed: Vec<TypeId> = all
            .iter()
            .copied()
            .filter(|kind| policy::predicate(ctx, Action::Search, *kind) != Predicate::Nothing)
            .collect();
        if allowed.is_empty() && !all.is_empty() {
            return Err(self.denied(ctx, "query", &what).await);
        }
        let params = self.params();
        let (mut queries, mut warnings) = (Vec::new(), Vec::<Issue>::new());
        for kind in allowed {
            let (mut query, more) =
                fhir::search::parse(&params, kind, pairs, handling).map_err(Error::Malformed)?;
            for warning in more {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            if let Some(key) = within {
                match fhir::search::in_compartment(key, kind) {
                    Some(condition) => query.conditions.push(condition),
                    None => continue,
                }
            }
            queries.push(query);
        }
        Ok((self.search_all(ctx, queries, &what).await?, warnings))
    }

    async fn search_all(&self, ctx: &Ctx, mut queries: Vec<Query>, what: &str) -> Result<SearchPage, Error> {
        let now = self.now();
        let mut patients: Vec<String> = queries.iter().flat_map(describe::patients).collect();
        let rights = rights(ctx);
        for query in &mut queries {
            self.prepare_query(ctx, query).await?;
        }
        let mut veil = self.veil(ctx).await?;
        let what = what.to_owned();
        let (page, items, included, words_behind) = self
            .reading_audited(move |tx| {
                let page = match &queries[..] {
                    [query] => store::search::run(tx, query, &rights, now)?,
                    several => store::search::run_types(tx, several, &rights, now)?,
                };
                let includes = queries.first().map_or(&[][..], |query| &query.includes);
                let mut included = store::search::included(tx, &page.rows, includes, &rights, now)?;
                let by_words = queries.iter().flat_map(|query| &query.conditions).any(has_words);
                let behind = if by_words { store::word::behind(tx)? } else { 0 };
                let mut page = page;
                let rows = page.rows.iter().chain(&included.rows);
                patients.extend(rows.flat_map(|row| row.patients.iter().cloned()));
                let items = veil.page(tx, Action::Search, std::mem::take(&mut page.rows))?;
                let brought = veil.page(tx, Action::Search, std::mem::take(&mut included.rows))?;
                patients.sort();
                patients.dedup();
                let event = veil.event("query", &what, &patients);
                Ok(((page, items, (included.cut, brought), behind), event))
            })
            .await?;
        let (included_cut, included) = included;
        Ok(SearchPage { items, included, included_cut, next: page.next, total: page.total, words_behind })
    }

    /// For planners: a search by name and value as in a URL, e.g.
    /// `find(ctx, "Appointment", &[("patient", "Patient/1"), ("_sort", "-date")], 20)`; rows readable for `ctx`, over
    /// as many pages as `limit` needs.
    /// Errors: `Malformed` for an unknown type or parameter; `Denied`.
    pub async fn find(
        &self,
        ctx: &Ctx,
        kind: &str,
        parameters: &[(&str, &str)],
        limit: u32,
    ) -> Result<Vec<(Resource, u32)>, Error> {
        let kind = TypeId::from_name(kind).ok_or_else(|| {
            Error::Malformed(Outcome::one(
                IssueCode::NotSupported,
                "",
                format!("`{kind}` is no FHIR R4 resource type."),
            ))
        })?;
        let pairs: Vec<(String, String)> =
            parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (mut query, _) =
            fhir::search::parse(&self.params(), kind, &pairs, Handling::Strict).map_err(Error::Malformed)?;
        query.total = fhir::search::Total::None;
        let what = describe::query(&self.params(), &query);
        let mut found = Vec::new();
        while (found.len() as u32) < limit {
            query.count = (limit - found.len() as u32).min(fhir::search::MAX_PAGE);
            let page = self.search_as(ctx, query.clone(), &what).await?;
            for item in &page.items {
                found.push((item.parse()?, item.version));
            }
            match page.next {
                Some(next) if !page.items.is_empty() => query.cursor = Some(next),
                _ => break,
            }
        }
        Ok(found)
    }
}
