//! Erasing a patient: what is readable goes, ids and evidence stay.
//!
//! In this order: contents and index rows of what lies in the patient's compartment ([step], many transactions), rows of other
//! tables ([rows]), and at last the key ([finish]): once that transaction has committed, the key is destroyed, and with
//! it every copy of the contents in every backup. The key store remembers whose keys it destroyed, so that a database
//! restored from before an erasure is cleaned again when it is opened.

use crate::ids::{encode_key, encode_target};
use crate::index::COMPARTMENT;
use crate::keys::{KEY_STORE, Place, Shred, key_of, seal_content, sealed_under};
use crate::page::clamp;
use crate::resource::{self, COLUMNS, Indexed, Step, Stored, more_patients, read_stored};
use crate::{Content, Error, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};

/// Records merged into one another that are erased together; more is no person.
const MAX_MERGED: usize = 1000;
/// Erased rows whose index rows are looked for at once, when a restored database is cleaned.
const SWEEP_ROWS: usize = 100_000;

/// What one [step] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stepped {
    /// Resources that became a deletion, with the change number of that.
    pub erased: Vec<(ResourceKey, resource::Written)>,
    /// Contents removed, former versions included.
    pub versions: u64,
    /// In the compartments of others as well: left as they are.
    pub shared: Vec<ResourceKey>,
    /// The last row looked at; `None` at the end.
    pub last: Option<i64>,
}

/// What [rows] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
    /// Accounts that were the patient's only, now without name, address and ways to sign in.
    pub accounts: u64,
    pub messages: u64,
}

/// What a restored database had to lose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reapplied {
    pub patients: u64,
    pub resources: u64,
}

/// The patient and everybody merged into it, directly or by way of others; ids, the patient first.
pub fn patients(tx: &mut dyn Tx, patient: &str) -> Result<Vec<String>> {
    let mut all = vec![patient.to_owned()];
    let mut at = 0;
    while at < all.len() && all.len() < MAX_MERGED {
        let target = encode_target(TypeId::PATIENT, &all[at]);
        let sql = "SELECT source FROM merge WHERE target = $1 AND undone_us IS NULL ORDER BY at_us, id";
        for source in tx.all(sql, params![&target], |row| row.key(0))? {
            if source.kind == TypeId::PATIENT && !all.contains(&source.id) {
                all.push(source.id);
            }
        }
        at += 1;
    }
    Ok(all)
}

/// Whether the patient was erased.
pub fn is_erased(tx: &mut dyn Tx, patient: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM patient_key WHERE patient = $1 AND erased_us IS NOT NULL";
    Ok(tx.one(sql, params![&encode_target(TypeId::PATIENT, patient)], |_| Ok(()))?.is_some())
}

/// When a patient was last erased; `None` if nobody was.
pub fn last_erased(tx: &mut dyn Tx) -> Result<Option<Timestamp>> {
    let sql = "SELECT max(erased_us) FROM patient_key WHERE erased_us IS NOT NULL";
    Ok(tx.one(sql, &[], |row| row.opt_time(0))?.flatten())
}

/// Whether the patient was erased and the key is destroyed. A database without keys has nothing to destroy: true.
pub fn is_destroyed(tx: &mut dyn Tx, patient: &str) -> Result<bool> {
    let vault = tx.sealing().vault.clone();
    if !vault.is_on() {
        return Ok(true);
    }
    let sql = "SELECT key FROM patient_key WHERE patient = $1 AND erased_us IS NOT NULL";
    let patient = encode_target(TypeId::PATIENT, patient);
    let Some(key) = tx.one(sql, params![&patient], |row| row.int(0))? else { return Ok(false) };
    Ok(vault.key(key as u64)?.is_none())
}

