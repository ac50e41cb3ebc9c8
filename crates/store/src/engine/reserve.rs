//! Room kept back on the disk of the embedded database.
//!
//! A reserve is a file of its own, really allocated. When the disk is full it is given up, and from then on writes are
//! refused without being tried, so that the room goes to what must go on: the audit of reads, without which nothing may
//! be read, and an orderly end. Once there is room for the reserve again, and as much beside it, writes go on.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause between two looks whether there is room again.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    is_full: bool,
    looked: Instant,
}

impl Reserve {
    /// Takes the room, if there is some; nothing for 0 bytes.
    pub fn new(database: &Path, bytes: u64) -> Reserve {
        let mut path = database.as_os_str().to_owned();
        path.push(".reserve");
        let reserve = Reserve { path: path.into(), bytes, is_full: false, looked: Instant::now() };
        if bytes > 0 && !reserve.take() {
            tracing::warn!("there is no room on the disk for the reserve");
        }
        reserve
    }

    /// The disk is full. True if writes are refused from now on; the room is not given up yet.
    pub fn found_full(&mut self) -> bool {
        self.looked = Instant::now();
        // Without a reserve there is nothing to spare: each write finds out for itself.
        if !self.is_full && self.bytes > 0 {
            self.is_full = true;
            tracing::error!("the disk is full: writes are refused until there is room; reads go on");
        }
        self.is_full
    }

    /// Gives the room up.
    pub fn release(&self) {
        drop(std::fs::remove_file(&self.path));
    }

    /// Whether writes must be refused; looks now and then whether there is room again.
    pub fn is_full(&mut self) -> bool {
        if self.is_full && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.has_room() && self.take() {
                self.is_full = false;
                tracing::warn!("there is room on the disk again: writes go on");
            }
        }
        self.is_full
    }

    /// As much room as the reserve, and that again.
    fn has_room(&self) -> bool {
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let wanted = 2 * self.bytes;
        rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) > wanted)
    }

    fn take(&self) -> bool {
        if self.bytes == 0 {
            return true;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        let taken = file.is_ok_and(|file: File| {
            let is_there = file.metadata().is_ok_and(|metadata| metadata.len() >= self.bytes);
            is_there
                || rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes).is_ok()
        });
        if !taken {
            // Half of it would only take what others need.
            drop(std::fs::remove_file(&self.path));
        }
        taken
    }
}
