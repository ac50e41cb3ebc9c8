//! Exports: what is asked for, and one piece of the work.
//!
//! An export shows the record as it stood when it was asked for: every resource in the version that was current then,
//! whatever is written meanwhile ([record::scan]). With `_typeFilter` which resources match is decided while it runs.

use crate::bulk::{Insight, LEASE_MS, RENEW, Stopping, blocking, wrong};
use crate::part::{Closed, Making, Part};
use crate::run::refusal;
use crate::table::Format;
use crate::view::{Budget, Row, Spent, View};
use access::Ctx;
use fhir::search::{Condition, Handling, MAX_PAGE, Query, Sort, Total};
use fhir::{Reference, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use record::scan::{Scan, ScanRow, Whose, may_scan};
use record::{Error, Record};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::bulk::job::{self, Job, Kind, Role};
use uuid::Uuid;

/// Where an export was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    System,
    Patient,
    /// Logical id of the Group.
    Group(String),
}

/// What to export.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The address asked, as the manifest gives it back.
    pub url: String,
    pub level: Level,
    /// Empty: every type the caller may see.
    pub kinds: Vec<TypeId>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// `Type` and search parameters; several of one type are alternatives.
    pub filters: Vec<(TypeId, String)>,
    /// Logical ids; empty: no restriction. On the levels Patient and Group only.
    pub patients: Vec<String>,
    /// Root elements to keep; empty: all.
    pub elements: Vec<String>,
}

/// Rows of a view to files, once.
#[derive(Debug, Clone)]
pub struct ViewRequest {
    pub url: String,
    pub definition: Value,
    pub format: Format,
    pub since: Option<Timestamp>,
    /// Logical ids; empty: no restriction.
    pub patients: Vec<String>,
}

/// Members of a Group that are looked at.
const MAX_MEMBERS: usize = 1_000_000;
const MAX_FILTERS: usize = 50;
/// A write takes its time before it waits for its turn, so one that was under way when the export began may carry an
/// earlier time than it. The export's own time lies this far back: what the next one asks for `_since` then overlaps
/// instead of leaving a gap. As long as the longest request may take.
pub const OVERLAP: SignedDuration = SignedDuration::from_secs(120);

/// Types of a `_typeFilter` given as `Type?parameters`. Errors: `Malformed`.
pub fn parse_filter(record: &Record, text: &str) -> Result<(TypeId, String), Error> {
    let (kind, query) = text.split_once('?').unwrap_or((text, ""));
    let kind = TypeId::from_name(kind).ok_or_else(|| {
        wrong("_typeFilter", "a filter is a type with search parameters, e.g. Observation?status=final")
    })?;
    condition(record, kind, query)?;
    Ok((kind, query.to_owned()))
}

fn parse_query(record: &Record, kind: TypeId, query: &str) -> Result<Query, Error> {
    let pairs: Vec<(String, String)> = pairs(query);
    if let Some((name, _)) = pairs.iter().find(|(n, _)| {
        matches!(
            n.as_str(),
            "_count" | "_sort" | "_include" | "_revinclude" | "_total" | "_summary" | "_elements" | "_cursor"
        )
    }) {
        return Err(wrong("_typeFilter", format!("{name} says nothing about which resources are wanted")));
    }
    let (query, _) =
        fhir::search::parse(&record.params(), kind, &pairs, Handling::Strict).map_err(Error::Malformed)?;
    Ok(query)
}

/// What a row must meet.
fn condition(record: &Record, kind: TypeId, query: &str) -> Result<Condition, Error> {
    let query = parse_query(record, kind, query)?;
    let mut all: Vec<Condition> = query.filters.into_iter().map(Condition::Filter).collect();
    if !query.ids.is_empty() {
        all.push(Condition::Ids(query.ids));
    }
    all.extend(query.last_updated.into_iter().map(|(prefix, low_us, high_us)| Condition::LastUpdated {
        prefix,
        low_us,
        high_us,
    }));
    all.extend(query.conditions);
    Ok(Condition::All(all))
}

