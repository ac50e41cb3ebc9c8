//! The double-entry ledger: accounts, transactions that sum to zero per currency, entries that never change.

use crate::ids::encode_key;
use crate::page::{Cursor, clamp};
use crate::{Page, Result, Tx, params};
use fhir::ResourceKey;
use jiff::Timestamp;
use std::collections::BTreeMap;
use uuid::Uuid;

/// More entries than any invoice needs.
pub const MAX_ENTRIES: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Asset,
    Liability,
    Income,
    Expense,
}

impl Kind {
    fn number(self) -> i64 {
        match self {
            Kind::Asset => 1,
            Kind::Liability => 2,
            Kind::Income => 3,
            Kind::Expense => 4,
        }
    }
    fn from_number(number: i64) -> Result<Kind> {
        Ok(match number {
            1 => Kind::Asset,
            2 => Kind::Liability,
            3 => Kind::Income,
            4 => Kind::Expense,
            _ => return Err(crate::Error::Corrupt("account kind".into())),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// e.g. `mpesa-clearing`; unique.
    pub code: String,
    pub name: String,
    pub kind: Kind,
    /// ISO 4217.
    pub currency: String,
}

/// Debits are positive, credits negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// [Account::code]
    pub account: String,
    pub amount_minor: i64,
    pub currency: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTransaction {
    pub id: Uuid,
    pub at: Timestamp,
    /// What it is, as a code, e.g. `invoice.issued`.
    pub memo: String,
    /// The resource it is about, e.g. the Invoice.
    pub cause: Option<ResourceKey>,
    /// Unique: the same fact is posted once, e.g. `mpesa:NLJ7RT61SV`.
    pub external_key: String,
    pub entries: Vec<NewEntry>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("entries in {currency} sum to {sum_minor}, not zero")]
    Unbalanced { currency: String, sum_minor: i128 },
    #[error("no account {0}")]
    UnknownAccount(String),
    #[error("account {account} is kept in {currency}")]
    WrongCurrency { account: String, currency: String },
    #[error("a transaction has 2 to 500 entries, none of them zero")]
    BadEntries,
    /// The external key was used for a transaction with other entries.
    #[error("{0} was posted with other entries")]
    KeyReused(String),
    #[error(transparent)]
    Store(#[from] crate::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    New,
    /// The external key was posted before with the same entries; nothing was written.
    Already,
}

/// Makes the account, or leaves the one with this code as it is.
/// Errors: [crate::Error::Constraint] if it exists with another kind or currency.
pub fn ensure_account(tx: &mut dyn Tx, account: &Account) -> Result<()> {
    tx.execute(
        "INSERT INTO ledger_account (code, name, kind, currency) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        params![&account.code, &account.name, account.kind.number(), &account.currency],
    )?;
    let same =
        tx.one("SELECT kind, currency FROM ledger_account WHERE code = $1", params![&account.code], |row| {
            Ok(row.int(0)? == account.kind.number() && row.text(1)? == account.currency)
        })?;
    match same {
        Some(true) => Ok(()),
        _ => Err(crate::Error::Constraint(format!("account {} has another kind or currency", account.code))),
    }
}

/// All accounts by code.
pub fn accounts(tx: &mut dyn Tx) -> Result<Vec<Account>> {
    tx.all("SELECT code, name, kind, currency FROM ledger_account ORDER BY code", &[], |row| {
        Ok(Account {
            code: row.string(0)?,
            name: row.string(1)?,
            kind: Kind::from_number(row.int(2)?)?,
            currency: row.string(3)?,
        })
    })
}

/// Writes a transaction, once per external key. Errors: see [Error]; nothing is written then.
pub fn post(tx: &mut dyn Tx, new: &NewTransaction) -> Result<Posted, Error> {
    if !(2..=MAX_ENTRIES).contains(&new.entries.len()) || new.entries.iter().any(|e| e.amount_minor == 0) {
        return Err(Error::BadEntries);
    }
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for entry in &new.entries {
        *sums.entry(&entry.currency).or_default() += i128::from(entry.amount_minor);
    }
    if let Some((currency, sum)) = sums.into_iter().find(|(_, sum)| *sum != 0) {
        return Err(Error::Unbalanced { currency: currency.to_owned(), sum_minor: sum });
    }
    let mut accounts = Vec::with_capacity(new.entries.len());
    for entry in &new.entries {
        let found = tx.one(
            "SELECT id, currency FROM ledger_account WHERE code = $1",
            params![&entry.account],
            |row| Ok((row.int(0)?, row.string(1)?)),
        )?;
        let Some((id, currency)) = found else { return Err(Error::UnknownAccount(entry.account.clone())) };
        if currency != entry.currency {
            return Err(Error::WrongCurrency { account: entry.account.clone(), currency });
        }
        accounts.push(id);
    }
    let cause = new.cause.as_ref().map(encode_key);
    let written = tx.execute(
        "INSERT INTO ledger_transaction (id, at_us, memo, cause, external_key) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT DO NOTHING",
        params![&new.id, new.at, &new.memo, cause.as_ref(), &new.external_key],
    )?;
    if written == 0 {
        return already(tx, new);
    }
    for (n, (entry, account)) in new.entries.iter().zip(accounts).enumerate() {
        tx.execute(
            "INSERT INTO ledger_entry (transaction_id, line, account, at_us, amount_minor, currency) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            params![&new.id, n as i64, account, new.at, entry.amount_minor, &entry.currency],
        )?;
    }
    Ok(Posted::New)
}

fn already(tx: &mut dyn Tx, new: &NewTransaction) -> Result<Posted, Error> {
    let before = tx.all(
        "SELECT a.code, e.amount_minor, e.currency FROM ledger_transaction t \
         JOIN ledger_entry e ON e.transaction_id = t.id JOIN ledger_account a ON a.id = e.account \
         WHERE t.external_key = $1 ORDER BY e.line",
        params![&new.external_key],
        |row| Ok(NewEntry { account: row.string(0)?, amount_minor: row.int(1)?, currency: row.string(2)? }),
    )?;
    if before == new.entries { Ok(Posted::Already) } else { Err(Error::KeyReused(new.external_key.clone())) }
}

/// Sum of the account's entries in [from, until), minor units; debits positive.
pub fn balance(
    tx: &mut dyn Tx,
    account: &str,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<i64> {
    let sum = tx.one(
        "SELECT CAST(coalesce(sum(e.amount_minor), 0) AS BIGINT) FROM ledger_entry e \
         WHERE e.account = (SELECT id FROM ledger_account WHERE code = $1) AND e.at_us >= $2 AND e.at_us < $3",
        params![
            account,
            from.map_or(i64::MIN, |t| t.as_microsecond()),
            until.map_or(i64::MAX, |t| t.as_microsecond())
        ],
        |row| row.int(0),
    )?;
    Ok(sum.unwrap_or(0))
}

/// Sums of the account's debits and credits in [from, until), both as positive minor units.
pub fn turnover(tx: &mut dyn Tx, account: &str, from: Timestamp, until: Timestamp) -> Result<(i64, i64)> {
    let sums = tx.one(
        "SELECT CAST(coalesce(sum(CASE WHEN e.amount_minor > 0 THEN e.amount_minor ELSE 0 END), 0) AS BIGINT), \
         CAST(coalesce(sum(CASE WHEN e.amount_minor < 0 THEN -e.amount_minor ELSE 0 END), 0) AS BIGINT) \
         FROM ledger_entry e WHERE e.account = (SELECT id FROM ledger_account WHERE code = $1) \
         AND e.at_us >= $2 AND e.at_us < $3",
        params![account, from, until],
        |row| Ok((row.int(0)?, row.int(1)?)),
    )?;
    Ok(sums.unwrap_or((0, 0)))
}

/// Which entries to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub account: Option<String>,
    pub transaction: Option<Uuid>,
    pub cause: Option<ResourceKey>,
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub number: i64,
    pub transaction: Uuid,
    pub at: Timestamp,
    pub memo: String,
    pub cause: Option<ResourceKey>,
    pub external_key: String,
    pub account: String,
    pub amount_minor: i64,
    pub currency: String,
}

/// Entries, newest first.
pub fn entries(tx: &mut dyn Tx, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<Entry>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let mut sql = String::from(
        "SELECT e.number, e.transaction_id, e.at_us, t.memo, t.cause, t.external_key, a.code, e.amount_minor, e.currency \
         FROM ledger_entry e JOIN ledger_transaction t ON t.id = e.transaction_id \
         JOIN ledger_account a ON a.id = e.account \
         WHERE e.at_us >= $1 AND e.at_us < $2 AND (e.at_us < $3 OR (e.at_us = $3 AND e.number < $4))",
    );
    let cause = filter.cause.as_ref().map(encode_key);
    let mut values: Vec<crate::Param<'_>> = params![
        filter.from.map_or(i64::MIN, |t| t.as_microsecond()),
        filter.until.map_or(i64::MAX, |t| t.as_microsecond()),
        start.time_us,
        start.number
    ]
    .to_vec();
    let optional: [(&str, Option<crate::Param<'_>>); 3] = [
        (" AND a.code = $", filter.account.as_ref().map(Into::into)),
        (" AND e.transaction_id = $", filter.transaction.as_ref().map(Into::into)),
        (" AND t.cause = $", cause.as_ref().map(Into::into)),
    ];
    for (text, value) in optional {
        if let Some(value) = value {
            values.push(value);
            sql.push_str(text);
            sql.push_str(&values.len().to_string());
        }
    }
    values.push(i64::from(limit + 1).into());
    sql.push_str(&format!(" ORDER BY e.at_us DESC, e.number DESC LIMIT ${}", values.len()));
    let rows = tx.all(&sql, &values, |row| {
        Ok(Entry {
            number: row.int(0)?,
            transaction: row.uuid(1)?,
            at: row.time(2)?,
            memo: row.string(3)?,
            cause: row.opt_key(4)?,
            external_key: row.string(5)?,
            account: row.string(6)?,
            amount_minor: row.int(7)?,
            currency: row.string(8)?,
        })
    })?;
    Ok(Page::cut(rows, limit, |e| Cursor { time_us: e.at.as_microsecond(), number: e.number }))
}

/// Currencies whose entries do not sum to zero, with the sum: empty in a sound ledger.
pub fn sum_all(tx: &mut dyn Tx) -> Result<Vec<(String, i64)>> {
    tx.all(
        "SELECT currency, CAST(sum(amount_minor) AS BIGINT) FROM ledger_entry GROUP BY currency \
         HAVING sum(amount_minor) <> 0 ORDER BY currency",
        &[],
        |row| Ok((row.string(0)?, row.int(1)?)),
    )
}
