//! Bulk import: files in, batches through the same path, one marker per file so that it can be resumed.

use crate::{Error, Record};
use access::Ctx;
use std::path::PathBuf;

/// One file of an import.
#[derive(Debug, Clone)]
pub enum Progress {
    Started { files: usize, bytes: u64 },
    /// Taken before by an earlier run; skipped.
    Skipped { file: PathBuf },
    Batch { file: PathBuf, taken: usize, refused: usize, bytes: u64 },
    Finished { file: PathBuf },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub file: PathBuf,
    /// Line (NDJSON) or entry number (Bundle), from 0.
    pub entry: usize,
    /// `Type/id` or `fullUrl`, as far as known.
    pub what: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    pub files: usize,
    pub skipped_files: usize,
    pub taken: u64,
    /// Already there with the same content.
    pub unchanged: u64,
    /// Per type: resources taken.
    pub by_type: Vec<(String, u64)>,
    pub refused: u64,
    /// The first [MAX_REFUSALS] in full.
    pub refusals: Vec<Refusal>,
}

/// Refusals kept in a [Report].
pub const MAX_REFUSALS: usize = 10_000;

impl Record {
    /// Imports files and folders (`.json` Bundle or resource, `.ndjson`, each also `.gz`). `ctx` must be a System or
    /// Integration principal. Resumable: a file that was taken whole is skipped the next time.
    /// Errors: `Denied`, `Busy`, `Internal` (a path that cannot be read); what is wrong with single resources is in
    /// the [Report].
    pub async fn import(
        &self,
        ctx: &Ctx,
        paths: &[PathBuf],
        progress: std::sync::Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<Report, Error> {
        let _ = (ctx, paths, progress);
        Err(Error::Internal("not built".into()))
    }
}