/// `a=b&c=d`, percent-decoded.
fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent(&text.replace('+', " "));
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Insight {
    /// Begins an export; audited. Errors: `Denied` if the caller may see nothing of what is asked; `NotFound` for a Group;
    /// `StepUpNeeded`; `Malformed`; `Throttled` where too many are running.
    pub async fn start_export(&self, ctx: &Ctx, ask: ExportRequest) -> Result<Uuid, Error> {
        Insight::check_starter(ctx)?;
        let record = self.record();
        if ask.filters.len() > MAX_FILTERS {
            return Err(wrong("_typeFilter", format!("at most {MAX_FILTERS} filters can be given")));
        }
        let patients = self.patients(ctx, &ask).await?;
        let present = record.kinds_to_scan(ctx).await?;
        let mut left_out: Vec<&str> = Vec::new();
        let kinds: Vec<TypeId> = if ask.kinds.is_empty() {
            present
        } else {
            left_out = ask.kinds.iter().filter(|k| !may_scan(ctx, **k)).map(|k| k.name()).collect();
            ask.kinds.iter().copied().filter(|k| may_scan(ctx, *k)).collect()
        };
        let any = TypeId::all()
            .any(|kind| may_scan(ctx, kind) && (ask.kinds.is_empty() || ask.kinds.contains(&kind)));
        if !any {
            return Err(record.deny_bulk(ctx, "bulk.export", &ask.url).await);
        }
        record.check_own_destination(ctx, "bulk.export").await?;
        // Whoever finds a desk left open does not take everything away.
        record.require_fresh(ctx, record::authn::SENSITIVE_MINUTES, true)?;
        let horizon = record.horizon().await?;
        let names = |kinds: &[TypeId]| kinds.iter().map(|k| k.name()).collect::<Vec<_>>();
        let filters: Vec<Value> =
            ask.filters.iter().map(|(kind, query)| json!({"kind": kind.name(), "query": query})).collect();
        let request = json!({
            "url": ask.url, "horizon": horizon, "kinds": names(&kinds), "left_out": left_out,
            "since": ask.since.map(|t| t.to_string()), "until": ask.until.map(|t| t.to_string()),
            "filters": filters, "elements": ask.elements,
            "whose": match (&ask.level, &patients) {
                (Level::System, None) => Value::from("all"),
                (_, Some(patients)) => json!(patients),
                (_, None) => Value::from("patients"),
            },
        });
        let mut new = self.new_job(ctx, Kind::Export, request, json!({}));
        new.transaction = new.transaction.checked_sub(OVERLAP).unwrap_or(new.transaction);
        // Before it begins: a stop in between leaves a trace of what was meant, never an export without one.
        record.audit_bulk(ctx, "bulk.export", &format!("bulk/{} {}", new.id, ask.url), &[]).await?;
        self.insert(new, Vec::new()).await
    }

    /// Begins writing a view's rows to files. Errors: as [Insight::start_export].
    pub async fn start_view(&self, ctx: &Ctx, ask: ViewRequest) -> Result<Uuid, Error> {
        Insight::check_starter(ctx)?;
        let record = self.record();
        let view = View::compile(&ask.definition).map_err(|error| wrong("view", error.to_string()))?;
        if !may_scan(ctx, view.kind) {
            return Err(record.deny_bulk(ctx, "bulk.view", &ask.url).await);
        }
        record.check_own_destination(ctx, "bulk.view").await?;
        record.require_fresh(ctx, record::authn::SENSITIVE_MINUTES, true)?;
        let horizon = record.horizon().await?;
        let mut patients = ask.patients;
        patients.sort();
        patients.dedup();
        let request = json!({
            "url": ask.url, "horizon": horizon, "kinds": [view.kind.name()], "kind": view.kind.name(),
            "since": ask.since.map(|t| t.to_string()), "view": ask.definition, "format": ask.format.code(),
            "whose": if patients.is_empty() { Value::from("all") } else { json!(patients) },
        });
        let mut new = self.new_job(ctx, Kind::View, request, json!({}));
        new.transaction = new.transaction.checked_sub(OVERLAP).unwrap_or(new.transaction);
        let what = format!("bulk/{} view {} of {}", new.id, view.name, view.kind.name());
        record.audit_bulk(ctx, "bulk.view", &what, &[]).await?;
        self.insert(new, Vec::new()).await
    }

    /// Those whose data is wanted; `None`: everybody's.
    pub(crate) async fn patients(
        &self,
        ctx: &Ctx,
        ask: &ExportRequest,
    ) -> Result<Option<Vec<String>>, Error> {
        let mut patients = ask.patients.clone();
        if let Level::Group(id) = &ask.level {
            let members = self.members(ctx, id).await?;
            if patients.is_empty() {
                patients = members;
            } else {
                patients.retain(|patient| members.contains(patient));
            }
        } else if patients.is_empty() {
            return Ok(None);
        }
        patients.sort();
        patients.dedup();
        Ok(Some(patients))
    }

    /// Logical ids of the Patients that are active members of a Group. Errors: `NotFound`, `Denied`, `Malformed`.
    pub async fn members(&self, ctx: &Ctx, group: &str) -> Result<Vec<String>, Error> {
        let kind = TypeId::from_name("Group").ok_or(Error::NotFound)?;
        let group = self.record().read(ctx, &ResourceKey::new(kind, group)).await?.parse()?;
        let members = group.get("member").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if members.len() > MAX_MEMBERS {
            return Err(wrong(
                "member",
                format!("a group of more than {MAX_MEMBERS} members cannot be exported"),
            ));
        }
        // References with their places, in the order of the members.
        let active: Vec<bool> =
            members.iter().map(|m| m.get("inactive").and_then(Value::as_bool) != Some(true)).collect();
        let mut patients = Vec::new();
        for (place, reference) in fhir::search::references(&group) {
            let number = place.strip_prefix("Group.member[").and_then(|rest| rest.split_once(']'));
            let number = number.and_then(|(n, _)| n.parse::<usize>().ok());
            if let (Some(number), Reference::Local { key, .. }) = (number, reference)
                && key.kind == TypeId::PATIENT
                && active.get(number) == Some(&true)
            {
                patients.push(key.id);
            }
        }
        Ok(patients)
    }

    /// One piece: up to a part's worth of one type. Errors: what makes the piece, or with it the job, fail.
    pub(crate) async fn export_piece(
        &self,
        ctx: &Ctx,
        job: Job,
        stopping: Stopping<'_>,
    ) -> Result<(), Error> {
        let plan = Plan::of(self.record(), &job)?;
        let mut at = Progress::of(&job.progress);
        let Some(kind) = plan.kinds.get(at.leg).copied() else {
            return self.export_end(ctx, &job, &plan, at).await;
        };
        let scan = Scan {
            kind,
            horizon: plan.horizon,
            since: plan.since,
            until: plan.until,
            whose: plan.whose(ctx, kind),
            deleted: plan.deleted(),
        };
        let mut part = Part::new(self, job.id, plan.making(kind), at.next_file);
        // One allowance for the whole job, whoever does its pieces.
        let mut budget = Budget::after(self.config().background, at.spent);
        let (began, mut renewed) = (Instant::now(), Instant::now());
        let mut ended = false;
        loop {
            let (rows, next) = self.export_page(ctx, &plan, &scan, at.cursor.as_deref()).await?;
            at.resources += rows.len() as u64;
            part = match &plan.view {
                Some(view) => {
                    let view = view.clone();
                    let filling = blocking(move || {
                        let part = fill(part, &view, &budget, rows)?;
                        Ok((part, budget))
                    });
                    (part, budget) = self.renewing_job(&job, filling).await?;
                    part
                }
                None => {
                    blocking(move || {
                        part.resources(rows)?;
                        Ok(part)
                    })
                    .await?
                }
            };
            at.cursor = next;
            if at.cursor.is_none() {
                ended = true;
                break;
            }
            if part.is_full() || stopping() || began.elapsed() >= self.config().part_time {
                break;
            }
            if renewed.elapsed() >= RENEW {
                renewed = Instant::now();
                let (id, token) = (job.id, job.token);
                if !self.record().store().write(move |tx| job::renew(tx, id, token, LEASE_MS)).await? {
                    return blocking(move || part.close()).await?.discard().await;
                }
            }
        }
        if ended {
            at.leg += 1;
            if plan.view.is_some() && at.files == 0 {
                part.touch()?;
            }
        }
        at.spent = budget.spent();
        let closed = blocking(move || part.close()).await?;
        at.next_file = closed.next_number;
        at.files += closed.files.len() as u64;
        self.keep(ctx, &job, at, closed).await
    }

    /// Renews the lease while long work goes on; if it was lost, the last step finds out.
    async fn renewing_job<T>(
        &self,
        job: &Job,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(RENEW) => {
                    let (id, token) = (job.id, job.token);
                    self.record().store().write(move |tx| job::renew(tx, id, token, LEASE_MS)).await?;
                }
            }
        }
    }

    async fn export_page(
        &self,
        ctx: &Ctx,
        plan: &Plan,
        scan: &Scan,
        cursor: Option<&str>,
    ) -> Result<(Vec<ScanRow>, Option<String>), Error> {
        let conditions: Vec<&Condition> =
            plan.filters.iter().filter(|(kind, _)| *kind == scan.kind).map(|(_, c)| c).collect();
        if conditions.is_empty() {
            let page = self.record().scan(ctx, scan, cursor).await?;
            return Ok((page.rows, page.next));
        }
        let any = Condition::Any(conditions.into_iter().cloned().collect());
        let query = Query {
            conditions: vec![any],
            sort: vec![Sort::Id { descending: false }],
            count: MAX_PAGE,
            cursor: cursor.map(str::to_owned),
            total: Total::None,
            ..parse_query(self.record(), scan.kind, "")?
        };
        let page = self.record().search(ctx, query).await?;
        let ids = page.items.into_iter().map(|item| item.key.id).collect();
        Ok((self.record().scan_ids(ctx, scan, ids).await?, page.next))
    }

    /// Notes what was done; if the job is another's by now, or cancelled, as if nothing had been.
    async fn keep(&self, ctx: &Ctx, job: &Job, at: Progress, closed: Closed) -> Result<(), Error> {
        for file in &closed.files {
            let what = format!("bulk/{}/{} ({} {})", job.id, file.name, file.count, file.kind);
            self.record().audit_bulk(ctx, "bulk.export", &what, &closed.patients).await?;
        }
        let (id, token, progress, files) = (job.id, job.token, at.to_json(), closed.files.clone());
        let kept = self.record().store().write(move |tx| job::save(tx, id, token, &progress, &files)).await?;
        if !kept {
            closed.discard().await?;
        }
        Ok(())
    }

    /// After the last type: what was left out goes into a file of errors, and the job is done.
    async fn export_end(&self, ctx: &Ctx, job: &Job, plan: &Plan, mut at: Progress) -> Result<(), Error> {
        let mut files = Vec::new();
        if !plan.left_out.is_empty() {
            let lines: Vec<Value> = plan
                .left_out
                .iter()
                .map(|kind| {
                    let text = format!("{kind} was left out: you have no right to see any.");
                    fhir::Outcome::one(fhir::IssueCode::Forbidden, "_type", text).to_json()
                })
                .collect();
            files.push(self.error_file(job.id, at.next_file, lines).await?);
            at.next_file += 1;
        }
        let (id, token, progress, expires) = (job.id, job.token, at.to_json(), self.expiry());
        self.record().audit_bulk(ctx, "bulk.exported", &format!("bulk/{id}"), &[]).await?;
        self.record()
            .store()
            .write(move |tx| {
                if job::finish(tx, id, token, &progress, None, expires)? {
                    job::add_files(tx, id, &files)?;
                }
                Ok::<_, store::Error>(())
            })
            .await?;
        Ok(())
    }

    /// A sealed file of OperationOutcomes, one per line.
    pub(crate) async fn error_file(
        &self,
        id: Uuid,
        number: i64,
        lines: Vec<Value>,
    ) -> Result<job::File, Error> {
        use std::io::Write as _;
        let (path, key) = (self.path(id, number), self.config().key.clone());
        let count = i64::try_from(lines.len()).unwrap_or(i64::MAX);
        let bytes = blocking(move || {
            let mut sealed = crate::part::create(&path, &key, &crate::bulk::seal_name(id, number))?;
            for line in lines {
                sealed.write_all(format!("{line}\n").as_bytes()).map_err(crate::bulk::disk)?;
            }
            let bytes = sealed.written();
            crate::part::close(sealed)?;
            Ok(bytes)
        })
        .await?;
        Ok(job::File {
            number,
            role: Role::Error,
            kind: "OperationOutcome".to_owned(),
            name: format!("OperationOutcome.{number}.ndjson"),
            count,
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        })
    }
}

