//! The key store beside the database: keys of patients, each wrapped, so that destroying one makes its patient's contents
//! unreadable in every copy.
//!
//! Hence it is no part of what can be restored as of a moment: only its newest state counts, and older ones go as soon as
//! they may. A key is always in the file before the first content under it is in the log; so it is read after the log was
//! looked at, and stored before what the log brought.

use crate::manifest::KeyStore;
use crate::repository::PIECE;
use crate::{Error, Repository, Result};
use jiff::{SignedDuration, Timestamp};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::keys::vault_file;

/// Older states go at the latest after this; see the passphrase's.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(35 * 24);
/// Largest key store, bytes: sixteen million patients.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// A file that changed less than this ago may change again without its time telling.
const SETTLED: Duration = Duration::from_secs(2);

/// What is known of the file that was stored last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    bytes: u64,
    modified_ns: i128,
    inode: u64,
}

/// A key store that waits to be stored.
pub(crate) struct Waiting {
    pub stamp: Stamp,
    /// It will not have changed since without its stamp telling.
    pub is_settled: bool,
    bytes: Vec<u8>,
}

/// The key store of this database, unless it is as when it was stored last; `None` if it has none.
pub(crate) fn changed(database: &Path, last: Option<Stamp>) -> Result<Option<Waiting>> {
    let path = vault_file(database);
    let fault = || Error::disk(path.display().to_string());
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault()(error)),
    };
    let about = file.metadata().map_err(fault())?;
    let modified_ns = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    let stamp = Stamp { bytes: about.len(), modified_ns, inode: about.ino() };
    if last == Some(stamp) {
        return Ok(None);
    }
    let is_settled = about.modified().is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > SETTLED));
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(fault())?;
    Ok(Some(Waiting { stamp, is_settled, bytes }))
}

impl Repository {
    /// Stores the newest state; returns the bytes that went out.
    pub(crate) fn put_keys(&self, waiting: &Waiting, at: Timestamp) -> Result<u64> {
        let mut sent = 0;
        let mut chunks = Vec::new();
        for piece in waiting.bytes.chunks(PIECE) {
            let (name, more) = self.put_chunk(piece)?;
            chunks.push(name);
            sent += more;
        }
        let store = KeyStore { bytes: waiting.bytes.len() as u64, chunks };
        Ok(sent + self.put_key_store(at, &store)?)
    }

    /// The newest key store that is there, as it lay beside the database. Errors: of the target.
    pub fn newest_keys(&self) -> Result<Option<Vec<u8>>> {
        let Some((_, name)) = self.key_stores()?.pop() else { return Ok(None) };
        let store = self.key_store(&name)?;
        let mut bytes = Vec::new();
        for chunk in &store.chunks {
            bytes.extend(self.get_chunk(chunk)?);
        }
        if bytes.len() as u64 == store.bytes { Ok(Some(bytes)) } else { Err(Error::Damaged(name)) }
    }

    /// Puts the newest key store beside a restored database, however old that is.
    pub(crate) fn restore_keys(&self, database: &Path) -> Result<Option<PathBuf>> {
        let Some(bytes) = self.newest_keys()? else { return Ok(None) };
        let path = vault_file(database);
        let fault = || Error::disk(path.display().to_string());
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(fault())?;
        std::io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all()).map_err(fault())?;
        Ok(Some(path))
    }
}
