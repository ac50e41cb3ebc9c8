//! Putting a database file together from its base and segments.

use super::index::PAGE;
use super::segment::{SegmentReader, disk, sync_folder};
use crate::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A database that is being put together; nobody has it open.
pub struct Rebuild {
    file: File,
    path: PathBuf,
    line: String,
    /// The segment up to which it is whole.
    number: u64,
}

impl Rebuild {
    /// The file is made, or goes on where another try ended. `line` and `number` are those of the base.
    /// Errors: of the disk.
    pub fn new(path: &Path, line: &str, number: u64) -> Result<Rebuild> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(disk)?;
        Ok(Rebuild { file, path: path.to_owned(), line: line.to_owned(), number })
    }

    /// What lies at this byte, as far as there is something: an earlier try may have got it already.
    pub fn there(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    }

    /// Writes a piece of the base at this byte; several threads may.
    pub fn base(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(disk)
    }

    /// The base has this many pages; what an earlier try left behind them goes.
    pub fn base_pages(&self, pages: u32) -> Result<()> {
        self.file.set_len(u64::from(pages) * PAGE as u64).map_err(disk)
    }

    /// Lays a segment over it; they come in their order without a gap. Errors: [Error::Corrupt] for another.
    pub fn segment(&mut self, input: impl Read) -> Result<()> {
        let mut segment = SegmentReader::new(input)?;
        if segment.header.line != self.line || segment.header.number != self.number + 1 {
            return Err(Error::Corrupt(format!(
                "segment {} of line {} does not follow {} of {}",
                segment.header.number, segment.header.line, self.number, self.line
            )));
        }
        while let Some(page) = segment.page()? {
            let offset = u64::from(page.number - 1) * PAGE as u64;
            self.file.write_all_at(&page.bytes, offset).map_err(disk)?;
        }
        // Given back by the database, or there from the base.
        self.file.set_len(u64::from(segment.header.pages) * PAGE as u64).map_err(disk)?;
        self.number = segment.header.number;
        Ok(())
    }

    /// Makes it durable.
    pub fn finish(self) -> Result<()> {
        self.file.sync_all().map_err(disk)?;
        sync_folder(&self.path)
    }
}