/// The rows of a page of resources. Blocks. Errors: `Malformed` where the view does not fit, `Invalid` where it costs too
/// much.
fn fill(mut part: Part, view: &View, budget: &Budget, rows: Vec<ScanRow>) -> Result<Part, Error> {
    for row in rows {
        if row.deleted {
            continue;
        }
        let rows: Vec<Row> = view
            .rows(row.stored.parse()?.value(), budget, None)
            .map_err(|error| refusal(&error, "view", &row.stored.key.to_string()))?;
        if !rows.is_empty() {
            part.rows(rows, row.patients)?;
        }
    }
    Ok(part)
}

/// A job's request, ready.
struct Plan {
    horizon: i64,
    kinds: Vec<TypeId>,
    left_out: Vec<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filters: Vec<(TypeId, Condition)>,
    elements: Vec<String>,
    whose: Whose,
    view: Option<Arc<View>>,
    format: Option<Format>,
}

impl Plan {
    fn of(record: &Record, job: &Job) -> Result<Plan, Error> {
        let request = &job.request;
        let texts = |name: &str| -> Vec<String> {
            let list = request.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let time = |name: &str| request.get(name).and_then(Value::as_str).and_then(|t| t.parse().ok());
        let mut filters = Vec::new();
        for filter in request.get("filters").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| filter.get(name).and_then(Value::as_str).unwrap_or_default();
            if let Some(kind) = TypeId::from_name(text("kind")) {
                filters.push((kind, condition(record, kind, text("query"))?));
            }
        }
        let view = match request.get("view") {
            Some(definition) => {
                let view = View::compile(definition).map_err(|error| wrong("view", error.to_string()))?;
                Some(Arc::new(view))
            }
            None => None,
        };
        Ok(Plan {
            horizon: request.get("horizon").and_then(Value::as_i64).unwrap_or(0),
            kinds: texts("kinds").iter().filter_map(|name| TypeId::from_name(name)).collect(),
            left_out: texts("left_out"),
            since: time("since"),
            until: time("until"),
            filters,
            elements: texts("elements"),
            whose: match request.get("whose") {
                Some(Value::Array(_)) => Whose::Patients(Arc::new(texts("whose"))),
                Some(Value::String(text)) if text == "patients" => Whose::AnyPatient,
                _ => Whose::All,
            },
            view,
            format: request.get("format").and_then(Value::as_str).and_then(Format::parse),
        })
    }