/// Erases the next resources after row `after` (0 at first) that lie in the compartments of these patients and of nobody
/// else. `extract` gives what the index holds of a resource.
pub fn step(
    tx: &mut dyn Tx,
    patients: &[String],
    after: i64,
    most: Step,
    at: Timestamp,
    extract: &mut dyn FnMut(&Stored) -> Indexed,
) -> Result<Stepped> {
    let mut rids = BTreeSet::new();
    let limit = clamp(most.resources);
    for patient in patients {
        let sql = format!(
            "SELECT DISTINCT rid FROM reference WHERE target = $1 AND param = {COMPARTMENT} AND rid > $2 ORDER BY rid LIMIT $3"
        );
        let target = encode_target(TypeId::PATIENT, patient);
        rids.extend(tx.all(&sql, params![&target, after, i64::from(limit)], |row| row.int(0))?);
    }
    let mut done = Stepped::default();
    let is_more = rids.len() >= limit as usize;
    let (mut looked, mut bytes, mut last) = (0, 0, after);
    let count = rids.len();
    for rid in rids.into_iter().take(limit as usize) {
        if bytes >= most.bytes {
            break;
        }
        (looked, last) = (looked + 1, rid);
        let lock = tx.dialect().for_update();
        let sql = format!("SELECT {COLUMNS} FROM resource r WHERE r.rid = $1{lock}");
        let Some((mut stored, more)) = tx.one(&sql, params![rid], read_stored)? else { continue };
        more_patients(tx, rid, more, &mut stored.patients)?;
        if stored.patients.iter().any(|patient| !patients.contains(patient)) {
            done.shared.push(stored.key);
            continue;
        }
        bytes += stored.content.len();
        if !stored.deleted {
            let indexed = extract(&stored);
            let written = resource::delete(tx, &stored.key, stored.version, &indexed.entries, at)?;
            done.erased.extend(written.map(|written| (stored.key.clone(), written)));
            // Times it held are free again.
            tx.execute("DELETE FROM claim WHERE holder = $1", params![&encode_key(&stored.key)])?;
            // What an extractor of former times found, as far as it can be found by the row.
            for table in ["string", "date", "link", "free_text"] {
                tx.execute(&format!("DELETE FROM {table} WHERE rid = $1"), params![rid])?;
            }
        }
        done.versions += tx.execute(
            "UPDATE history SET content = NULL, deleted = 1 WHERE rid = $1 AND content IS NOT NULL",
            params![rid],
        )?;
    }
    done.last = (is_more || looked < count).then_some(last);
    Ok(done)
}

/// What other tables hold of these patients.
pub fn rows(tx: &mut dyn Tx, patients: &[String], at: Timestamp) -> Result<Rows> {
    let mut done = Rows::default();
    for patient in patients {
        let patient = encode_target(TypeId::PATIENT, patient);
        done.messages += tx.execute(
            "UPDATE message SET recipient = '', body = '', error = NULL, \
             state = CASE WHEN state IN ('queued', 'sending') THEN 'dead' ELSE state END WHERE patient = $1",
            params![&patient],
        )?;
        tx.execute("UPDATE payment SET phone = NULL WHERE patient = $1", params![&patient])?;
        for table in ["consent_rule", "care_link", "seal_key"] {
            tx.execute(&format!("DELETE FROM {table} WHERE patient = $1"), params![&patient])?;
        }
        tx.execute("DELETE FROM claim WHERE actor = $1", params![&patient])?;
        tx.execute(
            "UPDATE emergency SET explanation = '', note = NULL WHERE patient = $1",
            params![&patient],
        )?;
        tx.execute(
            "UPDATE proxy SET ended_us = $2 WHERE patient = $1 AND ended_us IS NULL",
            params![&patient, at],
        )?;
        let sql = "SELECT id FROM account WHERE patient = $1 AND practitioner IS NULL";
        for account in tx.all(sql, params![&patient], |row| row.int(0))? {
            account_of_nobody(tx, account)?;
            done.accounts += 1;
        }
        // Somebody who works here stays, as a stranger to the record.
        tx.execute("UPDATE account SET patient = NULL WHERE patient = $1", params![&patient])?;
    }
    Ok(done)
}

/// Takes name, address and every way to sign in from an account. The number stays: the audit trail refers to it.
fn account_of_nobody(tx: &mut dyn Tx, account: i64) -> Result<()> {
    const OF_ACCOUNT: [&str; 12] = [
        "outside_identity",
        "outside_session",
        "session",
        "login_failure",
        "known_origin",
        "account_link",
        "ceremony",
        "totp",
        "recovery_code",
        "passkey",
        "device_pin",
        "one_time_code",
    ];
    tx.execute(
        "UPDATE message SET recipient = '', body = '', error = NULL, \
         state = CASE WHEN state IN ('queued', 'sending') THEN 'dead' ELSE state END WHERE account = $1",
        params![account],
    )?;
    for table in OF_ACCOUNT {
        tx.execute(&format!("DELETE FROM {table} WHERE account = $1"), params![account])?;
    }
    let now = tx.now()?;
    tx.execute(
        "UPDATE oauth_grant SET revoked_us = $2 WHERE account = $1 AND revoked_us IS NULL",
        params![account, now],
    )?;
    tx.execute(
        "UPDATE account SET login = NULL, phone = NULL, email = NULL, display = '', password_hash = NULL, \
         roles = '[]', disabled = 1, factors = 0 WHERE id = $1",
        params![account],
    )?;
    Ok(())
}

