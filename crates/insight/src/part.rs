//! One piece of an export: a sealed file of rows or resources, and one of deletions, being written.

use crate::bulk::{Insight, disk, seal_name};
use crate::sealed::SealedWriter;
use crate::table::{Format, TableWriter};
use crate::view::Row;
use record::Error;
use record::scan::ScanRow;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use store::bulk::job::{self, Role};
use uuid::Uuid;

pub(crate) type Sealed = SealedWriter<BufWriter<File>>;

/// Deletions in one Bundle.
const DELETIONS_PER_BUNDLE: usize = 1000;

/// Opens a new sealed file beside its final name. Errors: of the disk.
pub(crate) fn create(path: &Path, key: &crate::sealed::FileKey, name: &str) -> Result<Sealed, Error> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(disk)?;
    }
    // A file left by a piece that was cut off is written over: no row speaks of it.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(disk)?;
    SealedWriter::new(BufWriter::with_capacity(1 << 18, file), key, name).map_err(disk)
}

/// Durable when it returns. Errors: of the disk.
pub(crate) fn close(sealed: Sealed) -> Result<(), Error> {
    let mut out = sealed.finish().map_err(disk)?;
    out.flush().map_err(disk)?;
    let file = out.into_inner().map_err(|error| disk(error.into_error()))?;
    file.sync_all().map_err(disk)
}

enum Body {
    Lines(Sealed),
    Table(TableWriter<Counted>),
}

/// Counts what goes through, because a table's writer hides its output.
pub(crate) struct Counted {
    sealed: Sealed,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sealed.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.sealed.flush()
    }
}

/// What a part is made of.
#[derive(Clone)]
pub(crate) struct Making {
    /// Resource type, or the view's name.
    pub kind: String,
    /// Root elements to keep; empty: all.
    pub elements: Vec<String>,
    pub format: Option<Format>,
    pub columns: Vec<crate::view::Column>,
}

pub(crate) struct Part {
    insight: Insight,
    id: Uuid,
    making: Making,
    body: Option<(i64, Body)>,
    deleted: Vec<String>,
    next_number: i64,
    count: u64,
    /// Rough size of the text.
    bytes: u64,
    patients: BTreeSet<String>,
}

/// What came of a part.
pub(crate) struct Closed {
    pub files: Vec<job::File>,
    pub next_number: i64,
    pub patients: Vec<String>,
    paths: Vec<PathBuf>,
}

impl Closed {
    /// The piece was lost to another worker, or the job was cancelled.
    pub async fn discard(self) -> Result<(), Error> {
        crate::bulk::blocking(move || {
            for path in &self.paths {
                // What cannot be removed now goes with the job's folder.
                drop(std::fs::remove_file(path));
            }
            Ok(())
        })
        .await
    }
}

