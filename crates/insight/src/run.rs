//! Running a view at once: rows as they are made, page by page.

use crate::bulk::{Insight, blocking, disk, wrong};
use crate::table::{Format, TableWriter};
use crate::view::{Budget, Limits, Row, View, ViewError};
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
    /// What it may cost at most; `None`: as configured for those who wait.
    pub limits: Option<Limits>,
}

/// A view being run. The first page is there before it is given out, so that most mistakes come before the answer.
pub struct ViewRun {
    insight: Insight,
    ctx: Ctx,
    view: Arc<View>,
    scan: Scan,
    /// What of a page has no rows yet; the first is what was given along with the view.
    pending: Option<Source>,
    /// Nothing comes behind what is pending.
    is_last: bool,
    cursor: Option<String>,
    writer: Option<TableWriter<Shared>>,
    shared: Shared,
    /// Rows that may still come.
    left: u64,
    /// Shared by all pages; `None` while a page is made.
    budget: Option<Budget>,
    /// Resources looked at, rows made.
    looked_at: u64,
    rows: u64,
    ready: Option<Vec<u8>>,
    pub media_type: &'static str,
}

/// Bytes that wait for the reader before more rows are made, but for those of one resource.
const MAX_WAITING: usize = 1 << 20;

/// What the writer writes and the stream takes.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
    fn is_full(&self) -> bool {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len() >= MAX_WAITING
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
    /// Errors: `Malformed` for a definition that is none or does not fit the first resources; `Invalid` with `too-costly`
    /// for one that takes more than it may; `Denied` if the caller may see nothing of its type.
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
            is_last: ask.resources.is_some(),
            pending: ask.resources.map(|given| Source::Given(given.into_iter().enumerate())),
            cursor: None,
            writer: Some(writer),
            shared,
            left: ask.limit.unwrap_or(u64::MAX),
            budget: Some(Budget::new(ask.limits.unwrap_or(self.config().run))),
            looked_at: 0,
            rows: 0,
            ready: None,
            media_type: ask.format.media_type(),
        };
        run.ready = run.page().await?;
        Ok(run)
    }
}

impl ViewRun {
    /// Resources looked at and rows made so far.
    pub fn progress(&self) -> (u64, u64) {
        (self.looked_at, self.rows)
    }

    /// The next bytes of the table; `None` at its end. What they hold has been audited. Errors: `Malformed` where the
    /// view does not fit a resource; `Invalid` with `too-costly`; `Busy`.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match self.ready.take() {
            Some(bytes) => Ok(Some(bytes)),
            None => self.page().await,
        }
    }

    async fn page(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            let Some(mut writer) = self.writer.take() else { return Ok(None) };
            let Some(budget) = self.budget.take() else { return Ok(None) };
            let mut source = match self.pending.take() {
                Some(source) => source,
                None => {
                    let page =
                        self.insight.record().scan(&self.ctx, &self.scan, self.cursor.as_deref()).await?;
                    self.cursor = page.next;
                    self.is_last = self.cursor.is_none();
                    Source::Found(page.rows.into_iter())
                }
            };
            // Whoever asks for many views at once waits for herself.
            let turn = self.insight.turn().await?;
            let shared = self.shared.clone();
            let mut filling = Filling {
                view: self.view.clone(),
                budget,
                left: self.left,
                looked_at: 0,
                rows: 0,
                patients: Vec::new(),
            };
            let made = blocking(move || {
                let is_through = source.fill(&mut filling, &mut writer, &shared)?;
                Ok((writer, filling, (!is_through).then_some(source)))
            });
            let (writer, filling, pending) = made.await?;
            drop(turn);
            self.pending = pending;
            let Filling { budget, left, looked_at, rows, patients, .. } = filling;
            self.budget = Some(budget);
            (self.left, self.looked_at, self.rows) = (left, self.looked_at + looked_at, self.rows + rows);
            let ended = left == 0 || (self.is_last && self.pending.is_none());
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
    Given(std::iter::Enumerate<std::vec::IntoIter<Value>>),
    Found(std::vec::IntoIter<ScanRow>),
}

/// One page on its way into the table.
struct Filling {
    view: Arc<View>,
    budget: Budget,
    /// Rows that may still come.
    left: u64,
    looked_at: u64,
    rows: u64,
    /// Whose data it is.
    patients: Vec<String>,
}

impl Filling {
    /// Returns whether the resource gave a row.
    fn one(&mut self, what: &str, resource: &Value, writer: &mut TableWriter<Shared>) -> Result<bool, Error> {
        let rows: Vec<Row> = self
            .view
            .rows(resource, &self.budget, Some(self.left))
            .map_err(|error| refusal(&error, "viewResource", what))?;
        for row in &rows {
            writer.row(row).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => wrong("viewResource", error.to_string()),
                _ => disk(error),
            })?;
        }
        self.looked_at += 1;
        self.rows += rows.len() as u64;
        self.left -= rows.len() as u64;
        Ok(!rows.is_empty())
    }
}

/// What the caller is told: `Malformed` for a view that does not fit, `Invalid` for one that costs too much.
pub(crate) fn refusal(error: &ViewError, field: &str, what: &str) -> Error {
    let outcome = error.to_outcome(field, Some(what));
    match error {
        ViewError::Definition { .. } | ViewError::Evaluation { .. } => Error::Malformed(outcome),
        ViewError::TooMuch { .. } | ViewError::UsedUp { .. } => Error::Invalid(outcome),
    }
}

impl Source {
    /// Ends with the rows that are wanted, for resources behind the last one are not looked at, and where enough wait for
    /// the reader. Returns whether nothing is left.
    fn fill(
        &mut self,
        filling: &mut Filling,
        writer: &mut TableWriter<Shared>,
        shared: &Shared,
    ) -> Result<bool, Error> {
        while filling.left > 0 && !shared.is_full() {
            let more = match self {
                Source::Given(resources) => resources.next().map(|(n, resource)| {
                    filling.one(&format!("resource {}", n + 1), &resource, writer).map(drop)
                }),
                Source::Found(rows) => rows.next().map(|row| {
                    if filling.one(&row.stored.key.to_string(), row.stored.parse()?.value(), writer)? {
                        filling.patients.extend(row.patients);
                    }
                    Ok(())
                }),
            };
            match more {
                Some(done) => done?,
                None => break,
            }
        }
        filling.patients.sort();
        filling.patients.dedup();
        Ok(match self {
            Source::Given(resources) => resources.len() == 0,
            Source::Found(rows) => rows.len() == 0,
        })
    }
}
