//! SQLite's log and the index beside it, read as files.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of the log before its first frame, and of a frame before its page.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: usize = 24;
/// The index begins with its header, twice; then comes how much of the log is in the file.
const INDEX_HEADER: usize = 48;
const BACKFILL_AT: u64 = 96;
/// Versions of both formats since SQLite 3.7.
const VERSION: u32 = 3_007_000;
pub(super) const PAGE: usize = 4096;

/// Database, log and index. Kept open as long as the database is: closing a file gives up the process's POSIX locks on it.
pub(super) struct Files {
    pub database: File,
    pub log: File,
    index: File,
}

/// The state that a reader sees: the first `frames` frames of the log of this salt, over the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub salt: [u8; 8],
    pub frames: u32,
    /// Running checksum at the last frame.
    pub checksum: [u32; 2],
    /// Size of the database, pages.
    pub pages: u32,
    /// SQLite counts its transactions here; tells two states without frames apart.
    pub change: u32,
}

impl Files {
    /// Of a database that a connection has open in WAL mode.
    pub fn open(database: &Path) -> Result<Files> {
        let beside = |suffix: &str| {
            let mut name = database.as_os_str().to_owned();
            name.push(suffix);
            File::open(Path::new(&name))
                .map_err(|error| broken(&format!("{}: {error}", Path::new(&name).display())))
        };
        Ok(Files { database: beside("")?, log: beside("-wal")?, index: beside("-shm")? })
    }

    /// `None` while it is being changed. Errors: a format that is not known.
    pub fn position(&self) -> Result<Option<Position>> {
        let mut both = [0; 2 * INDEX_HEADER];
        self.index.read_exact_at(&mut both, 0).map_err(|error| broken(&error.to_string()))?;
        let (first, second) = both.split_at(INDEX_HEADER);
        if first != second {
            return Ok(None);
        }
        let word = |at: usize| u32::from_ne_bytes([first[at], first[at + 1], first[at + 2], first[at + 3]]);
        if first[12] == 0 {
            return Ok(None);
        }
        let page = usize::from(u16::from_ne_bytes([first[14], first[15]]));
        if word(0) != VERSION || page != PAGE && word(16) > 0 {
            return Err(broken("the index of the log has another format"));
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&first[32..40]);
        Ok(Some(Position {
            salt,
            frames: word(16),
            checksum: [word(24), word(28)],
            pages: word(20),
            change: word(8),
        }))
    }

    /// Frames that are in the file as well.
    pub fn backfilled(&self) -> Result<u32> {
        let mut word = [0; 4];
        self.index.read_exact_at(&mut word, BACKFILL_AT).map_err(|error| broken(&error.to_string()))?;
        Ok(u32::from_ne_bytes(word))
    }

    /// Page and running checksum of a frame, counted from 1.
    pub fn frame(&self, number: u32) -> Result<(u32, [u32; 2])> {
        let mut head = [0; FRAME_HEADER];
        self.log.read_exact_at(&mut head, frame_at(number)).map_err(|error| broken(&error.to_string()))?;
        Ok((big(&head, 0), [big(&head, 16), big(&head, 20)]))
    }

    pub fn frame_page(&self, number: u32, out: &mut [u8]) -> Result<()> {
        let at = frame_at(number) + FRAME_HEADER as u64;
        self.log.read_exact_at(out, at).map_err(|error| broken(&error.to_string()))
    }

    /// The newest frame of each page among those after `from` up to `to`; every byte is checked against the running
    /// checksums. Errors: [Error::Corrupt] where the log is not what the index says.
    pub fn newest(&self, from: Option<&Position>, to: &Position) -> Result<BTreeMap<u32, u32>> {
        let mut header = [0; LOG_HEADER as usize];
        self.log.read_exact_at(&mut header, 0).map_err(|error| broken(&error.to_string()))?;
        if header[16..24] != to.salt {
            return Err(broken("the log was begun anew"));
        }
        // The last bit of the magic number says in which order of bytes the sums were made.
        let is_big = big(&header, 0) & 1 == 1;
        let (mut number, mut sum) = match from {
            Some(from) => (from.frames, from.checksum),
            None => (0, [big(&header, 24), big(&header, 28)]),
        };
        let mut newest = BTreeMap::new();
        let mut frame = vec![0; FRAME_HEADER + PAGE];
        while number < to.frames {
            number += 1;
            self.log
                .read_exact_at(&mut frame, frame_at(number))
                .map_err(|error| broken(&error.to_string()))?;
            sum = checksum(is_big, &frame[..8], sum);
            sum = checksum(is_big, &frame[FRAME_HEADER..], sum);
            if frame[8..16] != to.salt || [big(&frame, 16), big(&frame, 20)] != sum {
                return Err(broken("a frame of the log does not have its checksum"));
            }
            newest.insert(big(&frame, 0), number);
        }
        if sum != to.checksum {
            return Err(broken("the log does not end where its index says"));
        }
        // Pages that the database has given back since.
        newest.retain(|page, _| *page <= to.pages);
        Ok(newest)
    }
}

fn frame_at(number: u32) -> u64 {
    LOG_HEADER + u64::from(number.saturating_sub(1)) * (FRAME_HEADER + PAGE) as u64
}

fn big(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// <https://sqlite.org/fileformat2.html#checksum_algorithm>
fn checksum(is_big: bool, bytes: &[u8], start: [u32; 2]) -> [u32; 2] {
    let [mut first, mut second] = start;
    for pair in bytes.as_chunks::<8>().0 {
        let (a, b) = ([pair[0], pair[1], pair[2], pair[3]], [pair[4], pair[5], pair[6], pair[7]]);
        let word = |bytes| if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        first = first.wrapping_add(word(a)).wrapping_add(second);
        second = second.wrapping_add(word(b)).wrapping_add(first);
    }
    [first, second]
}

/// The log was begun anew exactly once: SQLite counts the first salt up.
pub(super) fn follows(new: &[u8; 8], old: &[u8; 8]) -> bool {
    big(new, 0) == big(old, 0).wrapping_add(1)
}

pub(super) fn broken(text: &str) -> Error {
    Error::Corrupt(format!("log: {text}"))
}
