//! Who did what to whose record.

mod affected;
mod detail;
mod feed;
mod fhir;
mod head;
mod proof;
mod refusal;
mod restore;
mod retain;
mod seal;
mod verify;

pub use self::affected::{Affected, Suspect};
pub use self::detail::AuditDetail;
pub use self::feed::FeedBatch;
pub use self::fhir::to_fhir;
pub use self::head::{AuditHead, AuditKey, hex, is_endorsed, key_id, unhex};
pub use self::proof::{ConsistencyProof, InclusionProof, PLACES, TreeStatus};
pub use self::refusal::watch_refusals;
pub use self::restore::Restoration;
pub use self::retain::FLOOR_YEARS;
pub use self::seal::{SEAL_AFTER, SealError};
pub use self::verify::{Against, Fault, Finding, Report};

use crate::change::ConditionalAction;
use crate::write::Request;
use crate::{Change, Error, Record};
use access::{Capability, Ctx, Principal};
use jiff::Timestamp;
use store::audit::Event;

pub use store::audit::Outcome;

/// What to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Logical id of the Patient.
    pub patient: Option<String>,
    /// As in [AuditRow::agent].
    pub agent: Option<String>,
    pub action: Option<String>,
    /// Any of these actions; empty: any at all.
    pub actions: Vec<String>,
    /// None of these actions.
    pub without: Vec<String>,
    pub outcome: Option<Outcome>,
    pub purpose: Option<access::Purpose>,
    /// Id of the OAuth client that acted.
    pub client: Option<String>,
    /// Not by this agent, as in [AuditRow::agent].
    pub not_agent: Option<String>,
    /// Only the row with this number.
    pub seq: Option<i64>,
    /// First bytes of the hash of the session's token.
    pub session: Option<[u8; 8]>,
    pub address: Option<std::net::IpAddr>,
    /// As [AuditRow::what] of one resource.
    pub target: Option<::fhir::ResourceKey>,
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub seq: i64,
    pub at: Timestamp,
    /// `account/7`, `client/abc`, `system/reminders`, `anonymous`.
    pub agent: String,
    pub agent_display: String,
    /// Role codes, comma separated, as they were at the time.
    pub role: String,
    /// `create|read|update|delete|query|login|logout|…` and command names such as `appointment.book`.
    pub action: String,
    /// `success` or `denied` or `failed`.
    pub outcome: String,
    /// `Type/id`, `Type?parameters`, `account/7`.
    pub what: String,
    /// The patient concerned, the first of [AuditRow::patients].
    pub patient: Option<String>,
    /// All patients concerned.
    pub patients: Vec<String>,
    /// v3-ActReason code, e.g. `TREAT`.
    pub purpose: String,
    pub address: Option<String>,
    pub request_id: String,
    /// First bytes of the hash of the session's token, hexadecimal: as in the list of sessions.
    pub session: Option<String>,
    /// Id of the OAuth client that acted for the agent.
    pub client: Option<String>,
    /// Which of the event's patients this is presented for, from 1; see [AuditRow::per_patient].
    pub part: Option<usize>,
}

/// Newest first.
#[derive(Debug, Clone)]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    pub next: Option<String>,
}

impl AuditPage {
    /// The cursor of the page that begins behind row number `n` of this one.
    pub fn cursor_behind(&self, n: usize) -> Option<String> {
        self.rows.get(n).map(|row| store::audit::cursor(row.at, row.seq))
    }
}

/// Patients named in one audit event of a search; a page has no more rows.
const MAX_PATIENTS: usize = 1000;

impl AuditRow {
    /// What the patient `own` may know of it: who did what to her record, not which other patients it touched, what was
    /// searched for, or from where.
    pub(crate) fn for_patient(mut self, own: &str) -> AuditRow {
        let only_hers = self.patients.len() == 1;
        if !only_hers || self.action == "query" {
            let end = self.what.find(['?', '/']).unwrap_or(self.what.len());
            self.what.truncate(end);
        }
        self.patient = Some(own.to_owned());
        self.patients = vec![own.to_owned()];
        self.address = None;
        self.session = None;
        self
    }

