//! Concepts of loaded code systems.

use super::ranges::{Ranges, corrupt, put, take};
use super::{Id, key};
use crate::{Param, Result, Row, Tx, params};

const INACTIVE: i64 = 1;
const ABSTRACT: i64 = 2;

/// A concept of a code system.
#[derive(Debug, Clone, PartialEq)]
pub struct Concept {
    /// Its place in the preorder of the hierarchy, from 0.
    pub number: u32,
    pub code: String,
    pub display: String,
    pub inactive: bool,
    /// Not to be chosen for a record.
    pub is_abstract: bool,
    pub parents: Ranges,
    /// All of them, without the concept itself.
    pub descendants: Ranges,
    pub detail: Detail,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail {
    pub definition: String,
    pub designations: Vec<Designation>,
    pub properties: Vec<Property>,
}

/// Another name; the display may stand here again, with its language.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Designation {
    /// BCP 47, "" if unknown.
    pub language: String,
    /// The code of `use`, "" for none.
    pub use_system: String,
    pub use_code: String,
    pub use_display: String,
    pub value: String,
    /// The one to be shown in this language.
    pub preferred: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub code: String,
    pub value: Value,
}

/// `value[x]` of a concept's property. Numbers and dates as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Code(String),
    Coding { system: String, code: String, display: String },
    Text(String),
    Integer(String),
    Boolean(bool),
    Date(String),
    Decimal(String),
}

