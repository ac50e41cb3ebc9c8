//! Reading a great many resources at one point in time, for exports and views; and acting for somebody who is not
//! there any more.
//!
//! Rights are those of the context, on every row. What differs from [Record::search]: pages follow the id and show the
//! record as it stood at a change number, and no audit event is written per page. Whoever scans writes the events:
//! that it began, which patients a file holds, who fetched it ([Record::audit_bulk]).

use crate::read::Stored;
use crate::rights::veil::{Row, Shown, Veil};
use crate::rights::{Version, holds, holds_then};
use crate::write::compartment;
use crate::{Error, Record};
use access::policy;
use access::{Action, Capability, Ctx, Predicate, Principal, Purpose, ScopeSet};
use fhir::TypeId;
use jiff::Timestamp;
use std::sync::Arc;
use store::Tx;
use store::audit::Outcome;
use store::bulk::scan::{self, Scanned};

/// Whose resources are wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Whose {
    /// Every resource of the type.
    All,
    /// Those in the compartment of any patient.
    AnyPatient,
    /// Those in the compartment of one of these patients (logical ids, sorted), each once.
    Patients(Arc<Vec<String>>),
}

/// What to read.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    pub kind: TypeId,
    /// From [Record::horizon].
    pub horizon: i64,
    /// Last changed at or after.
    pub since: Option<Timestamp>,
    /// Last changed at or before.
    pub until: Option<Timestamp>,
    pub whose: Whose,
    /// Deletions as well; not found by [Whose::Patients].
    pub deleted: bool,
}

/// One resource, or its deletion.
#[derive(Debug, Clone)]
pub struct ScanRow {
    pub stored: Stored,
    /// Ids of the patients whose compartment holds it.
    pub patients: Vec<String>,
    pub deleted: bool,
}

#[derive(Debug, Clone)]
pub struct ScanPage {
    pub rows: Vec<ScanRow>,
    /// Opaque; where the next page begins, `None` at the end. Keeps for as long as the data.
    pub next: Option<String>,
}

/// Rows looked at for one page.
const LOOKED_AT: u32 = 1000;
/// Above so many patients the whole type is gone through.
const MAX_WALKED_PATIENTS: usize = 2000;
/// Patients named in one audit event.
const PATIENTS_PER_EVENT: usize = 1000;

impl Record {
    /// The moment a scan shows: every change up to this number, and none after it. Errors: `Busy`.
    pub async fn horizon(&self) -> Result<i64, Error> {
        self.writing(|tx| Ok(scan::horizon(tx)?)).await
    }

    /// Types of which there is or was a resource, and of which `ctx` may see any. Errors: `Busy`.
    pub async fn kinds_to_scan(&self, ctx: &Ctx) -> Result<Vec<TypeId>, Error> {
        let kinds = self.reading(|tx| Ok(scan::kinds(tx)?)).await?;
        Ok(kinds.into_iter().filter(|kind| may_scan(ctx, *kind)).collect())
    }

    /// One page. Errors: `Denied` if `ctx` may see nothing of the type; `Malformed` for a bad cursor; `Busy`.
    pub async fn scan(&self, ctx: &Ctx, scan: &Scan, cursor: Option<&str>) -> Result<ScanPage, Error> {
        let predicate = policy::predicate(ctx, Action::Search, scan.kind);
        if predicate == Predicate::Nothing {
            return Err(Error::Denied);
        }
        let (scan, cursor, now) = (scan.clone(), cursor.map(str::to_owned), self.now());
        let drafts = policy::unreadable_statuses(ctx, scan.kind);
        let mut veil = self.veil(ctx).await?;
        self.reading(move |tx| {
            let (found, next) = find(tx, &scan, cursor.as_deref())?;
            let mut rows = Vec::with_capacity(found.len());
            for row in found {
                let Some(row) = visible(tx, row, &predicate, (drafts, &mut veil), now)? else { continue };
                let wanted = match &scan.whose {
                    Whose::All => true,
                    Whose::AnyPatient => !row.patients.is_empty(),
                    Whose::Patients(wanted) if wanted.len() > MAX_WALKED_PATIENTS => {
                        row.patients.iter().any(|p| wanted.binary_search(p).is_ok())
                    }
                    Whose::Patients(_) => true,
                };
                if wanted {
                    rows.push(row);
                }
            }
            Ok(ScanPage { rows, next })
        })
        .await
    }

