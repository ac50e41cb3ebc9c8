//! Resources: current versions, history, and their index rows.

use crate::ids::{decode_id, encode_id, encode_target};
use crate::index::Rows;
use crate::keys::{Place, seal_content};
use crate::page::clamp;
use crate::{Content, Counter, Error, Page, Result, Tx, params};
use access::Seals;
use fhir::search::IndexEntry;
use fhir::{ParamId, ResourceKey, TypeId};
use jiff::Timestamp;
use std::sync::{Arc, OnceLock};

/// The current version of a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Row number; internal.
    pub rid: i64,
    pub key: ResourceKey,
    pub version: u32,
    pub seq: i64,
    pub last_updated: Timestamp,
    pub deleted: bool,
    /// Ids of the patients whose compartment holds it; kept from before a deletion.
    pub patients: Vec<String>,
    /// JSON, UTF-8; empty if deleted.
    pub content: Arc<[u8]>,
}

/// A version to write. The content's `meta` must say this version and time.
#[derive(Debug, Clone, Copy)]
pub struct New<'a> {
    pub key: &'a ResourceKey,
    pub last_updated: Timestamp,
    pub content: &'a Content,
    /// From [fhir::search::extract].
    pub entries: &'a [IndexEntry],
    /// Ids of the patients whose compartment holds it, from [fhir::search::compartment]; a Patient's own id is
    /// added if it is missing.
    pub patients: &'a [String],
}

/// Where a version landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub rid: i64,
    pub version: u32,
    pub seq: i64,
}

/// One version in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub version: u32,
    pub seq: i64,
    pub last_updated: Timestamp,
    pub deleted: bool,
    /// JSON, UTF-8; empty for a deletion.
    pub content: Arc<[u8]>,
}

/// What is known of a resource without its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub rid: i64,
    pub version: u32,
    pub deleted: bool,
    pub patients: Vec<String>,
}

/// One line of the change feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub seq: i64,
    pub key: ResourceKey,
    pub version: u32,
    pub deleted: bool,
}

pub(crate) const COLUMNS: &str = "r.rid, r.type_id, r.id, r.version, r.seq, r.last_updated_us, r.deleted, r.patient, \
     r.more_patients, r.content";

/// Reads [COLUMNS]. The number is that of patients still to be read from `compartment`.
pub(crate) fn read_stored(row: &crate::Row<'_>) -> Result<(Stored, i64)> {
    let patient = row.opt_key(7)?.map(|key| key.id);
    let (kind, id, version) = (kind(row.int(1)?)?, row.bytes(2)?, row.int(3)? as u32);
    let (content, is_erased) = row.content(9, &Place { kind, id, version })?;
    let stored = Stored {
        rid: row.int(0)?,
        key: ResourceKey { kind, id: decode_id(id)? },
        version,
        seq: row.int(4)?,
        last_updated: row.time(5)?,
        // What nobody can read any more is gone, whatever an older database says.
        deleted: row.bool(6)? || is_erased,
        patients: patient.into_iter().collect(),
        content,
    };
    Ok((stored, row.int(8)?))
}

fn kind(number: i64) -> Result<TypeId> {
    u16::try_from(number).map(TypeId).map_err(|_| Error::Corrupt("resource type".into()))
}

pub(crate) fn more_patients(tx: &mut dyn Tx, rid: i64, count: i64, patients: &mut Vec<String>) -> Result<()> {
    if count > 0 {
        let sql = "SELECT patient FROM compartment WHERE rid = $1 ORDER BY patient";
        patients.extend(tx.all(sql, params![rid], |row| Ok(row.key(0)?.id))?);
    }
    Ok(())
}

/// The current version, deleted or not.
pub fn load(tx: &mut dyn Tx, key: &ResourceKey) -> Result<Option<Stored>> {
    let sql = load_sql();
    let found = tx.one(sql, params![key.kind.0, &encode_id(&key.id)], read_stored)?;
    let Some((mut stored, more)) = found else { return Ok(None) };
    more_patients(tx, stored.rid, more, &mut stored.patients)?;
    Ok(Some(stored))
}

