//! Copies of the embedded database while it is written, and what a copy must show before it is trusted.
//!
//! SQLite's log (WAL) holds whole pages, encrypted as they lie in the file. Two facts of its protocol carry all of this
//! (<https://sqlite.org/walformat.html>):
//! - **A reader pins.** While a read transaction is open, no checkpoint moves a page newer than its snapshot into the file,
//!   and the log is not begun anew unless all of it is in the file. So file and log give exactly that snapshot for as
//!   long as it is open: [Frozen].
//! - **The log is begun anew only when all of it is in the file.** [Capture] always holds a reader at the place up to
//!   which it has copied the log, so nothing leaves the log uncopied, however the program ends.
//!
//! A *base* is a frozen database; a *segment* is what the log brought since the one before, the newest image of each page.
//! The unbroken row of segments is a *line*. Base and all later segments of its line up to one give the database as it
//! was at that segment's end; whoever cannot prove that a line is unbroken starts another with a new base.
//!
//! **Invariant:** a segment is durable before the reader at its beginning is given up.
//! **Invariant:** nothing here decrypts a page; a copy needs the same key as the database.

mod archive;
mod capture;
mod check;
mod frozen;
mod index;
mod rebuild;
mod segment;
mod upgrade;

pub use archive::{Archive, archive};
pub use capture::{Capture, Place, Spooled};
pub use check::{Health, Part, Problem, check};
pub use frozen::{Counts, Frozen, PAGE_BYTES, PageReader};
pub use rebuild::Rebuild;
pub use segment::{PageImage, SegmentHeader, SegmentReader};
pub(crate) use upgrade::before_migration;
pub use upgrade::{Kept, roll_back, snapshots};
