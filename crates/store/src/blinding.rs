//! Makes a database keep values of people out of its tables: see [crate::keys::blind].

use crate::index::{IDENTIFIER, OF_TYPE, param_number, signature};
use crate::keys::blind;
use crate::{Dialect, Param, Result, Tx, params, setting};
use fhir::{ParamId, TypeId};
use std::collections::HashMap;

/// The setting that says that it does.
const SETTING: &str = "values";
const BLIND: &str = "blind";

/// Columns with a value that is looked for: table, its key, column.
const VALUES: [(&str, &str, &str); 5] = [
    ("account", "id", "phone"),
    ("account", "id", "email"),
    ("message", "number", "recipient"),
    ("payment", "number", "phone"),
    ("one_time_code", "id", "phone"),
];
/// Those with words.
const WORDS: [(&str, &str, &str); 2] = [("message", "number", "body"), ("one_time_code", "id", "payload")];

/// Once when the database is opened: one on PostgreSQL is blind from its beginning; an older one becomes so now.
pub(crate) fn at_start(tx: &mut dyn Tx) -> Result<()> {
    let is_blind = setting::get(tx, SETTING)?.is_some_and(|value| value.as_str() == Some(BLIND));
    if is_blind {
        tx.sealing().vault.set_blind();
    } else if tx.dialect() == Dialect::Postgres {
        convert(tx)?;
    }
    Ok(())
}

/// Replaces every value that stands in the tables as it is, and has it so from now on. Takes about as long as reading the
/// index of people twice.
pub(crate) fn convert(tx: &mut dyn Tx) -> Result<()> {
    tx.sealing().vault.set_blind();
    setting::put(tx, SETTING, &serde_json::Value::String(BLIND.into()))?;
    codes(tx)?;
    for (table, key, column) in VALUES {
        column_of(tx, table, key, column, true)?;
    }
    for (table, key, column) in WORDS {
        column_of(tx, table, key, column, false)?;
    }
    let all = tx.all("SELECT id, text FROM word", &[], |row| Ok((row.int(0)?, row.string(1)?)))?;
    for (id, text) in all {
        let word = blind::value(tx, "word.text", &text)?.into_owned();
        if word != text {
            tx.execute("UPDATE word SET text = $2 WHERE id = $1", params![id, &word])?;
        }
    }
    Ok(())
}

fn column_of(tx: &mut dyn Tx, table: &str, key: &str, column: &str, is_value: bool) -> Result<()> {
    // There are few codes at a time, and many of the others.
    let is_text = table == "one_time_code";
    let sql = format!("SELECT {key}, {column} FROM {table} WHERE {column} IS NOT NULL");
    let all = tx.all(&sql, &[], |row| match is_text {
        true => Ok((0, row.string(0)?, row.string(1)?)),
        false => Ok((row.int(0)?, String::new(), row.string(1)?)),
    })?;
    let place = format!("{table}.{column}");
    for (number, id, text) in all {
        let stored = match is_value {
            true => blind::value(tx, &place, &text)?,
            false => blind::words(tx, &place, &text)?,
        };
        if stored != text {
            let sql = format!("UPDATE {table} SET {column} = $2 WHERE {key} = $1");
            let key = if is_text { Param::from(&id) } else { Param::from(number) };
            tx.execute(&sql, &[key, Param::from(&*stored)])?;
        }
    }
    Ok(())
}

/// The codes of people in the index, and the signatures that are made of them.
fn codes(tx: &mut dyn Tx) -> Result<()> {
    let mut signatures: HashMap<i64, i64> = HashMap::new();
    let mut changed: Vec<(i64, String, i64, i64, i64)> = Vec::new();
    let own = |kind: i64, param: i64| {
        param >= IDENTIFIER
            || u16::try_from(kind).ok().zip(u16::try_from(param - 1).ok()).is_some_and(|(kind, param)| {
                debug_assert_eq!(param_number(ParamId(param)), i64::from(param) + 1);
                blind::is_identifying(TypeId(kind), ParamId(param))
            })
    };
    const { assert!(OF_TYPE > IDENTIFIER) };
    tx.query("SELECT type_id, code, rid, param, system FROM token", &[], &mut |row| {
        let (kind, param) = (row.int(0)?, row.int(3)?);
        if own(kind, param) {
            changed.push((kind, row.string(1)?, row.int(2)?, param, row.int(4)?));
        }
        Ok(())
    })?;
    for (kind, code, rid, param, system) in &changed {
        let stored = blind::code(tx, code)?;
        tx.execute(
            "UPDATE token SET code = $6 WHERE type_id = $1 AND code = $2 AND rid = $3 AND param = $4 AND system = $5",
            params![*kind, code, *rid, *param, *system, &*stored],
        )?;
        signatures.insert(*rid, 0);
    }
    if signatures.is_empty() {
        return Ok(());
    }
    tx.query("SELECT rid, code FROM token", &[], &mut |row| {
        if let Some(own) = signatures.get_mut(&row.int(0)?) {
            *own |= signature(row.text(1)?);
        }
        Ok(())
    })?;
    let mut rows = Vec::new();
    tx.query("SELECT target, type_id, date_us, rid, param FROM reference", &[], &mut |row| {
        let rid = row.int(3)?;
        if let Some(own) = signatures.get(&rid) {
            rows.push((row.bytes(0)?.to_vec(), row.int(1)?, row.int(2)?, rid, row.int(4)?, *own));
        }
        Ok(())
    })?;
    for (target, kind, date, rid, param, own) in rows {
        tx.execute(
            "UPDATE reference SET tokens = $6 WHERE target = $1 AND type_id = $2 AND date_us = $3 AND rid = $4 AND param = $5",
            params![&target, kind, date, rid, param, own],
        )?;
    }
    Ok(())
}