/// What the tables know of a row beside it, for who asks whether a caller may see it: one statement for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    pub rid: i64,
    /// What it is sealed as.
    pub seals: Seals,
    /// See [crate::sealed::is_veiled].
    pub is_veiled: bool,
    /// Of the first patient: there are rules of consents (see [crate::consent::of_patients]).
    pub has_rules: bool,
    /// Likewise: in care of the practitioner who was asked for.
    pub is_in_care: bool,
}

/// As [load], and what guards the row. `practitioner`: whose care of its patient is asked for, at `now`.
pub fn load_guarded(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    practitioner: Option<&str>,
    now: Timestamp,
) -> Result<Option<(Stored, Guard)>> {
    static SQL: OnceLock<String> = OnceLock::new();
    let sql = SQL.get_or_init(|| {
        format!(
            "SELECT {COLUMNS}, (SELECT s.seals FROM sealed s WHERE s.rid = r.rid), \
             EXISTS (SELECT 1 FROM veiled v WHERE v.rid = r.rid), \
             EXISTS (SELECT 1 FROM consent_rule c WHERE c.patient = r.patient), \
             EXISTS (SELECT 1 FROM care_link l WHERE l.practitioner = $3 AND l.patient = r.patient \
             AND l.from_us <= $4 AND l.until_us > $4) FROM resource r WHERE r.type_id = $1 AND r.id = $2"
        )
    });
    let (id, practitioner) = (encode_id(&key.id), practitioner.map(encode_id));
    let values = params![key.kind.0, &id, practitioner.as_ref(), now];
    let found = tx.one(sql, values, |row| {
        let (stored, more) = read_stored(row)?;
        let guard = Guard {
            rid: stored.rid,
            seals: Seals(row.opt_int(10)?.unwrap_or(0) as u32),
            is_veiled: row.bool(11)?,
            has_rules: row.bool(12)?,
            is_in_care: row.bool(13)?,
        };
        Ok((stored, more, guard))
    })?;
    let Some((mut stored, more, guard)) = found else { return Ok(None) };
    more_patients(tx, stored.rid, more, &mut stored.patients)?;
    Ok(Some((stored, guard)))
}

fn load_sql() -> &'static str {
    static SQL: OnceLock<String> = OnceLock::new();
    SQL.get_or_init(|| format!("SELECT {COLUMNS} FROM resource r WHERE r.type_id = $1 AND r.id = $2"))
}

/// As [load], without the content.
pub fn head(tx: &mut dyn Tx, key: &ResourceKey) -> Result<Option<Head>> {
    head_with(tx, key, "")
}

/// As [head]; on PostgreSQL nobody else changes the resource until this transaction ends. For plans that rest on this
/// version.
pub fn hold(tx: &mut dyn Tx, key: &ResourceKey) -> Result<Option<Head>> {
    let lock = tx.dialect().for_update();
    head_with(tx, key, lock)
}

/// Whether the resource exists and is not deleted; on PostgreSQL it then cannot be deleted before this transaction
/// ends. For checking references.
pub fn exists_for_reference(tx: &mut dyn Tx, key: &ResourceKey) -> Result<bool> {
    let lock = tx.dialect().key_share();
    let sql = format!("SELECT 1 FROM resource WHERE type_id = $1 AND id = $2 AND deleted = 0{lock}");
    Ok(tx.one(&sql, params![key.kind.0, &encode_id(&key.id)], |_| Ok(()))?.is_some())
}

/// What a reference to a Patient finds.
#[derive(Debug, Clone, PartialEq)]
pub enum PatientFound {
    /// Not there, or deleted.
    Absent,
    InUse,
    /// `active` is false; the content.
    OutOfUse(Arc<[u8]>),
}

