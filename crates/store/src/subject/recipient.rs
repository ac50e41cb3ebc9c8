//! The register of those to whom data may go.

use super::MAX_ROWS;
use crate::{Error, Result, Tx, params};
use jiff::Timestamp;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An OAuth client, by its id.
    Client,
    /// Where notifications of subscriptions go, by host.
    Endpoint,
    /// What carries messages to people: SMS, e-mail; by name.
    Gateway,
    /// Where backups lie, by host or folder.
    Backup,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Client, Kind::Endpoint, Kind::Gateway, Kind::Backup];
    /// As stored and in `/api/v1`.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Client => "client",
            Kind::Endpoint => "endpoint",
            Kind::Gateway => "gateway",
            Kind::Backup => "backup",
        }
    }
    pub fn from_code(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub id: Uuid,
    pub kind: Kind,
    pub name: String,
    /// For people.
    pub title: String,
    /// ISO 3166-1, two letters.
    pub country: String,
    /// Code of the basis of a transfer to another country; empty within the country.
    pub basis: String,
    pub note: String,
    pub registered: Timestamp,
    /// Account; `None`: the program, for the demonstration.
    pub registered_by: Option<i64>,
    pub ended: Option<Timestamp>,
    pub ended_by: Option<i64>,
}

const COLUMNS: &str =
    "id, kind, name, title, country, basis, note, registered_us, registered_by, ended_us, ended_by";

fn read(row: &crate::Row<'_>) -> Result<Recipient> {
    Ok(Recipient {
        id: row.uuid(0)?,
        kind: Kind::from_code(row.text(1)?).ok_or_else(|| Error::Corrupt("recipient kind".into()))?,
        name: row.string(2)?,
        title: row.string(3)?,
        country: row.string(4)?,
        basis: row.string(5)?,
        note: row.string(6)?,
        registered: row.time(7)?,
        registered_by: row.opt_int(8)?,
        ended: row.opt_time(9)?,
        ended_by: row.opt_int(10)?,
    })
}

/// Writes an entry; one in force with the same kind and name ends.
pub fn register(tx: &mut dyn Tx, new: &Recipient) -> Result<()> {
    tx.execute(
        "UPDATE recipient SET ended_us = $3, ended_by = $4 WHERE kind = $1 AND name = $2 AND ended_us IS NULL",
        params![new.kind.code(), &new.name, new.registered, new.registered_by],
    )?;
    tx.execute(
        "INSERT INTO recipient (id, kind, name, title, country, basis, note, registered_us, registered_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            &new.id,
            new.kind.code(),
            &new.name,
            &new.title,
            &new.country,
            &new.basis,
            &new.note,
            new.registered,
            new.registered_by
        ],
    )?;
    Ok(())
}

/// `false`: it is over already, or not there.
pub fn end(tx: &mut dyn Tx, id: &Uuid, by: Option<i64>, at: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE recipient SET ended_us = $3, ended_by = $2 WHERE id = $1 AND ended_us IS NULL",
        params![id, by, at],
    )?;
    Ok(done == 1)
}

/// The entry in force.
pub fn find(tx: &mut dyn Tx, kind: Kind, name: &str) -> Result<Option<Recipient>> {
    tx.one(
        &format!("SELECT {COLUMNS} FROM recipient WHERE kind = $1 AND name = $2 AND ended_us IS NULL"),
        params![kind.code(), name],
        read,
    )
}

/// Those in force first, then those that ended, each newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Recipient>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM recipient ORDER BY CASE WHEN ended_us IS NULL THEN 0 ELSE 1 END, registered_us DESC, id \
         LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, &[], read)
}
