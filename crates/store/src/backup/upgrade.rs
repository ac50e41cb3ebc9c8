//! The database as it was before a new program changed its schema, and the way back.

use super::frozen::Frozen;
use super::index::PAGE;
use super::segment::{disk, sync_folder};
use crate::engine::sqlite::lock;
use crate::{Error, Result};
use jiff::Timestamp;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes copied at once.
const PIECE: usize = 256 * PAGE;

/// A database kept from before a change of its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub path: PathBuf,
    /// Its schema's number.
    pub schema: u32,
    /// When it was kept.
    pub at: Timestamp,
    pub bytes: u64,
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Those that are kept, oldest first. Errors: of the disk.
pub fn snapshots(database: &Path) -> Result<Vec<Kept>> {
    let mut kept = Vec::new();
    let entries = match std::fs::read_dir(beside(database, "-before")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
        Err(error) => return Err(disk(error)),
    };
    for entry in entries {
        let entry = entry.map_err(disk)?;
        // e.g. 1763800000-schema-21.db
        let name = entry.file_name().to_string_lossy().into_owned();
        let parts = name.strip_suffix(".db").and_then(|name| name.split_once("-schema-"));
        let Some((at, schema)) = parts else { continue };
        let (Ok(at), Ok(schema)) = (at.parse::<i64>(), schema.parse()) else { continue };
        let Ok(at) = Timestamp::from_microsecond(at) else { continue };
        let bytes = entry.metadata().map_err(disk)?.len();
        kept.push(Kept { path: entry.path(), schema, at, bytes });
    }
    kept.sort_by_key(|kept| kept.at);
    Ok(kept)
}

/// Keeps the database as it is now, encrypted as it is, and forgets all but the newest `keep`.
/// Errors: [Error::DiskFull], after which nothing was changed.
pub(crate) fn before_migration(database: &Path, frozen: &Frozen, schema: u32, keep: usize) -> Result<()> {
    if keep == 0 {
        return Ok(());
    }
    let folder = beside(database, "-before");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(disk)?;
    let name = format!("{}-schema-{schema}.db", Timestamp::now().as_microsecond());
    let (path, partial) = (folder.join(&name), folder.join(format!("{name}.partial")));
    let copied = (|| {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(disk)?;
        let mut page = 1;
        let mut piece = vec![0; PIECE];
        while page <= frozen.pages() {
            let left = (frozen.pages() - page + 1) as usize;
            let take = (PIECE / PAGE).min(left);
            frozen.read(page, &mut piece[..take * PAGE])?;
            file.write_all(&piece[..take * PAGE]).map_err(disk)?;
            page += u32::try_from(take).unwrap_or(u32::MAX);
        }
        file.sync_all().map_err(disk)?;
        std::fs::rename(&partial, &path).map_err(disk)?;
        sync_folder(&path)
    })();
    if let Err(error) = copied {
        drop(std::fs::remove_file(&partial));
        return Err(error);
    }
    tracing::info!(schema, file = %path.display(), "kept the database as it was before its schema changes");
    let mut all = snapshots(database)?;
    let surplus = all.len().saturating_sub(keep);
    for old in all.drain(..surplus) {
        std::fs::remove_file(&old.path).map_err(disk)?;
    }
    Ok(())
}

/// Puts the newest kept database back, for the program that knows its schema. What was written since lies in the folder
/// that is returned with it. Errors: [Error::InUse]; [Error::Invalid] if none is kept; of the disk.
pub fn roll_back(database: &Path) -> Result<(Kept, PathBuf)> {
    let _lock = lock(database)?;
    let kept = snapshots(database)?
        .pop()
        .ok_or(Error::Invalid("roll-back: no database is kept from before an upgrade"))?;
    let aside = beside(database, &format!("-rolled-back-{}", Timestamp::now().as_second()));
    let new = beside(database, ".new");
    // The copy first, so that a full disk leaves everything as it is; the kept one stays for another try.
    std::fs::copy(&kept.path, &new).map_err(disk)?;
    std::fs::File::open(&new).and_then(|file| file.sync_all()).map_err(disk)?;
    std::fs::DirBuilder::new().mode(0o700).create(&aside).map_err(disk)?;
    // The log belongs to the database it lies beside. It goes first: a file without its log is only older, a log beside
    // another file would be laid over it.
    for suffix in ["-wal", "-shm", ""] {
        let from = beside(database, suffix);
        let name = from.file_name().unwrap_or_default();
        match std::fs::rename(&from, aside.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(error)),
            _ => {}
        }
    }
    std::fs::rename(&new, database).map_err(disk)?;
    sync_folder(database)?;
    Ok((kept, aside))
}
