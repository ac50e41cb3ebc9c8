//! Resources to plain files, at once: for an operator at the machine itself. What others ask for over the network are
//! jobs with sealed files ([crate::export]).

use crate::bulk::{Insight, blocking, disk, wrong};
use crate::export::{ExportRequest, Level};
use access::Ctx;
use fhir::TypeId;
use jiff::Timestamp;
use record::Error;
use record::scan::{Scan, Whose, may_scan};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to write. Filters and elements are for jobs only.
#[derive(Debug, Clone)]
pub struct DumpRequest {
    /// [Level::Patient] with no `patients`: everything in the compartment of any patient.
    pub level: Level,
    /// Empty: every type there is.
    pub kinds: Vec<TypeId>,
    /// Last changed at or after; deletions since then are written as well, but for named patients.
    pub since: Option<Timestamp>,
    /// Logical ids of Patients.
    pub patients: Vec<String>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpProgress {
    /// A type begins; `of` are asked for.
    Kind { kind: TypeId, number: usize, of: usize },
    /// So many more resources, so many more bytes.
    Page { resources: u64, bytes: u64 },
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Name of the file, resources or deletions in it.
    pub files: Vec<(String, u64)>,
    pub resources: u64,
    pub deleted: u64,
    /// What the next one is to ask for as `since`: a little before this one began.
    pub transaction: Timestamp,
}

/// Name of the file that lists the others; it is there when all of them are whole.
pub const MANIFEST: &str = "manifest.json";

impl Insight {
    /// Writes one file of NDJSON per type, `Patient.ndjson`, deletions to `deleted.ndjson` (one key per line) and a list
    /// of them to [MANIFEST], all as the record stood when it began. `folder` must not be there, or be empty: the files
    /// are made in a hidden folder beside it, which takes its name when everything is on the disk. Ended early by
    /// `stopping` (then `None`) or by an error, it leaves nothing. Audited as exports are.
    /// Errors: `Denied`, `NotFound` for the group, `Malformed` for a folder that cannot be used, `Internal` for the disk's.
    pub async fn dump(
        &self,
        ctx: &Ctx,
        ask: DumpRequest,
        folder: &Path,
        progress: &(dyn Fn(DumpProgress) + Send + Sync),
        stopping: crate::Stopping<'_>,
    ) -> Result<Option<DumpReport>, Error> {
        let hidden = hidden_beside(folder)?;
        let making = hidden.clone();
        let final_folder = folder.to_owned();
        blocking(move || begin(&final_folder, &making)).await?;
        let done = self.dump_into(ctx, ask, &hidden, progress, stopping).await;
        let (folder, making) = (folder.to_owned(), hidden);
        match done {
            Ok(Some(report)) => {
                blocking(move || {
                    std::fs::rename(&making, &folder).map_err(disk)?;
                    // The name itself must survive a power cut too.
                    let parent =
                        folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    File::open(parent).and_then(|f| f.sync_all()).map_err(disk)
                })
                .await?;
                Ok(Some(report))
            }
            other => {
                blocking(move || {
                    drop(std::fs::remove_dir_all(&making));
                    Ok(())
                })
                .await?;
                other
            }
        }
    }

