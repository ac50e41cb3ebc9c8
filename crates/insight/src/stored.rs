//! Named views whose tables are kept up to date on the disk.
//!
//! Beside the files in each format lies a base: per resource one line with its key and its rows. A refresh asks for what
//! changed since the last one ([record::Record::changed_since]), makes rows of that alone, and writes the files anew from
//! the base without the changed ones and the new rows behind. Readers keep the files they have open.

use crate::bulk::{Insight, LEASE_MS, RENEW, blocking, disk, wrong};
use crate::part::{Sealed, close, create};
use crate::run::refusal;
use crate::sealed::{FileKey, SealedReader};
use crate::table::{Format, TableWriter};
use crate::view::{Budget, Row, View, ViewError};
use crate::{Download, Stopping};
use access::Ctx;
use record::Error;
use record::scan::{may_scan, may_scan_all};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::bulk::view::{self as table, Refreshed};
use uuid::Uuid;

/// A named view and how far it is.
pub use store::bulk::view::View as Stored;

/// How a view is kept.
#[derive(Debug, Clone)]
pub struct Keep {
    pub formats: Vec<Format>,
    /// From one refresh to the next, if something changed.
    pub every: Duration,
}

/// Changed resources taken up in one round.
const ROUND: usize = 100_000;
/// Resources asked for at once.
const PAGE: u32 = 1_000;
const MAX_VIEWS: usize = 1_000;
const MIN_EVERY: Duration = Duration::from_secs(10);
const MAX_EVERY: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// A refresh that failed is tried again after so many seconds.
const AGAIN_S: i64 = 60;
/// One that cost too much, after so many at least: until then somebody may have changed the view.
const TOO_COSTLY_AGAIN_S: i64 = 60 * 60;
/// Refreshes that may come between a view's row and the opening of its file.
const OPENED: usize = 5;
/// Format under which the base stands among the files.
const BASE: &str = "base";

/// Letters, digits, hyphens and underscores, 1 to 64: part of addresses and file names.
pub fn is_view_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

impl Insight {
    /// Writes a named view, or replaces it; its table is made anew in the background. Returns whether it is new.
    /// Errors: `Malformed`; `Denied` unless the caller may see every resource of its type.
    pub async fn put_view(
        &self,
        ctx: &Ctx,
        name: &str,
        definition: Value,
        keep: &Keep,
    ) -> Result<bool, Error> {
        if !is_view_name(name) {
            return Err(wrong("name", "a view's name has 1 to 64 letters, digits, hyphens and underscores"));
        }
        if keep.formats.contains(&Format::Json) {
            return Err(wrong("_format", "tables are kept as csv, ndjson and parquet"));
        }
        if !(MIN_EVERY..=MAX_EVERY).contains(&keep.every) {
            return Err(wrong("every", "a refresh every 10 seconds to 31 days"));
        }
        let view = View::compile(&definition).map_err(|error| wrong("view", error.to_string()))?;
        let what = format!("ViewDefinition/{name} of {}", view.kind.name());
        if !may_scan_all(ctx, view.kind) {
            return Err(self.record().deny_bulk(ctx, "view.put", &what).await);
        }
        if self.stored_views(ctx).await?.len() >= MAX_VIEWS {
            return Err(wrong("name", format!("there are {MAX_VIEWS} views already")));
        }
        let new = table::New {
            name: name.to_owned(),
            definition,
            formats: keep.formats.iter().map(|f| f.code().to_owned()).collect(),
            every_s: i64::try_from(keep.every.as_secs()).unwrap_or(i64::MAX),
            owner: ctx.principal.agent(),
        };
        self.record().audit_bulk(ctx, "view.put", &what, &[]).await?;
        let is_new = self.record().store().write(move |tx| table::put(tx, &new)).await?;
        self.inner.bell.notify_waiters();
        Ok(is_new)
    }

    /// The views whose type the caller may see anything of. Errors: `Busy`.
    pub async fn stored_views(&self, ctx: &Ctx) -> Result<Vec<Stored>, Error> {
        let mut views = self.record().store().read(table::list).await?;
        views.retain(|view| View::compile(&view.definition).is_ok_and(|v| may_scan(ctx, v.kind)));
        Ok(views)
    }

    /// One view. Errors: `NotFound`, also where the caller may see nothing of its type.
    pub async fn stored_view(&self, ctx: &Ctx, name: &str) -> Result<Stored, Error> {
        let wanted = name.to_owned();
        let found = self.record().store().read(move |tx| table::load(tx, &wanted)).await?;
        let found = found.filter(|view| View::compile(&view.definition).is_ok_and(|v| may_scan(ctx, v.kind)));
        found.ok_or(Error::NotFound)
    }

