//! The ZIP being written, sealed, in one stream.

use super::attachment::{self, Found};
use super::page::{self, Line};
use crate::bulk::disk;
use crate::part;
use crate::sealed::{FileKey, SealedWriter};
use fhir::{Resource, TypeId};
use jiff::Timestamp;
use record::Error;
use record::scan::ScanRow;
use record::subject::AccessReport;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

/// Lines of the page for people; the rest is in the Bundle.
const MAX_LINES: usize = 20_000;
/// Files of one copy.
const MAX_FILES: usize = 20_000;

type Sealed = SealedWriter<BufWriter<File>>;

pub struct Archive {
    zip: ZipWriter<StreamWriter<Sealed>>,
    made: Timestamp,
    resources: u64,
    lines: BTreeMap<&'static str, Vec<Line>>,
    more_lines: bool,
    with_files: BTreeSet<TypeId>,
    files: Vec<(String, String)>,
}

fn zip_error(error: zip::result::ZipError) -> Error {
    match error {
        zip::result::ZipError::Io(error) => disk(error),
        other => Error::Internal(format!("portable copy: {other}")),
    }
}

impl Archive {
    /// Errors: of the disk.
    pub fn begin(path: &Path, key: &FileKey, name: &str, made: Timestamp) -> Result<Archive, Error> {
        let sealed = part::create(path, key, name)?;
        let mut archive = Archive {
            zip: ZipWriter::new_stream(sealed),
            made,
            resources: 0,
            lines: BTreeMap::new(),
            more_lines: false,
            with_files: BTreeSet::new(),
            files: Vec::new(),
        };
        archive.file("record.json", true)?;
        let head = format!(
            "{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"timestamp\":\"{made}\",\"entry\":["
        );
        archive.write(head.as_bytes())?;
        Ok(archive)
    }

    pub fn resources(&self) -> u64 {
        self.resources
    }

    /// Types of which some carry files; see [Archive::add_files].
    pub fn kinds_with_files(&self) -> Vec<TypeId> {
        self.with_files.iter().copied().collect()
    }

    fn file(&mut self, name: &str, packed: bool) -> Result<(), Error> {
        let method = if packed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let options =
            SimpleFileOptions::default().compression_method(method).large_file(true).unix_permissions(0o644);
        self.zip.start_file(name, options).map_err(zip_error)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.zip.write_all(bytes).map_err(disk)
    }

    /// A resource as it is stored. Errors: of the disk; `Internal` for what is no resource.
    pub fn add(&mut self, row: &ScanRow) -> Result<(), Error> {
        if row.deleted {
            return Ok(());
        }
        let resource = row.stored.parse()?;
        self.entry(&row.stored.content)?;
        if attachment::any(resource.value()) {
            self.with_files.insert(resource.kind());
        }
        self.line(&resource);
        Ok(())
    }

    /// A resource that is made for the copy. Errors: of the disk.
    pub fn add_value(&mut self, value: &Value) -> Result<(), Error> {
        self.entry(value.to_string().as_bytes())
    }

    fn entry(&mut self, content: &[u8]) -> Result<(), Error> {
        let comma: &[u8] = if self.resources == 0 { b"\n" } else { b",\n" };
        self.resources += 1;
        self.write(comma)?;
        self.write(b"{\"resource\":")?;
        self.write(content)?;
        self.write(b"}")
    }

    fn line(&mut self, resource: &Resource) {
        let count: usize = self.lines.values().map(Vec::len).sum();
        if count >= MAX_LINES {
            self.more_lines = true;
            return;
        }
        self.lines.entry(resource.kind().name()).or_default().push(Line::of(resource));
    }

    /// Errors: of the disk.
    pub fn end_record(&mut self) -> Result<(), Error> {
        self.write(b"\n]}\n")
    }

    /// The files that a resource carries, each as itself. Errors: of the disk.
    pub fn add_files(&mut self, row: &ScanRow) -> Result<(), Error> {
        if row.deleted {
            return Ok(());
        }
        let resource = row.stored.parse()?;
        for Found { title, media_type, bytes } in attachment::all(resource.value()) {
            if self.files.len() >= MAX_FILES {
                return Ok(());
            }
            let name = attachment::file_name(self.files.len() + 1, &title, &media_type);
            let shown = if title.is_empty() { resource.kind().name().to_owned() } else { title };
            self.file(&name, false)?;
            self.write(&bytes)?;
            self.files.push((name, shown));
        }
        Ok(())
    }

    /// Writes who saw it and the page for people, and closes it. Returns the size of the ZIP. Errors: of the disk.
    pub fn finish(mut self, report: &AccessReport, language: &str) -> Result<u64, Error> {
        self.file("who-saw.csv", true)?;
        self.write(page::accesses(report).as_bytes())?;
        self.file("index.html", true)?;
        let contents = page::Contents {
            made: self.made,
            resources: self.resources,
            lines: &self.lines,
            more_lines: self.more_lines,
            files: &self.files,
            report,
        };
        let html = page::html(&contents, language);
        self.write(html.as_bytes())?;
        let sealed = self.zip.finish().map_err(zip_error)?.into_inner();
        let bytes = sealed.written();
        part::close(sealed)?;
        Ok(bytes)
    }
}
