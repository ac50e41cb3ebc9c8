//! Sort keys, and "after the last row of the page before".

use super::builder::{Value, Values};
use super::check::reference;
use super::cursor::Cursor;
use super::nested::is_reference;
use super::source::{Maker, Rows, Source, Walk, is_prefix, walk_of};
use crate::index::{NO_DATE, ODD, param_number};
use crate::{Error, Result, Row};
use fhir::definitions::ParamType;
use fhir::search::Sort;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Int,
    Real,
    Text,
    Bytes,
}

/// One sort key.
#[derive(Debug)]
pub(super) struct Key {
    pub sql: String,
    pub descending: bool,
    /// A LEFT JOIN that the key needs.
    pub join: Option<String>,
    pub needs_resource: bool,
    kind: Type,
}

impl Key {
    fn new(sql: impl Into<String>, descending: bool, kind: Type) -> Key {
        Key { sql: sql.into(), descending, join: None, needs_resource: false, kind }
    }
    fn of_resource(column: &str, descending: bool, kind: Type) -> Key {
        Key { needs_resource: true, ..Key::new(format!("r.{column}"), descending, kind) }
    }

    pub fn read(&self, row: &Row<'_>, column: usize) -> Result<Value> {
        Ok(match self.kind {
            Type::Int => Value::Int(row.int(column)?),
            Type::Real => Value::Real(row.real(column)?),
            Type::Text => Value::Text(row.string(column)?),
            Type::Bytes => Value::Bytes(row.bytes(column)?.to_vec()),
        })
    }

    fn fits(&self, value: &Value) -> bool {
        matches!(
            (self.kind, value),
            (Type::Int, Value::Int(_))
                | (Type::Real, Value::Real(_))
                | (Type::Text, Value::Text(_))
                | (Type::Bytes, Value::Bytes(_))
        )
    }
}

/// The keys by which the rows of this source come; the row number follows them.
pub(super) fn keys(values: &mut Values, maker: &Maker<'_>, source: Source, rows: &Rows) -> Vec<Key> {
    if maker.sort.is_empty() {
        return own_order(maker, source, rows).into_iter().collect();
    }
    let whole_type = matches!(source, Source::All(_));
    maker.sort.iter().enumerate().map(|(n, sort)| key(values, maker, (rows, whole_type), n, sort)).collect()
}

/// Without `_sort`: as the source has them. What other rows made of a node may differ from page to page, so its rows
/// come by number.
fn own_order(maker: &Maker<'_>, source: Source, rows: &Rows) -> Option<Key> {
    let want = match source {
        Source::Node(n) => maker.wanted.wants.get(n).filter(|want| !want.derived),
        _ => None,
    };
    match source {
        Source::Compartment => rows.date.map(|date| Key::new(date, true, Type::Int)),
        Source::All(Walk::Date) => rows.date.map(|date| Key::new(date, true, Type::Int)),
        Source::All(Walk::Updated) => Some(Key::of_resource("last_updated_us", false, Type::Int)),
        _ if want.is_some_and(|w| is_reference(&w.node)) => {
            rows.date.map(|date| Key::new(date, true, Type::Int))
        }
        _ if want.is_some_and(|w| is_prefix(&w.node)) => {
            rows.text.map(|text| Key::new(text, false, Type::Text))
        }
        _ => None,
    }
}

