//! The objects of a repository, by their names.

use crate::manifest::{Base, FileChanges, KeyStore, Point, SegmentForm};
use crate::target::{Entry, OBJECT_BYTES_MAX, Put, Target};
use crate::{BackupKey, Error, Result};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;

/// What a long work says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// What is being done now.
    Doing(&'static str),
    /// A bar begins, so many bytes long.
    Begin(u64),
    /// So many of them are done.
    Done(u64),
}

/// Hears of progress and says when to stop.
pub struct Watch<'a> {
    pub tell: &'a (dyn Fn(Progress) + Sync),
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    /// Says nothing, never stops.
    pub fn none() -> Watch<'static> {
        Watch { tell: &|_| {}, is_stopped: &|| false }
    }
    pub(crate) fn check(&self) -> Result<()> {
        if (self.is_stopped)() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Segments beyond this size are cut into pieces.
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a piece of what is no page of the database.
pub(crate) const PIECE: usize = 1024 * 1024;
/// Pieces under way at once.
const HANDS: usize = 4;

/// A target with the key of what lies there.
pub struct Repository {
    target: Box<dyn Target>,
    key: BackupKey,
    /// Pieces that are known to be there.
    known: Mutex<Option<BTreeSet<String>>>,
}

/// A segment of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    pub name: String,
    pub line: String,
    pub number: u64,
    pub at: Timestamp,
    pub bytes: u64,
}

/// `kind/<microseconds>-…`
fn time_of(name: &str, kind: &str) -> Option<Timestamp> {
    let micros = name.strip_prefix(kind)?.split('-').next()?;
    Timestamp::from_microsecond(micros.parse().ok()?).ok()
}

impl Repository {
    pub fn new(target: Box<dyn Target>, key: BackupKey) -> Repository {
        Repository { target, key, known: Mutex::new(None) }
    }

    pub fn target(&self) -> &dyn Target {
        self.target.as_ref()
    }

    /// Fills the list of pieces that are there. Where listing is not allowed, each is offered anew and refused.
    fn learn(&self) -> Result<()> {
        let mut known = self.known.lock();
        if known.is_none() {
            let listed = match self.target.list("chunk/") {
                Ok(listed) => listed,
                Err(Error::Refused(_)) => Vec::new(),
                Err(error) => return Err(error),
            };
            *known = Some(listed.into_iter().map(|entry| entry.name).collect());
        }
        Ok(())
    }

    /// Somebody else may have removed pieces.
    pub fn forget(&self) {
        *self.known.lock() = None;
    }

    /// Stores a piece unless it is there; its name, and how many bytes went out.
    pub(crate) fn put_chunk(&self, bytes: &[u8]) -> Result<(String, u64)> {
        self.learn()?;
        let name = self.key.chunk_name(bytes)?;
        if self.known.lock().as_ref().is_some_and(|known| known.contains(&name)) {
            return Ok((name, 0));
        }
        let sealed = self.key.seal(&name, bytes)?;
        let put = self.target.put(&name, &sealed)?;
        if let Some(known) = self.known.lock().as_mut() {
            known.insert(name.clone());
        }
        Ok((name, if put == Put::Made { sealed.len() as u64 } else { 0 }))
    }

    /// A piece, checked against its name. Errors: [Error::NotFound], [Error::Damaged].
    pub(crate) fn get_chunk(&self, name: &str) -> Result<Vec<u8>> {
        let bytes = self.get(name)?;
        if self.key.chunk_name(&bytes)? == name { Ok(bytes) } else { Err(Error::Damaged(name.to_owned())) }
    }

    pub(crate) fn get(&self, name: &str) -> Result<Vec<u8>> {
        self.key.open(name, self.target.get(name)?)
    }

    fn put(&self, name: &str, text: &[u8]) -> Result<u64> {
        let sealed = self.key.seal(name, text)?;
        if sealed.len() > OBJECT_BYTES_MAX {
            return Err(Error::Wrong(format!("{name} is too large for one object")));
        }
        self.target.put(name, &sealed)?;
        Ok(sealed.len() as u64)
    }

    fn put_json(&self, name: &str, value: &impl Serialize) -> Result<u64> {
        let text = serde_json::to_vec(value).map_err(|error| Error::Wrong(error.to_string()))?;
        self.put(name, &text)
    }