    /// As [Record::scan], of these ids in their order; what is not there or not to be seen is left out.
    pub async fn scan_ids(&self, ctx: &Ctx, scan: &Scan, ids: Vec<String>) -> Result<Vec<ScanRow>, Error> {
        let predicate = policy::predicate(ctx, Action::Search, scan.kind);
        if predicate == Predicate::Nothing {
            return Err(Error::Denied);
        }
        let (scan, now) = (scan.clone(), self.now());
        let drafts = policy::unreadable_statuses(ctx, scan.kind);
        let mut veil = self.veil(ctx).await?;
        self.reading(move |tx| {
            let mut rows = Vec::with_capacity(ids.len());
            for id in &ids {
                let Some(found) = scan::one(tx, &of(&scan), id)? else { continue };
                let Some(row) = visible(tx, found, &predicate, (drafts, &mut veil), now)? else { continue };
                let wanted = match &scan.whose {
                    Whose::All => true,
                    Whose::AnyPatient => !row.patients.is_empty(),
                    Whose::Patients(wanted) => row.patients.iter().any(|p| wanted.binary_search(p).is_ok()),
                };
                rows.extend(wanted.then_some(row));
            }
            Ok(rows)
        })
        .await
    }

    /// Resources of a type that changed after `after` and up to `horizon`, in the order of changes, deletions included:
    /// at most `limit`, each with its change number. For what mirrors a whole type. Errors: `Denied` unless `ctx` may
    /// see all of the type.
    pub async fn changed_since(
        &self,
        ctx: &Ctx,
        kind: TypeId,
        after: i64,
        horizon: i64,
        limit: u32,
    ) -> Result<Vec<(i64, ScanRow)>, Error> {
        if policy::predicate(ctx, Action::Search, kind) != Predicate::Everything {
            return Err(Error::Denied);
        }
        let rows = self.reading(move |tx| Ok(scan::changed(tx, kind, after, horizon, limit)?)).await?;
        Ok(rows.into_iter().map(|row| (row.seq, row_of(row))).collect())
    }

    /// The context of somebody for whom work goes on in the background: an account or client with its rights as they
    /// are now, a client with no more than `scopes`. Errors: `Denied` if it is gone or disabled.
    pub async fn background(&self, agent: &str, scopes: &[String]) -> Result<Ctx, Error> {
        let mut ctx = Ctx::system("bulk", self.now());
        ctx.purpose = Purpose::Operations;
        match agent.split_once('/') {
            Some(("system", _)) => {}
            Some(("client", id)) => {
                let wanted = id.to_owned();
                let client = self.reading(move |tx| Ok(store::oauth::client(tx, &wanted)?)).await?;
                let client = client.filter(|c| !c.disabled).ok_or(Error::Denied)?;
                let registered = ScopeSet::parse_known(client.scopes.iter().map(String::as_str));
                let granted = registered.grant(&ScopeSet::parse_known(scopes.iter().map(String::as_str)));
                let scopes = granted.to_string().split_whitespace().map(str::to_owned).collect();
                ctx.principal = Principal::Client { client_id: client.id, name: client.name, scopes };
            }
            Some(("account", id)) => {
                let id: i64 = id.parse().map_err(|_| Error::Denied)?;
                let account = self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?;
                if account.is_none_or(|a| a.disabled) {
                    return Err(Error::Denied);
                }
                ctx.principal = Principal::User(self.user_of(&ctx, id).await?);
            }
            _ => return Err(Error::Denied),
        }
        Ok(ctx)
    }

    /// Audits a step of bulk work, durable when it returns: `bulk.export`, `bulk.download`, … `what` says which job,
    /// file or view; `patients` whose data it holds, any number (several events if need be).
    pub async fn audit_bulk(
        &self,
        ctx: &Ctx,
        action: &str,
        what: &str,
        patients: &[String],
    ) -> Result<(), Error> {
        let mut events = Vec::new();
        for part in patients.chunks(PATIENTS_PER_EVENT) {
            events.push(self.audit_event(ctx, action, Outcome::Success, what, part));
        }
        if events.is_empty() {
            events.push(self.audit_event(ctx, action, Outcome::Success, what, &[]));
        }
        Ok(self.inner.store.append_audit(events).await?)
    }

    /// Audits that bulk work was refused, and returns the refusal.
    pub async fn deny_bulk(&self, ctx: &Ctx, action: &str, what: &str) -> Error {
        self.denied(ctx, action, what).await
    }

    /// Whether `ctx` may import in bulk at all; the types are checked line by line.
    pub fn may_import(&self, ctx: &Ctx) -> bool {
        policy::may(ctx, Capability::Import)
    }
}

/// Whether `ctx` may see any resource of the type.
pub fn may_scan(ctx: &Ctx, kind: TypeId) -> bool {
    policy::predicate(ctx, Action::Search, kind) != Predicate::Nothing
}