/// As [exists_for_reference] for a Patient, and whether it is in use. `active` is the number of that search parameter.
pub fn patient_for_reference(tx: &mut dyn Tx, key: &ResourceKey, active: ParamId) -> Result<PatientFound> {
    let (lock, active) = (tx.dialect().key_share(), crate::index::param_number(active));
    // Who waited for the row sees its new version, but the index as it was before: then it is looked at once more.
    let sql = format!(
        "SELECT r.rid, EXISTS (SELECT 1 FROM token t WHERE t.type_id = $1 AND t.code = 'false' AND t.rid = r.rid \
         AND t.param = $3), r.version = (SELECT o.version FROM resource o WHERE o.rid = r.rid) \
         FROM resource r WHERE r.type_id = $1 AND r.id = $2 AND r.deleted = 0{lock}"
    );
    let id = encode_id(&key.id);
    let values = params![key.kind.0, &id, active];
    let mut found = tx.one(&sql, values, |row| Ok((row.int(0)?, row.bool(1)?, row.bool(2)?)))?;
    if matches!(found, Some((_, _, false))) {
        found = tx.one(&sql, values, |row| Ok((row.int(0)?, row.bool(1)?, row.bool(2)?)))?;
    }
    let Some((rid, out_of_use, _)) = found else { return Ok(PatientFound::Absent) };
    if !out_of_use {
        return Ok(PatientFound::InUse);
    }
    let content = tx.one("SELECT content, version FROM resource WHERE rid = $1", params![rid], |row| {
        row.content(0, &Place { kind: key.kind, id: &id, version: row.int(1)? as u32 })
    })?;
    Ok(match content {
        Some((content, false)) => PatientFound::OutOfUse(content),
        Some((_, true)) | None => PatientFound::Absent,
    })
}

fn head_with(tx: &mut dyn Tx, key: &ResourceKey, lock: &str) -> Result<Option<Head>> {
    let sql = format!(
        "SELECT rid, version, deleted, patient, more_patients FROM resource WHERE type_id = $1 AND id = $2{lock}"
    );
    let found = tx.one(&sql, params![key.kind.0, &encode_id(&key.id)], |row| {
        let patient = row.opt_key(3)?.map(|key| key.id);
        let patients = patient.into_iter().collect();
        Ok((
            Head { rid: row.int(0)?, version: row.int(1)? as u32, deleted: row.bool(2)?, patients },
            row.int(4)?,
        ))
    })?;
    let Some((mut head, more)) = found else { return Ok(None) };
    more_patients(tx, head.rid, more, &mut head.patients)?;
    Ok(Some(head))
}

fn with_self(key: &ResourceKey, patients: &[String]) -> Vec<String> {
    let mut all = patients.to_vec();
    if key.kind == TypeId::PATIENT && !all.contains(&key.id) {
        all.insert(0, key.id.clone());
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|p| seen.insert(p.clone()));
    all
}

/// Writes version 1. `None` if the key exists already, deleted or not: then nothing was written.
pub fn insert(tx: &mut dyn Tx, new: &New<'_>) -> Result<Option<Written>> {
    let patients = with_self(new.key, new.patients);
    let rows = Rows::new(tx, new.key.kind, new.entries, &patients)?;
    let (rid, seq) = (tx.next(Counter::Row)?, tx.next(Counter::Change)?);
    let patient = patients.first().map(|p| encode_target(TypeId::PATIENT, p));
    let id = encode_id(&new.key.id);
    let content =
        seal_content(tx, &Place { kind: new.key.kind, id: &id, version: 1 }, &patients, new.content)?;
    let written = tx.execute(
        "INSERT INTO resource (rid, type_id, id, version, seq, last_updated_us, deleted, patient, more_patients, \
         sort_date_us, sort_text, params, content) VALUES ($1, $2, $3, 1, $4, $5, 0, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (type_id, id) DO NOTHING",
        params![
            rid,
            new.key.kind.0,
            &id,
            seq,
            new.last_updated,
            patient.as_ref(),
            patients.len().saturating_sub(1) as i64,
            rows.sort_date_us,
            rows.sort_text.as_ref(),
            &rows.params,
            &content
        ],
    )?;
    if written == 0 {
        return Ok(None);
    }
    rows.replace(tx, new.key.kind, rid, &Rows::default())?;
    add_patients(tx, rid, &patients)?;
    Ok(Some(Written { rid, version: 1, seq }))
}

