//! From a repository to a data folder: first beside its place, and there only when it is sound.

use crate::manifest::CHUNK_BYTES;
use crate::manifest::{Base, FileEntry};
use crate::repository::{Progress, SegmentName, each};
use crate::{Error, Repository, Result, Watch};
use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use store::Secret32;
use store::backup::{Health, Part, Problem, Rebuild, SegmentReader, check};

/// A file that a row refers to may have been stored this much later than the row.
const FILE_LAG: SignedDuration = SignedDuration::from_secs(120);
/// Rows of these are only ever added.
const ONLY_GROW: &[&str] = &["audit", "history", "ledger_transaction", "ledger_entry", "payment_step"];
/// What is being restored, in the scratch folder.
const NOTE: &str = ".restore.partial";

/// Which state is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The last state at or before this instant; none: the last one there is.
    pub at: Option<Timestamp>,
    /// Rather the last state whose counts were noted, so that they can be compared one by one.
    pub counted: bool,
}

/// A restored data folder that has not got its place yet.
#[derive(Debug)]
pub struct Scratch {
    folder: PathBuf,
    pub restored: Restored,
}

/// What was restored and how it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Every commit answered before this instant is in it.
    pub until: Timestamp,
    pub base: String,
    pub segments: u64,
    pub files: u64,
    /// Bytes of the database.
    pub bytes: u64,
    pub health: Health,
    /// All counts were compared with those noted when the backup was made, not only those that can only grow.
    pub is_counted: bool,
    /// What the operator should know, e.g. that the last segments are missing.
    pub notes: Vec<String>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Note {
    base: String,
}

struct Plan {
    name: String,
    base: Base,
    segments: Vec<SegmentName>,
    notes: Vec<String>,
}

impl Repository {
    /// Puts the wanted state together in `folder` (a scratch folder that may be left from an earlier try) with the database
    /// under `database`, and checks it: pages, trees, references, ledger, audit numbers, counts. `key` is the
    /// database's. Errors: [Error::Unsound]; nothing from that time; of the target and the disk.
    pub fn restore(
        &self,
        wanted: &Wanted,
        folder: &Path,
        database: &str,
        key: &Secret32,
        watch: &Watch<'_>,
    ) -> Result<Scratch> {
        (watch.tell)(Progress::Doing("looking"));
        let mut plan = self.plan(wanted)?;
        prepare(folder, &plan.name)?;
        let path = folder.join(database);
        for suffix in ["-wal", "-shm"] {
            drop(std::fs::remove_file(folder.join(format!("{database}{suffix}"))));
        }
        let last = self.database(&plan, &path, watch)?;
        self.restore_keys(&path)?;
        (watch.tell)(Progress::Doing("files"));
        let files = self.files(&plan, wanted.at, folder, watch)?;
        (watch.tell)(Progress::Doing("checking"));
        watch.check()?;
        let health = check(&path, Some(key))?;
        let (until, is_counted, mut problems) = self.compare(&plan, last, &health)?;
        problems.extend(health.problems.iter().cloned());
        if !problems.is_empty() {
            return Err(Error::Unsound(problems));
        }
        // Made by the check.
        for suffix in ["-wal", "-shm"] {
            drop(std::fs::remove_file(folder.join(format!("{database}{suffix}"))));
        }
        let bytes = std::fs::metadata(&path).map_err(Error::disk(path.display().to_string()))?.len();
        let restored = Restored {
            until,
            base: plan.name,
            segments: plan.segments.len() as u64,
            files,
            bytes,
            health,
            is_counted,
            notes: std::mem::take(&mut plan.notes),
        };
        Ok(Scratch { folder: folder.to_owned(), restored })
    }