/// Whether `ctx` may see every resource of the type.
pub fn may_scan_all(ctx: &Ctx, kind: TypeId) -> bool {
    policy::predicate(ctx, Action::Search, kind) == Predicate::Everything
}

fn of(scan: &Scan) -> scan::Scan {
    scan::Scan {
        kind: scan.kind,
        horizon: scan.horizon,
        since: scan.since,
        until: scan.until,
        deleted: scan.deleted,
    }
}

fn row_of(row: store::resource::Stored) -> ScanRow {
    ScanRow {
        deleted: row.deleted,
        patients: row.patients,
        stored: Stored {
            key: row.key,
            version: row.version,
            last_updated: row.last_updated,
            content: row.content,
        },
    }
}

fn find(tx: &mut dyn Tx, scan: &Scan, cursor: Option<&str>) -> Result<(Vec<Scanned>, Option<String>), Error> {
    match &scan.whose {
        Whose::Patients(patients) if patients.len() <= MAX_WALKED_PATIENTS => {
            walk(tx, scan, patients, cursor)
        }
        _ => {
            let page = scan::page(tx, &of(scan), cursor, LOOKED_AT)?;
            Ok((page.rows, page.next))
        }
    }
}

/// Patient by patient; the cursor is the patient's place in the list and the row within.
fn walk(
    tx: &mut dyn Tx,
    scan: &Scan,
    patients: &[String],
    cursor: Option<&str>,
) -> Result<(Vec<Scanned>, Option<String>), Error> {
    let bad = || Error::Malformed(fhir::Outcome::one(fhir::IssueCode::Value, "", "Invalid cursor."));
    let (mut place, mut after) = match cursor {
        None => (0, 0),
        Some(text) => {
            let (place, after) = text.split_once('.').ok_or_else(bad)?;
            (place.parse::<usize>().map_err(|_| bad())?, after.parse::<i64>().map_err(|_| bad())?)
        }
    };
    let mut rows: Vec<Scanned> = Vec::new();
    while rows.len() < LOOKED_AT as usize {
        let Some(patient) = patients.get(place) else { return Ok((rows, None)) };
        let page = scan::page_of_patient(tx, &of(scan), patient, after, LOOKED_AT)?;
        // What belongs to several of them comes with the first.
        let first = |row: &Scanned| {
            let mut wanted = row.stored.patients.iter().filter(|p| patients.binary_search(p).is_ok());
            wanted.all(|p| p >= patient)
        };
        rows.extend(page.rows.into_iter().filter(first));
        match page.next {
            Some(next) => after = next,
            None => (place, after) = (place + 1, 0),
        }
    }
    Ok((rows, Some(format!("{place}.{after}"))))
}

/// The row as `ctx` may see it.
fn visible(
    tx: &mut dyn Tx,
    row: Scanned,
    predicate: &Predicate,
    (drafts, veil): (&[&str], &mut Veil),
    now: Timestamp,
) -> Result<Option<ScanRow>, Error> {
    let Scanned { stored, older } = row;
    let rid = stored.rid;
    let mut row = row_of(stored);
    if row.deleted {
        return Ok(holds(tx, predicate, &row.stored.key, &row.patients, now)?.then_some(row));
    }
    if !older && drafts.is_empty() {
        if !holds(tx, predicate, &row.stored.key, &row.patients, now)? {
            return Ok(None);
        }
        if !veil.may_hide(tx, predicate, rid)? {
            return Ok(Some(row));
        }
    }
    let key = row.stored.key.clone();
    let resource = row.stored.parse()?;
    if drafts.contains(&resource.text("status").unwrap_or_default()) {
        return Ok(None);
    }
    if older {
        // Rights on both, the version shown and the current one.
        if !holds(tx, predicate, &key, &row.patients, now)? {
            return Ok(None);
        }
        row.patients = compartment(&resource);
        if key.kind == TypeId::PATIENT && !row.patients.contains(&key.id) {
            row.patients.push(key.id.clone());
        }
    }
    let (seen, version) = match older {
        true => {
            let seen = holds_then(tx, predicate, &key, &row.patients, &resource, now)?;
            (seen, Version::Content(&resource))
        }
        false => (holds(tx, predicate, &key, &row.patients, now)?, Version::Current),
    };
    if !seen {
        return Ok(None);
    }
    let of = Row { key: &key, rid, patients: &row.patients };
    match veil.show(tx, predicate, &of, &resource, version)? {
        Shown::Whole => {}
        Shown::Part(part) => row.stored.content = part.to_json().into_bytes().into(),
        Shown::Nothing => return Ok(None),
    }
    Ok(Some(row))
}
