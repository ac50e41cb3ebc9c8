//! Searches: a parsed query and the caller's rights become one SQL statement.
//!
//! A search starts from one *source*, a range of an index table that is as narrow as can be had ([plan]), tests
//! each of its rows for the other filters and the rights by point lookups ([check]), and stops after a page. Sources
//! that give rows in the wanted order need no sorting. Without `_sort` the source gives the order; the cursor names it,
//! so that all pages of one search stay in one order however the data changes.
//!
//! Order: by `_sort`; a value is the least of a row's values, a missing one comes before all others ascending and
//! after them descending; then by row. Without `_sort`: a patient's record or a whole type newest first, a prefix
//! by its string, anything else by creation.

mod builder;
mod check;
mod composite;
mod cursor;
mod guard;
mod include;
mod nested;
mod order;
mod plan;
mod range;
mod rights;
mod source;
mod types;
mod units;
mod wanted;

pub use include::{Included, MAX_INCLUDED, included};
pub use rights::{Right, Rights};
pub use types::{MAX_TYPES, run_types};

use crate::resource::{COLUMNS, Stored, more_patients, read_stored};
use crate::{Error, Param, Result, Tx};
use builder::Values;
use check::Subject;
use cursor::{Cursor, fingerprint};
use fhir::search::{MAX_PAGE, Query, Sort, Total};
use jiff::Timestamp;
use order::Key;
use source::{Maker, Source, Walk};
use std::time::Duration;
use wanted::{Scope, Wanted};

/// What one search may take; then it ends with [Error::TooCostly].
pub const BUDGET: Duration = Duration::from_secs(5);
/// Rows counted for an estimate of the total.
const ESTIMATED: i64 = 10_000;
/// The cursor names a source that is followed in order of change, because it has no order that streams.
const IN_TIME: &str = "u";
const BY_TIME: [Sort; 1] = [Sort::LastUpdated { descending: false }];

/// How far a walk is followed before a large source is collected instead.
const NEAR: i64 = 3_000;

/// Rows, and the values of their sort keys.
type Found = (Vec<Stored>, Vec<Vec<builder::Value>>);

/// One page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub rows: Vec<Stored>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// If the query asked for it.
    pub total: Option<u64>,
}

/// Runs the query on the rows that `rights` allow; chains reach only rows that are allowed too, and totals count only
/// allowed ones. `now` decides which care links hold. Includes are [included]'s. Errors: [Error::Invalid] for a cursor
/// that is not one of this query's; [Error::TooCostly] after [BUDGET].
pub fn run(tx: &mut dyn Tx, query: &Query, rights: &Rights, now: Timestamp) -> Result<Page> {
    tx.limit(Some(BUDGET))?;
    let page = run_from(tx, query, rights, now, None);
    unlimited(tx, page)
}

/// Takes the limit away again. After an error PostgreSQL refuses even that, so the error comes first.
fn unlimited<T>(tx: &mut dyn Tx, done: Result<T>) -> Result<T> {
    let lifted = tx.limit(None);
    let done = done?;
    lifted.map(|()| done)
}

/// As [run], from a source of [sources] instead of the best one; for tests.
#[cfg(feature = "test-support")]
pub fn run_via(tx: &mut dyn Tx, query: &Query, rights: &Rights, now: Timestamp, tag: &str) -> Result<Page> {
    run_from(tx, query, rights, now, Some(tag))
}

/// Every source from which this search can be answered; for tests.
#[cfg(feature = "test-support")]
pub fn sources(tx: &mut dyn Tx, query: &Query, rights: &Rights, now: Timestamp) -> Result<Vec<String>> {
    let scope = Scope::new(rights, now.as_microsecond(), tx.dialect());
    let wanted = Wanted::of_query(tx, &scope, query)?;
    let walks = ["au", "ad", "at"].into_iter().filter_map(|tag| Source::from_tag(tag, &wanted));
    Ok(source::candidates(&wanted).into_iter().chain(walks).map(Source::tag).collect())
}