    fn get_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(&self.get(name)?).map_err(|_| Error::Damaged(name.to_owned()))
    }

    /// Named by its instant and something random: two never meet.
    pub(crate) fn put_base(&self, base: &Base) -> Result<String> {
        let name = format!("base/{}-{}", base.point.at.as_microsecond(), uuid::Uuid::new_v4().simple());
        self.put_json(&name, base)?;
        Ok(name)
    }
    pub(crate) fn put_point(&self, point: &Point) -> Result<()> {
        let name = format!("point/{}-{}", point.at.as_microsecond(), uuid::Uuid::new_v4().simple());
        self.put_json(&name, point).map(|_| ())
    }
    pub(crate) fn put_files(&self, at: Timestamp, changes: &FileChanges) -> Result<()> {
        let name = format!("files/{}-{}", at.as_microsecond(), uuid::Uuid::new_v4().simple());
        self.put_json(&name, changes).map(|_| ())
    }

    pub(crate) fn put_key_store(&self, at: Timestamp, store: &KeyStore) -> Result<u64> {
        let name = format!("keys/{}-{}", at.as_microsecond(), uuid::Uuid::new_v4().simple());
        self.put_json(&name, store)
    }
    pub(crate) fn key_stores(&self) -> Result<Vec<(Timestamp, String)>> {
        self.timed("keys/")
    }
    pub(crate) fn key_store(&self, name: &str) -> Result<KeyStore> {
        self.get_json(name)
    }
    /// Keyrings, which are none of this crate's business but for their age.
    pub(crate) fn keyrings(&self) -> Result<Vec<(Timestamp, String)>> {
        self.timed("keyring/")
    }

    /// Whole databases, oldest first.
    pub fn bases(&self) -> Result<Vec<(Timestamp, String)>> {
        self.timed("base/")
    }
    pub fn points(&self) -> Result<Vec<(Timestamp, String)>> {
        self.timed("point/")
    }
    pub(crate) fn file_changes(&self) -> Result<Vec<(Timestamp, String)>> {
        self.timed("files/")
    }
    pub(crate) fn kept_keys(&self) -> Result<Vec<(Timestamp, String)>> {
        self.timed("key/")
    }

    fn timed(&self, kind: &str) -> Result<Vec<(Timestamp, String)>> {
        let entries = self.target.list(kind)?;
        let mut names: Vec<_> =
            entries.into_iter().filter_map(|entry| Some((time_of(&entry.name, kind)?, entry.name))).collect();
        names.sort();
        Ok(names)
    }

    /// Errors: [Error::Damaged], e.g. for another key.
    pub fn base(&self, name: &str) -> Result<Base> {
        self.get_json(name)
    }
    pub fn point(&self, name: &str) -> Result<Point> {
        self.get_json(name)
    }
    pub(crate) fn changes(&self, name: &str) -> Result<FileChanges> {
        self.get_json(name)
    }

    /// Of one line or of all, in their order.
    pub fn segments(&self, line: Option<&str>) -> Result<Vec<SegmentName>> {
        let prefix = line.map_or("line/".to_owned(), |line| format!("line/{line}/"));
        let parse = |entry: Entry| {
            let mut parts = entry.name.strip_prefix("line/")?.split('/');
            let (line, rest) = (parts.next()?.to_owned(), parts.next()?);
            let (number, at) = rest.split_once('-')?;
            let at = Timestamp::from_microsecond(at.parse().ok()?).ok()?;
            let number = number.parse().ok()?;
            Some(SegmentName { line, number, at, bytes: entry.bytes, name: entry.name })
        };
        let mut segments: Vec<_> = self.target.list(&prefix)?.into_iter().filter_map(parse).collect();
        segments.sort_by(|a, b| (&a.line, a.number).cmp(&(&b.line, b.number)));
        // The same segment again, after a try whose answer was lost and whose file was written anew, is the same bytes.
        segments.dedup_by(|a, b| a.line == b.line && a.number == b.number);
        Ok(segments)
    }

    /// Stores a segment as it lies on the disk. Returns the bytes that went out.
    pub(crate) fn put_segment(&self, header: &store::backup::SegmentHeader, bytes: &[u8]) -> Result<u64> {
        let name = format!("line/{}/{:012}-{}", header.line, header.number, header.at.as_microsecond());
        let mut sent = 0;
        let form = match bytes.len() > SEGMENT_BYTES {
            false => SegmentForm::Here,
            true => {
                // Several at once: each waits for its place, which is a disk or a network.
                let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
                let put = each(&pieces, |_, piece| self.put_chunk(piece))?;
                sent += put.iter().map(|(_, more)| more).sum::<u64>();
                SegmentForm::Chunks(put.into_iter().map(|(name, _)| name).collect())
            }
        };
        let head = serde_json::to_vec(&form).map_err(|error| Error::Wrong(error.to_string()))?;
        let mut object = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        object.extend(head);
        if matches!(form, SegmentForm::Here) {
            object.extend_from_slice(bytes);
        }
        Ok(sent + self.put(&name, &object)?)
    }

    /// A segment's bytes, and the pieces they lie in.
    pub(crate) fn segment(&self, name: &str) -> Result<Vec<u8>> {
        let (form, rest) = self.segment_form(name)?;
        match form {
            SegmentForm::Here => Ok(rest),
            SegmentForm::Chunks(names) => {
                let mut bytes = Vec::new();
                for name in names {
                    bytes.extend(self.get_chunk(&name)?);
                }
                Ok(bytes)
            }
        }
    }

    pub(crate) fn segment_form(&self, name: &str) -> Result<(SegmentForm, Vec<u8>)> {
        let mut object = self.get(name)?;
        let damaged = || Error::Damaged(name.to_owned());
        let length = object.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)).ok_or_else(damaged)?;
        let end = 4 + length as usize;
        let form = serde_json::from_slice(object.get(4..end).ok_or_else(damaged)?).map_err(|_| damaged())?;
        object.drain(..end);
        Ok((form, object))
    }
}

/// Runs `work` on every item with a few hands; the results in the items' order. The first error ends it.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(usize, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..HANDS.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(item) = items.get(n) else { return };
                    if failed.lock().is_some() {
                        return;
                    }
                    match work(n, item) {
                        Ok(result) => done.lock().push((n, result)),
                        Err(error) => {
                            failed.lock().get_or_insert(error);
                            return;
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner() {
        return Err(error);
    }
    let mut done = done.into_inner();
    done.sort_by_key(|(n, _)| *n);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

impl Repository {
    pub(crate) fn chunk_name(&self, bytes: &[u8]) -> Result<String> {
        self.key.chunk_name(bytes)
    }
}