    /// A view that the caller may change: one of a type of which it may see everything.
    async fn own_view(&self, ctx: &Ctx, action: &str, name: &str) -> Result<Stored, Error> {
        let stored = self.stored_view(ctx, name).await?;
        let all = View::compile(&stored.definition).is_ok_and(|v| may_scan_all(ctx, v.kind));
        let what = format!("ViewDefinition/{name}");
        if !all {
            return Err(self.record().deny_bulk(ctx, action, &what).await);
        }
        self.record().audit_bulk(ctx, action, &what, &[]).await?;
        Ok(stored)
    }

    /// Removes a view and its files. Errors: `NotFound`, `Denied`.
    pub async fn remove_view(&self, ctx: &Ctx, name: &str) -> Result<(), Error> {
        let stored = self.own_view(ctx, "view.remove", name).await?;
        let wanted = name.to_owned();
        self.record().store().write(move |tx| table::remove(tx, &wanted)).await?;
        let folder = self.views_folder();
        blocking(move || {
            drop_files(&folder, &stored.files);
            Ok(())
        })
        .await
    }

    /// Has the view refreshed as soon as the worker has time. Errors: `NotFound`, `Denied`.
    pub async fn hasten_view(&self, ctx: &Ctx, name: &str) -> Result<(), Error> {
        self.own_view(ctx, "view.refresh", name).await?;
        let wanted = name.to_owned();
        self.record().store().write(move |tx| table::hasten(tx, &wanted)).await?;
        self.inner.bell.notify_waiters();
        Ok(())
    }

    /// Opens the table as it was at the last refresh; audited before it returns. Errors: `NotFound` for a view or format that
    /// is not there (yet); `Denied` unless the caller may see every resource of the type.
    pub async fn open_view(
        &self,
        ctx: &Ctx,
        name: &str,
        format: Format,
    ) -> Result<(Stored, Download), Error> {
        let mut stored = self.own_view(ctx, "view.download", name).await?;
        for _ in 0..OPENED {
            let file = stored.files.get(format.code()).ok_or(Error::NotFound)?;
            let file_name = file.get("name").and_then(Value::as_str).ok_or(Error::NotFound)?;
            let bytes = file.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            match self.unseal(&self.views_folder().join(file_name), file_name).await {
                Ok(reader) => {
                    return Ok((stored, Download { reader, bytes, media_type: format.media_type() }));
                }
                // A refresh came between the row and the file: its row names the file that is there now.
                Err(Error::NotFound) => stored = self.stored_view(ctx, name).await?,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    /// Refreshes the view that has been due longest. Returns 0 if none is. Errors: `Busy`, `Internal`.
    pub async fn refresh_views(&self, stopping: Stopping<'_>) -> Result<usize, Error> {
        if stopping() || !self.record().store().read(table::is_due).await? {
            return Ok(0);
        }
        let Some(stored) = self.record().store().write(|tx| table::lease(tx, LEASE_MS)).await? else {
            return Ok(0);
        };
        let (name, token, every_s) = (stored.name.clone(), stored.token, stored.every_s);
        let writing = Writing {
            folder: self.views_folder(),
            key: self.config().key.clone(),
            // Whoever lost its lease goes on for a while, and must not write into the files of the one that has it now.
            file: format!("{}.{}.{}", stored.name, stored.generation + 1, Uuid::now_v7().simple()),
            generation: stored.generation + 1,
        };
        if let Err(error) = self.refresh(stored, &writing, stopping).await {
            tracing::warn!(%error, view = %name, "a view was not refreshed");
            writing.dropped().await?;
            let again_s = match &error {
                Error::Invalid(_) => every_s.max(TOO_COSTLY_AGAIN_S),
                _ => AGAIN_S,
            };
            let text = match &error {
                Error::Malformed(outcome) => outcome.to_string(),
                other => other.to_outcome().to_string(),
            };
            self.record().store().write(move |tx| table::failed(tx, &name, token, &text, again_s)).await?;
        }
        Ok(1)
    }

    pub(crate) fn views_folder(&self) -> PathBuf {
        self.config().folder.join("views")
    }

    async fn refresh(&self, stored: Stored, writing: &Writing, stopping: Stopping<'_>) -> Result<(), Error> {
        let record = self.record();
        let view = View::compile(&stored.definition).map_err(|error| wrong("view", error.to_string()))?;
        let ctx = Ctx::system("views", record.now());
        let horizon = record.horizon().await?;
        let budget = Budget::new(self.config().background);
        let mut fresh = Fresh::new(writing.clone(), view, budget);
        let mut after = stored.seq;
        let mut ended = false;
        while !stopping() && fresh.changed.len() < ROUND {
            let rows = record.changed_since(&ctx, fresh.view.kind, after, horizon, PAGE).await?;
            let Some((last, _)) = rows.last() else {
                ended = true;
                break;
            };
            after = *last;
            let taking = blocking(move || {
                for (_, row) in rows {
                    fresh.take(&row)?;
                }
                Ok(fresh)
            });
            fresh = self.renewing(&stored, taking).await?;
            let (name, token) = (stored.name.clone(), stored.token);
            if !record.store().write(move |tx| table::renew(tx, &name, token, LEASE_MS)).await? {
                return writing.clone().dropped().await;
            }
        }
        let due_in_s = if ended { stored.every_s } else { 0 };
        let error = fresh.fault();
        let (name, token) = (stored.name.clone(), stored.token);
        if fresh.changed.is_empty()
            && stored.generation > 0
            && (ended || stopping())
            && has_all(&stored)
            && stored.seq > 0
        {
            let new = Refreshed {
                seq: if ended { horizon } else { after },
                generation: stored.generation,
                rows: stored.rows,
                files: stored.files.clone(),
                due_in_s,
                error: stored.error.clone(),
            };
            record.store().write(move |tx| table::refreshed(tx, &name, token, &new)).await?;
            return Ok(());
        }
        // A view that was replaced begins with nothing.
        let old = if stored.seq == 0 { None } else { file_of(&stored.files, BASE) };
        let formats: Vec<Format> = if ended {
            stored.formats.iter().filter_map(|code| Format::parse(code)).collect()
        } else {
            // More rounds follow: the tables wait for the last.
            Vec::new()
        };
        let merging = {
            let writing = writing.clone();
            blocking(move || writing.merge(fresh, old, &formats))
        };
        let merged = self.renewing(&stored, merging).await?;
        let mut files = merged.files;
        if !ended {
            // The tables of the last whole refresh stay until then.
            for (format, file) in stored.files.as_object().into_iter().flatten() {
                if format != BASE {
                    files[format] = file.clone();
                }
            }
        }
        let new = Refreshed {
            seq: if ended { horizon.max(1) } else { after },
            generation: writing.generation,
            rows: merged.rows,
            files: files.clone(),
            due_in_s,
            error,
        };
        let kept = record.store().write(move |tx| table::refreshed(tx, &name, token, &new)).await?;
        let (folder, writing) = (self.views_folder(), writing.clone());
        blocking(move || {
            if kept {
                drop_files_but(&folder, &stored.files, &files);
            } else {
                writing.discard();
            }
            Ok(())
        })
        .await
    }

    /// Renews the lease while long work goes on.
    async fn renewing<T>(
        &self,
        stored: &Stored,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RENEW) => {
                    let (name, token) = (stored.name.clone(), stored.token);
                    // If it was lost, the last step finds out.
                    self.record().store().write(move |tx| table::renew(tx, &name, token, LEASE_MS)).await?;
                }
            }
        }
    }
}

