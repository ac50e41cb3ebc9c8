//! Whether everything in a repository can be restored.

use crate::manifest::SegmentForm;
use crate::repository::{Progress, each};
use crate::{Error, Repository, Result, Watch};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

/// Problems that are listed; the rest is counted.
const SHOWN: usize = 100;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub bases: u64,
    pub segments: u64,
    pub chunks: u64,
    pub bytes: u64,
    /// First and last instant that can be restored.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// In words; empty for a repository that is whole.
    pub problems: Vec<String>,
}

impl Repository {
    /// Opens every base, change and segment; with `read` also every piece, so that each byte was read and authenticated,
    /// otherwise pieces are only looked for. Errors: the target cannot be reached.
    pub fn verify(&self, read: bool, watch: &Watch<'_>) -> Result<Verified> {
        let mut verified = Verified::default();
        let problems = Mutex::new(Vec::new());
        let complain = |text: String| {
            let mut problems = problems.lock();
            if problems.len() < SHOWN {
                problems.push(text);
            }
        };
        (watch.tell)(Progress::Doing("listing"));
        let there: BTreeMap<String, u64> =
            self.target().list("chunk/")?.into_iter().map(|entry| (entry.name, entry.bytes)).collect();
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let mut starts: BTreeMap<String, u64> = BTreeMap::new();
        (watch.tell)(Progress::Doing("manifests"));
        for (at, name) in self.bases()? {
            watch.check()?;
            match self.base(&name) {
                Ok(base) => {
                    verified.bases += 1;
                    verified.from = verified.from.or(Some(at));
                    verified.until = Some(at);
                    needed.extend(base.chunks);
                    needed.extend(base.files.into_iter().flat_map(|file| file.chunks));
                    if let Some(line) = base.point.line {
                        starts.entry(line).or_insert(base.point.number);
                    }
                }
                Err(error) => complain(bad(&name, error)?),
            }
        }
        for (_, name) in self.file_changes()? {
            match self.changes(&name) {
                Ok(changes) => needed.extend(changes.changed.into_iter().flat_map(|file| file.chunks)),
                Err(error) => complain(bad(&name, error)?),
            }
        }
        for (_, name) in self.key_stores()? {
            match self.key_store(&name) {
                Ok(store) => needed.extend(store.chunks),
                Err(error) => complain(bad(&name, error)?),
            }
        }
        for (_, name) in self.points()? {
            if let Err(error) = self.point(&name) {
                complain(bad(&name, error)?);
            }
        }
        let segments = self.segments(None)?;
        (watch.tell)(Progress::Doing("segments"));
        let size = |name: &String| there.get(name).copied().unwrap_or(0);
        let opened = each(&segments, |_, segment| {
            watch.check()?;
            match self.segment_form(&segment.name) {
                Ok((SegmentForm::Here, _)) => Ok(Some(Vec::new())),
                Ok((SegmentForm::Chunks(names), _)) => Ok(Some(names)),
                Err(error) => {
                    complain(bad(&segment.name, error)?);
                    Ok(None)
                }
            }
        })?;
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for (segment, chunks) in segments.iter().zip(opened) {
            verified.segments += 1;
            verified.bytes += segment.bytes;
            needed.extend(chunks.into_iter().flatten());
            let Some(start) = starts.get(&segment.line) else { continue };
            let next = expected.entry(&segment.line).or_insert(start + 1);
            if segment.number >= *next {
                if segment.number > *next {
                    complain(format!("line {}: segment {next} is missing", segment.line));
                }
                *next = segment.number + 1;
                verified.until = verified.until.max(Some(segment.at));
            }
        }
        verified.chunks = needed.len() as u64;
        verified.bytes += needed.iter().map(size).sum::<u64>();
        for name in needed.iter().filter(|name| !there.contains_key(*name)) {
            complain(format!("{name} is missing"));
        }
        if read {
            (watch.tell)(Progress::Doing("pieces"));
            (watch.tell)(Progress::Begin(needed.iter().map(size).sum()));
            let needed: Vec<String> = needed.into_iter().filter(|name| there.contains_key(name)).collect();
            each(&needed, |_, name| {
                watch.check()?;
                if let Err(error) = self.get_chunk(name) {
                    complain(bad(name, error)?);
                }
                (watch.tell)(Progress::Done(size(name)));
                Ok(())
            })?;
        }
        verified.problems = problems.into_inner();
        Ok(verified)
    }
}

/// A problem of the object; anything else ends the work.
fn bad(name: &str, error: Error) -> Result<String> {
    match error {
        Error::Damaged(_) => Ok(format!("{name} is damaged, or made with another key")),
        Error::NotFound(_) => Ok(format!("{name} is missing")),
        other => Err(other),
    }
}