impl Part {
    pub fn new(insight: &Insight, id: Uuid, making: Making, next_number: i64) -> Part {
        Part {
            insight: insight.clone(),
            id,
            making,
            body: None,
            deleted: Vec::new(),
            next_number,
            count: 0,
            bytes: 0,
            patients: BTreeSet::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        let config = self.insight.config();
        self.count + self.deleted.len() as u64 >= config.part_resources || self.bytes >= config.part_bytes
    }

    fn body(&mut self) -> Result<&mut Body, Error> {
        if self.body.is_none() {
            let number = self.next_number;
            self.next_number += 1;
            let path = self.insight.path(self.id, number);
            let sealed = create(&path, &self.insight.config().key, &seal_name(self.id, number))?;
            let body = match self.making.format {
                None => Body::Lines(sealed),
                Some(format) => {
                    let table = TableWriter::new(Counted { sealed }, format, &self.making.columns, true);
                    Body::Table(table.map_err(disk)?)
                }
            };
            self.body = Some((number, body));
        }
        match &mut self.body {
            Some((_, body)) => Ok(body),
            None => Err(Error::Internal("a part without a file".into())),
        }
    }

    /// A page of resources. Blocks. Errors: of the disk.
    pub fn resources(&mut self, rows: Vec<ScanRow>) -> Result<(), Error> {
        for row in rows {
            if row.deleted {
                self.deleted.push(row.stored.key.to_string());
                self.patients.extend(row.patients);
                continue;
            }
            let subset;
            let line: &[u8] = if self.making.elements.is_empty() {
                &row.stored.content
            } else {
                let resource = row.stored.parse()?;
                let elements: Vec<&str> = self.making.elements.iter().map(String::as_str).collect();
                subset = fhir::summary::elements(resource.value(), &elements).to_string();
                subset.as_bytes()
            };
            if let Body::Lines(out) = self.body()? {
                out.write_all(line).and_then(|()| out.write_all(b"\n")).map_err(disk)?;
            }
            self.bytes += line.len() as u64 + 1;
            self.count += 1;
            self.patients.extend(row.patients);
        }
        Ok(())
    }

    /// The rows of one resource. Blocks. Errors: of the disk; `Malformed` for a value that does not fit its column.
    pub fn rows(&mut self, rows: Vec<Row>, patients: Vec<String>) -> Result<(), Error> {
        for row in rows {
            if let Body::Table(table) = self.body()? {
                table.row(&row).map_err(|error| match error.kind() {
                    std::io::ErrorKind::InvalidData => crate::bulk::wrong("view", error.to_string()),
                    _ => disk(error),
                })?;
            }
            // A cell takes some bytes in any format.
            self.bytes += 16 * row.len() as u64;
            self.count += 1;
        }
        self.patients.extend(patients);
        Ok(())
    }

    /// Opens the file even if there is nothing for it: a table without rows still has its columns.
    pub fn touch(&mut self) -> Result<(), Error> {
        self.body().map(|_| ())
    }

    /// Makes the files durable. Blocks. Errors: of the disk.
    pub fn close(mut self) -> Result<Closed, Error> {
        let mut files = Vec::new();
        let mut paths = Vec::new();
        if let Some((number, body)) = self.body.take() {
            let sealed = match body {
                Body::Lines(sealed) => sealed,
                Body::Table(table) => table.finish().map_err(disk)?.sealed,
            };
            let bytes = sealed.written();
            close(sealed)?;
            let (kind, ending) = match self.making.format {
                Some(format) => (format.code().to_owned(), format.code()),
                None => (self.making.kind.clone(), "ndjson"),
            };
            files.push(job::File {
                number,
                role: Role::Output,
                kind,
                name: format!("{}.{number}.{ending}", self.making.kind),
                count: i64::try_from(self.count).unwrap_or(i64::MAX),
                bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            });
            paths.push(self.insight.path(self.id, number));
        }
        if !self.deleted.is_empty() {
            let number = self.next_number;
            self.next_number += 1;
            let path = self.insight.path(self.id, number);
            let mut sealed = create(&path, &self.insight.config().key, &seal_name(self.id, number))?;
            let mut bundles = 0;
            for keys in self.deleted.chunks(DELETIONS_PER_BUNDLE) {
                let entries: Vec<Value> =
                    keys.iter().map(|key| json!({"request": {"method": "DELETE", "url": key}})).collect();
                let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
                sealed.write_all(format!("{bundle}\n").as_bytes()).map_err(disk)?;
                bundles += 1;
            }
            let bytes = i64::try_from(sealed.written()).unwrap_or(i64::MAX);
            close(sealed)?;
            files.push(job::File {
                number,
                role: Role::Deleted,
                kind: "Bundle".to_owned(),
                name: format!("{}.{number}.deleted.ndjson", self.making.kind),
                count: bundles,
                bytes,
            });
            paths.push(path);
        }
        Ok(Closed {
            files,
            next_number: self.next_number,
            patients: self.patients.into_iter().collect(),
            paths,
        })
    }
}