fn has_all(stored: &Stored) -> bool {
    stored.formats.iter().all(|format| stored.files.get(format).is_some())
}

fn file_of(files: &Value, format: &str) -> Option<String> {
    files.get(format)?.get("name")?.as_str().map(str::to_owned)
}

/// Names of all files of a view, its base among them.
pub(crate) fn file_names(files: &Value) -> Vec<String> {
    let files = files.as_object().into_iter().flatten();
    files.filter_map(|(_, file)| file.get("name").and_then(Value::as_str)).map(str::to_owned).collect()
}

fn drop_files(folder: &Path, files: &Value) {
    drop_files_but(folder, files, &Value::Null);
}

fn drop_files_but(folder: &Path, files: &Value, kept: &Value) {
    let stays: HashSet<&str> = kept
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, file)| file.get("name").and_then(Value::as_str))
        .collect();
    for (_, file) in files.as_object().into_iter().flatten() {
        if let Some(name) = file.get("name").and_then(Value::as_str).filter(|name| !stays.contains(name)) {
            // A file that cannot be removed only takes room.
            drop(std::fs::remove_file(folder.join(name)));
        }
    }
}

/// The files of one generation.
#[derive(Clone)]
struct Writing {
    folder: PathBuf,
    key: FileKey,
    /// How the names of its files begin.
    file: String,
    generation: i64,
}

struct Merged {
    files: Value,
    rows: i64,
}

impl Writing {
    fn file_name(&self, format: &str) -> String {
        format!("{}.{format}.sealed", self.file)
    }
    fn create(&self, format: &str) -> Result<Sealed, Error> {
        let name = self.file_name(format);
        create(&self.folder.join(&name), &self.key, &name)
    }
    async fn dropped(self) -> Result<(), Error> {
        blocking(move || {
            self.discard();
            Ok(())
        })
        .await
    }
    fn discard(&self) {
        for format in [BASE, "fresh"].into_iter().chain(Format::ALL.map(Format::code)) {
            drop(std::fs::remove_file(self.folder.join(self.file_name(format))));
        }
    }