/// The patients are erased: nothing is written under their keys any more, and once this transaction has committed the
/// keys are destroyed. How many keys that are.
pub fn finish(tx: &mut dyn Tx, patients: &[String], at: Timestamp) -> Result<u64> {
    let mut keys = 0;
    for patient in patients {
        let target = encode_target(TypeId::PATIENT, patient);
        if tx.sealing().vault.is_on() && !is_erased(tx, patient)? {
            // Who has none gets one, so that the key store can remember her.
            key_of(tx, std::slice::from_ref(patient))?;
        }
        keys += tx.execute(
            "UPDATE patient_key SET erased_us = $2 WHERE patient = $1 AND erased_us IS NULL",
            params![&target, at],
        )?;
        tx.sealing().forget(&target);
    }
    tx.sealing().erases = true;
    Ok(keys)
}

/// Destroys the keys of everybody who is erased by what is committed. Outside of a transaction.
pub(crate) fn destroy_erased(tx: &mut dyn Tx) -> Result<()> {
    let vault = tx.sealing().vault.clone();
    if !vault.is_on() {
        return Ok(());
    }
    let shreds = tx.all(
        "SELECT patient, key, erased_us FROM patient_key WHERE erased_us IS NOT NULL ORDER BY key",
        &[],
        |row| Ok(Shred { patient: row.bytes(0)?.to_vec(), key: row.int(1)? as u64, at: row.time(2)? }),
    )?;
    if shreds.is_empty() { Ok(()) } else { vault.destroy(&shreds) }
}

/// The name of the database's own key store; `None` before the first content was sealed.
pub(crate) fn key_store(tx: &mut dyn Tx) -> Result<Option<String>> {
    Ok(crate::setting::get(tx, KEY_STORE)?.and_then(|value| value.as_str().map(str::to_owned)))
}

/// Once when a database is opened: whether the keys are its own, and what was left to be done. `own` is its [key_store].
pub(crate) fn at_start(tx: &mut dyn Tx, own: Option<&str>) -> Result<()> {
    let vault = tx.sealing().vault.clone();
    if !vault.is_on() {
        return Ok(());
    }
    if let Some(own) = own {
        if own != vault.name() {
            return Err(Error::KeysMissing("the one that is there is of another database".into()));
        }
        vault.set_bound();
    }
    crate::blinding::at_start(tx)?;
    destroy_erased(tx)?;
    let done = reapply(tx)?;
    if done.patients > 0 {
        let (patients, resources) = (done.patients, done.resources);
        tracing::warn!(patients, resources, "erased again what this older database still held");
    }
    Ok(())
}

/// Erases again whom the key store knows as erased and the database does not. The contents cannot be read any more, so
/// index rows are found by their rows' numbers, through all of the index.
pub(crate) fn reapply(tx: &mut dyn Tx) -> Result<Reapplied> {
    let vault = tx.sealing().vault.clone();
    let mut done = Reapplied::default();
    let erasures = vault.erasures()?;
    let known =
        tx.one("SELECT count(*) FROM patient_key WHERE erased_us IS NOT NULL", &[], |row| row.int(0))?;
    if erasures.len() as i64 == known.unwrap_or(0) {
        return Ok(done);
    }
    let marks: std::collections::HashMap<[u8; 32], (u64, Timestamp)> =
        erasures.iter().map(|erasure| (erasure.mark, (erasure.key, erasure.at))).collect();
    let mut all: HashSet<Vec<u8>> = HashSet::new();
    tx.query("SELECT patient FROM patient_key", &[], &mut |row| {
        all.insert(row.bytes(0)?.to_vec());
        Ok(())
    })?;
    tx.query("SELECT DISTINCT patient FROM resource WHERE patient IS NOT NULL", &[], &mut |row| {
        all.insert(row.bytes(0)?.to_vec());
        Ok(())
    })?;
    for patient in all {
        let Some((key, at)) = marks.get(&vault.mark(&patient)?) else { continue };
        let id = crate::ids::decode_key(&patient)?.id;
        if is_erased(tx, &id)? {
            continue;
        }
        done.patients += 1;
        tx.execute(
            "INSERT INTO patient_key (patient, key, erased_us) VALUES ($1, $2, $3) \
             ON CONFLICT (patient) DO UPDATE SET key = excluded.key, erased_us = excluded.erased_us",
            params![&patient, *key as i64, *at],
        )?;
        done.resources += sweep(tx, &patient)?;
        rows(tx, &[id], *at)?;
    }
    Ok(done)
}