    fn plan(&self, wanted: &Wanted) -> Result<Plan> {
        let limit = wanted.at.unwrap_or(Timestamp::MAX);
        let all = self.bases()?;
        let oldest = all.first().map(|(at, _)| *at);
        let mut notes = Vec::new();
        for (_, name) in all.into_iter().rev().filter(|(at, _)| *at <= limit) {
            let base = match self.base(&name) {
                Ok(base) => base,
                Err(error @ (Error::Damaged(_) | Error::NotFound(_))) => {
                    notes.push(format!("{error}; an older one is taken"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut segments = match &base.point.line {
                Some(line) => self.segments(Some(line))?,
                None => Vec::new(),
            };
            segments.retain(|segment| segment.number > base.point.number && segment.at <= limit);
            let whole = segments
                .iter()
                .zip(base.point.number + 1..)
                .take_while(|(segment, n)| segment.number == *n)
                .count();
            if whole < segments.len() {
                notes.push(format!(
                    "segment {} is missing: what came after it cannot be restored",
                    base.point.number + 1 + whole as u64
                ));
                segments.truncate(whole);
            }
            if wanted.counted {
                let counted = self.last_counted(&base, &segments)?;
                segments.retain(|segment| segment.number <= counted);
            }
            return Ok(Plan { name, base, segments, notes });
        }
        Err(match (oldest, notes.is_empty()) {
            (None, _) => Error::NotFound("a whole database".into()),
            (Some(oldest), true) => Error::Wrong(format!("the oldest backup is of {oldest:.0}")),
            (Some(_), false) => Error::Damaged("every backup of that time".into()),
        })
    }

    /// The last segment at whose end counts were noted.
    fn last_counted(&self, base: &Base, segments: &[SegmentName]) -> Result<u64> {
        let end = segments.last().map_or(base.point.number, |segment| segment.number);
        for (_, name) in self.points()?.into_iter().rev().filter(|(at, _)| *at >= base.point.at) {
            let point = self.point(&name)?;
            if point.line == base.point.line && point.number <= end {
                return Ok(point.number.max(base.point.number));
            }
        }
        Ok(base.point.number)
    }

    /// The database's file; the last segment's instant and numbers.
    fn database(&self, plan: &Plan, path: &Path, watch: &Watch<'_>) -> Result<Option<(Timestamp, i64, i64)>> {
        let base = &plan.base;
        let line = base.point.line.as_deref().unwrap_or_default();
        let mut rebuild = Rebuild::new(path, line, base.point.number)?;
        rebuild.base_pages(base.pages)?;
        let bytes = u64::from(base.pages) * store::backup::PAGE_BYTES as u64;
        (watch.tell)(Progress::Doing("database"));
        (watch.tell)(Progress::Begin(bytes + plan.segments.iter().map(|segment| segment.bytes).sum::<u64>()));
        each(&base.chunks, |n, name| {
            watch.check()?;
            let offset = (n * CHUNK_BYTES) as u64;
            let length =
                CHUNK_BYTES.min(usize::try_from(bytes.saturating_sub(offset)).unwrap_or(CHUNK_BYTES));
            // Named by its content: what an earlier try got need not come again.
            let there = rebuild.there(offset, length);
            let is_there = there.is_some_and(|bytes| self.is_named(&bytes, name));
            if !is_there {
                let chunk = self.get_chunk(name)?;
                if chunk.len() != length {
                    return Err(Error::Damaged(name.clone()));
                }
                rebuild.base(offset, &chunk)?;
            }
            (watch.tell)(Progress::Done(length as u64));
            Ok(())
        })?;
        let mut last = None;
        for segment in &plan.segments {
            watch.check()?;
            let bytes = self.segment(&segment.name)?;
            let header = SegmentReader::new(bytes.as_slice())?.header;
            rebuild.segment(bytes.as_slice())?;
            last = Some((header.at, header.audit, header.change));
            (watch.tell)(Progress::Done(segment.bytes));
        }
        rebuild.finish()?;
        Ok(last)
    }

    fn files(&self, plan: &Plan, at: Option<Timestamp>, folder: &Path, watch: &Watch<'_>) -> Result<u64> {
        let mut files: BTreeMap<String, FileEntry> =
            plan.base.files.iter().map(|file| (file.path.clone(), file.clone())).collect();
        let limit = at.unwrap_or(Timestamp::MAX);
        let most = limit.checked_add(FILE_LAG).unwrap_or(Timestamp::MAX);
        for (time, name) in self.file_changes()? {
            if time <= plan.base.files_at || time > most {
                continue;
            }
            let changes = self.changes(&name)?;
            if time <= limit {
                changes.removed.iter().for_each(|path| drop(files.remove(path)));
                files.extend(changes.changed.into_iter().map(|file| (file.path.clone(), file)));
            } else {
                // Of a row just before the instant; what was removed since was there.
                for file in changes.changed {
                    files.entry(file.path.clone()).or_insert(file);
                }
            }
        }
        let files: Vec<FileEntry> = files.into_values().collect();
        each(&files, |_, file| {
            watch.check()?;
            self.file(file, folder)
        })?;
        Ok(files.len() as u64)
    }

    fn file(&self, entry: &FileEntry, folder: &Path) -> Result<()> {
        let path = Path::new(&entry.path);
        // The manifest is sealed; but a path out of the folder must not be followed whoever made it.
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(Error::Damaged(entry.path.clone()));
        }
        let path = folder.join(path);
        let nanos = u64::try_from(entry.modified_ns).unwrap_or(0);
        let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        if let Ok(there) = std::fs::metadata(&path)
            && there.len() == entry.bytes
            && there.modified().is_ok_and(|time| time == modified)
        {
            return Ok(());
        }
        let fault = |path: &Path| Error::disk(path.display().to_string());
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(fault(parent))?;
        }
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(entry.mode & 0o777).open(&path);
        let mut file = opened.map_err(fault(&path))?;
        for name in &entry.chunks {
            file.write_all(&self.get_chunk(name)?).map_err(fault(&path))?;
        }
        file.sync_all().and_then(|()| file.set_modified(modified)).map_err(fault(&path))
    }

    /// What was found against what was noted.
    fn compare(
        &self,
        plan: &Plan,
        last: Option<(Timestamp, i64, i64)>,
        health: &Health,
    ) -> Result<(Timestamp, bool, Vec<Problem>)> {
        let point = &plan.base.point;
        let (until, audit, change) = last.unwrap_or((point.at, point.audit, point.change));
        let number = plan.segments.last().map_or(point.number, |segment| segment.number);
        let mut problems = Vec::new();
        if (health.audit, health.change) != (audit, change) {
            let text = format!(
                "the audit trail ends at {} and the events at {}, not at {audit} and {change}",
                health.audit, health.change
            );
            problems.push(Problem::new(Part::Counts, text));
        }
        let (mut noted, mut is_counted) = (point.clone(), number == point.number);
        if !is_counted {
            for (_, name) in self.points()?.into_iter().rev().filter(|(at, _)| *at >= point.at) {
                let other = self.point(&name)?;
                if other.line == point.line && other.number <= number {
                    is_counted = other.number == number;
                    noted = other;
                    break;
                }
            }
        }
        for (table, expected) in &noted.counts {
            let found = health.counts.get(table).copied();
            let is_good = match is_counted {
                true => found == Some(*expected),
                false => {
                    !ONLY_GROW.contains(&table.as_str()) || found.is_some_and(|found| found >= *expected)
                }
            };
            if !is_good {
                let text = format!("{table} has {} rows, {expected} were noted", found.unwrap_or(0));
                problems.push(Problem::new(Part::Counts, text));
            }
        }
        Ok((until, is_counted, problems))
    }

    fn is_named(&self, bytes: &[u8], name: &str) -> bool {
        self.chunk_name(bytes).is_ok_and(|found| found == name)
    }
}

/// Makes the folder, or empties one that was left by a restore of something else.
fn prepare(folder: &Path, base: &str) -> Result<()> {
    let fault = || Error::disk(folder.display().to_string());
    let note = folder.join(NOTE);
    let before = std::fs::read(&note).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
    let now = Note { base: base.to_owned() };
    if folder.exists() && before.as_ref() != Some(&now) {
        let is_empty = std::fs::read_dir(folder).map_err(fault())?.next().is_none();
        if before.is_none() && !is_empty {
            return Err(Error::Wrong(format!("{} is there and was not left by a restore", folder.display())));
        }
        std::fs::remove_dir_all(folder).map_err(fault())?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault())?;
    let text = serde_json::to_vec(&now).map_err(|error| Error::Wrong(error.to_string()))?;
    std::fs::write(&note, text).map_err(fault())
}

impl Scratch {
    /// Where it lies now; what else is checked may open the database there and close it again.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives it its place. A folder that is there already goes aside if `replace`; its new name is returned. Errors: it is
    /// there and may not go; of the disk.
    pub fn place(self, data: &Path, replace: bool) -> Result<Option<PathBuf>> {
        let fault = |path: &Path| Error::disk(path.display().to_string());
        let mut aside = None;
        if data.exists() {
            let is_empty = std::fs::read_dir(data).map_err(fault(data))?.next().is_none();
            if is_empty {
                std::fs::remove_dir(data).map_err(fault(data))?;
            } else if replace {
                let mut name = data.file_name().unwrap_or_default().to_owned();
                let now = Timestamp::now().round(Unit::Second).unwrap_or_default();
                name.push(format!(".replaced-{}", now.as_second()));
                let to = data.with_file_name(name);
                std::fs::rename(data, &to).map_err(fault(&to))?;
                aside = Some(to);
            } else {
                return Err(Error::Wrong(format!(
                    "{} is there already; restore to another folder, or say --replace to put it aside",
                    data.display()
                )));
            }
        }
        std::fs::remove_file(self.folder.join(NOTE)).map_err(fault(&self.folder))?;
        std::fs::rename(&self.folder, data).map_err(fault(data))?;
        let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(fault(parent))?;
        Ok(aside)
    }

    /// It was only to be looked at.
    pub fn discard(self) -> Result<Restored> {
        std::fs::remove_dir_all(&self.folder).map_err(Error::disk(self.folder.display().to_string()))?;
        Ok(self.restored)
    }
}
