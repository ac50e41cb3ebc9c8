//! Following the log: what it brings becomes segments in a folder beside the database.

use super::frozen::{self, Frozen};
use super::index::{Files, Position, broken, follows};
use super::segment::{self, SegmentHeader, SegmentReader, disk};
use crate::{Error, Result};
use jiff::Timestamp;
use parking_lot::Mutex;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the line stands, in the folder of the segments.
const STATE: &str = "line.json";
/// Segments that nobody took away, bytes; beyond it the line is given up, as a disk full of copies helps nobody.
const SPOOL_BYTES: u64 = 4 * 1024 * 1024 * 1024;

type Connect = Box<dyn Fn() -> Result<Connection> + Send + Sync>;

/// A place in a line: the state at the end of segment `number`; 0 is where the line began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub line: String,
    pub number: u64,
}

/// A segment that waits in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    pub header: SegmentHeader,
    pub path: PathBuf,
    pub bytes: u64,
}

/// Freezes the database, and follows its log if that is wanted. One per open SQLite database.
pub struct Capture {
    connect: Connect,
    files: Arc<Files>,
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    follows: bool,
    /// The reader that keeps what is not copied yet in the log.
    pin: Option<Connection>,
    line: Option<Line>,
    idle: Vec<Connection>,
    spooled: u64,
}

struct Line {
    place: Place,
    /// Up to which the log is copied; `None`: the log that comes next, whatever its salt, from its first frame.
    copied: Option<Position>,
}

/// As it lies on the disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    place: Place,
    salt: [u8; 8],
    frames: u32,
    checksum: [u32; 2],
    /// Set when the database was closed with an empty log: size and time of change of its file.
    closed: Option<(u64, i64, i64)>,
}

