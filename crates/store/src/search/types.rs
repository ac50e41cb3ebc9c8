//! A search over several types.

use super::builder::Value;
use super::cursor::{Cursor, fingerprint};
use super::rights::Rights;
use super::source::Maker;
use super::wanted::{Scope, Wanted};
use super::{BUDGET, Page, own_fingerprint, run_from, unlimited};
use crate::resource::Stored;
use crate::{Error, Result, Tx};
use fhir::TypeId;
use fhir::search::{MAX_PAGE, Query, Sort, Total};
use jiff::Timestamp;
use std::cmp::Ordering;

/// All of R4 has fewer.
pub const MAX_TYPES: usize = 200;
/// The cursor is one of a merge of sorted types.
const MERGED: &str = "m";

/// As [super::run] over several queries that differ in their type and in the numbers of their parameters; `count`,
/// `cursor`, `total` and the keys of `sort` are those of the first. Sorted by the keys over all types; without `_sort` one
/// type after the other, in the order given. Errors: as [super::run]; [Error::Invalid] for sort keys that do not compare.
pub fn run_types(tx: &mut dyn Tx, queries: &[Query], rights: &Rights, now: Timestamp) -> Result<Page> {
    let Some(first) = queries.first() else {
        return Ok(Page { rows: Vec::new(), next: None, total: None });
    };
    if queries.len() > MAX_TYPES {
        return Err(Error::Invalid("types"));
    }
    tx.limit(Some(BUDGET))?;
    let present = crate::history::kinds(tx)?;
    let queries: Vec<Query> = queries
        .iter()
        .filter(|query| present.contains(&query.kind))
        .map(|query| Query { count: first.count, cursor: None, total: first.total, ..query.clone() })
        .collect();
    let page = if first.sort.is_empty() || first.count == 0 {
        in_turn(tx, &queries, first, rights, now)
    } else {
        merged(tx, &queries, first, rights, now)
    };
    unlimited(tx, page)
}

fn total(tx: &mut dyn Tx, queries: &[Query], rights: &Rights, now: Timestamp) -> Result<u64> {
    let mut sum = 0;
    for query in queries {
        let only_total = Query { count: 0, cursor: None, ..query.clone() };
        sum += run_from(tx, &only_total, rights, now, None)?.total.unwrap_or(0);
    }
    Ok(sum)
}

/// `12~cursor`: the type and the cursor in it, which is empty at its beginning.
fn in_turn(
    tx: &mut dyn Tx,
    queries: &[Query],
    first: &Query,
    rights: &Rights,
    now: Timestamp,
) -> Result<Page> {
    let wants_total = first.total != Total::None || first.count == 0;
    let total = if wants_total { Some(total(tx, queries, rights, now)?) } else { None };
    if first.count == 0 {
        return Ok(Page { rows: Vec::new(), next: None, total });
    }
    let (mut at, mut cursor) = (0, None);
    if let Some(text) = &first.cursor {
        let (kind, inner) = text.split_once('~').ok_or(Error::Invalid("cursor"))?;
        let kind = kind.parse().map(TypeId).map_err(|_| Error::Invalid("cursor"))?;
        // The type may have lost its last resource meanwhile; the order given says which one follows.
        at = queries.iter().position(|query| query.kind == kind).ok_or(Error::Invalid("cursor"))?;
        cursor = Some(inner.to_owned()).filter(|inner| !inner.is_empty());
    }
    let count = first.count.min(MAX_PAGE);
    let mut rows: Vec<Stored> = Vec::new();
    while let Some(query) = queries.get(at) {
        let left = count - rows.len() as u32;
        if left == 0 {
            return Ok(Page { rows, next: Some(format!("{}~", query.kind.0)), total });
        }
        let query = Query { count: left, cursor: cursor.take(), total: Total::None, ..query.clone() };
        let page = run_from(tx, &query, rights, now, None)?;
        rows.extend(page.rows);
        if let Some(next) = page.next {
            return Ok(Page { rows, next: Some(format!("{}~{next}", query.kind.0)), total });
        }
        at += 1;
    }
    Ok(Page { rows, next: None, total })
}

fn merged(
    tx: &mut dyn Tx,
    queries: &[Query],
    first: &Query,
    rights: &Rights,
    now: Timestamp,
) -> Result<Page> {
    // The types that exist may change from page to page: only what was asked counts.
    let own = fingerprint(&format!(
        "{:?}",
        (
            own_fingerprint(&Query {
                kind: TypeId(0),
                filters: Vec::new(),
                sort: Vec::new(),
                ..first.clone()
            }),
            descents(first)
        )
    ));
    let cursor = first.cursor.as_deref().map(Cursor::parse).transpose()?;
    if cursor.as_ref().is_some_and(|cursor| cursor.fingerprint != own || cursor.source != MERGED) {
        return Err(Error::Invalid("cursor"));
    }
    let count = first.count.min(MAX_PAGE);
    let mut all: Vec<(Stored, Vec<Value>)> = Vec::new();
    let mut sum = 0;
    for query in queries {
        let scope = Scope::new(rights, now.as_microsecond(), tx.dialect());
        let wanted = Wanted::of_query(tx, &scope, query)?;
        if wanted.is_never() {
            continue;
        }
        let maker = Maker { scope: &scope, wanted: &wanted, sort: &query.sort, count };
        let choice = maker.choose(tx)?;
        if first.total != Total::None {
            sum += maker.total(tx, choice.source, first.total)?;
        }
        let (rows, keys) = maker.found(tx, &choice, cursor.as_ref())?;
        all.extend(rows.into_iter().zip(keys));
    }
    let descents = descents(first);
    if let Some((_, keys)) = all.first()
        && all.iter().any(|(_, other)| !alike(keys, other))
    {
        return Err(Error::Invalid("sort over types"));
    }
    all.sort_by(|(a, x), (b, y)| {
        let keys = x.iter().zip(y).zip(&descents).fold(Ordering::Equal, |order, ((x, y), descends)| {
            order.then_with(|| if *descends { compare(y, x) } else { compare(x, y) })
        });
        let last = descents.last().is_some_and(|descends| *descends);
        keys.then_with(|| if last { b.rid.cmp(&a.rid) } else { a.rid.cmp(&b.rid) })
    });
    let more = all.len() > count as usize;
    all.truncate(count as usize);
    let next = match all.last() {
        Some((row, keys)) if more => Some(
            Cursor { fingerprint: own, source: MERGED.into(), keys: keys.clone(), rid: row.rid }.to_text(),
        ),
        _ => None,
    };
    let total = (first.total != Total::None).then_some(sum);
    Ok(Page { rows: all.into_iter().map(|(row, _)| row).collect(), next, total })
}

fn descents(query: &Query) -> Vec<bool> {
    let descends = |sort: &Sort| match sort {
        Sort::Param { descending, .. } | Sort::LastUpdated { descending } | Sort::Id { descending } => {
            *descending
        }
    };
    query.sort.iter().map(descends).collect()
}

fn alike(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| std::mem::discriminant(x) == std::mem::discriminant(y))
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}
