//! Facts about concepts, put aside by number until their concept's turn comes: in memory, and in temporary files once
//! they are many. So loading a system needs memory for its codes, not for its texts.

use super::ImportError;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use store::terminology::{Designation, Property, Value};

/// Concepts of one bucket.
pub(super) const BUCKET: u32 = 1 << 15;
/// Bytes kept in memory for all buckets before they go to files.
const MEMORY: usize = 64 << 20;
/// Guards the reading of our own files.
const MAX_FIELD: usize = 64 << 20;

/// A fact about a concept.
#[derive(Debug)]
pub(super) enum Fact {
    Display(String),
    Definition(String),
    Inactive,
    Abstract,
    /// With how good a display it would be.
    Name(Designation, u8),
    Property(Property),
}

enum Bucket {
    Memory(Vec<u8>),
    File(BufWriter<File>),
}

pub(super) struct Spool {
    buckets: Vec<Bucket>,
    held: usize,
}

fn wrong(error: std::io::Error) -> ImportError {
    ImportError::File { file: "temporary file".into(), text: error.to_string() }
}

impl Spool {
    pub fn new(concepts: u32) -> Spool {
        let count = concepts.div_ceil(BUCKET).max(1);
        Spool { buckets: (0..count).map(|_| Bucket::Memory(Vec::new())).collect(), held: 0 }
    }
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Errors: a temporary file that cannot be made or written.
    pub fn put(&mut self, number: u32, kind: u8, texts: &[&str]) -> Result<(), ImportError> {
        let Some(bucket) = self.buckets.get_mut((number / BUCKET) as usize) else { return Ok(()) };
        match bucket {
            Bucket::Memory(bytes) => {
                let before = bytes.len();
                write(bytes, number, kind, texts).map_err(wrong)?;
                self.held += bytes.len() - before;
                if self.held > MEMORY {
                    self.spill()?;
                }
            }
            Bucket::File(file) => write(file, number, kind, texts).map_err(wrong)?,
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), ImportError> {
        for bucket in &mut self.buckets {
            if let Bucket::Memory(bytes) = bucket {
                let mut file = BufWriter::with_capacity(64 << 10, tempfile::tempfile().map_err(wrong)?);
                file.write_all(bytes).map_err(wrong)?;
                *bucket = Bucket::File(file);
            }
        }
        self.held = 0;
        Ok(())
    }

    /// All facts of one bucket, in the order they came. Errors: a temporary file that cannot be read.
    pub fn take(
        &mut self,
        bucket: usize,
        each: &mut dyn FnMut(u32, Fact) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let Some(bucket) = self.buckets.get_mut(bucket) else { return Ok(()) };
        let bytes = match std::mem::replace(bucket, Bucket::Memory(Vec::new())) {
            Bucket::Memory(bytes) => bytes,
            Bucket::File(file) => {
                let mut file = file.into_inner().map_err(|e| wrong(e.into_error()))?;
                file.seek(SeekFrom::Start(0)).map_err(wrong)?;
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).map_err(wrong)?;
                bytes
            }
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let number = u32::from_le_bytes(take(&mut rest)?);
            let [kind, count] = take(&mut rest)?;
            let mut texts: Vec<String> = Vec::with_capacity(usize::from(count));
            for _ in 0..count {
                let length = u32::from_le_bytes(take(&mut rest)?) as usize;
                let (text, tail) = rest
                    .split_at_checked(length.min(MAX_FIELD))
                    .ok_or_else(|| wrong(std::io::ErrorKind::UnexpectedEof.into()))?;
                texts.push(String::from_utf8_lossy(text).into_owned());
                rest = tail;
            }
            if let Some(fact) = fact(kind, texts) {
                each(number, fact)?;
            }
        }
        Ok(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ImportError> {
    let (head, tail) =
        rest.split_first_chunk::<N>().ok_or_else(|| wrong(std::io::ErrorKind::UnexpectedEof.into()))?;
    *rest = tail;
    Ok(*head)
}

fn write(out: &mut dyn Write, number: u32, kind: u8, texts: &[&str]) -> std::io::Result<()> {
    out.write_all(&number.to_le_bytes())?;
    out.write_all(&[kind, texts.len() as u8])?;
    for text in texts {
        out.write_all(&(text.len() as u32).to_le_bytes())?;
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

pub(super) const DISPLAY: u8 = 1;
pub(super) const DEFINITION: u8 = 2;
pub(super) const INACTIVE: u8 = 3;
pub(super) const ABSTRACT: u8 = 4;
pub(super) const NAME: u8 = 5;
/// And one more for each kind of value.
pub(super) const PROPERTY: u8 = 16;

/// The kind and texts of a property's value.
pub(super) fn value<'v>(value: &wire::terminology::Value<'v>) -> (u8, [&'v str; 3]) {
    use wire::terminology::Value as Found;
    match *value {
        Found::Code(text) => (PROPERTY, [text, "", ""]),
        Found::Coding { system, code, display } => (PROPERTY + 1, [system, code, display]),
        Found::Text(text) => (PROPERTY + 2, [text, "", ""]),
        Found::Integer(text) => (PROPERTY + 3, [text, "", ""]),
        Found::Boolean(true) => (PROPERTY + 4, ["true", "", ""]),
        Found::Boolean(false) => (PROPERTY + 4, ["false", "", ""]),
        Found::Date(text) => (PROPERTY + 5, [text, "", ""]),
        Found::Decimal(text) => (PROPERTY + 6, [text, "", ""]),
    }
}

fn fact(kind: u8, texts: Vec<String>) -> Option<Fact> {
    let mut texts = texts.into_iter();
    let mut next = || texts.next().unwrap_or_default();
    Some(match kind {
        DISPLAY => Fact::Display(next()),
        DEFINITION => Fact::Definition(next()),
        INACTIVE => Fact::Inactive,
        ABSTRACT => Fact::Abstract,
        NAME => {
            let flags = next();
            let rank = flags.as_bytes().first().map_or(0, |b| b.saturating_sub(b'0'));
            let designation = Designation {
                preferred: flags.ends_with('p'),
                language: next(),
                use_system: next(),
                use_code: next(),
                use_display: next(),
                value: next(),
            };
            Fact::Name(designation, rank)
        }
        _ => {
            let code = next();
            let (a, b, c) = (next(), next(), next());
            let value = match kind.checked_sub(PROPERTY)? {
                0 => Value::Code(a),
                1 => Value::Coding { system: a, code: b, display: c },
                2 => Value::Text(a),
                3 => Value::Integer(a),
                4 => Value::Boolean(a == "true"),
                5 => Value::Date(a),
                6 => Value::Decimal(a),
                _ => return None,
            };
            Fact::Property(Property { code, value })
        }
    })
}