fn add_patients(tx: &mut dyn Tx, rid: i64, patients: &[String]) -> Result<()> {
    for patient in patients.iter().skip(1) {
        tx.execute(
            "INSERT INTO compartment (rid, patient) VALUES ($1, $2)",
            params![rid, &encode_target(TypeId::PATIENT, patient)],
        )?;
    }
    Ok(())
}

/// Writes the next version over version `from`; works on a deleted resource too (it exists again).
/// `old_entries` are those of the current content, by the same extractor; empty if it is deleted.
/// `None` if the current version is another one: nothing was written.
pub fn update(
    tx: &mut dyn Tx,
    from: u32,
    old_entries: &[IndexEntry],
    new: &New<'_>,
) -> Result<Option<Written>> {
    let patients = with_self(new.key, new.patients);
    let Some(head) = current(tx, new.key, from)? else { return Ok(None) };
    let before = if head.deleted {
        Rows::default()
    } else {
        Rows::new(tx, new.key.kind, old_entries, &head.patients)?
    };
    let rows = Rows::new(tx, new.key.kind, new.entries, &patients)?;
    let next = Next {
        deleted: false,
        last_updated: new.last_updated,
        content: Some(new.content),
        patients: &patients,
    };
    let written = replace_current(tx, new.key, &head, &rows, &next)?;
    rows.replace(tx, new.key.kind, head.rid, &before)?;
    if head.patients != patients {
        tx.execute("DELETE FROM compartment WHERE rid = $1", params![head.rid])?;
        add_patients(tx, head.rid, &patients)?;
    }
    Ok(Some(written))
}

/// Writes a version that says "deleted" over version `from`. The patients stay with it, so that the deletion is
/// still theirs. `None` as for [update], or if it is deleted already.
pub fn delete(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    from: u32,
    old_entries: &[IndexEntry],
    at: Timestamp,
) -> Result<Option<Written>> {
    let Some(head) = current(tx, key, from)?.filter(|head| !head.deleted) else { return Ok(None) };
    let before = Rows::new(tx, key.kind, old_entries, &head.patients)?;
    let rows = Rows { sort_date_us: before.sort_date_us, ..Rows::default() };
    let next = Next { deleted: true, last_updated: at, content: None, patients: &head.patients };
    let written = replace_current(tx, key, &head, &rows, &next)?;
    rows.replace(tx, key.kind, head.rid, &before)?;
    Ok(Some(written))
}

/// Writes the index rows anew after the extractor changed: `old_entries` by the old one, `entries` by the new.
pub fn reindex(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    old_entries: &[IndexEntry],
    entries: &[IndexEntry],
) -> Result<bool> {
    let lock = tx.dialect().for_update();
    let Some(head) = head_with(tx, key, lock)?.filter(|head| !head.deleted) else { return Ok(false) };
    let before = Rows::new(tx, key.kind, old_entries, &head.patients)?;
    let rows = Rows::new(tx, key.kind, entries, &head.patients)?;
    tx.execute(
        "UPDATE resource SET sort_date_us = $2, sort_text = $3, params = $4 WHERE rid = $1",
        params![head.rid, rows.sort_date_us, rows.sort_text.as_ref(), &rows.params],
    )?;
    rows.replace(tx, key.kind, head.rid, &before)?;
    Ok(true)
}

/// Tables of the index; each has a `rid`.
pub(crate) const INDEX_TABLES: [&str; 11] = [
    "token",
    "string",
    "date",
    "quantity",
    "reference",
    "uri",
    "compartment",
    "link",
    "free_text",
    "composite",
    "place",
];

