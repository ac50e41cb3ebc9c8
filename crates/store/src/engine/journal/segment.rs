//! A file of the journal: a header, then frames, each sealed.
//!
//! Header, 128 bytes: magic, then the journal's number (16 bytes) and key (32 bytes), sealed under the files' key; zeros.
//! Frame: length of what follows (4 bytes, big endian) and frame number (8 bytes), both in the clear, then the events as
//! JSON under AES-256-GCM with the frame number as nonce and the journal's number bound into the tag. Numbers go up by one,
//! so what an earlier turn left behind in the file is told from what was written in this one.

use crate::audit::Event;
use crate::keys;
use crate::{Error, Result, Secret32};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"UZAUDIT1";
const HEADER_BYTES: usize = 128;
const ID_BYTES: usize = 16;
/// Number and key, sealed.
const SEALED_BYTES: usize = ID_BYTES + 32 + 28;
const FRAME_HEAD: usize = 12;
/// Room of one file, allocated once. At 350 bytes an event it holds about 12,000.
pub const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

pub type JournalId = [u8; ID_BYTES];

/// What one start of the program writes its frames under.
pub struct Cipher {
    pub id: JournalId,
    key: LessSafeKey,
    secret: Secret32,
}

impl Cipher {
    fn new(id: JournalId, secret: Secret32) -> Result<Cipher> {
        let key = UnboundKey::new(&AES_256_GCM, secret.as_bytes())
            .map_err(|_| Error::Database("no key for the audit journal".into()))?;
        Ok(Cipher { id, key: LessSafeKey::new(key), secret })
    }

    pub fn random() -> Result<Cipher> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).map_err(|e| Error::Database(e.to_string()))?;
        Cipher::new(id, Secret32::random()?)
    }

    fn nonce(frame: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 8..].copy_from_slice(&frame.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// A frame, ready to be written. Errors: none that can come with events of this program.
    pub fn frame(&self, number: u64, events: &[Event]) -> Result<Vec<u8>> {
        let broken = |e: &dyn std::fmt::Display| Error::Database(format!("audit journal: {e}"));
        let mut body = serde_json::to_vec(events).map_err(|e| broken(&e))?;
        self.key
            .seal_in_place_append_tag(Cipher::nonce(number), Aad::from(self.id), &mut body)
            .map_err(|e| broken(&e))?;
        let length = u32::try_from(body.len()).map_err(|e| broken(&e))?;
        let mut frame = Vec::with_capacity(FRAME_HEAD + body.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&number.to_be_bytes());
        frame.extend_from_slice(&body);
        Ok(frame)
    }

    /// The events of a frame; `None` if it is not one of this journal, or torn.
    fn open(&self, number: u64, body: &mut [u8]) -> Option<Vec<Event>> {
        let text = self.key.open_in_place(Cipher::nonce(number), Aad::from(self.id), body).ok()?;
        serde_json::from_slice(text).ok()
    }
}

/// Frames with their numbers.
pub type Frames = Vec<(u64, Vec<Event>)>;

/// What a file of an earlier start holds.
pub enum Found {
    Nothing,
    Journal(JournalId, Frames),
    /// Its header does not open: another key, or damaged.
    Unreadable,
}

pub fn path_of(database: &Path, number: usize) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".audit-{number}"));
    path.into()
}

/// Reads a file that nobody writes.
pub fn read(path: &Path, key: &Secret32) -> Result<Found> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(disk(path)(error)),
    };
    let Some((header, frames)) = bytes.split_at_checked(HEADER_BYTES) else { return Ok(Found::Nothing) };
    if header.iter().all(|byte| *byte == 0) {
        return Ok(Found::Nothing);
    }
    let sealed = &header[MAGIC.len()..MAGIC.len() + SEALED_BYTES];
    let opened = header.starts_with(MAGIC).then(|| keys::open(key, MAGIC, sealed).ok()).flatten();
    let Some((id, secret)) = opened.as_deref().and_then(|text| text.split_at_checked(ID_BYTES)) else {
        return Ok(Found::Unreadable);
    };
    let (Ok(id), Ok(secret)) = (id.try_into(), secret.try_into()) else { return Ok(Found::Unreadable) };
    let cipher = Cipher::new(id, Secret32::new(secret))?;
    Ok(Found::Journal(id, walk(&cipher, frames.to_vec())))
}

fn walk(cipher: &Cipher, mut bytes: Vec<u8>) -> Frames {
    let mut rest = bytes.as_mut_slice();
    let mut frames: Frames = Vec::new();
    while let Some((head, tail)) = rest.split_at_mut_checked(FRAME_HEAD) {
        let (length, number) = head.split_at(4);
        let length = length.try_into().map_or(0, u32::from_be_bytes) as usize;
        let number = number.try_into().map_or(0, u64::from_be_bytes);
        if length == 0 || frames.last().is_some_and(|(last, _)| number != last + 1) {
            break;
        }
        let Some((body, tail)) = tail.split_at_mut_checked(length) else { break };
        let Some(events) = cipher.open(number, body) else { break };
        frames.push((number, events));
        rest = tail;
    }
    frames
}

/// A file that this process writes.
pub struct Segment {
    file: File,
    path: PathBuf,
    end: u64,
    /// Number of its last frame.
    pub last: u64,
}

impl Segment {
    /// Makes or takes over the file: its old frames are gone from then on, durably.
    pub fn create(path: PathBuf, cipher: &Cipher, key: &Secret32) -> Result<Segment> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(disk(&path))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_BYTES)
            .map_err(|error| disk(&path)(error.into()))?;
        let secret = [cipher.id.as_slice(), cipher.secret.as_bytes()].concat();
        let sealed = keys::seal(key, MAGIC, &secret).map_err(|e| Error::Database(e.to_string()))?;
        let mut header = [0; HEADER_BYTES];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..MAGIC.len() + sealed.len()].copy_from_slice(&sealed);
        file.write_all_at(&header, 0).and_then(|()| file.sync_all()).map_err(disk(&path))?;
        // The file is durable, its name in the folder not before this: without it a power cut takes the whole journal.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk(&path))?;
        Ok(Segment { file, path, end: HEADER_BYTES as u64, last: 0 })
    }

    /// Whether a frame of this size has room.
    pub fn holds(&self, frame: &[u8]) -> bool {
        self.end + frame.len() as u64 <= SEGMENT_BYTES
    }

    /// Writes a frame; durable when it returns.
    pub fn append(&mut self, number: u64, frame: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(frame, self.end).and_then(|()| self.file.sync_data());
        written.map_err(disk(&self.path))?;
        self.end += frame.len() as u64;
        self.last = number;
        Ok(())
    }

    /// Starts over at the beginning. What lies there is of lower numbers and does not count from the next frame on.
    pub fn restart(&mut self) {
        self.end = HEADER_BYTES as u64;
    }

    /// The frames of this turn.
    pub fn frames(&self, cipher: &Cipher) -> Result<Frames> {
        let mut bytes = vec![0; (self.end as usize).saturating_sub(HEADER_BYTES)];
        self.file.read_exact_at(&mut bytes, HEADER_BYTES as u64).map_err(disk(&self.path))?;
        Ok(walk(cipher, bytes))
    }
}

fn disk(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |error| match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::DiskFull,
        _ => Error::Database(format!("{}: {error}", path.display())),
    }
}
