//! Making backups: a base, then what comes after it.

use crate::files;
use crate::keystore::{self, Stamp};
use crate::manifest::{Base, CHUNK_BYTES, FileChanges, FileEntry, Point};
use crate::repository::{Progress, each};
use crate::{Error, Repository, Result, Watch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use store::backup::{Capture, Frozen, PAGE_BYTES};

/// Bases that are looked at for the line.
const BASES: usize = 3;
/// Segments taken away in one round.
const SEGMENTS: usize = 256;
/// A log that grows beyond this while a base is stored is worse than beginning the base anew: what is stored already need
/// not be stored again.
const LOG_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A base that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub name: String,
    pub point: Point,
    /// Of the database.
    pub bytes: u64,
    /// Bytes that had to be sent, of database and files.
    pub sent: u64,
    pub files: u64,
}

/// What one round of following brought away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shipped {
    pub segments: u64,
    pub files: u64,
    pub sent: u64,
    /// Until when the copy is whole.
    pub until: Option<jiff::Timestamp>,
}

/// What is backed up: the data folder with its database, and the files as they were stored last.
pub struct Outline {
    data: PathBuf,
    database: PathBuf,
    files: BTreeMap<String, FileEntry>,
    /// The key store that was stored last.
    keys: Option<Stamp>,
    /// The line of the last base; segments of another are of no use without a base of theirs.
    line: Option<String>,
    /// Where the line's first base stands: segments up to it are in it.
    first: u64,
    program: String,
}

/// A database that is stored, without the files beside it: nothing refers to it yet.
pub struct Half {
    point: Point,
    pages: u32,
    chunks: Vec<String>,
    sent: u64,
}

impl Half {
    /// Errors: as [Outline::base].
    pub fn store(repository: &Repository, capture: &Capture, watch: &Watch<'_>) -> Result<Half> {
        let frozen = capture.freeze()?;
        (watch.tell)(Progress::Doing("counting"));
        let point = point(&frozen)?;
        let pages = frozen.pages();
        (watch.tell)(Progress::Doing("database"));
        (watch.tell)(Progress::Begin(u64::from(pages) * PAGE_BYTES as u64));
        let per_chunk = u32::try_from(CHUNK_BYTES / PAGE_BYTES).unwrap_or(1);
        let starts: Vec<u32> = (0..pages.div_ceil(per_chunk)).map(|n| 1 + n * per_chunk).collect();
        let sent = AtomicU64::new(0);
        let reader = frozen.reader();
        let chunks = each(&starts, |_, first| {
            watch.check()?;
            if reader.log_bytes() > LOG_BYTES_MAX {
                return Err(Error::Store(store::Error::Busy));
            }
            let mut bytes = vec![0; per_chunk.min(pages - first + 1) as usize * PAGE_BYTES];
            reader.read(*first, &mut bytes)?;
            let (name, more) = repository.put_chunk(&bytes)?;
            sent.fetch_add(more, Ordering::Relaxed);
            (watch.tell)(Progress::Done(bytes.len() as u64));
            Ok(name)
        })?;
        Ok(Half { point, pages, chunks, sent: sent.into_inner() })
    }
}

fn point(frozen: &Frozen) -> Result<Point> {
    let (audit, change) = frozen.sequences()?;
    Ok(Point {
        at: frozen.at,
        line: frozen.place.as_ref().map(|place| place.line.clone()),
        number: frozen.place.as_ref().map_or(0, |place| place.number),
        counts: frozen.counts()?,
        audit,
        change,
        schema: frozen.schema()?,
    })
}

impl Outline {
    pub fn new(data: &Path, database: &Path, program: &str) -> Outline {
        Outline {
            data: data.to_owned(),
            database: database.to_owned(),
            files: BTreeMap::new(),
            keys: None,
            line: None,
            first: 0,
            program: program.to_owned(),
        }
    }

    /// Finds out what the repository holds of this line, after a start of the program. Errors: of the target; a repository
    /// of another key.
    pub fn resume(&mut self, repository: &Repository, capture: &Capture) -> Result<Option<jiff::Timestamp>> {
        let Some(place) = capture.place() else { return Ok(None) };
        // Newest first; one of this line is all that is needed.
        for (at, name) in repository.bases()?.into_iter().rev().take(BASES) {
            let base = repository.base(&name)?;
            if base.point.line.as_deref() != Some(&place.line) {
                continue;
            }
            self.files = base.files.into_iter().map(|file| (file.path.clone(), file)).collect();
            for (_, name) in repository.file_changes()?.into_iter().filter(|(time, _)| *time > base.files_at)
            {
                self.note(repository.changes(&name)?);
            }
            self.line = Some(place.line);
            return Ok(Some(at));
        }
        Ok(None)
    }