    /// Deletions matter to whom asks for what is new.
    fn deleted(&self) -> bool {
        self.since.is_some() && self.view.is_none() && !matches!(self.whose, Whose::Patients(_))
    }

    /// For a caller who sees only one patient's rows there is no need to look at all of them.
    fn whose(&self, ctx: &Ctx, kind: TypeId) -> Whose {
        match access::policy::predicate(ctx, access::Action::Search, kind) {
            access::Predicate::Patient(id) => match &self.whose {
                Whose::Patients(patients) if patients.binary_search(&id).is_err() => {
                    Whose::Patients(Arc::new(Vec::new()))
                }
                _ => Whose::Patients(Arc::new(vec![id])),
            },
            _ => self.whose.clone(),
        }
    }

    fn making(&self, kind: TypeId) -> Making {
        let name = match &self.view {
            Some(view) if !view.name.is_empty() => view.name.clone(),
            _ => kind.name().to_owned(),
        };
        Making {
            // Becomes part of an address.
            kind: name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(100).collect(),
            elements: self.elements.clone(),
            format: self.view.as_ref().and(self.format),
            columns: self.view.as_ref().map(|view| view.columns.clone()).unwrap_or_default(),
        }
    }
}

/// How far an export is.
#[derive(Debug, Clone, Default, PartialEq)]
struct Progress {
    /// Number of the type at hand.
    leg: usize,
    /// Where its next page begins.
    cursor: Option<String>,
    next_file: i64,
    files: u64,
    resources: u64,
    /// By a view, over all pieces.
    spent: Spent,
}