    async fn dump_into(
        &self,
        ctx: &Ctx,
        ask: DumpRequest,
        folder: &Path,
        progress: &(dyn Fn(DumpProgress) + Send + Sync),
        stopping: crate::Stopping<'_>,
    ) -> Result<Option<DumpReport>, Error> {
        let record = self.record();
        let began = record.now();
        let asked = ExportRequest {
            url: "uzima export".to_owned(),
            level: ask.level.clone(),
            kinds: ask.kinds.clone(),
            since: ask.since,
            until: None,
            filters: Vec::new(),
            patients: ask.patients,
            elements: Vec::new(),
        };
        let whose = match (self.patients(ctx, &asked).await?, &ask.level) {
            (Some(patients), _) => Whose::Patients(Arc::new(patients)),
            (None, Level::System) => Whose::All,
            (None, Level::Patient | Level::Group(_)) => Whose::AnyPatient,
        };
        let mut kinds = record.kinds_to_scan(ctx).await?;
        if !ask.kinds.is_empty() {
            if let Some(kind) = ask.kinds.iter().find(|kind| !may_scan(ctx, **kind)) {
                return Err(record.deny_bulk(ctx, "bulk.export", kind.name()).await);
            }
            kinds.retain(|kind| ask.kinds.contains(kind));
        }
        let horizon = record.horizon().await?;
        record.audit_bulk(ctx, "bulk.export", &format!("uzima export: {} types", kinds.len()), &[]).await?;
        let transaction = began.checked_sub(crate::export::OVERLAP).unwrap_or(began);
        let mut report = DumpReport { transaction, ..DumpReport::default() };
        let mut deletions = Lines::new(folder.join("deleted.ndjson"));
        for (n, kind) in kinds.iter().enumerate() {
            progress(DumpProgress::Kind { kind: *kind, number: n + 1, of: kinds.len() });
            let deleted = ask.since.is_some() && !matches!(whose, Whose::Patients(_));
            let scan =
                Scan { kind: *kind, horizon, since: ask.since, until: None, whose: whose.clone(), deleted };
            let name = format!("{}.ndjson", kind.name());
            let mut lines = Lines::new(folder.join(&name));
            let mut cursor: Option<String> = None;
            loop {
                if stopping() {
                    return Ok(None);
                }
                let page = record.scan(ctx, &scan, cursor.as_deref()).await?;
                cursor = page.next;
                let mut patients: Vec<String> =
                    page.rows.iter().flat_map(|row| row.patients.iter().cloned()).collect();
                patients.sort();
                patients.dedup();
                let (count, before) = (page.rows.len() as u64, lines.bytes);
                (lines, deletions) = blocking(move || {
                    for row in page.rows {
                        if row.deleted {
                            deletions.write(row.stored.key.to_string().as_bytes())?;
                        } else {
                            lines.write(&row.stored.content)?;
                        }
                    }
                    Ok((lines, deletions))
                })
                .await?;
                if !patients.is_empty() {
                    let what = format!("uzima export: {}", kind.name());
                    record.audit_bulk(ctx, "bulk.export", &what, &patients).await?;
                }
                progress(DumpProgress::Page { resources: count, bytes: lines.bytes - before });
                if cursor.is_none() {
                    break;
                }
            }
            if let Some(count) = blocking(move || lines.close()).await? {
                report.resources += count;
                report.files.push((name, count));
            }
        }
        if let Some(count) = blocking(move || deletions.close()).await? {
            report.deleted = count;
            report.files.push(("deleted.ndjson".to_owned(), count));
        }
        let list: Vec<_> =
            report.files.iter().map(|(name, count)| json!({"file": name, "count": count})).collect();
        let manifest = json!({
            "transactionTime": format!("{transaction:.3}"), "since": ask.since.map(|t| t.to_string()), "files": list,
        });
        let mut lines = Lines::new(folder.join(MANIFEST));
        let folder = folder.to_owned();
        blocking(move || {
            lines.write(manifest.to_string().as_bytes())?;
            lines.close()?;
            File::open(&folder).and_then(|f| f.sync_all()).map_err(disk)
        })
        .await?;
        Ok(Some(report))
    }
}

/// Where the files are until they are whole. Errors: `Malformed` for a path without a name.
fn hidden_beside(folder: &Path) -> Result<PathBuf, Error> {
    let name = folder.file_name().ok_or_else(|| wrong("out", "name a new folder for the files"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.partial", uuid::Uuid::now_v7().simple()));
    Ok(folder.with_file_name(hidden))
}

/// Only the one who runs it may look into the files: they are not encrypted.
fn begin(folder: &Path, making: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let text = format!("{} is not empty; name a new folder", folder.display());
                return Err(wrong("out", text));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong("out", format!("{}: {error}", folder.display()))),
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(making)
        .map_err(|error| wrong("out", format!("{}: {error}", making.display())))
}

/// A file that is made with its first line.
struct Lines {
    path: PathBuf,
    out: Option<BufWriter<File>>,
    count: u64,
    bytes: u64,
}

impl Lines {
    fn new(path: PathBuf) -> Lines {
        Lines { path, out: None, count: 0, bytes: 0 }
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Error> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let out = match &mut self.out {
            Some(out) => out,
            none => {
                let mut options = std::fs::OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&self.path).map_err(disk)?;
                none.insert(BufWriter::with_capacity(1 << 18, file))
            }
        };
        out.write_all(line).and_then(|()| out.write_all(b"\n")).map_err(disk)?;
        self.count += 1;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }

    /// Lines in it, on the disk; `None` if there are none.
    fn close(self) -> Result<Option<u64>, Error> {
        let Some(out) = self.out else { return Ok(None) };
        let file = out.into_inner().map_err(|error| disk(error.into_error()))?;
        file.sync_all().map_err(disk)?;
        Ok(Some(self.count))
    }
}
