//! From one engine to the other: every row of every table, in batches, and then row by row whether it arrived.
//!
//! Both sides have the same schema, made by the same migrations; PostgreSQL's catalogue says what there is, because one
//! side always is PostgreSQL. A stop in between leaves a note in the new database, from which the next try goes on.

use crate::{Dialect, Error, Param, Result, Row, Store, Tx, params};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows of one batch, and bytes after which a batch is full before.
const ROWS: i64 = 500;
const BYTES: usize = 8 * 1024 * 1024;
/// Tables that are each engine's own business.
const OWN: &[&str] = &["migration", "counter", NOTES];
const NOTES: &str = "transfer_note";
/// Sequences of PostgreSQL for what SQLite keeps in its table of counters, and how many numbers one value stands for.
const COUNTERS: &[(&str, &str, i64)] =
    &[("row", "row_block", 32), ("audit", "audit_block", 32), ("change", "change_number", 1)];

/// A value of any column.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn param(&self) -> Param<'_> {
        match self {
            Value::Null => Param::Null,
            Value::Int(n) => Param::Int(*n),
            Value::Real(n) => Param::Real(*n),
            Value::Text(text) => Param::Text(text),
            Value::Bytes(bytes) => Param::Bytes(bytes),
        }
    }
    fn size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Null | Value::Int(_) | Value::Real(_) => 8,
        }
    }
    /// Bit by bit; PostgreSQL's texts have U+FFFD where SQLite's have NUL.
    fn is_same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Real(a), Value::Real(b)) => a.to_bits() == b.to_bits(),
            (Value::Text(a), Value::Text(b)) => {
                a == b || a.replace('\0', "\u{fffd}") == b.replace('\0', "\u{fffd}")
            }
            (a, b) => a == b,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int,
    Real,
    Text,
    Bytes,
}

#[derive(Debug, Clone)]
struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
    /// Places of the primary key's columns.
    key: Vec<usize>,
    /// The column that numbers itself.
    serial: Option<String>,
}

/// What happens meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So many tables and rows are to be copied and then compared.
    Begin {
        rows: u64,
    },
    Copying {
        table: String,
    },
    Comparing {
        table: String,
    },
    Done {
        rows: u64,
    },
}

/// What was copied and compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub rows: BTreeMap<String, u64>,
    /// Tables that had been copied by an earlier try.
    pub resumed: u64,
}

/// Copies `from` into `to`, which must be new, and compares every row. Nobody else may write either. Blocks.
/// Errors: [Error::Invalid] for two databases of one engine, another schema, or a target that holds something;
/// [Error::Corrupt] names the first row that differs; [Error::Closed] if `is_stopped`, after which it can be called again.
pub fn run(
    from: &Store,
    to: &Store,
    tell: &dyn Fn(Progress),
    is_stopped: &dyn Fn() -> bool,
) -> Result<Report> {
    let catalogue = match (from.dialect(), to.dialect()) {
        (Dialect::Sqlite, Dialect::Postgres) => to,
        (Dialect::Postgres, Dialect::Sqlite) => from,
        _ => return Err(Error::Invalid("transfer: one side must be SQLite, the other PostgreSQL")),
    };
    let (a, b) = (from.migration_status()?, to.migration_status()?);
    if a != b || !a.pending.is_empty() {
        return Err(Error::Invalid("transfer: both databases must have the newest schema"));
    }
    let tables = catalogue.read_blocking(tables)?;
    let notes = prepare(to, &tables)?;
    // Contents stay sealed as they are; so their keys must be there before.
    to.adopt_keys(from)?;
    let mut report = Report::default();
    let mut counts = BTreeMap::new();
    for table in &tables {
        let sql = format!("SELECT count(*) FROM \"{}\"", table.name);
        let count = from.read_blocking(move |tx: &mut dyn Tx| {
            tx.limit(Some(COUNTING))?;
            tx.one(&sql, &[], |row| row.int(0))
        })?;
        counts.insert(table.name.clone(), u64::try_from(count.unwrap_or(0)).unwrap_or(0));
    }
    tell(Progress::Begin { rows: 2 * counts.values().sum::<u64>() });
    for table in &tables {
        tell(Progress::Copying { table: table.name.clone() });
        let note = notes.get(&table.name);
        if note.is_some_and(|note| note.is_done) {
            report.resumed += 1;
            tell(Progress::Done { rows: counts.get(&table.name).copied().unwrap_or(0) });
            continue;
        }
        copy(from, to, table, note.and_then(|note| note.after.clone()), tell, is_stopped)?;
    }
    numbers(from, to, &tables)?;
    for table in &tables {
        tell(Progress::Comparing { table: table.name.clone() });
        report.rows.insert(table.name.clone(), compare(from, to, table, tell, is_stopped)?);
    }
    to.write_blocking(|tx: &mut dyn Tx| tx.execute(&format!("DROP TABLE {NOTES}"), &[]))?;
    Ok(report)
}

