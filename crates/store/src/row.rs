//! Reading columns alike on both engines.

use crate::keys::{Place, open_content};
use crate::tx::Raw;
use crate::{Error, Result, Row};
use jiff::Timestamp;
use postgres::types::{FromSql, IsNull, ToSql, Type};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::sync::Arc;

type Fault = Box<dyn std::error::Error + Sync + Send>;

/// Any integer column of PostgreSQL.
struct Integer(i64);

impl<'a> FromSql<'a> for Integer {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Integer(match *kind {
            Type::INT2 => i64::from(i16::from_sql(kind, raw)?),
            Type::INT4 => i64::from(i32::from_sql(kind, raw)?),
            Type::BOOL => i64::from(bool::from_sql(kind, raw)?),
            _ => i64::from_sql(kind, raw)?,
        }))
    }
    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT2 | Type::INT4 | Type::INT8 | Type::BOOL)
    }
}

fn wrong(column: usize) -> Error {
    Error::Corrupt(format!("column {column} has another type"))
}

impl Row<'_> {
    /// Errors: [Error::Corrupt] for NULL or no integer.
    pub fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| wrong(column))
    }
    pub fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self.raw {
            Raw::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Null => Ok(None),
                ValueRef::Integer(n) => Ok(Some(n)),
                _ => Err(wrong(column)),
            },
            Raw::Postgres(row) => {
                Ok(row.try_get::<_, Option<Integer>>(column).map_err(Error::from)?.map(|n| n.0))
            }
        }
    }
    pub fn bool(&self, column: usize) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }
    pub fn real(&self, column: usize) -> Result<f64> {
        match self.raw {
            Raw::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Real(n) => Ok(n),
                ValueRef::Integer(n) => Ok(n as f64),
                _ => Err(wrong(column)),
            },
            Raw::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
    /// Errors: [Error::Corrupt] for NULL or no text.
    pub fn text(&self, column: usize) -> Result<&str> {
        self.opt_text(column)?.ok_or_else(|| wrong(column))
    }
    pub fn opt_text(&self, column: usize) -> Result<Option<&str>> {
        match self.raw {
            Raw::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Null => Ok(None),
                ValueRef::Text(text) => std::str::from_utf8(text).map(Some).map_err(|_| wrong(column)),
                _ => Err(wrong(column)),
            },
            Raw::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
    /// An owned copy of a text.
    pub fn string(&self, column: usize) -> Result<String> {
        Ok(self.text(column)?.to_owned())
    }
    pub fn opt_string(&self, column: usize) -> Result<Option<String>> {
        Ok(self.opt_text(column)?.map(str::to_owned))
    }
    pub fn bytes(&self, column: usize) -> Result<&[u8]> {
        self.opt_bytes(column)?.ok_or_else(|| wrong(column))
    }
    pub fn opt_bytes(&self, column: usize) -> Result<Option<&[u8]>> {
        match self.raw {
            Raw::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Null => Ok(None),
                ValueRef::Blob(bytes) => Ok(Some(bytes)),
                _ => Err(wrong(column)),
            },
            Raw::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
    /// Microseconds since the epoch, as an instant.
    pub fn time(&self, column: usize) -> Result<Timestamp> {
        Timestamp::from_microsecond(self.int(column)?).map_err(|_| wrong(column))
    }
    pub fn opt_time(&self, column: usize) -> Result<Option<Timestamp>> {
        self.opt_int(column)?.map(|n| Timestamp::from_microsecond(n).map_err(|_| wrong(column))).transpose()
    }
    /// A resource's content as JSON, empty for NULL; and whether it is one whose key was destroyed, empty as well.
    pub(crate) fn content(&self, column: usize, place: &Place<'_>) -> Result<(Arc<[u8]>, bool)> {
        let Some(stored) = self.opt_bytes(column)? else { return Ok((Arc::from([]), false)) };
        Ok(match open_content(self.vault, place, stored)? {
            Some(json) => (json, false),
            None => (Arc::from([]), true),
        })
    }
    /// A text of [crate::keys::blind].
    pub(crate) fn value(&self, index: usize, column: &str) -> Result<String> {
        crate::keys::blind::read(self.vault, column, self.text(index)?)
    }
    pub(crate) fn opt_value(&self, index: usize, column: &str) -> Result<Option<String>> {
        self.opt_text(index)?.map(|text| crate::keys::blind::read(self.vault, column, text)).transpose()
    }
    pub(crate) fn uuid(&self, column: usize) -> Result<uuid::Uuid> {
        uuid::Uuid::from_slice(self.bytes(column)?).map_err(|_| wrong(column))
    }
    pub(crate) fn key(&self, column: usize) -> Result<fhir::ResourceKey> {
        crate::ids::decode_key(self.bytes(column)?)
    }
    pub(crate) fn opt_key(&self, column: usize) -> Result<Option<fhir::ResourceKey>> {
        self.opt_bytes(column)?.map(crate::ids::decode_key).transpose()
    }
}

impl rusqlite::ToSql for crate::Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use crate::Param;
        Ok(ToSqlOutput::Borrowed(match *self {
            Param::Null => ValueRef::Null,
            Param::Int(n) => ValueRef::Integer(n),
            Param::Real(n) => ValueRef::Real(n),
            Param::Text(text) => ValueRef::Text(text.as_bytes()),
            Param::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for crate::Param<'_> {
    fn to_sql(&self, kind: &Type, out: &mut postgres::types::private::BytesMut) -> Result<IsNull, Fault> {
        use crate::Param;
        match *self {
            Param::Null => Ok(IsNull::Yes),
            Param::Int(n) => match *kind {
                Type::INT2 => i16::try_from(n)?.to_sql(kind, out),
                Type::INT4 => i32::try_from(n)?.to_sql(kind, out),
                Type::BOOL => (n != 0).to_sql(kind, out),
                Type::FLOAT8 => (n as f64).to_sql(kind, out),
                _ => n.to_sql(&Type::INT8, out),
            },
            Param::Real(n) => n.to_sql(&Type::FLOAT8, out),
            // PostgreSQL's text has no NUL; SQLite's has. What is asked for with one is never found, on both.
            Param::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(kind, out),
            Param::Text(text) => text.to_sql(kind, out),
            Param::Bytes(bytes) => bytes.to_sql(kind, out),
        }
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    postgres::types::to_sql_checked!();
}
