//! A segment as a file: what the log brought, the newest image of each page.
//!
//! Layout: 16 bytes of magic; the length of the header as four bytes, little-endian; the header as JSON; for each page its
//! number as four bytes, little-endian, and its image; SHA-256 is not needed, as whoever sends it away seals it.

use super::index::{Files, PAGE};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::path::Path;

const MAGIC: &[u8; 16] = b"uzima segment 1\n";
/// More than any header takes.
const HEADER_MAX: u32 = 64 * 1024;

/// What a segment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentHeader {
    /// The unbroken row it belongs to.
    pub line: String,
    /// Place in the row, from 1.
    pub number: u64,
    /// Every commit that was answered before this instant is in it or before it.
    pub at: jiff::Timestamp,
    /// Size of the database at its end, pages.
    pub pages: u32,
    /// Page images in it.
    pub images: u32,
    /// Last number of the audit trail at its end.
    pub audit: i64,
    /// Last number of the events at its end.
    pub change: i64,
}

/// Writes and syncs a new file, under another name until it is whole. Errors: of the disk.
pub(super) fn write(
    path: &Path,
    header: &SegmentHeader,
    files: &Files,
    frames: &BTreeMap<u32, u32>,
) -> Result<u64> {
    let partial = path.with_extension("partial");
    let written = (|| -> Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 18, File::create(&partial).map_err(disk)?);
        let head = serde_json::to_vec(header).map_err(|error| Error::Database(error.to_string()))?;
        out.write_all(MAGIC).map_err(disk)?;
        out.write_all(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes()).map_err(disk)?;
        out.write_all(&head).map_err(disk)?;
        let mut image = vec![0; PAGE];
        for (page, frame) in frames {
            files.frame_page(*frame, &mut image)?;
            out.write_all(&page.to_le_bytes()).map_err(disk)?;
            out.write_all(&image).map_err(disk)?;
        }
        let file = out.into_inner().map_err(|error| disk(error.into_error()))?;
        file.sync_all().map_err(disk)?;
        let bytes = file.metadata().map_err(disk)?.len();
        std::fs::rename(&partial, path).map_err(disk)?;
        sync_folder(path)?;
        Ok(bytes)
    })();
    if written.is_err() {
        // Half a file is of no use, and the disk may be full.
        drop(std::fs::remove_file(&partial));
    }
    written
}

pub(super) fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)
}

pub(super) fn disk(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::DiskFull,
        _ => Error::Database(error.to_string()),
    }
}

/// One page as it lies in the file.
pub struct PageImage {
    /// Counted from 1.
    pub number: u32,
    pub bytes: Vec<u8>,
}

/// Reads a segment. Errors: [Error::Corrupt] for what is none.
pub struct SegmentReader<R> {
    pub header: SegmentHeader,
    input: R,
    left: u32,
}

impl<R: Read> SegmentReader<R> {
    pub fn new(mut input: R) -> Result<SegmentReader<R>> {
        let mut head = [0; MAGIC.len() + 4];
        input.read_exact(&mut head).map_err(cut)?;
        let (magic, length) = head.split_at(MAGIC.len());
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
        if magic != MAGIC || length > HEADER_MAX {
            return Err(Error::Corrupt("no segment".into()));
        }
        let mut text = vec![0; length as usize];
        input.read_exact(&mut text).map_err(cut)?;
        let header: SegmentHeader =
            serde_json::from_slice(&text).map_err(|error| Error::Corrupt(format!("segment: {error}")))?;
        let left = header.images;
        Ok(SegmentReader { header, input, left })
    }

    /// The next page; `None` at the end.
    pub fn page(&mut self) -> Result<Option<PageImage>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut number = [0; 4];
        self.input.read_exact(&mut number).map_err(cut)?;
        let mut bytes = vec![0; PAGE];
        self.input.read_exact(&mut bytes).map_err(cut)?;
        let number = u32::from_le_bytes(number);
        if number == 0 {
            return Err(Error::Corrupt("segment: page 0".into()));
        }
        Ok(Some(PageImage { number, bytes }))
    }
}

fn cut(error: std::io::Error) -> Error {
    Error::Corrupt(format!("segment: {error}"))
}
