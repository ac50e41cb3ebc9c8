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
mod cursor;
mod order;
mod plan;
mod range;
mod source;

use crate::resource::{COLUMNS, Stored, more_patients, read_stored};
use crate::{Error, Param, Result, Tx};
use access::Predicate;
use builder::Values;
use check::Subject;
use cursor::{Cursor, fingerprint};
use fhir::search::{MAX_PAGE, Query, Total};
use jiff::Timestamp;
use order::Key;
use source::{Maker, Source, Walk};

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

/// Runs the query on the rows that `predicate` allows; totals count only those. `now` decides which care links hold.
/// Errors: [Error::Invalid] for a cursor that is not one of this query's.
pub fn run(tx: &mut dyn Tx, query: &Query, predicate: &Predicate, now: Timestamp) -> Result<Page> {
    run_from(tx, query, predicate, now, None)
}

/// As [run], from a source of [sources] instead of the best one; for tests.
#[cfg(feature = "test-support")]
pub fn run_via(
    tx: &mut dyn Tx,
    query: &Query,
    predicate: &Predicate,
    now: Timestamp,
    tag: &str,
) -> Result<Page> {
    let source = Source::from_tag(tag, query, predicate).ok_or(Error::Invalid("source"))?;
    run_from(tx, query, predicate, now, Some(source))
}

/// Every source from which this search can be answered; for tests.
#[cfg(feature = "test-support")]
pub fn sources(query: &Query, predicate: &Predicate) -> Vec<String> {
    let walks =
        ["i", "ar", "au", "ad", "at"].into_iter().filter_map(|tag| Source::from_tag(tag, query, predicate));
    source::candidates(query, predicate).into_iter().chain(walks).map(Source::tag).collect()
}

fn run_from(
    tx: &mut dyn Tx,
    query: &Query,
    predicate: &Predicate,
    now: Timestamp,
    first: Option<Source>,
) -> Result<Page> {
    let maker = Maker { query, predicate, now_us: now.as_microsecond(), dialect: tx.dialect() };
    let wants_total = query.total == Total::Accurate || query.count == 0;
    if *predicate == Predicate::Nothing {
        return Ok(Page { rows: Vec::new(), next: None, total: wants_total.then_some(0) });
    }
    let own = fingerprint(&format!(
        "{:?}{:?}{:?}{:?}{:?}",
        query.kind, query.filters, query.ids, query.last_updated, query.sort
    ));
    let cursor = query.cursor.as_deref().map(Cursor::parse).transpose()?;
    if cursor.as_ref().is_some_and(|cursor| cursor.fingerprint != own) {
        return Err(Error::Invalid("cursor"));
    }
    let choice = match (&cursor, first) {
        // Without `_sort` the source gives the order, so all pages come from the same.
        (Some(cursor), _) if query.sort.is_empty() => {
            Source::from_tag(&cursor.source, query, predicate).ok_or(Error::Invalid("cursor"))?.into()
        }
        (_, Some(source)) => source.into(),
        _ => maker.choose(tx)?,
    };
    let source = choice.source;
    let total = if wants_total { Some(maker.total(tx, source)?) } else { None };
    if query.count == 0 {
        return Ok(Page { rows: Vec::new(), next: None, total });
    }
    let near = match choice.walk_first {
        Some(walk) => maker.near(tx, walk, cursor.as_ref())?,
        None => None,
    };
    let (mut rows, keys) = match near {
        Some(found) => found,
        None => maker.page(tx, source, cursor.as_ref(), None)?,
    };
    let count = query.count.min(MAX_PAGE) as usize;
    let next = (rows.len() > count).then(|| {
        rows.truncate(count);
        let (rid, keys) = (rows[count - 1].rid, keys[count - 1].clone());
        Cursor { fingerprint: own, source: source.tag(), keys, rid }.to_text()
    });
    Ok(Page { rows, next, total })
}

/// The plan the engine would follow, one step per line; for tests.
#[cfg(feature = "test-support")]
pub fn explain(tx: &mut dyn Tx, query: &Query, predicate: &Predicate, now: Timestamp) -> Result<Vec<String>> {
    let maker = Maker { query, predicate, now_us: now.as_microsecond(), dialect: tx.dialect() };
    let choice = maker.choose(tx)?;
    let source = choice.walk_first.map_or(choice.source, Source::All);
    let mut values = Values::default();
    let (sql, _) = maker.statement(tx, &mut values, source, None, None)?;
    let (verb, column) = match tx.dialect() {
        crate::Dialect::Sqlite => ("EXPLAIN QUERY PLAN", 3),
        crate::Dialect::Postgres => ("EXPLAIN", 0),
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
        let mut subject = Subject {
            kind: self.query.kind,
            rid: rows.rid,
            date: rows.date,
            needs_resource: rows.is_resource,
            dialect: self.dialect,
        };
        let mut conditions = rows.conditions.clone();
        if !self.query.ids.is_empty() {
            conditions.push(subject.ids(values, &self.query.ids));
        }
        for bound in &self.query.last_updated {
            conditions.push(subject.last_updated(values, *bound));
        }
        for (n, filter) in self.query.filters.iter().enumerate() {
            if rows.fulfils != Some(n) {
                conditions.push(subject.filter(tx, values, filter)?);
            }
        }
        if !matches!(source, Source::Compartment | Source::Care)
            && let Some(condition) = subject.rights(values, self.predicate, self.now_us)
        {
            conditions.push(condition);
        }
        let needs_resource = subject.needs_resource;
        Ok((rows, conditions, needs_resource))
    }

    fn total(&self, tx: &mut dyn Tx, source: Source) -> Result<u64> {
        let mut values = Values::default();
        let (rows, conditions, needs_resource) = self.joined(tx, &mut values, source)?;
        let sql = format!(
            "SELECT count(*) FROM {}{} WHERE {}",
            rows.from,
            join(&rows, needs_resource),
            all_of(&rows, needs_resource, &conditions)
        );
        let count = tx.one(&sql, &values.params(), |row| row.int(0))?.unwrap_or(0);
        Ok(count.max(0) as u64)
    }

    /// The page, if a short way of the walk holds it.
    fn near(&self, tx: &mut dyn Tx, walk: Walk, cursor: Option<&Cursor>) -> Result<Option<Found>> {
        let source = Source::All(walk);
        let mut values = Values::default();
        let rows = self.rows(tx, &mut values, source)?;
        let keys = order::keys(&mut values, self.query, source, &rows);
        let [key] = &keys[..] else { return Ok(None) };
        let mut conditions = rows.conditions.clone();
        if let Some(cursor) = cursor {
            conditions.push(order::after(&mut values, &keys, rows.rid, cursor)?);
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
        let full = found.0.len() > self.query.count.min(MAX_PAGE) as usize;
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
        let keys = order::keys(values, self.query, source, &rows);
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
        let limit = values.bind(i64::from(self.query.count.min(MAX_PAGE)) + 1);
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