impl Value {
    /// As filters and keys of postings write it.
    pub fn plain(&self) -> &str {
        match self {
            Value::Code(text)
            | Value::Text(text)
            | Value::Integer(text)
            | Value::Date(text)
            | Value::Decimal(text) => text,
            Value::Coding { code, .. } => code,
            Value::Boolean(true) => "true",
            Value::Boolean(false) => "false",
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Result<String> {
    let length = usize::try_from(take(rest)?).map_err(|_| corrupt())?;
    let (text, tail) = rest.split_at_checked(length).ok_or_else(corrupt)?;
    *rest = tail;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| corrupt())
}

impl Detail {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_text(&mut bytes, &self.definition);
        put(&mut bytes, self.designations.len() as u64);
        for d in &self.designations {
            put(&mut bytes, u64::from(d.preferred));
            for text in [&d.language, &d.use_system, &d.use_code, &d.use_display, &d.value] {
                put_text(&mut bytes, text);
            }
        }
        for p in &self.properties {
            put_text(&mut bytes, &p.code);
            let (kind, texts): (u64, [&str; 3]) = match &p.value {
                Value::Code(text) => (0, [text, "", ""]),
                Value::Coding { system, code, display } => (1, [system, code, display]),
                Value::Text(text) => (2, [text, "", ""]),
                Value::Integer(text) => (3, [text, "", ""]),
                Value::Boolean(_) => (4, [p.value.plain(), "", ""]),
                Value::Date(text) => (5, [text, "", ""]),
                Value::Decimal(text) => (6, [text, "", ""]),
            };
            put(&mut bytes, kind);
            for text in if kind == 1 { &texts[..] } else { &texts[..1] } {
                put_text(&mut bytes, text);
            }
        }
        // Descriptions repeat their words: a third of the bytes for some microseconds.
        compress(bytes)
    }

    fn decode(stored: &[u8]) -> Result<Detail> {
        let bytes = decompress(stored)?;
        let rest = &mut bytes.as_slice();
        let mut detail = Detail { definition: take_text(rest)?, ..Detail::default() };
        for _ in 0..take(rest)? {
            detail.designations.push(Designation {
                preferred: take(rest)? == 1,
                language: take_text(rest)?,
                use_system: take_text(rest)?,
                use_code: take_text(rest)?,
                use_display: take_text(rest)?,
                value: take_text(rest)?,
            });
        }
        while !rest.is_empty() {
            let code = take_text(rest)?;
            let kind = take(rest)?;
            let text = take_text(rest)?;
            let value = match kind {
                0 => Value::Code(text),
                1 => Value::Coding { system: text, code: take_text(rest)?, display: take_text(rest)? },
                2 => Value::Text(text),
                3 => Value::Integer(text),
                4 => Value::Boolean(text == "true"),
                5 => Value::Date(text),
                6 => Value::Decimal(text),
                _ => return Err(corrupt()),
            };
            detail.properties.push(Property { code, value });
        }
        Ok(detail)
    }
}

/// Shorter ones are not worth the call.
const COMPRESS_FROM: usize = 160;
/// Guards the decompressor's allocation.
const MAX_DETAIL_BYTES: usize = 16 << 20;

fn compress(bytes: Vec<u8>) -> Vec<u8> {
    let packed = (bytes.len() >= COMPRESS_FROM).then(|| zstd::bulk::compress(&bytes, 1).ok()).flatten();
    let (mark, body) = match packed {
        Some(packed) if packed.len() < bytes.len() => (1, packed),
        _ => (0, bytes),
    };
    let mut out = Vec::with_capacity(body.len() + 1);
    out.push(mark);
    out.extend_from_slice(&body);
    out
}

fn decompress(stored: &[u8]) -> Result<Vec<u8>> {
    match stored {
        [0, plain @ ..] => Ok(plain.to_vec()),
        [1, packed @ ..] => {
            let length = zstd::bulk::Decompressor::upper_bound(packed).unwrap_or(MAX_DETAIL_BYTES);
            zstd::bulk::decompress(packed, length.min(MAX_DETAIL_BYTES)).map_err(|_| corrupt())
        }
        _ => Err(corrupt()),
    }
}

const COLUMNS: &str = "key, code, display, flags, parents, descendants, detail";

fn read(row: &Row<'_>) -> Result<Concept> {
    let flags = row.int(3)?;
    Ok(Concept {
        number: row.int(0)? as u32,
        code: row.string(1)?,
        display: row.string(2)?,
        inactive: flags & INACTIVE != 0,
        is_abstract: flags & ABSTRACT != 0,
        parents: Ranges::decode(row.bytes(4)?)?,
        descendants: Ranges::decode(row.bytes(5)?)?,
        detail: Detail::decode(row.bytes(6)?)?,
    })
}

/// The concept with this code, as written.
pub fn by_code(tx: &mut dyn Tx, id: Id, code: &str) -> Result<Option<Concept>> {
    tx.one(
        &format!("SELECT {COLUMNS} FROM terminology_concept WHERE terminology = $1 AND code = $2"),
        params![id.0, code],
        read,
    )
}

/// Number and all descendants of a code.
pub fn place(tx: &mut dyn Tx, id: Id, code: &str) -> Result<Option<(u32, Ranges)>> {
    tx.one(
        "SELECT key, descendants FROM terminology_concept WHERE terminology = $1 AND code = $2",
        params![id.0, code],
        |row| Ok((row.int(0)? as u32, Ranges::decode(row.bytes(1)?)?)),
    )
}

/// Numbers of the parents of a concept.
pub fn parents(tx: &mut dyn Tx, id: Id, number: u32) -> Result<Ranges> {
    let found =
        tx.one("SELECT parents FROM terminology_concept WHERE key = $1", params![key(id, number)], |row| {
            Ranges::decode(row.bytes(0)?)
        })?;
    Ok(found.unwrap_or_default())
}

/// The concepts with these numbers, ascending.
pub fn by_numbers(tx: &mut dyn Tx, id: Id, numbers: &Ranges) -> Result<Vec<Concept>> {
    let sql = format!("SELECT {COLUMNS} FROM terminology_concept WHERE key BETWEEN $1 AND $2 ORDER BY key");
    let mut found = Vec::new();
    for (low, high) in numbers.ranges() {
        tx.query(&sql, params![key(id, *low), key(id, *high)], &mut |row| {
            found.push(read(row)?);
            Ok(())
        })?;
    }
    Ok(found)
}

/// Number, code, display and whether active, of the concepts with these numbers, ascending: what lists and filters
/// need, without the rest.
pub fn brief(
    tx: &mut dyn Tx,
    id: Id,
    numbers: &Ranges,
    each: &mut dyn FnMut(u32, &str, &str) -> Result<()>,
) -> Result<()> {
    for (low, high) in numbers.ranges() {
        tx.query(
            "SELECT key, code, display FROM terminology_concept WHERE key BETWEEN $1 AND $2 ORDER BY key",
            params![key(id, *low), key(id, *high)],
            &mut |row| each(row.int(0)? as u32, row.text(1)?, row.text(2)?),
        )?;
    }
    Ok(())
}

/// Adds concepts to a system that is being loaded.
pub fn insert(tx: &mut dyn Tx, id: Id, concepts: &[Concept]) -> Result<()> {
    struct Packed {
        parents: Vec<u8>,
        descendants: Vec<u8>,
        detail: Vec<u8>,
    }
    let packed: Vec<Packed> = concepts
        .iter()
        .map(|c| Packed {
            parents: c.parents.encode(),
            descendants: c.descendants.encode(),
            detail: c.detail.encode(),
        })
        .collect();
    let mut values: Vec<Param<'_>> = Vec::with_capacity(concepts.len() * 8);
    for (c, p) in concepts.iter().zip(&packed) {
        let flags = if c.inactive { INACTIVE } else { 0 } | if c.is_abstract { ABSTRACT } else { 0 };
        values.extend_from_slice(params![
            key(id, c.number),
            id.0,
            &c.code,
            &c.display,
            flags,
            &p.parents,
            &p.descendants,
            &p.detail
        ]);
    }
    tx.insert_many(
        "INSERT INTO terminology_concept (key, terminology, code, display, flags, parents, descendants, detail)",
        "",
        8,
        &values,
    )?;
    Ok(())
}

/// Numbers of the concepts whose code begins with `prefix`, in the order of codes, at most `limit`.
pub fn by_prefix(tx: &mut dyn Tx, id: Id, prefix: &str, limit: u32) -> Result<Ranges> {
    let end = format!("{prefix}\u{10ffff}");
    let found = tx.all(
        "SELECT key FROM terminology_concept WHERE terminology = $1 AND code >= $2 AND code < $3 \
         ORDER BY code LIMIT $4",
        params![id.0, prefix, &end, limit],
        |row| Ok(row.int(0)? as u32),
    )?;
    Ok(Ranges::of(found))
}