/// Empties the index; searches find nothing until [rebuild_index] has gone through. For an upgrade whose extractor
/// gives other entries for the same content: what the old one gave is then no longer known.
pub fn clear_index(tx: &mut dyn Tx) -> Result<()> {
    for table in INDEX_TABLES {
        tx.execute(&format!("DELETE FROM {table}"), &[])?;
    }
    Ok(())
}

/// What the index is to hold of a resource.
#[derive(Debug, Clone, Default)]
pub struct Indexed {
    pub entries: Vec<IndexEntry>,
    /// As in [New::patients].
    pub patients: Vec<String>,
}

/// After [clear_index]: writes the index of the next `limit` resources after row `after` (0 at first), as `extract`
/// gives it. Returns the last row done, `None` when there is no more.
pub fn rebuild_index(
    tx: &mut dyn Tx,
    after: i64,
    limit: u32,
    extract: &mut dyn FnMut(&Stored) -> Indexed,
) -> Result<Option<i64>> {
    let sql = format!("SELECT {COLUMNS} FROM resource r WHERE r.rid > $1 ORDER BY r.rid LIMIT $2");
    let all = tx.all(&sql, params![after, i64::from(clamp(limit))], read_stored)?;
    for (stored, _) in &all {
        // A deleted resource keeps the first patient it had.
        let mut indexed = if stored.deleted { Indexed::default() } else { extract(stored) };
        if stored.deleted {
            indexed.patients.clone_from(&stored.patients);
        }
        let patients = with_self(&stored.key, &indexed.patients);
        let mut rows = Rows::new(tx, stored.key.kind, &indexed.entries, &patients)?;
        if stored.deleted {
            rows = Rows { sort_date_us: rows.sort_date_us, ..Rows::default() };
        }
        let patient = patients.first().map(|p| encode_target(TypeId::PATIENT, p));
        tx.execute(
            "UPDATE resource SET patient = $2, more_patients = $3, sort_date_us = $4, sort_text = $5, params = $6 \
             WHERE rid = $1",
            params![
                stored.rid,
                patient.as_ref(),
                patients.len().saturating_sub(1) as i64,
                rows.sort_date_us,
                rows.sort_text.as_ref(),
                &rows.params
            ],
        )?;
        rows.replace(tx, stored.key.kind, stored.rid, &Rows::default())?;
        add_patients(tx, stored.rid, &patients)?;
    }
    Ok(all.last().map(|(stored, _)| stored.rid))
}

/// Adds what the index lacks of the next `most` resources after row `after` (0 at first), as `extract` gives it; `None`
/// leaves a resource as it is. Searches go on meanwhile. For an upgrade whose extractor gives more than the one
/// before. Returns how many it looked at and the last row, `None` when there is no more.
pub fn complete_index(
    tx: &mut dyn Tx,
    after: i64,
    most: Step,
    extract: &mut dyn FnMut(&Stored) -> Option<Vec<IndexEntry>>,
) -> Result<(usize, Option<i64>)> {
    let sql = "SELECT rid FROM resource WHERE rid > $1 ORDER BY rid LIMIT $2";
    let rids = tx.all(sql, params![after, i64::from(clamp(most.resources))], |row| row.int(0))?;
    let (mut done, mut bytes, mut last) = (0, 0, None);
    for rid in rids {
        if bytes >= most.bytes {
            break;
        }
        (done, last) = (done + 1, Some(rid));
        let Some(stored) = load_row(tx, rid)? else { continue };
        bytes += stored.content.len();
        if let Some(entries) = extract(&stored) {
            reindex(tx, &stored.key, &[], &entries)?;
        }
    }
    Ok((done, last))
}

/// What one step of a walk may take: it is one transaction, and others wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub resources: u32,
    /// Of JSON. The resource that goes beyond it is still done, so that every walk ends.
    pub bytes: usize,
}

