//! One state of the database that stays readable page by page while the writer goes on.

use super::capture::Place;
use super::index::{Files, PAGE, Position};
use crate::{Error, Result};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Bytes of a page, as SQLCipher has them.
pub const PAGE_BYTES: usize = PAGE;

/// Tries to catch the index between two commits: a look takes microseconds, a commit milliseconds.
const TRIES: usize = 10_000;

/// Rows of each table.
pub type Counts = BTreeMap<String, i64>;

/// A read transaction whose exact place in the log is known. While it lives the log grows; take it for minutes, not days.
pub struct Frozen {
    connection: Connection,
    files: Arc<Files>,
    pages: u32,
    /// Where newer images than the file's lie; empty if the file holds all of it.
    overlay: BTreeMap<u32, u32>,
    /// Which segment ends at this state, where the log is followed.
    pub place: Option<Place>,
    /// Not before any commit that it holds was made.
    pub at: jiff::Timestamp,
}

/// Begins a read transaction on each, all at one and the same state. Errors: a writer that commits without pause.
pub(super) fn begin(files: &Files, connections: &[&Connection]) -> Result<(Position, bool)> {
    for _ in 0..TRIES {
        let Some(before) = files.position()? else {
            std::thread::yield_now();
            continue;
        };
        for connection in connections {
            connection.execute_batch("BEGIN")?;
            // The snapshot is taken by the first read.
            connection
                .query_row("SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 1)", [], |_| Ok(()))?;
        }
        // In this order: once the header is the same again, the log was not begun anew in between.
        let is_in_file = files.backfilled()? == before.frames;
        if files.position()?.as_ref() == Some(&before) {
            return Ok((before, is_in_file));
        }
        for connection in connections {
            connection.execute_batch("ROLLBACK")?;
        }
    }
    Err(Error::Busy)
}

impl Frozen {
    /// `connection` is in the transaction that [begin] began.
    pub(super) fn new(
        connection: Connection,
        files: Arc<Files>,
        position: Position,
        is_in_file: bool,
        place: Option<Place>,
        at: jiff::Timestamp,
    ) -> Result<Frozen> {
        // With all of the log in the file, the reader does not keep the writer from beginning the log anew; and needs
        // nothing of it. Otherwise it does, so the frames stay where they are.
        let overlay = if is_in_file { BTreeMap::new() } else { files.newest(None, &position)? };
        let pages = match position.frames {
            // A log that has not begun says nothing; SQLite itself then goes by the file.
            0 => {
                let bytes = files.database.metadata().map_err(super::segment::disk)?.len();
                u32::try_from(bytes / PAGE as u64).map_err(|_| Error::Invalid("size of the database"))?
            }
            _ => position.pages,
        };
        Ok(Frozen { connection, files, pages, overlay, place, at })
    }

    /// Size of the database, pages of [PAGE_BYTES].
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Reads pages from several threads.
    pub fn reader(&self) -> PageReader<'_> {
        PageReader { files: &self.files, pages: self.pages, overlay: &self.overlay }
    }

    /// As [PageReader::read].
    pub fn read(&self, first: u32, out: &mut [u8]) -> Result<()> {
        self.reader().read(first, out)
    }

    /// Rows of every table. Errors: of the engine.
    pub fn counts(&self) -> Result<Counts> {
        counts(&self.connection)
    }

    /// The last number of the audit trail, and of the change sequence's events.
    pub fn sequences(&self) -> Result<(i64, i64)> {
        sequences(&self.connection)
    }

    /// The schema's number.
    pub fn schema(&self) -> Result<u32> {
        schema(&self.connection)
    }
}

/// The pages of a frozen database, whose transaction it leaves alone.
#[derive(Clone, Copy)]
pub struct PageReader<'a> {
    files: &'a Files,
    pages: u32,
    overlay: &'a BTreeMap<u32, u32>,
}

impl PageReader<'_> {
    /// Bytes of the log now, which SQLite cannot begin anew as long as the database is frozen.
    pub fn log_bytes(&self) -> u64 {
        self.files.log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Pages from `first` (counted from 1) into `out`, whose length is a multiple of [PAGE_BYTES].
    /// Errors: of the disk; a range beyond the end.
    pub fn read(&self, first: u32, out: &mut [u8]) -> Result<()> {
        let count = u32::try_from(out.len() / PAGE).unwrap_or(u32::MAX);
        let end = first.checked_add(count).filter(|end| first > 0 && *end <= self.pages.saturating_add(1));
        let end = end.ok_or(Error::Invalid("range of pages"))?;
        // The file may end before pages that are in the log only.
        let mut filled = 0;
        let offset = u64::from(first - 1) * PAGE as u64;
        while filled < out.len() {
            match self.files.database.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Database(error.to_string())),
            }
        }
        let missing = first + u32::try_from(filled / PAGE).unwrap_or(u32::MAX);
        if let Some(page) = (missing..end).find(|page| !self.overlay.contains_key(page)) {
            return Err(Error::Corrupt(format!("page {page} is in neither file nor log")));
        }
        for (page, frame) in self.overlay.range(first..end) {
            let at = (page - first) as usize * PAGE;
            self.files.frame_page(*frame, &mut out[at..at + PAGE])?;
        }
        Ok(())
    }
}

pub(super) fn counts(connection: &Connection) -> Result<Counts> {
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut counts = Counts::new();
    for name in names {
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        let count = connection.query_row(&sql, [], |row| row.get(0))?;
        counts.insert(name, count);
    }
    Ok(counts)
}

pub(super) fn sequences(connection: &Connection) -> Result<(i64, i64)> {
    let last = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let audit = last("SELECT max(seq) FROM audit")?.unwrap_or(0);
    let change = last("SELECT max(seq) FROM outbox")?.unwrap_or(0);
    Ok((audit, change))
}

pub(super) fn schema(connection: &Connection) -> Result<u32> {
    let number =
        connection.query_row("SELECT max(number) FROM migration", [], |row| row.get::<_, Option<u32>>(0))?;
    Ok(number.unwrap_or(0))
}