    /// IHE BALP asks for one event per patient found. The row is stored once; it is presented for each of its patients
    /// with this patient alone, and as it is where it names one or none.
    pub fn per_patient(&self) -> Vec<AuditRow> {
        match self.patients.len() {
            0 | 1 => vec![self.clone()],
            count => (1..=count).filter_map(|part| self.part(part)).collect(),
        }
    }

    /// The row as presented for its patient number `part`, from 1.
    pub fn part(&self, part: usize) -> Option<AuditRow> {
        let patient = self.patients.get(part.checked_sub(1)?)?;
        let (patient, patients) = (Some(patient.clone()), vec![patient.clone()]);
        Some(AuditRow { patient, patients, part: Some(part), ..self.clone() })
    }

    /// The row as presented for this patient; `None` if it does not concern her.
    pub fn for_one(&self, patient: &str) -> Option<AuditRow> {
        match self.patients.len() {
            0 => None,
            1 => (self.patients[0] == patient).then(|| self.clone()),
            _ => self.part(self.patients.iter().position(|known| known == patient)? + 1),
        }
    }
}

impl Record {
    /// For administrator and privacy officer. Errors: `Denied` for others; `Malformed` for a bad cursor.
    pub async fn audit_list(
        &self,
        ctx: &Ctx,
        filter: AuditFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let what =
            filter.patient.as_ref().map(|p| format!("AuditEvent?patient={p}")).unwrap_or("AuditEvent".into());
        if !access::policy::may(ctx, Capability::ReadAudit) {
            return Err(self.denied(ctx, "query", &what).await);
        }
        self.audit_page(ctx, filter, what, cursor, limit).await
    }

    /// A piece of an export of rows, newest first; the first piece is noted as one `audit.export`. Errors: as
    /// [Record::audit_list].
    pub async fn audit_export(
        &self,
        ctx: &Ctx,
        filter: &AuditFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let what = "AuditEvent";
        if !access::policy::may(ctx, Capability::ReadAudit) {
            return Err(self.denied(ctx, "audit.export", what).await);
        }
        let patients: Vec<String> = filter.patient.iter().cloned().collect();
        let page = self.audit_rows(filter.clone(), cursor, limit).await?;
        if cursor.is_none() {
            self.audit_one(ctx, "audit.export", Outcome::Success, what, &patients).await?;
        }
        Ok(page)
    }

    /// "Who saw my record": the patient herself, administrator, privacy officer. Errors: `NotFound` for another patient,
    /// `Denied` for other staff; `Malformed` for a bad cursor.
    pub async fn who_saw(
        &self,
        ctx: &Ctx,
        patient: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let filter = AuditFilter { patient: Some(patient.to_owned()), ..AuditFilter::default() };
        self.who_saw_filtered(ctx, filter, cursor, limit).await
    }

    /// As [Record::who_saw], with more conditions beside the patient. Errors: likewise; `NotFound` without a patient.
    pub async fn who_saw_filtered(
        &self,
        ctx: &Ctx,
        filter: AuditFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let patient = filter.patient.clone().ok_or(Error::NotFound)?;
        let patient = patient.as_str();
        // Who decides about consents for the patient may know who looked.
        let own = crate::rights::proxy::decides_for(ctx, patient);
        let what = format!("AuditEvent?patient={patient}");
        if !own && !access::policy::may(ctx, Capability::ReadAudit) {
            let denied = self.denied(ctx, "query", &what).await;
            let private = access::policy::existence_is_private(ctx, crate::read::kind("Patient"));
            return Err(if private { Error::NotFound } else { denied });
        }
        let officer = access::policy::may(ctx, Capability::ReadAudit);
        // What she does not see she may not search by either.
        if !officer && (filter.address.is_some() || filter.session.is_some() || filter.target.is_some()) {
            return Err(self.denied(ctx, "query", &what).await);
        }
        let mut page = self.audit_page(ctx, filter, what, cursor, limit).await?;
        if !officer {
            page.rows = page.rows.into_iter().map(|row| row.for_patient(patient)).collect();
        }
        Ok(page)
    }