fn run_from(
    tx: &mut dyn Tx,
    query: &Query,
    rights: &Rights,
    now: Timestamp,
    first: Option<&str>,
) -> Result<Page> {
    let own = own_fingerprint(query);
    let cursor = query.cursor.as_deref().map(Cursor::parse).transpose()?;
    if cursor.as_ref().is_some_and(|cursor| cursor.fingerprint != own) {
        return Err(Error::Invalid("cursor"));
    }
    let scope = Scope::new(rights, now.as_microsecond(), tx.dialect());
    let wanted = Wanted::of_query(tx, &scope, query)?;
    let wants_total = query.total != Total::None || query.count == 0;
    if wanted.is_never() {
        return Ok(Page { rows: Vec::new(), next: None, total: wants_total.then_some(0) });
    }
    let count = query.count.min(MAX_PAGE);
    let mut maker = Maker { scope: &scope, wanted: &wanted, sort: &query.sort, count };
    let mut in_time = false;
    let choice = match (&cursor, first) {
        // Without `_sort` the source gives the order, so all pages come from the same.
        (Some(cursor), _) if query.sort.is_empty() => match cursor.source.strip_prefix(IN_TIME) {
            Some(_) => {
                in_time = true;
                maker.sort = &BY_TIME;
                maker.choose(tx)?
            }
            None => Source::from_tag(&cursor.source, &wanted).ok_or(Error::Invalid("cursor"))?.into(),
        },
        (_, Some(tag)) => Source::from_tag(tag, &wanted).ok_or(Error::Invalid("source"))?.into(),
        _ => {
            let choice = maker.choose(tx)?;
            if choice.unstreamed && query.count > 0 {
                in_time = true;
                maker.sort = &BY_TIME;
                plan::Choice { walk_first: Some(Walk::Updated), ..choice }
            } else {
                choice
            }
        }
    };
    let source = choice.source;
    let total = if wants_total { Some(maker.total(tx, source, query.total)?) } else { None };
    if query.count == 0 {
        return Ok(Page { rows: Vec::new(), next: None, total });
    }
    let (mut rows, keys) = maker.found(tx, &choice, cursor.as_ref())?;
    let count = count as usize;
    let next = (rows.len() > count).then(|| {
        rows.truncate(count);
        let (rid, keys) = (rows[count - 1].rid, keys[count - 1].clone());
        let tag = format!("{}{}", if in_time { IN_TIME } else { "" }, source.tag());
        Cursor { fingerprint: own, source: tag, keys, rid }.to_text()
    });
    Ok(Page { rows, next, total })
}

/// A cursor belongs to one query.
fn own_fingerprint(query: &Query) -> u64 {
    fingerprint(&format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}",
        query.kind, query.filters, query.ids, query.last_updated, query.conditions, query.sort
    ))
}

/// The plan the engine would follow, one step per line; for tests.
#[cfg(feature = "test-support")]
pub fn explain(tx: &mut dyn Tx, query: &Query, rights: &Rights, now: Timestamp) -> Result<Vec<String>> {
    let scope = Scope::new(rights, now.as_microsecond(), tx.dialect());
    let wanted = Wanted::of_query(tx, &scope, query)?;
    if wanted.is_never() {
        return Ok(vec!["nothing".to_owned()]);
    }
    let mut maker =
        Maker { scope: &scope, wanted: &wanted, sort: &query.sort, count: query.count.min(MAX_PAGE) };
    let mut choice = maker.choose(tx)?;
    if choice.unstreamed {
        maker.sort = &BY_TIME;
        choice.walk_first = Some(Walk::Updated);
    }
    let source = choice.walk_first.map_or(choice.source, Source::All);
    let mut values = Values::default();
    let (sql, _) = maker.statement(tx, &mut values, source, None, None)?;
    let (verb, column) = match tx.dialect() {
        crate::Dialect::Sqlite => ("EXPLAIN QUERY PLAN", 3),
        crate::Dialect::Postgres => ("EXPLAIN (COSTS OFF)", 0),
    };
    let mut lines = vec![format!("source {}", source.tag())];
    lines.extend(tx.all(&format!("{verb} {sql}"), &values.params(), |row| row.string(column))?);
    Ok(lines)
}

