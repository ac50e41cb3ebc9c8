//! The files beside the database.

use crate::manifest::{FileChanges, FileEntry};
use crate::repository::{PIECE, each};
use crate::{Error, Repository, Result, Watch};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Files found at most; a data folder with more is no data folder.
const FILES_MAX: usize = 2_000_000;

/// Which files of the data folder are none of the backup's business.
pub(crate) fn is_left_out(path: &Path, database: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let base = database.file_name().unwrap_or_default().to_string_lossy();
    // The database has its own way (`uzima.db`, `-wal`, `-log`, `.lock` …); sockets, keys and half-written files have none.
    (!base.is_empty() && name.starts_with(&*base))
        || name.ends_with(".key")
        || name.ends_with(".sock")
        || name.ends_with(".partial")
        || name.starts_with(".partial")
        || name.starts_with("restore-drill-")
        || name == "reserve"
}

/// Every file under `data` with its size and time, by its path with `/` between.
pub(crate) fn found(data: &Path, database: &Path) -> Result<BTreeMap<String, FileEntry>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Removed while we looked.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::Disk(folder.display().to_string(), error)),
        };
        for entry in entries {
            let entry = entry.map_err(Error::disk(folder.display().to_string()))?;
            let path = entry.path();
            if is_left_out(&path, database) {
                continue;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let Some(name) = path.strip_prefix(data).ok().and_then(|p| p.to_str()) else { continue };
                let modified_ns =
                    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
                let entry = FileEntry {
                    path: name.to_owned(),
                    bytes: metadata.len(),
                    modified_ns,
                    mode: metadata.mode() & 0o777,
                    chunks: Vec::new(),
                };
                files.insert(name.to_owned(), entry);
                if files.len() > FILES_MAX {
                    return Err(Error::Wrong(format!("{} holds too many files", data.display())));
                }
            }
        }
    }
    Ok(files)
}

/// What has changed since `before`, with the pieces stored. A file that goes away meanwhile counts as removed.
pub(crate) fn changes(
    repository: &Repository,
    data: &Path,
    database: &Path,
    before: &BTreeMap<String, FileEntry>,
    watch: &Watch<'_>,
) -> Result<(FileChanges, u64)> {
    let now = found(data, database)?;
    let mut changes = FileChanges::default();
    changes.removed.extend(before.keys().filter(|path| !now.contains_key(*path)).cloned());
    let is_same = |entry: &FileEntry| {
        before
            .get(&entry.path)
            .is_some_and(|old| (old.bytes, old.modified_ns) == (entry.bytes, entry.modified_ns))
    };
    let new: Vec<FileEntry> = now.into_values().filter(|entry| !is_same(entry)).collect();
    let sent = std::sync::atomic::AtomicU64::new(0);
    let stored = each(&new, |_, entry| {
        watch.check()?;
        let stored = store_file(repository, &data.join(&entry.path), entry)?;
        Ok(stored.map(|(entry, more)| {
            sent.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
            entry
        }))
    })?;
    for (entry, stored) in new.iter().zip(stored) {
        match stored {
            Some(entry) => changes.changed.push(entry),
            None if before.contains_key(&entry.path) => changes.removed.push(entry.path.clone()),
            None => {}
        }
    }
    Ok((changes, sent.into_inner()))
}

fn store_file(
    repository: &Repository,
    path: &PathBuf,
    entry: &FileEntry,
) -> Result<Option<(FileEntry, u64)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::Disk(path.display().to_string(), error)),
    };
    let (mut entry, mut sent, mut bytes) = (entry.clone(), 0, 0);
    loop {
        let mut piece = Vec::with_capacity(PIECE.min(entry.bytes as usize + 1));
        let read = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        read.map_err(Error::disk(path.display().to_string()))?;
        if piece.is_empty() {
            break;
        }
        bytes += piece.len() as u64;
        let (name, more) = repository.put_chunk(&piece)?;
        entry.chunks.push(name);
        sent += more;
    }
    // It may have grown since it was listed; what was read is what is kept.
    entry.bytes = bytes;
    Ok(Some((entry, sent)))
}