    /// One row: for administrator and privacy officer, and for the patient whose record was touched.
    /// Errors: `NotFound` for a number that is not there, and for patients whom it does not concern; `Denied` for other staff.
    pub async fn audit_row(&self, ctx: &Ctx, seq: i64) -> Result<AuditRow, Error> {
        let what = format!("AuditEvent/audit-{seq}");
        let own = ctx.user().and_then(|user| user.patient.as_ref()).map(|key| key.id.clone());
        let officer = access::policy::may(ctx, Capability::ReadAudit);
        if !officer && own.is_none() {
            return Err(self.denied(ctx, "read", &what).await);
        }
        let found = self.audit_reading(move |tx| Ok(store::audit::load(tx, seq)?)).await?.map(row);
        let found = found.filter(|row| officer || own.as_ref().is_some_and(|own| row.patients.contains(own)));
        match found {
            Some(row) => {
                self.audit_one(ctx, "read", Outcome::Success, &what, &row.patients).await?;
                Ok(match own.filter(|_| !officer) {
                    Some(own) => row.for_patient(&own),
                    None => row,
                })
            }
            None => {
                self.audit_refusal(ctx, "read", Outcome::Failed, &what, &[]).await;
                Err(Error::NotFound)
            }
        }
    }

    async fn audit_page(
        &self,
        ctx: &Ctx,
        filter: AuditFilter,
        what: String,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let patients: Vec<String> = filter.patient.iter().cloned().collect();
        let page = self.audit_rows(filter, cursor, limit).await?;
        self.audit_one(ctx, "query", Outcome::Success, &what, &patients).await?;
        Ok(page)
    }

    pub(crate) async fn audit_rows(
        &self,
        filter: AuditFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let cursor = cursor.map(str::to_owned);
        let query = store::audit::Filter {
            patient: filter.patient,
            agent: filter.agent,
            action: filter.action,
            actions: filter.actions,
            without: filter.without,
            outcome: filter.outcome,
            purpose: filter.purpose,
            client: filter.client,
            not_agent: filter.not_agent,
            seq: filter.seq,
            session: filter.session,
            address: filter.address,
            target: filter.target,
            from: filter.from,
            until: filter.to,
        };
        let page = self
            .audit_reading(move |tx| Ok(store::audit::list(tx, &query, cursor.as_deref(), limit)?))
            .await?;
        Ok(AuditPage { rows: page.rows.into_iter().map(row).collect(), next: page.next })
    }

    pub(crate) fn audit_event(
        &self,
        ctx: &Ctx,
        action: &str,
        outcome: Outcome,
        what: &str,
        patients: &[String],
    ) -> Event {
        if outcome != Outcome::Success {
            refusal::noted();
        }
        event(ctx, self.now(), action, outcome, what, patients)
    }

    /// Looks at something, and ends when the audit event that `work` gives with it is durable.
    pub(crate) async fn reading_audited<R, F>(&self, work: F) -> Result<R, Error>
    where
        F: FnOnce(&mut dyn store::Tx) -> Result<(R, Option<Event>), Error> + Send + 'static,
        R: Send + 'static,
    {
        let work = move |tx: &mut dyn store::Tx| {
            let (found, event) = work(tx)?;
            Ok((found, event.into_iter().collect()))
        };
        self.inner.store.read_audited(work).await
    }

    /// Looks at the trail with everything in it that was answered for before.
    pub(crate) async fn audit_reading<R, F>(&self, work: F) -> Result<R, Error>
    where
        F: FnOnce(&mut dyn store::Tx) -> Result<R, Error> + Send + 'static,
        R: Send + 'static,
    {
        self.inner.store.settle_audit().await?;
        self.reading(work).await
    }

    /// Durable when it returns; shares its commit with others.
    pub(crate) async fn audit_one(
        &self,
        ctx: &Ctx,
        action: &str,
        outcome: Outcome,
        what: &str,
        patients: &[String],
    ) -> Result<(), Error> {
        let event = self.audit_event(ctx, action, outcome, what, patients);
        Ok(self.inner.store.append_audit(vec![event]).await?)
    }

    /// Audits a refusal and returns it. That the audit could not be written is logged; the refusal stands.
    pub(crate) async fn denied(&self, ctx: &Ctx, action: &str, what: &str) -> Error {
        self.audit_refusal(ctx, action, Outcome::Denied, what, &[]).await;
        if matches!(ctx.principal, Principal::Anonymous) { Error::Unauthenticated } else { Error::Denied }
    }