impl Maker<'_> {
    /// FROM with its joins, and WHERE without a keyset; `extra` are conditions and keys that may need the join.
    fn joined(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        source: Source,
    ) -> Result<(source::Rows, Vec<String>, bool)> {
        let rows = self.rows(tx, values, source)?;
        let mut subject = Subject::of(self.scope, self.wanted.kind, &rows);
        let mut conditions = rows.conditions.clone();
        for (n, want) in self.wanted.wants.iter().enumerate() {
            if rows.fulfils != Some(n) {
                conditions.push(subject.node(tx, values, &want.node)?);
            }
        }
        if !matches!(source, Source::Compartment | Source::Care)
            && let Some(condition) = subject.rights(tx, values, &self.wanted.predicate)?
        {
            conditions.push(condition);
        }
        let needs_resource = subject.needs_resource;
        Ok((rows, conditions, needs_resource))
    }

    /// The rows of the page and one more.
    fn found(&self, tx: &mut dyn Tx, choice: &plan::Choice, cursor: Option<&Cursor>) -> Result<Found> {
        let mut source = choice.source;
        if let Some(walk) = choice.walk_first {
            if let Some(found) = self.near(tx, walk, cursor)? {
                return Ok(found);
            }
            source = self.narrowest(tx, source)?;
        }
        self.page(tx, source, cursor, None)
    }

    /// An estimate counts no further than [ESTIMATED]: then there are at least so many.
    fn total(&self, tx: &mut dyn Tx, source: Source, total: Total) -> Result<u64> {
        let mut values = Values::default();
        let (rows, conditions, needs_resource) = self.joined(tx, &mut values, source)?;
        let from = format!(
            "{}{} WHERE {}",
            rows.from,
            join(&rows, needs_resource),
            all_of(&rows, needs_resource, &conditions)
        );
        let sql = if total == Total::Estimate {
            format!("SELECT count(*) FROM (SELECT 1 AS one FROM {from} LIMIT {}) e", values.bind(ESTIMATED))
        } else {
            format!("SELECT count(*) FROM {from}")
        };
        let count = tx.one(&sql, &values.params(), |row| row.int(0))?.unwrap_or(0);
        Ok(count.max(0) as u64)
    }

    /// The page, if a short way of the walk holds it.
    fn near(&self, tx: &mut dyn Tx, walk: Walk, cursor: Option<&Cursor>) -> Result<Option<Found>> {
        let source = Source::All(walk);
        let mut values = Values::default();
        let rows = self.rows(tx, &mut values, source)?;
        let by_first = Maker {
            scope: self.scope,
            wanted: self.wanted,
            sort: self.sort.get(..1).unwrap_or_default(),
            count: self.count,
        };
        let keys = order::keys(&mut values, &by_first, source, &rows);
        let Some(key) = keys.first() else { return Ok(None) };
        let mut conditions = rows.conditions.clone();
        match cursor {
            Some(cursor) if self.sort.len() == 1 => {
                conditions.push(order::after(&mut values, &keys, rows.rid, cursor)?);
            }
            Some(cursor) => conditions.push(order::from(&mut values, key, cursor)?),
            None => {}
        }
        let direction = if key.descending { " DESC" } else { "" };
        let sql = format!(
            "SELECT {0} FROM {1} WHERE {2} ORDER BY {0}{direction}, {3}{direction} LIMIT 1 OFFSET {4}",
            key.sql,
            rows.from,
            conditions.join(" AND "),
            rows.rid,
            values.bind(NEAR)
        );
        let end = tx.one(&sql, &values.params(), |row| key.read(row, 0))?;
        let found = self.page(tx, source, cursor, end.as_ref())?;
        let full = found.0.len() > self.count as usize;
        Ok((full || end.is_none()).then_some(found))
    }

    /// The rows of the page and one more, each with the values of its sort keys; with `end`, only up to this value
    /// of the first key.
    fn page(
        &self,
        tx: &mut dyn Tx,
        source: Source,
        cursor: Option<&Cursor>,
        end: Option<&builder::Value>,
    ) -> Result<Found> {
        let mut values = Values::default();
        let (sql, keys) = self.statement(tx, &mut values, source, cursor, end)?;
        let params: Vec<Param<'_>> = values.params();
        let (mut rows, mut key_values, mut more) = (Vec::new(), Vec::new(), Vec::new());
        tx.query(&sql, &params, &mut |row| {
            let (stored, count) = read_stored(row)?;
            if count > 0 {
                more.push((rows.len(), count));
            }
            rows.push(stored);
            let mut own = Vec::with_capacity(keys.len());
            for (n, key) in keys.iter().enumerate() {
                own.push(key.read(row, 10 + n)?);
            }
            key_values.push(own);
            Ok(())
        })?;
        for (n, count) in more {
            let rid = rows[n].rid;
            more_patients(tx, rid, count, &mut rows[n].patients)?;
        }
        Ok((rows, key_values))
    }

    /// The whole SELECT, and the sort keys that follow [COLUMNS].
    fn statement(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        source: Source,
        cursor: Option<&Cursor>,
        end: Option<&builder::Value>,
    ) -> Result<(String, Vec<Key>)> {
        let (rows, mut conditions, mut needs_resource) = self.joined(tx, values, source)?;
        let keys = order::keys(values, self, source, &rows);
        needs_resource |= keys.iter().any(|key| key.needs_resource);
        let joins: String = keys.iter().filter_map(|key| key.join.as_deref()).collect();
        if let Some(cursor) = cursor {
            conditions.push(order::after(values, &keys, rows.rid, cursor)?);
        }
        if let (Some(end), Some(key)) = (end, keys.first()) {
            let sign = if key.descending { ">=" } else { "<=" };
            conditions.push(format!("{} {sign} {}", key.sql, values.bind(end.clone())));
        }
        let last_descends = keys.last().is_some_and(|key| key.descending);
        let direction = |descending: bool| if descending { " DESC" } else { "" };
        let (mut columns, mut by, mut outer_by) = (String::new(), String::new(), String::new());
        let mut outer_columns = String::new();
        for (n, key) in keys.iter().enumerate() {
            columns.push_str(&format!(", {} AS k{n}", key.sql));
            outer_columns.push_str(&format!(", s.k{n}"));
            by.push_str(&format!("{}{}, ", key.sql, direction(key.descending)));
            outer_by.push_str(&format!("s.k{n}{}, ", direction(key.descending)));
        }
        let limit = values.bind(i64::from(self.count) + 1);
        let (rid, last) = (rows.rid, direction(last_descends));
        let sql = format!(
            "SELECT {COLUMNS}{outer_columns} FROM (SELECT {rid} AS rid{columns} FROM {}{}{joins} WHERE {} \
             ORDER BY {by}{rid}{last} LIMIT {limit}) s CROSS JOIN resource r WHERE r.rid = s.rid \
             ORDER BY {outer_by}s.rid{last}",
            rows.from,
            join(&rows, needs_resource),
            all_of(&rows, needs_resource, &conditions)
        );
        Ok((sql, keys))
    }
}

fn join(rows: &source::Rows, needs_resource: bool) -> &'static str {
    if needs_resource && !rows.is_resource { " CROSS JOIN resource r" } else { "" }
}

fn all_of(rows: &source::Rows, needs_resource: bool, conditions: &[String]) -> String {
    let mut all = String::from("1 = 1");
    if needs_resource && !rows.is_resource {
        all.push_str(" AND r.rid = d.rid");
    }
    for condition in conditions {
        all.push_str(" AND ");
        all.push_str(condition);
    }
    all
}