/// A count may take longer than other reads.
const COUNTING: std::time::Duration = std::time::Duration::from_secs(600);

/// All tables, referred ones before those that refer to them.
fn tables(tx: &mut dyn Tx) -> Result<Vec<Table>> {
    let sql = "SELECT c.table_name, c.column_name, c.data_type, c.is_identity FROM information_schema.columns c \
        JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name \
        WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' ORDER BY c.table_name, c.ordinal_position";
    let mut found: BTreeMap<String, Table> = BTreeMap::new();
    tx.query(sql, &[], &mut |row| {
        let name = row.string(0)?;
        if OWN.contains(&name.as_str()) {
            return Ok(());
        }
        let kind = match row.text(2)? {
            "bigint" | "integer" | "smallint" => Kind::Int,
            "double precision" => Kind::Real,
            "text" => Kind::Text,
            "bytea" => Kind::Bytes,
            other => return Err(Error::Corrupt(format!("{name} has a column of type {other}"))),
        };
        let table = found.entry(name.clone()).or_insert(Table {
            name,
            columns: Vec::new(),
            key: Vec::new(),
            serial: None,
        });
        let column = row.string(1)?;
        if row.text(3)? == "YES" {
            table.serial = Some(column.clone());
        }
        table.columns.push((column, kind));
        Ok(())
    })?;
    let sql = "SELECT k.table_name, k.column_name FROM information_schema.table_constraints c \
        JOIN information_schema.key_column_usage k ON k.constraint_name = c.constraint_name \
        AND k.table_schema = c.table_schema AND k.table_name = c.table_name \
        WHERE c.table_schema = current_schema() AND c.constraint_type = 'PRIMARY KEY' \
        ORDER BY k.table_name, k.ordinal_position";
    tx.query(sql, &[], &mut |row| {
        if let Some(table) = found.get_mut(row.text(0)?) {
            let column = row.text(1)?;
            let place = table.columns.iter().position(|(name, _)| name == column);
            table.key.extend(place);
        }
        Ok(())
    })?;
    if let Some(table) = found.values().find(|table| table.key.is_empty()) {
        return Err(Error::Corrupt(format!("{} has no primary key", table.name)));
    }
    let sql = "SELECT child.relname, parent.relname FROM pg_constraint c JOIN pg_class child ON child.oid = c.conrelid \
        JOIN pg_class parent ON parent.oid = c.confrelid \
        WHERE c.contype = 'f' AND c.connamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())";
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    tx.query(sql, &[], &mut |row| {
        let (child, parent) = (row.string(0)?, row.string(1)?);
        if child != parent {
            needs.entry(child).or_default().insert(parent);
        }
        Ok(())
    })?;
    let mut ordered = Vec::new();
    let mut done = BTreeSet::new();
    while !found.is_empty() {
        let is_free = |name: &String| needs.get(name).is_none_or(|parents| parents.is_subset(&done));
        let Some(name) = found.keys().find(|name| is_free(name)).cloned() else {
            return Err(Error::Corrupt("tables refer to each other in a circle".into()));
        };
        ordered.extend(found.remove(&name));
        done.insert(name);
    }
    Ok(ordered)
}

#[derive(Debug, Clone)]
struct Note {
    after: Option<Vec<Value>>,
    is_done: bool,
}

/// What an earlier try has done; else the target is made ready: nothing is in it but what migrations put there.
fn prepare(to: &Store, tables: &[Table]) -> Result<BTreeMap<String, Note>> {
    let tables: Arc<[Table]> = tables.into();
    to.write_blocking(move |tx: &mut dyn Tx| {
        let exists = match tx.dialect() {
            Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
            Dialect::Postgres => "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1",
        };
        if tx.one(exists, params![NOTES], |_| Ok(()))?.is_some() {
            let mut notes = BTreeMap::new();
            let rows = tx.all(&format!("SELECT name, after, done FROM {NOTES}"), &[], |row| {
                Ok((row.string(0)?, row.opt_bytes(1)?.map(<[u8]>::to_vec), row.bool(2)?))
            })?;
            for (name, after, is_done) in rows {
                let after = after.map(|bytes| decode(&bytes)).transpose()?;
                notes.insert(name, Note { after, is_done });
            }
            return Ok(notes);
        }
        for table in tables.iter() {
            let is_history = ["audit", "resource", "account", "ledger_entry", "history"].contains(&table.name.as_str());
            let sql = format!("SELECT 1 FROM \"{}\" LIMIT 1", table.name);
            if is_history && tx.one(&sql, &[], |_| Ok(()))?.is_some() {
                return Err(Error::Invalid("transfer: the new database holds something already"));
            }
        }
        // Rows that migrations made come from the other side again; children first.
        for table in tables.iter().rev() {
            let sql = format!("SELECT 1 FROM \"{}\" LIMIT 1", table.name);
            if tx.one(&sql, &[], |_| Ok(()))?.is_some() {
                tx.execute(&format!("DELETE FROM \"{}\"", table.name), &[])?;
            }
        }
        let words = tx.dialect().migration(&format!(
            "CREATE TABLE {NOTES} (name {{{{text}}}} PRIMARY KEY, after {{{{bytes}}}}, done {{{{small}}}} NOT NULL)"
        ));
        tx.execute(words.trim(), &[])?;
        Ok(BTreeMap::new())
    })
}

