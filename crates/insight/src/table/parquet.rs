//! Parquet: one row group at a time, Snappy, every column optional, collections as lists.
//!
//! | FHIR type of the column | Parquet |
//! |---|---|
//! | boolean | BOOLEAN |
//! | integer, positiveInt, unsignedInt | INT32 |
//! | integer64 | INT64 |
//! | decimal | DOUBLE, or with the tag `ansi/type` = `DECIMAL(p,s)`, p up to 18, DECIMAL on INT64 |
//! | instant | TIMESTAMP in microseconds, UTC |
//! | date with the tag `ansi/type` = `DATE` | DATE |
//! | everything else, partial dates among them | UTF-8 text as written |

use crate::view::{Column, Row};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;
use std::io::{self, Write};
use std::sync::Arc;

/// Rows of one group.
const GROUP_ROWS: usize = 50_000;
/// Text held for one group, bytes.
const GROUP_BYTES: usize = 32 << 20;
const MAX_DECIMAL_DIGITS: u32 = 18;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Boolean,
    Int32,
    Int64,
    Double,
    /// Digits, and those behind the point.
    Decimal(u32, u32),
    Timestamp,
    Date,
    Text,
}

enum Values {
    Boolean(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

struct Buffer {
    name: String,
    kind: Kind,
    collection: bool,
    values: Values,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

pub struct ParquetWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    columns: Vec<Buffer>,
    rows: usize,
    bytes: usize,
}

fn fault(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

fn kind_of(column: &Column) -> Kind {
    let ansi = column.ansi.to_ascii_uppercase().replace(' ', "");
    let numbers =
        ansi.strip_prefix("DECIMAL(").or(ansi.strip_prefix("NUMERIC(")).and_then(|t| t.strip_suffix(')'));
    if let Some((digits, scale)) = numbers.map(|t| t.split_once(',').unwrap_or((t, "0")))
        && let (Ok(digits), Ok(scale)) = (digits.parse::<u32>(), scale.parse::<u32>())
        && (1..=MAX_DECIMAL_DIGITS).contains(&digits)
        && scale <= digits
    {
        return Kind::Decimal(digits, scale);
    }
    match (column.kind.as_str(), ansi.as_str()) {
        (_, "DATE") => Kind::Date,
        (_, "BIGINT") => Kind::Int64,
        ("boolean", _) => Kind::Boolean,
        ("integer" | "positiveInt" | "unsignedInt", _) => Kind::Int32,
        ("integer64", _) => Kind::Int64,
        ("decimal", _) => Kind::Double,
        ("instant", _) => Kind::Timestamp,
        _ => Kind::Text,
    }
}

fn leaf(name: &str, kind: Kind) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match kind {
        Kind::Boolean => (Physical::BOOLEAN, None),
        Kind::Int32 => (Physical::INT32, None),
        Kind::Int64 => (Physical::INT64, None),
        Kind::Double => (Physical::DOUBLE, None),
        Kind::Decimal(digits, scale) => {
            (Physical::INT64, Some(LogicalType::decimal(scale as i32, digits as i32)))
        }
        Kind::Timestamp => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Kind::Date => (Physical::INT32, Some(LogicalType::Date)),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let mut builder = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    if let Kind::Decimal(digits, scale) = kind {
        builder = builder.with_precision(digits as i32).with_scale(scale as i32);
    }
    Ok(Arc::new(builder.build()?))
}

fn schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let kind = kind_of(column);
        if !column.collection {
            fields.push(leaf(&column.name, kind)?);
            continue;
        }
        // Three levels, as the format's specification asks of lists.
        let list = Type::group_type_builder("list")
            .with_repetition(Repetition::REPEATED)
            .with_fields(vec![leaf("element", kind)?])
            .build()?;
        let outer = Type::group_type_builder(&column.name)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(Some(LogicalType::List))
            .with_fields(vec![Arc::new(list)])
            .build()?;
        fields.push(Arc::new(outer));
    }
    Ok(Arc::new(Type::group_type_builder("row").with_fields(fields).build()?))
}

impl Buffer {
    fn new(column: &Column) -> Buffer {
        let kind = kind_of(column);
        let values = match kind {
            Kind::Boolean => Values::Boolean(Vec::new()),
            Kind::Int32 | Kind::Date => Values::Int32(Vec::new()),
            Kind::Int64 | Kind::Decimal(..) | Kind::Timestamp => Values::Int64(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
        };
        Buffer {
            name: column.name.clone(),
            kind,
            collection: column.collection,
            values,
            definitions: Vec::new(),
            repetitions: Vec::new(),
        }
    }

    /// Returns the bytes of text kept.
    fn cell(&mut self, cell: &Value) -> io::Result<usize> {
        if !self.collection {
            self.definitions.push(i16::from(!cell.is_null()));
            return if cell.is_null() { Ok(0) } else { self.value(cell) };
        }
        let items = cell.as_array().map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            // An empty list, or none at all.
            self.definitions.push(i16::from(cell.is_array()));
            self.repetitions.push(0);
        }
        let mut kept = 0;
        for (n, item) in items.iter().enumerate() {
            self.definitions.push(if item.is_null() { 2 } else { 3 });
            self.repetitions.push(i16::from(n > 0));
            if !item.is_null() {
                kept += self.value(item)?;
            }
        }
        Ok(kept)
    }