    pub(crate) async fn audit_refusal(
        &self,
        ctx: &Ctx,
        action: &str,
        outcome: Outcome,
        what: &str,
        patients: &[String],
    ) {
        // A flood without credentials must not fill the disk.
        if matches!(ctx.principal, Principal::Anonymous) {
            return;
        }
        if let Err(error) = self.audit_one(ctx, action, outcome, what, patients).await {
            tracing::error!(%error, request_id = %ctx.request_id, "a refusal could not be audited");
        }
    }

    /// A write that did not happen: one event that names what was tried.
    pub(crate) async fn audit_failed_write(&self, ctx: &Ctx, request: &Request, error: &Error) {
        let error = match error {
            Error::At { error, .. } => error,
            other => other,
        };
        let outcome = match error {
            Error::Denied
            | Error::StepUpNeeded { .. }
            | Error::Due(_)
            | Error::NotFound
            | Error::Unauthenticated => Outcome::Denied,
            Error::Malformed(_)
            | Error::Invalid(_)
            | Error::Gone
            | Error::VersionConflict { .. }
            | Error::Precondition(_)
            | Error::At { .. }
            | Error::Duplicate(_)
            | Error::Rule(_)
            | Error::Throttled { .. }
            | Error::Busy
            | Error::NotReady { .. }
            | Error::Full
            | Error::TooCostly
            | Error::Internal(_) => Outcome::Failed,
        };
        let (action, what) = match request.changes.as_slice() {
            [] => ("update", String::new()),
            [one] => name(one),
            [first, ..] => ("transaction", name(first).1),
        };
        self.audit_refusal(ctx, request.command.unwrap_or(action), outcome, &what, &[]).await;
    }
}

/// What `ctx` did, at `at`.
pub(crate) fn event(
    ctx: &Ctx,
    at: Timestamp,
    action: &str,
    outcome: Outcome,
    what: &str,
    patients: &[String],
) -> Event {
    Event {
        at,
        action: action.to_owned(),
        outcome,
        agent: ctx.principal.agent(),
        agent_display: ctx.principal.display().to_owned(),
        role: ctx.principal.role_codes(),
        address: ctx.address,
        request_id: ctx.request_id.clone(),
        purpose: ctx.purpose_for(patients),
        what: what.to_owned(),
        patients: patients.iter().take(MAX_PATIENTS).cloned().collect(),
        session: ctx.session.as_ref().map(|session| session.id),
        client: ctx.client.clone().unwrap_or_default(),
    }
}

fn name(change: &Change) -> (&'static str, String) {
    let of = |resource: &::fhir::Resource| match resource.id() {
        Some(id) => format!("{}/{id}", resource.kind().name()),
        None => resource.kind().name().to_owned(),
    };
    match change {
        Change::Create { resource } => ("create", of(resource)),
        Change::Update { resource, .. } => ("update", of(resource)),
        Change::Delete { key, .. } => ("delete", key.to_string()),
        Change::Patch { key, .. } => ("update", key.to_string()),
        Change::Keep { key } => ("read", key.to_string()),
        Change::Conditional(conditional) => {
            let action = match conditional.action {
                ConditionalAction::Create { .. } => "create",
                ConditionalAction::Update { .. } | ConditionalAction::Patch { .. } => "update",
                ConditionalAction::Delete { .. } => "delete",
            };
            (
                action,
                format!("{}?{}", conditional.kind.name(), crate::bundle::query_text(&conditional.criteria)),
            )
        }
    }
}

fn row(row: store::audit::Row) -> AuditRow {
    let event = row.event;
    AuditRow {
        seq: row.seq,
        at: event.at,
        agent: event.agent,
        agent_display: event.agent_display,
        role: event.role,
        action: event.action,
        outcome: event.outcome.code().to_owned(),
        what: event.what,
        patient: event.patients.first().cloned(),
        patients: event.patients,
        purpose: event.purpose.code().to_owned(),
        address: event.address.map(|a| a.to_string()),
        request_id: event.request_id,
        session: event.session.map(|id| hex(&id)),
        client: (!event.client.is_empty()).then_some(event.client),
        part: None,
    }
}
