//! What the objects say.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes of a piece of the database: 64 pages.
pub const CHUNK_BYTES: usize = 64 * store::backup::PAGE_BYTES;

/// What the database held at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Every commit that was answered before this instant is in it.
    pub at: Timestamp,
    /// The line and the segment at whose end this is; none where the log is not followed.
    pub line: Option<String>,
    pub number: u64,
    /// Rows of every table.
    pub counts: BTreeMap<String, i64>,
    /// Last number of the audit trail.
    pub audit: i64,
    /// Last number of the events.
    pub change: i64,
    /// Number of the schema.
    pub schema: u32,
}

/// A whole database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Version of the program.
    pub program: String,
    pub point: Point,
    /// Size of the database, pages.
    pub pages: u32,
    /// Names of its pieces, in their order.
    pub chunks: Vec<String>,
    /// Changes of files noted later than this come on top of `files`.
    pub files_at: Timestamp,
    /// The files beside it.
    pub files: Vec<FileEntry>,
}

/// A file beside the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Under the data folder, with `/` between.
    pub path: String,
    pub bytes: u64,
    /// Time of change, nanoseconds since the epoch.
    pub modified_ns: i128,
    pub mode: u32,
    pub chunks: Vec<String>,
}

/// What changed among the files since the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileChanges {
    pub changed: Vec<FileEntry>,
    pub removed: Vec<String>,
}

/// The key store beside the database, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStore {
    pub bytes: u64,
    /// Names of its pieces, in their order.
    pub chunks: Vec<String>,
}

/// How a segment is stored.
#[derive(Debug, Serialize, Deserialize)]
pub enum SegmentForm {
    /// The rest of the object is the segment.
    Here,
    /// It lies in these pieces.
    Chunks(Vec<String>),
}