/// Makes deletions of what lies in this compartment only, without its contents.
fn sweep(tx: &mut dyn Tx, patient: &[u8]) -> Result<u64> {
    let rids = tx.all(
        "SELECT rid FROM resource WHERE patient = $1 AND more_patients = 0 ORDER BY rid",
        params![patient],
        |row| row.int(0),
    )?;
    for some in rids.chunks(SWEEP_ROWS) {
        let list = some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for table in resource::INDEX_TABLES {
            tx.execute(&format!("DELETE FROM {table} WHERE rid IN ({list})"), &[])?;
        }
        tx.execute(&format!("UPDATE history SET content = NULL, deleted = 1 WHERE rid IN ({list})"), &[])?;
    }
    for rid in rids.iter().copied() {
        let sql = "SELECT type_id, id, version, deleted FROM resource WHERE rid = $1";
        let found = tx.one(sql, params![rid], |row| Ok((row.int(2)? as u32, row.bool(3)?)))?;
        let Some((version, false)) = found else { continue };
        tx.execute(
            "INSERT INTO history (rid, version, seq, last_updated_us, deleted, content, type_id) \
             SELECT rid, version, seq, last_updated_us, 1, NULL, type_id FROM resource WHERE rid = $1",
            params![rid],
        )?;
        let seq = tx.next(crate::Counter::Change)?;
        tx.execute(
            "UPDATE resource SET version = $2, seq = $3, deleted = 1, sort_text = NULL, params = '', content = NULL \
             WHERE rid = $1",
            params![rid, version + 1, seq],
        )?;
    }
    Ok(rids.len() as u64)
}

/// Seals the contents of the next rows after `after` (0 at first) that are not sealed yet, current and former versions.
/// `patients` tells in whose compartments a content lies. Returns how many rows it looked at, and the last one, `None`
/// when there is no more. Nothing changes but the bytes on the disk.
pub fn seal_step(
    tx: &mut dyn Tx,
    after: i64,
    most: Step,
    patients: &mut dyn FnMut(&ResourceKey, &[u8]) -> Vec<String>,
) -> Result<(usize, Option<i64>)> {
    if !tx.sealing().vault.is_on() {
        return Ok((0, None));
    }
    let sql = "SELECT rid, type_id, id FROM resource WHERE rid > $1 ORDER BY rid LIMIT $2";
    let rids = tx.all(sql, params![after, i64::from(clamp(most.resources))], |row| {
        let kind = u16::try_from(row.int(1)?).map_err(|_| Error::Corrupt("resource type".into()))?;
        Ok((row.int(0)?, TypeId(kind), row.bytes(2)?.to_vec()))
    })?;
    let (mut done, mut bytes, mut last) = (0, 0, None);
    for (rid, kind, id) in rids {
        if bytes >= most.bytes {
            break;
        }
        (done, last) = (done + 1, Some(rid));
        let key = ResourceKey { kind, id: crate::ids::decode_id(&id)? };
        for table in ["resource", "history"] {
            let lock = if table == "resource" { tx.dialect().for_update() } else { "" };
            let sql =
                format!("SELECT version, content FROM {table} WHERE rid = $1 AND content IS NOT NULL{lock}");
            let mut plain = Vec::new();
            tx.query(&sql, params![rid], &mut |row| {
                let stored = row.bytes(1)?;
                bytes += stored.len();
                if sealed_under(stored).is_none() {
                    plain.push((row.int(0)? as u32, stored.to_vec()));
                }
                Ok(())
            })?;
            for (version, stored) in plain {
                let mut whose = patients(&key, &Content::read(&stored)?);
                if kind == TypeId::PATIENT && !whose.contains(&key.id) {
                    whose.insert(0, key.id.clone());
                }
                let place = Place { kind, id: &id, version };
                let sealed = seal_content(tx, &place, &whose, &Content::of_stored(&stored))?;
                tx.execute(
                    &format!("UPDATE {table} SET content = $3 WHERE rid = $1 AND version = $2"),
                    params![rid, version, &sealed],
                )?;
            }
        }
    }
    Ok((done, last))
}
