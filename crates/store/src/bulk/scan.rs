//! All resources of a type, page by page, as they stood when the change sequence was at a given number.
//!
//! Pages follow the id, which never changes, so none is missed or repeated however the data changes meanwhile. A row
//! that changed since is read from the history; one that was made since is left out.

use crate::ids::{decode_id, encode_id, encode_target};
use crate::page::clamp;
use crate::resource::{COLUMNS, Stored, Version, more_patients, read_stored, read_version_row};
use crate::{Counter, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;

/// Which versions are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub kind: TypeId,
    /// The change number of the moment; see [horizon].
    pub horizon: i64,
    /// Last changed at or after.
    pub since: Option<Timestamp>,
    /// Last changed at or before.
    pub until: Option<Timestamp>,
    /// Deletions as well.
    pub deleted: bool,
}

/// One row of a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Scanned {
    pub stored: Stored,
    /// It is an older version: `stored.patients` are those of the current one.
    pub older: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Page<C> {
    pub rows: Vec<Scanned>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<C>,
}

/// A number such that every change up to it is committed and none up to it can appear later. Call it in
/// [crate::Store::write] (see [crate::outbox]).
pub fn horizon(tx: &mut dyn Tx) -> Result<i64> {
    match tx.dialect() {
        crate::Dialect::Postgres => crate::outbox::horizon(tx),
        // One thread gives the numbers, in the order of the commits.
        crate::Dialect::Sqlite => tx.next(Counter::Change),
    }
}

impl Scan {
    fn wants(&self, last_updated: Timestamp, deleted: bool) -> bool {
        (self.deleted || !deleted)
            && self.since.is_none_or(|since| last_updated >= since)
            && self.until.is_none_or(|until| last_updated <= until)
    }
}

/// A row of [COLUMNS] is read; its content only if it will be kept or replaced by an older version.
struct Candidate {
    stored: Stored,
    more: i64,
}

/// Looks at up to `limit` rows after the id `after`.
pub fn page(tx: &mut dyn Tx, scan: &Scan, after: Option<&str>, limit: u32) -> Result<Page<String>> {
    let limit = i64::from(clamp(limit));
    let after = after.map(encode_id).unwrap_or_default();
    let sql =
        format!("SELECT {COLUMNS} FROM resource r WHERE r.type_id = $1 AND r.id > $2 ORDER BY r.id LIMIT $3");
    let mut candidates = Vec::new();
    let (mut looked, mut last) = (0, None);
    tx.query(&sql, params![scan.kind.0, &after, limit], &mut |row| {
        looked += 1;
        let (seq, last_updated, deleted) = (row.int(4)?, row.time(5)?, row.bool(6)?);
        last = Some(decode_id(row.bytes(2)?)?);
        if seq > scan.horizon || scan.wants(last_updated, deleted) {
            let (stored, more) = read_stored(row)?;
            candidates.push(Candidate { stored, more });
        }
        Ok(())
    })?;
    let rows = settle(tx, scan, candidates)?;
    Ok(Page { rows, next: last.filter(|_| looked == limit) })
}

/// As [page], of the rows in one patient's compartment as it is now; `after` is the row number.
pub fn page_of_patient(
    tx: &mut dyn Tx,
    scan: &Scan,
    patient: &str,
    after: i64,
    limit: u32,
) -> Result<Page<i64>> {
    let limit = i64::from(clamp(limit));
    let sql = format!(
        "SELECT {COLUMNS} FROM reference f CROSS JOIN resource r WHERE f.target = $1 AND f.type_id = $2 AND f.param = 0 \
         AND f.rid > $3 AND r.rid = f.rid ORDER BY f.rid LIMIT $4"
    );
    let target = encode_target(TypeId::PATIENT, patient);
    let mut candidates = Vec::new();
    let (mut looked, mut last) = (0, None);
    tx.query(&sql, params![&target, scan.kind.0, after, limit], &mut |row| {
        looked += 1;
        last = Some(row.int(0)?);
        let (stored, more) = read_stored(row)?;
        if stored.seq > scan.horizon || scan.wants(stored.last_updated, stored.deleted) {
            candidates.push(Candidate { stored, more });
        }
        Ok(())
    })?;
    let rows = settle(tx, scan, candidates)?;
    Ok(Page { rows, next: last.filter(|_| looked == limit) })
}

/// One resource as it stood; `None` if it was not there then or is not wanted.
pub fn one(tx: &mut dyn Tx, scan: &Scan, id: &str) -> Result<Option<Scanned>> {
    let key = ResourceKey { kind: scan.kind, id: id.to_owned() };
    let Some(stored) = crate::resource::load(tx, &key)? else { return Ok(None) };
    if stored.seq <= scan.horizon && !scan.wants(stored.last_updated, stored.deleted) {
        return Ok(None);
    }
    Ok(settle(tx, scan, vec![Candidate { stored, more: 0 }])?.pop())
}

fn settle(tx: &mut dyn Tx, scan: &Scan, candidates: Vec<Candidate>) -> Result<Vec<Scanned>> {
    let mut rows = Vec::with_capacity(candidates.len());
    for Candidate { mut stored, more } in candidates {
        more_patients(tx, stored.rid, more, &mut stored.patients)?;
        if stored.seq <= scan.horizon {
            rows.push(Scanned { stored, older: false });
            continue;
        }
        let then = tx.one(
            "SELECT version, seq, last_updated_us, deleted, content FROM history WHERE rid = $1 AND seq <= $2 \
             ORDER BY version DESC LIMIT 1",
            params![stored.rid, scan.horizon],
            |row| read_version_row(row, stored.key.kind, &encode_id(&stored.key.id)),
        )?;
        // Made since.
        let Some(Version { version, seq, last_updated, deleted, content }) = then else { continue };
        if scan.wants(last_updated, deleted) {
            stored = Stored { version, seq, last_updated, deleted, content, ..stored };
            rows.push(Scanned { stored, older: true });
        }
    }
    Ok(rows)
}

/// Resources of a type whose latest change has a number above `after` and up to `horizon`, deletions included, in the
/// order of changes.
pub fn changed(tx: &mut dyn Tx, kind: TypeId, after: i64, horizon: i64, limit: u32) -> Result<Vec<Stored>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM resource r WHERE r.type_id = $1 AND r.seq > $2 AND r.seq <= $3 ORDER BY r.seq LIMIT $4"
    );
    // Patients are not read: what asks for this reads everything.
    let rows = tx.all(&sql, params![kind.0, after, horizon, i64::from(clamp(limit))], read_stored)?;
    Ok(rows.into_iter().map(|(stored, _)| stored).collect())
}

/// Types of which there is or was a resource.
pub fn kinds(tx: &mut dyn Tx) -> Result<Vec<TypeId>> {
    let mut kinds = Vec::new();
    let mut after = -1;
    // Jumps from type to type in the index instead of counting all rows.
    while let Some(next) = tx
        .one("SELECT min(type_id) FROM resource WHERE type_id > $1", params![after], |row| row.opt_int(0))?
        .flatten()
    {
        after = next;
        kinds.extend(u16::try_from(next).map(TypeId));
    }
    Ok(kinds)
}
