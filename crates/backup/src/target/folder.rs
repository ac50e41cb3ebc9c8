//! A folder: another disk, a share, a stick.

use super::{Entry, Put, Target};
use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Files that are being written have this in their name.
const PARTIAL: &str = ".partial-";

pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folder. Errors: it cannot be made.
    pub fn new(root: PathBuf) -> Result<Folder> {
        make(&root)?;
        Ok(Folder { root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn make(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| told(folder, error))
}

fn told(path: &Path, error: std::io::Error) -> Error {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::NotFound => Error::NotFound(path.display().to_string()),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Error::Refused(text),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full(text),
        // A disk that was pulled out, a share that went away.
        _ => Error::Unreachable(text),
    }
}

impl Target for Folder {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let path = self.path(name);
        if path.exists() {
            return Ok(Put::WasThere);
        }
        let parent = path.parent().unwrap_or(&self.root);
        make(parent)?;
        let partial = parent.join(format!("{PARTIAL}{}", uuid::Uuid::new_v4().simple()));
        let written = (|| -> std::io::Result<Put> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // A link never goes over a name that is taken, as renaming would.
            let put = match std::fs::hard_link(&partial, &path) {
                Ok(()) => Put::Made,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Put::WasThere,
                // Sticks know no links.
                Err(_) => {
                    std::fs::rename(&partial, &path)?;
                    Put::Made
                }
            };
            File::open(parent)?.sync_all()?;
            Ok(put)
        })();
        // Gone already if it was renamed.
        drop(std::fs::remove_file(&partial));
        written.map_err(|error| told(&path, error))
    }

    fn get(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        std::fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NotFound(name.to_owned()),
            _ => told(&path, error),
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(told(&folder, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| told(&folder, error))?;
                let path = entry.path();
                let Ok(name) = path.strip_prefix(&self.root) else { continue };
                let name = name.to_string_lossy().into_owned();
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && (name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"))) {
                    folders.push(path);
                } else if !is_folder && name.starts_with(prefix) && !name.contains(PARTIAL) {
                    let bytes = entry.metadata().map_err(|error| told(&path, error))?.len();
                    found.push(Entry { name, bytes });
                }
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(told(&path, error)),
            _ => Ok(()),
        }
    }
}