    /// Writes base and tables. Blocks. Errors: of the disk; `Malformed` for a value that does not fit its column.
    fn merge(&self, fresh: Fresh, old: Option<String>, formats: &[Format]) -> Result<Merged, Error> {
        let Fresh { view, changed, sealed, .. } = fresh;
        let has_new = sealed.is_some();
        sealed.map(close).transpose()?;
        let mut out = Out { base: self.create(BASE)?, tables: Vec::new(), rows: 0 };
        for format in formats {
            let sealed = self.create(format.code())?;
            let writer = TableWriter::new(sealed, *format, &view.columns, true).map_err(disk)?;
            out.tables.push((*format, writer));
        }
        if let Some(name) = old {
            self.copy(&name, &mut out, Some(&changed))?;
        }
        if has_new {
            let name = self.file_name("fresh");
            self.copy(&name, &mut out, None)?;
            drop(std::fs::remove_file(self.folder.join(&name)));
        }
        let mut files = json!({});
        files[BASE] = json!({"name": self.file_name(BASE), "bytes": out.base.written()});
        close(out.base)?;
        for (format, writer) in out.tables {
            let sealed = writer.finish().map_err(disk)?;
            files[format.code()] = json!({"name": self.file_name(format.code()), "bytes": sealed.written()});
            close(sealed)?;
        }
        Ok(Merged { files, rows: out.rows })
    }

    fn copy(&self, name: &str, out: &mut Out, without: Option<&HashSet<String>>) -> Result<(), Error> {
        let file = File::open(self.folder.join(name)).map_err(disk)?;
        let reader = SealedReader::new(BufReader::new(file), &self.key, name).map_err(disk)?;
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(disk)? == 0 {
                return Ok(());
            }
            let broken = || Error::Internal("the base of a view cannot be read".into());
            let split = line.iter().position(|b| *b == b'\t').ok_or_else(broken)?;
            let id = std::str::from_utf8(&line[..split]).map_err(|_| broken())?;
            if without.is_some_and(|changed| changed.contains(id)) {
                continue;
            }
            out.base.write_all(&line).map_err(disk)?;
            let rows: Vec<Row> = serde_json::from_slice(&line[split + 1..]).map_err(|_| broken())?;
            for row in &rows {
                for (_, table) in &mut out.tables {
                    table.row(row).map_err(|error| match error.kind() {
                        std::io::ErrorKind::InvalidData => wrong("view", error.to_string()),
                        _ => disk(error),
                    })?;
                }
            }
            out.rows += i64::try_from(rows.len()).unwrap_or(0);
        }
    }
}

struct Out {
    base: Sealed,
    tables: Vec<(Format, TableWriter<Sealed>)>,
    rows: i64,
}

/// What changed, and its rows.
struct Fresh {
    writing: Writing,
    view: View,
    /// Shared by all resources of the refresh.
    budget: Budget,
    /// Logical ids.
    changed: HashSet<String>,
    /// Made with the first row: most looks find nothing.
    sealed: Option<Sealed>,
    left_out: u64,
    first_fault: String,
}

impl Fresh {
    fn new(writing: Writing, view: View, budget: Budget) -> Fresh {
        Fresh {
            writing,
            view,
            budget,
            changed: HashSet::new(),
            sealed: None,
            left_out: 0,
            first_fault: String::new(),
        }
    }

    fn take(&mut self, row: &record::scan::ScanRow) -> Result<(), Error> {
        let id = row.stored.key.id.clone();
        if !row.deleted {
            match self.view.rows(row.stored.parse()?.value(), &self.budget, None) {
                Ok(rows) if !rows.is_empty() => {
                    let text = Value::from(rows.into_iter().map(Value::from).collect::<Vec<_>>());
                    let sealed = match &mut self.sealed {
                        Some(sealed) => sealed,
                        none => none.insert(self.writing.create("fresh")?),
                    };
                    sealed.write_all(format!("{id}\t{text}\n").as_bytes()).map_err(disk)?;
                }
                Ok(_) => {}
                // Not the fault of this resource.
                Err(error @ ViewError::UsedUp { .. }) => {
                    return Err(refusal(&error, "view", &row.stored.key.to_string()));
                }
                Err(error) => {
                    self.left_out += 1;
                    if self.first_fault.is_empty() {
                        self.first_fault = format!("{}: {error}", row.stored.key);
                    }
                }
            }
        }
        self.changed.insert(id);
        Ok(())
    }

    fn fault(&self) -> Option<String> {
        (self.left_out > 0).then(|| {
            format!(
                "{} resources were left out at the last refresh, the first {}",
                self.left_out, self.first_fault
            )
        })
    }
}