impl Progress {
    fn of(value: &Value) -> Progress {
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        Progress {
            leg: usize::try_from(number("leg")).unwrap_or(0),
            cursor: value.get("cursor").and_then(Value::as_str).map(str::to_owned),
            next_file: i64::try_from(number("next_file")).unwrap_or(0).max(1),
            files: number("files"),
            resources: number("resources"),
            spent: Spent {
                steps: number("steps"),
                rows: number("rows"),
                bytes: number("bytes"),
                time: Duration::from_millis(number("time_ms")),
            },
        }
    }
    fn to_json(&self) -> Value {
        let time_ms = u64::try_from(self.spent.time.as_millis()).unwrap_or(u64::MAX);
        json!({
            "leg": self.leg, "cursor": self.cursor, "next_file": self.next_file, "files": self.files,
            "resources": self.resources, "steps": self.spent.steps, "rows": self.spent.rows,
            "bytes": self.spent.bytes, "time_ms": time_ms,
        })
    }
}

/// How far a job is, in words for `X-Progress`.
pub fn progress(job: &Job) -> String {
    let number = |name: &str| job.progress.get(name).and_then(Value::as_u64).unwrap_or(0);
    if job.kind == Kind::Import {
        return format!(
            "{} lines read, {} taken, {} refused",
            number("line"),
            number("taken"),
            number("refused")
        );
    }
    let kinds = job.request.get("kinds").and_then(Value::as_array).map_or(0, Vec::len);
    format!("{} of {kinds} types, {} resources", number("leg"), number("resources"))
}