/// A row that is not deleted, without its further patients; on PostgreSQL nobody else changes it meanwhile.
pub(crate) fn load_row(tx: &mut dyn Tx, rid: i64) -> Result<Option<Stored>> {
    let lock = tx.dialect().for_update();
    let sql = format!("SELECT {COLUMNS} FROM resource r WHERE r.rid = $1 AND r.deleted = 0{lock}");
    Ok(tx.one(&sql, params![rid], read_stored)?.map(|(stored, _)| stored).filter(|stored| !stored.deleted))
}

fn current(tx: &mut dyn Tx, key: &ResourceKey, from: u32) -> Result<Option<Head>> {
    let lock = tx.dialect().for_update();
    Ok(head_with(tx, key, lock)?.filter(|head| head.version == from))
}

struct Next<'a> {
    deleted: bool,
    last_updated: Timestamp,
    content: Option<&'a Content>,
    patients: &'a [String],
}

fn replace_current(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    head: &Head,
    rows: &Rows,
    next: &Next<'_>,
) -> Result<Written> {
    let version = head.version + 1;
    let id = encode_id(&key.id);
    let place = Place { kind: key.kind, id: &id, version };
    let content = next.content.map(|content| seal_content(tx, &place, next.patients, content)).transpose()?;
    tx.execute(
        "INSERT INTO history (rid, version, seq, last_updated_us, deleted, content, type_id) \
         SELECT rid, version, seq, last_updated_us, deleted, content, type_id FROM resource WHERE rid = $1",
        params![head.rid],
    )?;
    let seq = tx.next(Counter::Change)?;
    let patient = next.patients.first().map(|p| encode_target(TypeId::PATIENT, p));
    let changed = tx.execute(
        "UPDATE resource SET version = $3, seq = $4, last_updated_us = $5, deleted = $6, patient = $7, \
         more_patients = $8, sort_date_us = $9, sort_text = $10, params = $11, content = $12 \
         WHERE rid = $1 AND version = $2",
        params![
            head.rid,
            head.version,
            version,
            seq,
            next.last_updated,
            next.deleted,
            patient.as_ref(),
            next.patients.len().saturating_sub(1) as i64,
            rows.sort_date_us,
            rows.sort_text.as_ref(),
            &rows.params,
            content.as_ref()
        ],
    )?;
    if changed == 1 {
        Ok(Written { rid: head.rid, version, seq })
    } else {
        Err(Error::Corrupt("a locked row changed".into()))
    }
}

/// One version, deleted or not.
pub fn read_version(tx: &mut dyn Tx, key: &ResourceKey, version: u32) -> Result<Option<Version>> {
    let id = encode_id(&key.id);
    let row_id = tx.one(
        "SELECT rid, version FROM resource WHERE type_id = $1 AND id = $2",
        params![key.kind.0, &id],
        |row| Ok((row.int(0)?, row.int(1)? as u32)),
    )?;
    let Some((rid, current)) = row_id else { return Ok(None) };
    let table = if current == version { "resource" } else { "history" };
    tx.one(
        &format!(
            "SELECT version, seq, last_updated_us, deleted, content FROM {table} WHERE rid = $1 AND version = $2"
        ),
        params![rid, version],
        |row| read_version_row(row, key.kind, &id),
    )
}

/// Reads version, seq, last_updated_us, deleted and content of the resource of this type and stored id.
pub(crate) fn read_version_row(row: &crate::Row<'_>, kind: TypeId, id: &[u8]) -> Result<Version> {
    let version = row.int(0)? as u32;
    let (content, is_erased) = row.content(4, &Place { kind, id, version })?;
    Ok(Version {
        version,
        seq: row.int(1)?,
        last_updated: row.time(2)?,
        deleted: row.bool(3)? || is_erased,
        content,
    })
}