fn key(
    values: &mut Values,
    maker: &Maker<'_>,
    (rows, whole_type): (&Rows, bool),
    n: usize,
    sort: &Sort,
) -> Key {
    let kind = maker.wanted.kind;
    let (param, param_type, descending) = match sort {
        Sort::LastUpdated { descending } => {
            return Key::of_resource("last_updated_us", *descending, Type::Int);
        }
        Sort::Id { descending } => return Key::of_resource("id", *descending, Type::Bytes),
        Sort::Param { param, param_type, descending } => (*param, *param_type, *descending),
    };
    match walk_of(kind, sort) {
        Some(Walk::Date) => {
            return match rows.date {
                Some(date) => Key::new(date, descending, Type::Int),
                None => Key::of_resource("sort_date_us", descending, Type::Int),
            };
        }
        Some(Walk::Text) => return Key::of_resource("sort_text", descending, Type::Text),
        _ => {}
    }
    let rid = rows.rid;
    let number = param_number(param);
    match param_type {
        ParamType::Date => {
            let (param, odd, none) = (values.bind(number), values.bind(number + ODD), values.bind(NO_DATE));
            Key::new(
                format!(
                    "coalesce((SELECT min(low_us) FROM date WHERE rid = {rid} AND +param IN ({param}, {odd})), {none})"
                ),
                descending,
                Type::Int,
            )
        }
        ParamType::String => {
            let param = values.bind(number);
            let sql = format!(
                "coalesce((SELECT min(folded) FROM string WHERE rid = {rid} AND +param = {param}), '')"
            );
            Key::new(sql, descending, Type::Text)
        }
        ParamType::Number | ParamType::Quantity => {
            let (param, odd, none) = (values.bind(number), values.bind(number + ODD), values.bind(f64::MIN));
            Key::new(
                format!(
                    "coalesce((SELECT min(value) FROM quantity WHERE param IN ({param}, {odd}) AND rid = {rid}), {none})"
                ),
                descending,
                Type::Real,
            )
        }
        ParamType::Reference => {
            let (param, kind) = (values.bind(number), values.bind(i64::from(kind.0)));
            let none = values.bind(Vec::new());
            let own = reference("r.patient", &kind, "r.sort_date_us", rid, &param, "");
            let others = reference("m.patient", &kind, "r.sort_date_us", rid, &param, "");
            let sql = format!(
                "coalesce((SELECT u.target FROM (SELECT l.target AS target FROM link l WHERE l.rid = {rid} \
                 AND l.param = {param} UNION ALL SELECT r.patient WHERE {own} UNION ALL SELECT m.patient \
                 FROM compartment m WHERE r.more_patients > 0 AND m.rid = {rid} AND {others}) u \
                 ORDER BY u.target LIMIT 1), {none})"
            );
            Key { needs_resource: true, ..Key::new(sql, descending, Type::Bytes) }
        }
        // These have no index by row: the least values of all rows of the type are collected once.
        ParamType::Uri => {
            let param = values.bind(number);
            let list = format!("SELECT rid, min(value) AS k FROM uri WHERE param = {param} GROUP BY rid");
            joined(n, rid, descending, Type::Text, "''", &list)
        }
        _ => {
            // A look-up for each code there is beats the list, unless it is the whole type that is sorted.
            if let Some(codes) = fhir::search::known_codes(param).filter(|_| !whole_type) {
                return known_code(values, maker, rid, number, &codes, descending);
            }
            let (kind, param) = (values.bind(i64::from(kind.0)), values.bind(number));
            let list = format!(
                "SELECT rid, min(code) AS k FROM token WHERE type_id = {kind} AND param = {param} GROUP BY rid"
            );
            joined(n, rid, descending, Type::Text, "''", &list)
        }
    }
}

/// The least of the codes that the row has, tried one after the other; `codes` ascend.
fn known_code(
    values: &mut Values,
    maker: &Maker<'_>,
    rid: &str,
    number: i64,
    codes: &[&str],
    descending: bool,
) -> Key {
    let (kind, param) = (values.bind(i64::from(maker.wanted.kind.0)), values.bind(number));
    let look_up = maker.scope.dialect.look_up();
    let mut sql = String::from("CASE");
    for code in codes {
        let code = values.bind(*code);
        sql.push_str(&format!(
            " WHEN EXISTS (SELECT 1 FROM token WHERE type_id = {kind} AND code = {code} AND rid = {rid} \
             AND param = {param}{look_up}) THEN {code}"
        ));
    }
    sql.push_str(" ELSE '' END");
    Key::new(sql, descending, Type::Text)
}

fn joined(n: usize, rid: &str, descending: bool, kind: Type, none: &str, list: &str) -> Key {
    Key {
        join: Some(format!(" LEFT JOIN ({list}) j{n} ON j{n}.rid = {rid}")),
        ..Key::new(format!("coalesce(j{n}.k, {none})"), descending, kind)
    }
}

/// Rows whose first key is the cursor's or comes after it.
pub(super) fn from(values: &mut Values, key: &Key, cursor: &Cursor) -> Result<String> {
    match cursor.keys.first() {
        Some(value) if key.fits(value) => {
            let sign = if key.descending { "<=" } else { ">=" };
            Ok(format!("{} {sign} {}", key.sql, values.bind(value.clone())))
        }
        _ => Err(Error::Invalid("cursor")),
    }
}

/// Rows that come after the cursor's. The leading bound on the first key is implied by the rest; it gives the
/// engine a range to start in.
pub(super) fn after(values: &mut Values, keys: &[Key], rid: &str, cursor: &Cursor) -> Result<String> {
    if keys.len() != cursor.keys.len() || keys.iter().zip(&cursor.keys).any(|(key, value)| !key.fits(value)) {
        return Err(Error::Invalid("cursor"));
    }
    let descends = keys.last().is_some_and(|key| key.descending);
    let mut text = format!("{rid} {} {}", if descends { "<" } else { ">" }, values.bind(cursor.rid));
    for (key, value) in keys.iter().zip(&cursor.keys).rev() {
        let sign = if key.descending { "<" } else { ">" };
        let (sql, bound) = (&key.sql, values.bind(value.clone()));
        text = format!("{sql} {sign}= {bound} AND ({sql} {sign} {bound} OR ({text}))");
    }
    Ok(format!("({text})"))
}
