//! Running a view at once: rows as they are made, page by page.

use crate::bulk::{Insight, blocking, disk, wrong};
use crate::table::{Format, TableWriter};
use crate::view::{Row, View};
use access::Ctx;
use jiff::Timestamp;
use record::Error;
use record::scan::{Scan, ScanRow, Whose, may_scan};
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// What to run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    pub definition: Value,
    pub format: Format,
    /// Names of the columns as CSV's first line.
    pub header: bool,
    /// Rows at most.
    pub limit: Option<u64>,
    pub since: Option<Timestamp>,
    /// Logical ids; `None`: no restriction.
    pub patients: Option<Vec<String>>,
    /// Run on these instead of the record's.
    pub resources: Option<Vec<Value>>,
}

/// A view being run. The first page is there before it is given out, so that most mistakes come before the answer.
pub struct ViewRun {
    insight: Insight,
    ctx: Ctx,
    view: Arc<View>,
    scan: Scan,
    given: Option<Vec<Value>>,
    cursor: Option<String>,
    writer: Option<TableWriter<Shared>>,
    shared: Shared,
    left: u64,
    ready: Option<Vec<u8>>,
    pub media_type: &'static str,
}

/// What the writer writes and the stream takes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Insight {
    /// Errors: `Malformed` for a definition that is none or does not fit the first resources; `Denied` if the caller may
    /// see nothing of its type.
    pub async fn run_view(&self, ctx: &Ctx, ask: RunRequest) -> Result<ViewRun, Error> {
        let view =
            View::compile(&ask.definition).map_err(|error| wrong("viewResource", error.to_string()))?;
        let what = format!("ViewDefinition/$run {} of {}", view.name, view.kind.name());
        if ask.resources.is_none() && !may_scan(ctx, view.kind) {
            return Err(self.record().deny_bulk(ctx, "view.run", &what).await);
        }
        let shared = Shared::default();
        let writer = TableWriter::new(shared.clone(), ask.format, &view.columns, ask.header).map_err(disk)?;
        let whose = match ask.patients {
            None => Whose::All,
            Some(mut patients) => {
                patients.sort();
                patients.dedup();
                Whose::Patients(Arc::new(patients))
            }
        };
        let horizon = if ask.resources.is_some() { 0 } else { self.record().horizon().await? };
        let scan = Scan { kind: view.kind, horizon, since: ask.since, until: None, whose, deleted: false };
        let mut run = ViewRun {
            insight: self.clone(),
            ctx: ctx.clone(),
            view: Arc::new(view),
            scan,
            given: ask.resources,
            cursor: None,
            writer: Some(writer),
            shared,
            left: ask.limit.unwrap_or(u64::MAX),
            ready: None,
            media_type: ask.format.media_type(),
        };
        run.ready = run.page().await?;
        Ok(run)
    }
}

impl ViewRun {
    /// The next bytes of the table; `None` at its end. What they hold has been audited. Errors: `Malformed` where the
    /// view does not fit a resource; `Busy`.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.ready.take() {
            Some(bytes) => Ok(Some(bytes)),
            None => self.page().await,
        }
    }

    async fn page(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let Some(mut writer) = self.writer.take() else { return Ok(None) };
            let (view, mut left) = (self.view.clone(), self.left);
            let (rows, ended) = match self.given.take() {
                Some(resources) => (Source::Given(resources), true),
                None => {
                    let page =
                        self.insight.record().scan(&self.ctx, &self.scan, self.cursor.as_deref()).await?;
                    self.cursor = page.next;
                    (Source::Found(page.rows), self.cursor.is_none())
                }
            };
            let made = blocking(move || {
                let mut patients = Vec::new();
                left = rows.fill(&view, &mut writer, left, &mut patients)?;
                Ok((writer, left, patients))
            });
            let (writer, left, patients) = made.await?;
            self.left = left;
            let ended = ended || left == 0;
            if ended {
                blocking(move || writer.finish().map(drop).map_err(disk)).await?;
            } else {
                self.writer = Some(writer);
            }
            if !patients.is_empty() || ended {
                let what = format!("ViewDefinition/$run {} of {}", self.view.name, self.view.kind.name());
                self.insight.record().audit_bulk(&self.ctx, "view.run", &what, &patients).await?;
            }
            let bytes = self.shared.take();
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

enum Source {
    Given(Vec<Value>),
    Found(Vec<ScanRow>),
}

impl Source {
    /// Returns how many rows may still follow.
    fn fill(
        self,
        view: &View,
        writer: &mut TableWriter<Shared>,
        mut left: u64,
        patients: &mut Vec<String>,
    ) -> Result<u64, Error> {
        let mut one = |what: &str, resource: &Value| -> Result<bool, Error> {
            let rows: Vec<Row> =
                view.rows(resource).map_err(|error| wrong("viewResource", format!("{what}: {error}")))?;
            let any = !rows.is_empty();
            for row in rows.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                writer.row(row).map_err(|error| match error.kind() {
                    io::ErrorKind::InvalidData => wrong("viewResource", error.to_string()),
                    _ => disk(error),
                })?;
            }
            left = left.saturating_sub(rows.len() as u64);
            Ok(any)
        };
        match self {
            Source::Given(resources) => {
                for (n, resource) in resources.iter().enumerate() {
                    one(&format!("resource {}", n + 1), resource)?;
                }
            }
            Source::Found(rows) => {
                for row in rows {
                    if one(&row.stored.key.to_string(), row.stored.parse()?.value())? {
                        patients.extend(row.patients);
                    }
                }
                patients.sort();
                patients.dedup();
            }
        }
        Ok(left)
    }
}