    fn value(&mut self, value: &Value) -> io::Result<usize> {
        let what = match self.kind {
            Kind::Boolean => "boolean",
            Kind::Int32 => "32-bit integer",
            Kind::Int64 => "64-bit integer",
            Kind::Double => "number",
            Kind::Decimal(..) => "decimal of these digits",
            Kind::Timestamp => "instant",
            Kind::Date => "full date",
            Kind::Text => "text",
        };
        let name = &self.name;
        let wrong = || {
            io::Error::new(io::ErrorKind::InvalidData, format!("column {name} has a value that is no {what}"))
        };
        match &mut self.values {
            Values::Boolean(values) => values.push(value.as_bool().ok_or_else(wrong)?),
            Values::Int32(values) if self.kind == Kind::Date => values.push(days(value).ok_or_else(wrong)?),
            Values::Int32(values) => {
                values.push(value.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or_else(wrong)?);
            }
            Values::Int64(values) => values.push(
                match self.kind {
                    Kind::Decimal(digits, scale) => unscaled(value, digits, scale),
                    Kind::Timestamp => value
                        .as_str()
                        .and_then(|t| t.parse::<jiff::Timestamp>().ok())
                        .map(|t| t.as_microsecond()),
                    _ => value.as_i64().or_else(|| value.as_str()?.parse().ok()),
                }
                .ok_or_else(wrong)?,
            ),
            Values::Double(values) => values.push(value.as_f64().ok_or_else(wrong)?),
            Values::Text(values) => {
                let text = match value {
                    Value::String(text) => text.as_bytes().to_vec(),
                    other => other.to_string().into_bytes(),
                };
                let length = text.len();
                values.push(ByteArray::from(text));
                return Ok(length);
            }
        }
        Ok(8)
    }

    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let definitions = Some(self.definitions.as_slice());
        let repetitions = self.collection.then_some(self.repetitions.as_slice());
        match &mut self.values {
            Values::Boolean(v) => column.typed::<BoolType>().write_batch(v, definitions, repetitions)?,
            Values::Int32(v) => column.typed::<Int32Type>().write_batch(v, definitions, repetitions)?,
            Values::Int64(v) => column.typed::<Int64Type>().write_batch(v, definitions, repetitions)?,
            Values::Double(v) => column.typed::<DoubleType>().write_batch(v, definitions, repetitions)?,
            Values::Text(v) => column.typed::<ByteArrayType>().write_batch(v, definitions, repetitions)?,
        };
        match &mut self.values {
            Values::Boolean(v) => v.clear(),
            Values::Int32(v) => v.clear(),
            Values::Int64(v) => v.clear(),
            Values::Double(v) => v.clear(),
            Values::Text(v) => v.clear(),
        }
        self.definitions.clear();
        self.repetitions.clear();
        Ok(())
    }
}

/// Days since 1970-01-01 of a date that is written in full.
fn days(value: &Value) -> Option<i32> {
    let date: jiff::civil::Date = value.as_str()?.get(..10)?.parse().ok()?;
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.until((jiff::Unit::Day, date)).ok().map(|span| span.get_days())
}

/// The decimal times ten to the scale; `None` if digits would be lost.
fn unscaled(value: &Value, digits: u32, scale: u32) -> Option<i64> {
    let text = value.as_number()?.to_string();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let mut number: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = i32::try_from(scale).ok()? + exponent - i32::try_from(fraction.len()).ok()?;
    if number != 0 {
        match u32::try_from(places) {
            Ok(places) if places <= 30 => number = number.checked_mul(10_i128.checked_pow(places)?)?,
            _ => {
                let divisor = 10_i128.checked_pow(places.unsigned_abs()).filter(|_| places < 0)?;
                if number % divisor != 0 {
                    return None;
                }
                number /= divisor;
            }
        }
    }
    if number >= 10_i128.pow(digits) {
        return None;
    }
    i64::try_from(if negative { -number } else { number }).ok()
}

impl<W: Write + Send> ParquetWriter<W> {
    pub fn new(out: W, columns: &[Column]) -> io::Result<ParquetWriter<W>> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("uzima".to_owned())
            .build();
        let schema = schema(columns).map_err(fault)?;
        let file = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(fault)?;
        Ok(ParquetWriter { file, columns: columns.iter().map(Buffer::new).collect(), rows: 0, bytes: 0 })
    }

    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(row) {
            self.bytes += column.cell(cell)?;
        }
        self.rows += 1;
        if self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.group().map_err(fault)
        } else {
            Ok(())
        }
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for buffer in &mut self.columns {
            if let Some(mut column) = group.next_column()? {
                buffer.write(&mut column)?;
                column.close()?;
            }
        }
        group.close()?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<W> {
        if self.rows > 0 {
            self.group().map_err(fault)?;
        }
        self.file.into_inner().map_err(fault)
    }
}
