//! The schema: numbered files, append-only, the same numbers on both engines.

use crate::{Dialect, Error, Result, Tx, params};

/// One step of the schema.
pub(crate) struct Migration {
    pub number: u32,
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! migrations {
    ($($number:literal $name:literal),* $(,)?) => {
        &[$(Migration {
            number: $number,
            name: $name,
            text: include_str!(concat!("../migrations/", $name, ".sql")),
        }),*]
    };
}

pub(crate) const ALL: &[Migration] = migrations![
    1 "0001_core",
    2 "0002_resource",
    3 "0003_index",
    4 "0004_events",
    5 "0005_audit",
    6 "0006_account",
    7 "0007_money",
    8 "0008_message",
    9 "0009_sequence",
    11 "0011_search",
    12 "0012_terminology",
    13 "0013_bulk",
    14 "0014_subscription",
    15 "0015_history",
    16 "0016_merge",
    17 "0017_word",
    18 "0018_search_parameter",
    19 "0019_token_signature",
    20 "0020_subscription_header",
    21 "0021_closure",
    22 "0022_credential",
    23 "0023_oauth",
    24 "0024_rights",
    25 "0025_audit_tree",
    26 "0026_data_key",
    27 "0027_subject",
    28 "0028_outside",
    29 "0029_rights",
    30 "0030_backup",
    31 "0031_audit_journal",
    32 "0032_four_eyes",
    33 "0033_grants",
    34 "0034_client_change",
];

/// Where a database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The last migration done; 0 for an empty database.
    pub current: u32,
    /// The last one this program knows.
    pub known: u32,
    /// Names of those to do, in order.
    pub pending: Vec<&'static str>,
}

const TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (number {{rowid}}, name {{text}} NOT NULL, at_us {{int}} NOT NULL) {{heap}}";

/// Errors: [Error::NewerDatabase].
pub fn status(tx: &mut dyn Tx) -> Result<Status> {
    let table = match tx.dialect() {
        Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migration'",
        Dialect::Postgres => {
            "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'migration'"
        }
    };
    let mut done: Vec<(u32, String)> = Vec::new();
    if tx.one(table, &[], |_| Ok(()))?.is_some() {
        tx.query("SELECT number, name FROM migration ORDER BY number", &[], &mut |row| {
            done.push((u32::try_from(row.int(0)?).unwrap_or(u32::MAX), row.string(1)?));
            Ok(())
        })?;
    }
    let current = done.last().map_or(0, |(number, _)| *number);
    let known = ALL.last().map_or(0, |m| m.number);
    if current > known {
        return Err(Error::NewerDatabase { found: current, known });
    }
    // Of a program that numbered its migrations otherwise.
    for (number, name) in &done {
        let own = ALL.iter().find(|m| m.number == *number).map_or("none", |m| m.name);
        if own != name {
            let text = format!("migration {number} of this database is `{name}`; this program's is `{own}`");
            return Err(Error::Database(text));
        }
    }
    let is_pending = |m: &&Migration| !done.iter().any(|(number, _)| *number == m.number);
    let pending = ALL.iter().filter(is_pending).map(|m| m.name).collect();
    Ok(Status { current, known, pending })
}

/// Does what is pending, inside the caller's transaction; `batch` runs several statements at once.
pub(crate) fn run(tx: &mut dyn Tx, batch: &mut dyn FnMut(&mut dyn Tx, &str) -> Result<()>) -> Result<Status> {
    let dialect = tx.dialect();
    if dialect == Dialect::Postgres {
        // Servers that start at once take turns.
        tx.query("SELECT pg_advisory_xact_lock(7313)", &[], &mut |_| Ok(()))?;
    }
    let before = status(tx)?;
    for migration in ALL.iter().filter(|m| before.pending.contains(&m.name)) {
        if before.current == 0 && migration.number == ALL[0].number {
            batch(tx, &dialect.migration(TABLE))?;
        }
        batch(tx, &dialect.migration(migration.text))
            .map_err(|e| Error::Database(format!("migration {}: {e}", migration.name)))?;
        let now = tx.now()?;
        tx.execute(
            "INSERT INTO migration (number, name, at_us) VALUES ($1, $2, $3)",
            params![migration.number, migration.name, now],
        )?;
    }
    status(tx)
}