impl Capture {
    /// For a database that has a connection open and is not written yet. With `follow` a line that was left unbroken is
    /// continued, otherwise another begins. Errors: of the disk and the engine.
    pub(crate) fn open(database: &Path, follow: bool, connect: Connect) -> Result<Arc<Capture>> {
        let mut folder = database.as_os_str().to_owned();
        folder.push("-log");
        let folder = PathBuf::from(folder);
        if !follow {
            // What is written from now on is not copied, so nobody may continue from here.
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(error)),
                _ => {}
            }
        } else {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(disk)?;
        }
        // Log and index are there from the first read on.
        let first = connect()?;
        let files = Arc::new(Files::open(database)?);
        let state = State { follows: follow, pin: None, line: None, idle: vec![first], spooled: 0 };
        let capture = Capture { connect, files, folder, state: Mutex::new(state) };
        if follow {
            capture.resume()?;
        }
        Ok(Arc::new(capture))
    }

    /// Looks whether the line goes on where it stood, and holds the log from here on.
    fn resume(&self) -> Result<()> {
        let mut state = self.state.lock();
        let at = Timestamp::now();
        let connection = self.connection(&mut state)?;
        let (now, _) = frozen::begin(&self.files, &[&connection])?;
        state.line = match self.stored() {
            Some(stored) if self.goes_on(&stored, &now)? => {
                // The salt of a log that is still to begin, or that began anew, is not the stored one.
                let is_same = stored.closed.is_none() && now.salt == stored.salt;
                let copied = is_same.then_some(Position {
                    salt: stored.salt,
                    frames: stored.frames,
                    checksum: stored.checksum,
                    pages: now.pages,
                    change: now.change,
                });
                Some(Line { place: stored.place, copied })
            }
            _ => None,
        };
        match &state.line {
            Some(line) => state.spooled = self.spooled_until(line.place.number)?,
            None => self.begin_line(&mut state, now.clone())?,
        }
        self.copy(&mut state, &connection, &now, at)?;
        state.pin = Some(connection);
        Ok(())
    }

    /// Bytes of the segments up to `number`. One behind it was written, but not noted, when the program died: it goes, as it
    /// is made again from there.
    fn spooled_until(&self, number: u64) -> Result<u64> {
        let mut spooled = 0;
        for (at, path, bytes) in self.names()? {
            if at > number {
                std::fs::remove_file(&path).map_err(disk)?;
            } else {
                spooled += bytes;
            }
        }
        Ok(spooled)
    }

    fn goes_on(&self, stored: &Stored, now: &Position) -> Result<bool> {
        if stored.closed.is_some() {
            // The file held everything; what came since is in the log, unless the file has changed.
            return Ok(stored.closed == Some(self.stamp()?));
        }
        if now.frames == 0 {
            return Ok(false);
        }
        if now.salt == stored.salt {
            let reaches = now.frames >= stored.frames;
            return Ok(
                reaches && (stored.frames == 0 || self.files.frame(stored.frames)?.1 == stored.checksum)
            );
        }
        // Began anew once, which it only does when all of the old was copied; see the module's first page.
        Ok(follows(&now.salt, &stored.salt))
    }

    /// Size and time of change of the database's file.
    fn stamp(&self) -> Result<(u64, i64, i64)> {
        let metadata = self.files.database.metadata().map_err(disk)?;
        Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }

    /// Starts a line at the pinned state. What lies in the folder belongs to others that nobody can continue.
    fn begin_line(&self, state: &mut State, at: Position) -> Result<()> {
        self.empty()?;
        state.spooled = 0;
        let place = Place { line: uuid::Uuid::new_v4().simple().to_string(), number: 0 };
        self.store(&place, &at, None)?;
        state.line = Some(Line { place, copied: Some(at) });
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.folder).map_err(disk)? {
            std::fs::remove_file(entry.map_err(disk)?.path()).map_err(disk)?;
        }
        Ok(())
    }

    fn stored(&self) -> Option<Stored> {
        serde_json::from_slice(&std::fs::read(self.folder.join(STATE)).ok()?).ok()
    }

    fn store(&self, place: &Place, at: &Position, closed: Option<(u64, i64, i64)>) -> Result<()> {
        let stored =
            Stored { place: place.clone(), salt: at.salt, frames: at.frames, checksum: at.checksum, closed };
        let text = serde_json::to_vec(&stored).map_err(|error| broken(&error.to_string()))?;
        let (path, new) = (self.folder.join(STATE), self.folder.join("line.new"));
        let mut file = File::create(&new).map_err(disk)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(disk)?;
        std::fs::rename(&new, &path).map_err(disk)?;
        segment::sync_folder(&path)
    }

    fn connection(&self, state: &mut State) -> Result<Connection> {
        match state.idle.pop() {
            Some(connection) => Ok(connection),
            None => (self.connect)(),
        }
    }

    /// Whether the log is followed.
    pub fn is_following(&self) -> bool {
        self.state.lock().follows
    }

    /// Where the line stands.
    pub fn place(&self) -> Option<Place> {
        self.state.lock().line.as_ref().map(|line| line.place.clone())
    }

    /// Copies what the log has brought. `None` if it brought nothing or is not followed. Blocks for as long as the copy
    /// takes; writers go on. Errors: of the disk, after which the log simply waits for the next try.
    pub fn step(&self) -> Result<Option<Place>> {
        let mut state = self.state.lock();
        if !state.follows {
            return Ok(None);
        }
        let at = Timestamp::now();
        let connection = self.connection(&mut state)?;
        let (now, _) = frozen::begin(&self.files, &[&connection])?;
        self.advance(&mut state, connection, now, at)
    }

    /// Copies up to the state `now`, at which `connection` reads, and pins that.
    fn advance(
        &self,
        state: &mut State,
        connection: Connection,
        now: Position,
        at: Timestamp,
    ) -> Result<Option<Place>> {
        let made = self.copy(state, &connection, &now, at);
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                // The old reader stays.
                rest(state, connection);
                return Err(error);
            }
        };
        // Only now, with the segment durable, may the old place be given up.
        if let Some(old) = state.pin.replace(connection) {
            rest(state, old);
        }
        Ok(made)
    }

    fn copy(
        &self,
        state: &mut State,
        connection: &Connection,
        now: &Position,
        at: Timestamp,
    ) -> Result<Option<Place>> {
        let Some(line) = &mut state.line else { return Ok(None) };
        let copied = line.copied.as_ref();
        let from = match copied {
            Some(copied) if copied.salt == now.salt => {
                if copied.frames == now.frames {
                    return Ok(None);
                }
                Some(copied)
            }
            _ if now.frames == 0 => return Ok(None),
            Some(copied) if copied.frames > 0 && !follows(&now.salt, &copied.salt) => {
                // Cannot be while the reader holds; were it so, the line would have a hole.
                tracing::error!("the database's log was begun anew unseen; a new line of backups begins");
                self.begin_line(state, now.clone())?;
                return Ok(None);
            }
            // Nothing was copied, or all of the log before this one was.
            _ => None,
        };
        let frames = self.files.newest(from, now)?;
        let (audit, change) = frozen::sequences(connection)?;
        let place = Place { line: line.place.line.clone(), number: line.place.number + 1 };
        let header = SegmentHeader {
            line: place.line.clone(),
            number: place.number,
            at,
            pages: now.pages,
            images: u32::try_from(frames.len()).unwrap_or(u32::MAX),
            audit,
            change,
        };
        let bytes = segment::write(&self.path(place.number), &header, &self.files, &frames)?;
        self.store(&place, now, None)?;
        line.place = place.clone();
        line.copied = Some(now.clone());
        state.spooled += bytes;
        if state.spooled > SPOOL_BYTES {
            tracing::error!(
                "too much waits to be backed up and is given up; the next backup begins with all of it"
            );
            self.begin_line(state, now.clone())?;
            return Ok(None);
        }
        Ok(Some(place))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.segment"))
    }

    fn names(&self) -> Result<Vec<(u64, PathBuf, u64)>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), Some("segment")) = (number, path.extension().and_then(|e| e.to_str())) {
                names.push((number, path, entry.metadata().map_err(disk)?.len()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// Segments that wait, in their order, at most so many. Errors: of the disk.
    pub fn waiting(&self, most: usize) -> Result<Vec<Spooled>> {
        if !self.is_following() {
            return Ok(Vec::new());
        }
        let mut waiting = Vec::new();
        for (_, path, bytes) in self.names()?.into_iter().take(most) {
            let input = BufReader::new(File::open(&path).map_err(disk)?);
            waiting.push(Spooled { header: SegmentReader::new(input)?.header, path, bytes });
        }
        Ok(waiting)
    }

    /// Bytes of segments that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.state.lock().spooled
    }

    /// A segment is safe elsewhere. Errors: of the disk.
    pub fn taken(&self, spooled: &Spooled) -> Result<()> {
        match std::fs::remove_file(&spooled.path) {
            Ok(()) => {
                let mut state = self.state.lock();
                state.spooled = state.spooled.saturating_sub(spooled.bytes);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(disk(error)),
        }
    }

    /// The state of the last commit, to be read page by page; where the log is followed, at the end of a segment.
    /// Errors: of the disk and the engine; [Error::Busy].
    pub fn freeze(&self) -> Result<Frozen> {
        let mut state = self.state.lock();
        let at = Timestamp::now();
        let own = (self.connect)()?;
        if !state.follows {
            let (now, is_in_file) = frozen::begin(&self.files, &[&own])?;
            drop(state);
            return Frozen::new(own, self.files.clone(), now, is_in_file, None, at);
        }
        let pin = self.connection(&mut state)?;
        let (now, is_in_file) = frozen::begin(&self.files, &[&own, &pin])?;
        self.advance(&mut state, pin, now.clone(), at)?;
        let place = state.line.as_ref().map(|line| line.place.clone());
        drop(state);
        Frozen::new(own, self.files.clone(), now, is_in_file, place, at)
    }

    /// On the writer's thread, between two transactions: copies what is left, lets go of the log, and has `checkpoint` move
    /// it into the file, so that the next transaction begins it anew. False if somebody else is at it.
    pub(crate) fn let_restart(&self, checkpoint: &mut dyn FnMut()) -> Result<bool> {
        let Some(mut state) = self.state.try_lock() else { return Ok(false) };
        if !state.follows {
            checkpoint();
            return Ok(true);
        }
        let at = Timestamp::now();
        let connection = self.connection(&mut state)?;
        let (now, _) = frozen::begin(&self.files, &[&connection])?;
        self.copy(&mut state, &connection, &now, at)?;
        rest(&mut state, connection);
        if let Some(old) = state.pin.take() {
            rest(&mut state, old);
        }
        checkpoint();
        // Nothing was written since. If all is in the file now, this reader does not keep the log from beginning anew.
        let connection = self.connection(&mut state)?;
        frozen::begin(&self.files, &[&connection])?;
        state.pin = Some(connection);
        Ok(true)
    }

    /// On the writer's thread after its last transaction.
    pub(crate) fn let_go(&self) {
        let done = self.step();
        let mut state = self.state.lock();
        if let Err(error) = done {
            tracing::warn!(%error, "the end of the log is not copied; the next backup begins with all of the database");
            state.line = None;
        }
        state.pin = None;
        state.idle.clear();
    }

    /// After the last connection is closed: notes that the file holds all that the line does.
    pub(crate) fn closed(&self) {
        let state = self.state.lock();
        if !state.follows {
            return;
        }
        let noted = match &state.line {
            Some(line) => {
                let none = Position { salt: [0; 8], frames: 0, checksum: [0; 2], pages: 0, change: 0 };
                let copied = line.copied.as_ref().unwrap_or(&none);
                self.stamp().and_then(|stamp| self.store(&line.place, copied, Some(stamp)))
            }
            None => std::fs::remove_file(self.folder.join(STATE)).map_err(disk),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "the end of the log is not noted; the next backup begins with all of the database");
        }
    }
}

/// Ends the transaction of a reader and keeps it for the next.
fn rest(state: &mut State, connection: Connection) {
    if connection.execute_batch("ROLLBACK").is_ok() {
        state.idle.push(connection);
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        std::io::Error::other(error)
    }
}