/// All versions, newest first; `None` if the resource never existed. The cursor is the last version seen.
pub fn history(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Option<Page<Version>>> {
    let limit = clamp(limit);
    let below = match cursor {
        None => i64::from(i32::MAX),
        Some(text) => text.parse::<u32>().map(i64::from).map_err(|_| Error::Invalid("cursor"))?,
    };
    let Some(head) = head(tx, key)? else { return Ok(None) };
    let id = encode_id(&key.id);
    let mut rows = tx.all(
        "SELECT version, seq, last_updated_us, deleted, content FROM resource WHERE rid = $1 AND version < $2",
        params![head.rid, below],
        |row| read_version_row(row, key.kind, &id),
    )?;
    rows.extend(tx.all(
        "SELECT version, seq, last_updated_us, deleted, content FROM history WHERE rid = $1 AND version < $2 \
         ORDER BY version DESC LIMIT $3",
        params![head.rid, below, i64::from(limit) + 1 - rows.len() as i64],
        |row| read_version_row(row, key.kind, &id),
    )?);
    let next = if rows.len() > limit as usize {
        rows.truncate(limit as usize);
        rows.last().map(|last| last.version.to_string())
    } else {
        None
    };
    Ok(Some(Page { rows, next }))
}

/// Resources whose latest change is after `seq`, in the order of changes: what a replica that has everything up to
/// `seq` is missing. On PostgreSQL call it in [crate::Store::write] (see [crate::outbox]).
pub fn changes(tx: &mut dyn Tx, after: i64, limit: u32) -> Result<Vec<Changed>> {
    let horizon = crate::outbox::horizon(tx)?;
    let mut found = Vec::new();
    for kind in crate::history::kinds(tx)? {
        found.extend(tx.all(
            "SELECT seq, id, version, deleted FROM resource WHERE type_id = $1 AND seq > $2 AND seq <= $3 \
             ORDER BY seq LIMIT $4",
            params![kind.0, after, horizon, i64::from(clamp(limit))],
            |row| {
                Ok(Changed {
                    seq: row.int(0)?,
                    key: ResourceKey { kind, id: decode_id(row.bytes(1)?)? },
                    version: row.int(2)? as u32,
                    deleted: row.bool(3)?,
                })
            },
        )?);
    }
    found.sort_by_key(|changed| changed.seq);
    found.truncate(clamp(limit) as usize);
    Ok(found)
}

/// Which resource the row is, and the patients whose compartment holds it.
pub(crate) fn key_and_patients(tx: &mut dyn Tx, rid: i64) -> Result<Option<(ResourceKey, Vec<String>)>> {
    let found = tx.one(
        "SELECT type_id, id, patient, more_patients FROM resource WHERE rid = $1",
        params![rid],
        |row| {
            let key = ResourceKey { kind: kind(row.int(0)?)?, id: decode_id(row.bytes(1)?)? };
            Ok((key, row.opt_key(2)?.map(|key| key.id), row.int(3)?))
        },
    )?;
    let Some((key, patient, more)) = found else { return Ok(None) };
    let mut patients: Vec<String> = patient.into_iter().collect();
    more_patients(tx, rid, more, &mut patients)?;
    Ok(Some((key, patients)))
}

/// Keys of resources that refer to `target`, at most `limit`; for "may this be deleted?".
pub fn referrers(tx: &mut dyn Tx, target: &ResourceKey, limit: u32) -> Result<Vec<ResourceKey>> {
    tx.all(
        "SELECT DISTINCT r.type_id, r.id FROM reference f CROSS JOIN resource r \
         WHERE f.target = $1 AND f.param <> 0 AND r.rid = f.rid LIMIT $2",
        params![&encode_target(target.kind, &target.id), i64::from(clamp(limit))],
        |row| Ok(ResourceKey { kind: kind(row.int(0)?)?, id: decode_id(row.bytes(1)?)? }),
    )
}

/// Live resources per type, for the dashboard and the import report.
pub fn counts(tx: &mut dyn Tx) -> Result<Vec<(TypeId, i64)>> {
    tx.all(
        "SELECT type_id, count(*) FROM resource WHERE deleted = 0 GROUP BY type_id ORDER BY type_id",
        &[],
        |row| Ok((kind(row.int(0)?)?, row.int(1)?)),
    )
}