/// A key as bytes: kind and length before each value.
fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    for value in values {
        match value {
            Value::Null => put(0, &[]),
            Value::Int(n) => put(1, &n.to_le_bytes()),
            Value::Real(n) => put(2, &n.to_le_bytes()),
            Value::Text(text) => put(3, text.as_bytes()),
            Value::Bytes(bytes) => put(4, bytes),
        }
    }
    out
}

fn decode(mut bytes: &[u8]) -> Result<Vec<Value>> {
    let broken = || Error::Corrupt("the note of an earlier transfer".into());
    let mut values = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| broken())?;
        let (value, rest) = rest.split_at_checked(length).ok_or_else(broken)?;
        let eight = || value.try_into().map_err(|_| broken());
        values.push(match kind {
            0 => Value::Null,
            1 => Value::Int(i64::from_le_bytes(eight()?)),
            2 => Value::Real(f64::from_le_bytes(eight()?)),
            3 => Value::Text(String::from_utf8(value.to_vec()).map_err(|_| broken())?),
            4 => Value::Bytes(value.to_vec()),
            _ => return Err(broken()),
        });
        bytes = rest;
    }
    Ok(values)
}

fn value(row: &Row<'_>, column: usize, kind: Kind) -> Result<Value> {
    Ok(match kind {
        Kind::Int => row.opt_int(column)?.map_or(Value::Null, Value::Int),
        Kind::Real => Value::Real(row.real(column)?),
        Kind::Text => row.opt_text(column)?.map_or(Value::Null, |text| Value::Text(text.to_owned())),
        Kind::Bytes => row.opt_bytes(column)?.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec())),
    })
}

impl Table {
    fn names(&self, places: impl Iterator<Item = usize>) -> String {
        places.map(|n| format!("\"{}\"", self.columns[n].0)).collect::<Vec<_>>().join(", ")
    }

    fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.key.iter().map(|n| row[*n].clone()).collect()
    }

    /// The next rows in order of the key, at most a batch.
    fn page(&self, store: &Store, after: Option<&[Value]>) -> Result<Vec<Vec<Value>>> {
        let table = self.clone();
        let after = after.map(<[Value]>::to_vec);
        store.read_blocking(move |tx: &mut dyn Tx| {
            let key = table.names(table.key.iter().copied());
            let from = match &after {
                Some(after) => {
                    let places: Vec<String> = (1..=after.len()).map(|n| format!("${n}")).collect();
                    format!(" WHERE ({key}) > ({})", places.join(", "))
                }
                None => String::new(),
            };
            let all = table.names(0..table.columns.len());
            let sql = format!("SELECT {all} FROM \"{}\"{from} ORDER BY {key} LIMIT {ROWS}", table.name);
            let params: Vec<Param<'_>> = after.iter().flatten().map(Value::param).collect();
            let (mut rows, mut size, mut is_full) = (Vec::new(), 0, false);
            let ended = tx.query(&sql, &params, &mut |row| {
                if size > BYTES {
                    is_full = true;
                    // Ends the query; what is here is a batch.
                    return Err(Error::Closed);
                }
                let values = table.columns.iter().enumerate().map(|(n, (_, kind))| value(row, n, *kind));
                let values = values.collect::<Result<Vec<_>>>()?;
                size += values.iter().map(Value::size).sum::<usize>();
                rows.push(values);
                Ok(())
            });
            if !is_full {
                ended?;
            }
            Ok(rows)
        })
    }
}

