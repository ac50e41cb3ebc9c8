//! What people in charge are told inside the program: who has a role, or one person.

use crate::ids::encode_target;
use crate::{Param, Result, Tx, params};
use fhir::TypeId;
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// One notice.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    pub id: Uuid,
    pub at: Timestamp,
    /// Code of the role that is told; empty for one person.
    pub role: String,
    /// The person who is told, if it is one.
    pub account: Option<i64>,
    /// e.g. `emergency.begun`
    pub topic: String,
    /// Logical id of the Patient it is about.
    pub patient: Option<String>,
    /// What it is about, e.g. the id of an emergency.
    pub subject: String,
    /// Codes and ids, no words.
    pub data: Value,
    /// By the person who asks.
    pub seen: bool,
}

/// Most rows of one list.
pub const MAX_ROWS: u32 = 200;

/// Writes it down; `seen` is not looked at.
pub fn insert(tx: &mut dyn Tx, new: &Notice) -> Result<()> {
    let patient = new.patient.as_ref().map(|id| encode_target(TypeId::PATIENT, id));
    tx.execute(
        "INSERT INTO notice (id, at_us, role, account, topic, patient, subject, data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            &new.id,
            new.at,
            &new.role,
            new.account,
            &new.topic,
            patient.as_ref(),
            &new.subject,
            &new.data.to_string()
        ],
    )?;
    Ok(())
}

fn whose(roles: &[&str]) -> String {
    let roles = crate::sql::placeholders(2, roles.len().max(1));
    format!("(n.account = $1 OR (n.account IS NULL AND n.role IN ({roles})))")
}

fn values<'a>(account: i64, roles: &'a [&'a str]) -> Vec<Param<'a>> {
    let mut values: Vec<Param<'a>> = vec![account.into()];
    values.extend(roles.iter().map(|role| Param::from(*role)));
    if roles.is_empty() {
        values.push(Param::from(""));
    }
    values
}

const UNSEEN: &str = "NOT EXISTS (SELECT 1 FROM notice_seen s WHERE s.account = $1 AND s.notice = n.id)";

/// Those for an account and whoever has these roles, newest first, at most `limit`; `unseen`: only what she has not seen;
/// `after`: only what comes behind this notice, nothing if that is gone.
pub fn list(
    tx: &mut dyn Tx,
    account: i64,
    roles: &[&str],
    unseen: bool,
    after: Option<&Uuid>,
    limit: u32,
) -> Result<Vec<Notice>> {
    let mut values = values(account, roles);
    let mut only = if unseen { format!(" AND {UNSEEN}") } else { String::new() };
    if let Some(after) = after {
        let Some(at) = written_at(tx, after)? else { return Ok(Vec::new()) };
        let n = values.len();
        values.extend([Param::from(at), Param::from(after)]);
        only += &format!(" AND (n.at_us, n.id) < (${}, ${})", n + 1, n + 2);
    }
    let sql = format!(
        "SELECT n.id, n.at_us, n.role, n.account, n.topic, n.patient, n.subject, n.data, \
         CASE WHEN {UNSEEN} THEN 0 ELSE 1 END FROM notice n WHERE {}{only} ORDER BY n.at_us DESC, n.id DESC LIMIT {}",
        whose(roles),
        limit.clamp(1, MAX_ROWS)
    );
    tx.all(&sql, &values, |row| {
        Ok(Notice {
            id: Uuid::from_slice(row.bytes(0)?).map_err(|_| crate::Error::Corrupt("notice id".into()))?,
            at: row.time(1)?,
            role: row.string(2)?,
            account: row.opt_int(3)?,
            topic: row.string(4)?,
            patient: row.opt_key(5)?.map(|key| key.id),
            subject: row.string(6)?,
            data: serde_json::from_str(row.text(7)?).map_err(|_| crate::Error::Corrupt("notice".into()))?,
            seen: row.int(8)? != 0,
        })
    })
}

fn written_at(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Timestamp>> {
    tx.one("SELECT at_us FROM notice WHERE id = $1", params![id], |row| row.time(0))
}

/// How many of them nobody has shown her yet.
pub fn unseen(tx: &mut dyn Tx, account: i64, roles: &[&str]) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM notice n WHERE {} AND {UNSEEN}", whose(roles));
    let count = tx.one(&sql, &values(account, roles), |row| row.int(0))?;
    Ok(count.unwrap_or(0).max(0) as u64)
}

/// She has seen it. `false` if it is not for her or not there.
pub fn see(tx: &mut dyn Tx, account: i64, roles: &[&str], id: &Uuid, at: Timestamp) -> Result<bool> {
    let mut all = values(account, roles);
    all.push(Param::from(id));
    let sql = format!("SELECT 1 FROM notice n WHERE {} AND n.id = ${}", whose(roles), all.len());
    if tx.one(&sql, &all, |row| row.int(0))?.is_none() {
        return Ok(false);
    }
    known_to(tx, account, id, at)?;
    Ok(true)
}

/// She has seen all of hers up to this one. `false` if it is not there.
pub fn see_through(
    tx: &mut dyn Tx,
    account: i64,
    roles: &[&str],
    through: &Uuid,
    at: Timestamp,
) -> Result<bool> {
    let Some(written) = written_at(tx, through)? else { return Ok(false) };
    let mut all = values(account, roles);
    let n = all.len();
    all.extend([Param::from(written), Param::from(through), Param::from(at)]);
    let sql = format!(
        "INSERT INTO notice_seen (account, notice, at_us) SELECT $1, n.id, ${} FROM notice n WHERE {} \
         AND (n.at_us, n.id) <= (${}, ${}) AND {UNSEEN} ON CONFLICT DO NOTHING",
        n + 3,
        whose(roles),
        n + 1,
        n + 2
    );
    tx.execute(&sql, &all)?;
    Ok(true)
}

/// Whoever made it knows it.
pub fn known_to(tx: &mut dyn Tx, account: i64, id: &Uuid, at: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO notice_seen (account, notice, at_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        params![account, id, at],
    )?;
    Ok(())
}

/// Whether there is one of this topic about this subject.
pub fn exists(tx: &mut dyn Tx, topic: &str, subject: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM notice WHERE topic = $1 AND subject = $2 LIMIT 1";
    Ok(tx.one(sql, params![topic, subject], |row| row.int(0))?.is_some())
}

/// Removes what is older, up to 1,000 at once. Returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    tx.execute(
        "DELETE FROM notice_seen WHERE notice IN (SELECT id FROM notice WHERE at_us < $1 ORDER BY at_us LIMIT 1000)",
        params![before],
    )?;
    tx.execute(
        "DELETE FROM notice WHERE id IN (SELECT id FROM notice WHERE at_us < $1 ORDER BY at_us LIMIT 1000)",
        params![before],
    )
}