    /// Whether segments can follow what is stored; otherwise a base must be made first.
    pub fn follows(&self, capture: &Capture) -> bool {
        self.line.is_some() && capture.place().map(|place| place.line) == self.line
    }

    /// Stores the database as it is now, and the files beside it. The server goes on meanwhile. Stopped or broken off, the
    /// next try need not send what arrived. Errors: [Error::Stopped]; of the target, the disk, the engine.
    pub fn base(&mut self, repository: &Repository, capture: &Capture, watch: &Watch<'_>) -> Result<Made> {
        let half = Half::store(repository, capture, watch)?;
        self.finish_base(repository, half, watch)
    }

    /// Stores the files beside a database that is stored, and makes both one base.
    pub fn finish_base(&mut self, repository: &Repository, half: Half, watch: &Watch<'_>) -> Result<Made> {
        // Read after the snapshot: every key that it needs is there.
        self.keys = None;
        let keys = self.ship_keys(repository)?;
        (watch.tell)(Progress::Doing("files"));
        let files_at = jiff::Timestamp::now();
        let (changes, more) = files::changes(repository, &self.data, &self.database, &self.files, watch)?;
        self.note(changes);
        let (line, number) = (half.point.line.clone(), half.point.number);
        let base = Base {
            program: self.program.clone(),
            point: half.point,
            pages: half.pages,
            chunks: half.chunks,
            files_at,
            files: self.files.values().cloned().collect(),
        };
        let name = repository.put_base(&base)?;
        if self.line != line {
            self.first = number;
            self.line = line;
        }
        let bytes = u64::from(half.pages) * PAGE_BYTES as u64;
        Ok(Made {
            name,
            point: base.point,
            bytes,
            sent: half.sent + more + keys,
            files: base.files.len() as u64,
        })
    }

    /// Brings away a key store that has changed. Call it after the log was looked at, and before what that brought is
    /// stored: see [keystore].
    fn ship_keys(&mut self, repository: &Repository) -> Result<u64> {
        let Some(waiting) = keystore::changed(&self.database, self.keys)? else { return Ok(0) };
        let sent = repository.put_keys(&waiting, jiff::Timestamp::now())?;
        // One that is just being written is looked at again.
        self.keys = waiting.is_settled.then_some(waiting.stamp);
        Ok(sent)
    }

    fn note(&mut self, changes: FileChanges) {
        changes.removed.iter().for_each(|path| drop(self.files.remove(path)));
        self.files.extend(changes.changed.into_iter().map(|file| (file.path.clone(), file)));
    }

    /// Brings away what the log brought, and changed files. Without a base of this line it does nothing. `told` hears after
    /// each segment until when all commits are safe, as there may be many.
    /// Errors: of the target, after which the segments wait for the next round.
    pub fn ship(
        &mut self,
        repository: &Repository,
        capture: &Capture,
        watch: &Watch<'_>,
        told: &mut dyn FnMut(jiff::Timestamp),
    ) -> Result<Shipped> {
        let mut shipped = Shipped::default();
        if !self.follows(capture) {
            return Ok(shipped);
        }
        let now = jiff::Timestamp::now();
        capture.step()?;
        loop {
            let waiting = capture.waiting(SEGMENTS)?;
            let is_last = waiting.len() < SEGMENTS;
            shipped.sent += self.ship_keys(repository)?;
            for segment in waiting {
                watch.check()?;
                if segment.header.number <= self.first {
                    capture.taken(&segment)?;
                    continue;
                }
                let bytes =
                    std::fs::read(&segment.path).map_err(Error::disk(segment.path.display().to_string()))?;
                shipped.sent += repository.put_segment(&segment.header, &bytes)?;
                capture.taken(&segment)?;
                shipped.segments += 1;
                told(segment.header.at);
            }
            if is_last {
                break;
            }
        }
        let (changes, sent) = files::changes(repository, &self.data, &self.database, &self.files, watch)?;
        if !changes.changed.is_empty() || !changes.removed.is_empty() {
            repository.put_files(jiff::Timestamp::now(), &changes)?;
            shipped.files = (changes.changed.len() + changes.removed.len()) as u64;
            self.note(changes);
        }
        shipped.sent += sent;
        shipped.until = Some(now);
        Ok(shipped)
    }

    /// Notes what the database holds at this moment, to be compared after a restore.
    pub fn note_point(&self, repository: &Repository, capture: &Capture) -> Result<Point> {
        let point = point(&capture.freeze()?)?;
        repository.put_point(&point)?;
        Ok(point)
    }
}