fn copy(
    from: &Store,
    to: &Store,
    table: &Table,
    mut after: Option<Vec<Value>>,
    tell: &dyn Fn(Progress),
    is_stopped: &dyn Fn() -> bool,
) -> Result<()> {
    loop {
        if is_stopped() {
            return Err(Error::Closed);
        }
        let rows = table.page(from, after.as_deref())?;
        let count = rows.len() as u64;
        let is_done = rows.is_empty();
        if let Some(last) = rows.last() {
            after = Some(table.key_of(last));
        }
        let (table, key) = (table.clone(), after.as_deref().map(encode));
        // The rows and how far they reach are one transaction: a stop leaves neither gap nor double.
        to.write_blocking(move |tx: &mut dyn Tx| {
            if !rows.is_empty() {
                let insert =
                    format!("INSERT INTO \"{}\" ({})", table.name, table.names(0..table.columns.len()));
                let values: Vec<Param<'_>> = rows.iter().flatten().map(Value::param).collect();
                tx.insert_many(&insert, "", table.columns.len(), &values)?;
            }
            let sql = format!(
                "INSERT INTO {NOTES} (name, after, done) VALUES ($1, $2, $3) \
                 ON CONFLICT (name) DO UPDATE SET after = excluded.after, done = excluded.done"
            );
            let key = key.as_deref().map_or(Param::Null, Param::Bytes);
            tx.execute(&sql, &[Param::Text(&table.name), key, Param::Int(i64::from(is_done))])
        })?;
        tell(Progress::Done { rows: count });
        if is_done {
            return Ok(());
        }
    }
}

fn compare(
    from: &Store,
    to: &Store,
    table: &Table,
    tell: &dyn Fn(Progress),
    is_stopped: &dyn Fn() -> bool,
) -> Result<u64> {
    let mut after: Option<Vec<Value>> = None;
    let mut count = 0;
    loop {
        if is_stopped() {
            return Err(Error::Closed);
        }
        let (ours, theirs) = (table.page(from, after.as_deref())?, table.page(to, after.as_deref())?);
        let differs = |n: usize| {
            let key = ours.get(n).or(theirs.get(n)).map(|row| table.key_of(row)).unwrap_or_default();
            // Ids and numbers; a key never holds what a person wrote, but for terms and codes.
            Error::Corrupt(format!("{} differs at row {}, key {key:?}", table.name, count + n as u64 + 1))
        };
        for (n, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            if !a.iter().zip(b).all(|(a, b)| a.is_same(b)) {
                return Err(differs(n));
            }
        }
        if ours.len() != theirs.len() {
            return Err(differs(ours.len().min(theirs.len())));
        }
        let Some(last) = ours.last() else { return Ok(count) };
        after = Some(table.key_of(last));
        count += ours.len() as u64;
        tell(Progress::Done { rows: ours.len() as u64 });
    }
}

/// Numbers that are given out go on where they stood.
fn numbers(from: &Store, to: &Store, tables: &[Table]) -> Result<()> {
    match to.dialect() {
        Dialect::Postgres => {
            let next = from.read_blocking(|tx: &mut dyn Tx| {
                tx.all("SELECT name, next FROM counter", &[], |row| Ok((row.string(0)?, row.int(1)?)))
            })?;
            let tables: Arc<[Table]> = tables.into();
            to.write_blocking(move |tx: &mut dyn Tx| {
                for (name, next) in &next {
                    let sequence = COUNTERS.iter().find(|(counter, _, _)| counter == name);
                    let Some((_, sequence, _)) = sequence else { continue };
                    tx.query(
                        &format!("SELECT setval('{sequence}', $1)"),
                        &[Param::Int((*next).max(1))],
                        &mut |_| Ok(()),
                    )?;
                }
                for table in tables.iter() {
                    let Some(serial) = &table.serial else { continue };
                    let sql = format!(
                        "SELECT setval(pg_get_serial_sequence('\"{}\"', '{serial}'), \
                         (SELECT max(\"{serial}\") FROM \"{}\")) WHERE EXISTS (SELECT 1 FROM \"{}\")",
                        table.name, table.name, table.name
                    );
                    tx.query(&sql, &[], &mut |_| Ok(()))?;
                }
                Ok(())
            })
        }
        Dialect::Sqlite => {
            let next = from.read_blocking(|tx: &mut dyn Tx| {
                let mut next = Vec::new();
                for (counter, sequence, block) in COUNTERS {
                    let last =
                        tx.one(&format!("SELECT last_value FROM {sequence}"), &[], |row| row.int(0))?;
                    next.push((*counter, last.unwrap_or(0) + block));
                }
                Ok::<_, Error>(next)
            })?;
            to.write_blocking(move |tx: &mut dyn Tx| {
                for (counter, next) in &next {
                    tx.execute(
                        "INSERT INTO counter (name, next) VALUES ($1, $2) \
                         ON CONFLICT (name) DO UPDATE SET next = excluded.next",
                        params![*counter, *next],
                    )?;
                }
                Ok(())
            })
        }
    }
}
