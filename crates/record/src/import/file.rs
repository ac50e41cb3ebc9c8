//! Files to import: finding, opening, telling one content from another.

use super::table::{Rule, Tables};
use crate::Error;
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Files in one import; more are a mistake in the path.
const MAX_FILES: usize = 2_000_000;
const MAX_FOLDER_DEPTH: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One JSON document: a Bundle or a resource.
    Document,
    /// One resource per line.
    Lines,
    /// CSV.
    Table,
}

#[derive(Debug, Clone)]
pub(super) struct Source {
    pub path: PathBuf,
    pub kind: Kind,
    pub gzip: bool,
    /// On disk.
    pub bytes: u64,
    /// How the rows of a table become resources; `None` for everything else.
    pub rule: Option<Rule>,
    /// Tells imports of the same file by different rules apart.
    pub rule_fingerprint: String,
}

impl Source {
    fn of(path: &Path, bytes: u64) -> Option<Source> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        let (stem, gzip) = match name.strip_suffix(".gz") {
            Some(stem) => (stem, true),
            None => (&*name, false),
        };
        let kind = if stem.ends_with(".ndjson") || stem.ends_with(".jsonl") {
            Kind::Lines
        } else if stem.ends_with(".json") {
            Kind::Document
        } else if stem.ends_with(".csv") {
            Kind::Table
        } else {
            return None;
        };
        Some(Source { path: path.to_owned(), kind, gzip, bytes, rule: None, rule_fingerprint: String::new() })
    }

    /// Files that others refer to by identifier instead of id.
    pub fn is_directory_data(&self) -> bool {
        let name = self.path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_lowercase();
        name.starts_with("hospitalinformation") || name.starts_with("practitionerinformation")
    }

    /// Unpacked content. Errors: text for the report.
    pub fn open(&self) -> Result<Box<dyn BufRead>, String> {
        let file = File::open(&self.path).map_err(|e| e.to_string())?;
        let plain: Box<dyn Read> =
            if self.gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Box::new(BufReader::with_capacity(1 << 16, plain)))
    }

    /// The setting under which the file is known once it is taken: by its content, wherever it lies.
    pub fn marker(&self) -> Result<String, String> {
        let mut file = File::open(&self.path).map_err(|e| e.to_string())?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer).map_err(|e| e.to_string())?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        let hex: String = hasher.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let rule = &self.rule_fingerprint;
        Ok(if rule.is_empty() { format!("import/{hex}") } else { format!("import/{hex}/{rule}") })
    }
}

/// All importable files under `paths`, sorted within each folder. A file named itself must be importable.
/// Errors: `Internal` with the path's problem.
pub(super) fn list(paths: &[PathBuf]) -> Result<Vec<Source>, Error> {
    let mut found = Vec::new();
    for path in paths {
        let meta =
            std::fs::metadata(path).map_err(|e| Error::Internal(format!("{}: {e}", path.display())))?;
        if meta.is_dir() {
            walk(path, 0, &mut found)?;
        } else {
            found.push(Source::of(path, meta.len()).ok_or_else(|| {
                Error::Internal(format!("{}: not .json, .ndjson or .csv, plain or .gz", path.display()))
            })?);
        }
    }
    Ok(found)
}

/// Gives every table its rule. Errors: `Internal` for a table without one.
pub(super) fn give_rules(files: &mut [Source], tables: Option<&Tables>) -> Result<(), Error> {
    for file in files.iter_mut().filter(|f| f.kind == Kind::Table) {
        let rule = match tables {
            Some(tables) => tables.rule(&file.path).map(|rule| (rule, tables.fingerprint())),
            None => Err("CSV needs a mapping, or to be said to come from OpenMRS".to_owned()),
        };
        let (rule, fingerprint) =
            rule.map_err(|why| Error::Internal(format!("{}: {why}", file.path.display())))?;
        (file.rule, file.rule_fingerprint) = (Some(rule), fingerprint);
    }
    Ok(())
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<Source>) -> Result<(), Error> {
    let internal = |e: std::io::Error| Error::Internal(format!("{}: {e}", folder.display()));
    if depth > MAX_FOLDER_DEPTH {
        return Ok(());
    }
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).map_err(internal)?.collect::<Result<_, _>>().map_err(internal)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // Links are followed to files, not to folders: no circles.
        if entry.file_type().map_err(internal)?.is_dir() {
            walk(&entry.path(), depth + 1, found)?;
            continue;
        }
        let meta = std::fs::metadata(entry.path()).map_err(internal)?;
        if let Some(source) = Source::of(&entry.path(), meta.len()).filter(|_| meta.is_file()) {
            if found.len() == MAX_FILES {
                return Err(Error::Internal(format!("more than {MAX_FILES} files")));
            }
            found.push(source);
        }
    }
    Ok(())
}
