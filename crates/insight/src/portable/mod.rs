//! The portable copy: everything of one patient that she may read, in one ZIP for herself: the record as a FHIR Bundle,
//! her files as they are, who saw it, and a page for people.
//!
//! It is made in the background with the rights of who asked, lies sealed on the disk for an hour, and goes when it has
//! been fetched whole.

mod archive;
mod attachment;
mod page;
mod words;

use crate::bulk::{Insight, LEASE_MS, RENEW, Stopping, blocking, disk, seal_name};
use crate::portable::archive::Archive;
use access::Ctx;
use fhir::{ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use record::scan::{Scan, ScanRow, Whose};
use record::{Error, Rule};
use serde_json::{Value, json};
use std::time::Instant;
use store::bulk::job::{self, File, Job, Kind, Role, State};
use uuid::Uuid;

/// How long a finished copy may be fetched.
pub const COPY_STAYS: SignedDuration = SignedDuration::from_hours(1);
/// How fresh a sign-in must be to ask for one and to fetch it.
const FRESH_MINUTES: u32 = 5;
/// The only file of such a job.
const NUMBER: i64 = 1;
const MEDIA_TYPE: &str = "application/zip";

/// A copy as its owner sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    pub id: Uuid,
    /// Logical id of the Patient.
    pub patient: String,
    pub state: State,
    pub asked: Timestamp,
    pub finished: Option<Timestamp>,
    /// When it goes; of a finished one.
    pub expires: Timestamp,
    /// Resources written, of [Copy::total].
    pub resources: u64,
    pub total: u64,
    /// Size of the file, bytes; 0 before it is there.
    pub bytes: u64,
}

fn copy_of(job: &Job, files: &[File]) -> Copy {
    let number = |from: &Value, name: &str| from.get(name).and_then(Value::as_u64).unwrap_or(0);
    Copy {
        id: job.id,
        patient: job.request.get("patient").and_then(Value::as_str).unwrap_or_default().to_owned(),
        state: job.state,
        asked: job.created,
        finished: job.finished,
        expires: job.expires,
        resources: number(&job.progress, "resources"),
        total: number(&job.request, "total"),
        bytes: files.first().map_or(0, |file| u64::try_from(file.bytes).unwrap_or(0)),
    }
}

impl Insight {
    /// Begins a copy for the patient herself or who acts for her. Errors: `Denied`, `NotFound` for others; `StepUpNeeded`;
    /// `Duplicate` `copy-running`; `Throttled`.
    pub async fn start_copy(&self, ctx: &Ctx, patient: &str) -> Result<Copy, Error> {
        let record = self.record();
        record.may_copy(ctx, patient).await?;
        record.require_settled(ctx).await?;
        record.require_fresh(ctx, FRESH_MINUTES, true)?;
        if self.copies(ctx, patient).await?.iter().any(|copy| copy.state == State::Active) {
            let text = "A copy is being made already.";
            return Err(Error::Duplicate(Rule::new("copy-running", text)));
        }
        let language = ctx.user().map_or("en", |user| user.language.as_str()).to_owned();
        let horizon = record.horizon().await?;
        let held = record.held(patient).await?;
        let total: u64 = held.iter().map(|one| one.count).sum();
        let request = json!({
            "patient": patient, "horizon": horizon, "total": total, "language": language,
        });
        let new = self.new_job(ctx, Kind::Copy, request, json!({}));
        // Before it begins: a stop in between leaves a trace of what was meant, never a copy without one.
        let patients = [patient.to_owned()];
        record.audit_bulk(ctx, "copy.make", &format!("copy/{}", new.id), &patients).await?;
        let id = self.insert(new, Vec::new()).await?;
        let shown = self.job(ctx, id).await?;
        Ok(copy_of(&shown.job, &[]))
    }

    /// The caller's own copies about this patient, newest first. Errors: `Busy`.
    pub async fn copies(&self, ctx: &Ctx, patient: &str) -> Result<Vec<Copy>, Error> {
        let (owner, patient, now) = (ctx.principal.agent(), patient.to_owned(), self.record().now());
        let found = self.record().store().read(move |tx| {
            let mut found = Vec::new();
            for job in job::copies_of(tx, &patient)? {
                if job.owner == owner && job.expires > now {
                    let files = job::files(tx, job.id)?;
                    found.push((job, files));
                }
            }
            Ok::<_, store::Error>(found)
        });
        Ok(found.await?.iter().map(|(job, files)| copy_of(job, files)).collect())
    }

    /// Opens the finished file of the caller's own copy; audited before it returns.
    /// Errors: `NotFound`, also when it is over or not finished; `Denied`, `StepUpNeeded`.
    pub async fn open_copy(&self, ctx: &Ctx, id: Uuid) -> Result<(crate::Download, String), Error> {
        let shown = self.job(ctx, id).await?;
        if shown.job.kind != Kind::Copy || shown.job.state != State::Done {
            return Err(Error::NotFound);
        }
        let copy = copy_of(&shown.job, &shown.files);
        self.record().may_copy(ctx, &copy.patient).await?;
        self.record().require_fresh(ctx, FRESH_MINUTES, true)?;
        let patients = [copy.patient.clone()];
        self.record().audit_bulk(ctx, "copy.download", &format!("copy/{id}"), &patients).await?;
        let reader = self.unseal(&self.path(id, NUMBER), &seal_name(id, NUMBER)).await?;
        let day = copy.asked.strftime("%Y-%m-%d");
        let download = crate::Download { reader, bytes: copy.bytes, media_type: MEDIA_TYPE };
        Ok((download, format!("my-health-record-{day}.zip")))
    }

    /// It was fetched whole: it goes. Audited. Errors: `Busy`.
    pub async fn copy_taken(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        let shown = self.job(ctx, id).await?;
        let patients = [copy_of(&shown.job, &[]).patient];
        self.record().audit_bulk(ctx, "copy.taken", &format!("copy/{id}"), &patients).await?;
        self.record().store().write(move |tx| job::cancel(tx, id)).await?;
        self.inner.bell.notify_waiters();
        Ok(())
    }

    /// The whole copy at once: a stop in between begins it anew. Errors: what makes the piece, or with it the job, fail.
    pub(crate) async fn copy_piece(&self, ctx: &Ctx, job: Job, stopping: Stopping<'_>) -> Result<(), Error> {
        let text = |name: &str| job.request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let patient = text("patient");
        let horizon = job.request.get("horizon").and_then(Value::as_i64).unwrap_or(0);
        // Whoever asked has the right still.
        self.record().may_copy(ctx, &patient).await?;
        let report = self.record().access_report(ctx, &patient).await?;
        let requests = self.record().request_tasks(ctx, &patient).await?;
        let (path, key, name) =
            (self.path(job.id, NUMBER), self.config().key.clone(), seal_name(job.id, NUMBER));
        let made = self.record().now();
        let mut archive = blocking(move || Archive::begin(&path, &key, &name, made)).await?;
        let mut lease = Lease { insight: self, job: &job, renewed: Instant::now(), lost: false };
        let scan = |kind: TypeId| Scan {
            kind,
            horizon,
            since: None,
            until: None,
            whose: Whose::Patients(std::sync::Arc::new(vec![patient.clone()])),
            deleted: false,
        };
        let own = ResourceKey::new(TypeId::PATIENT, patient.clone());
        let kinds = self.record().kinds_to_scan(ctx).await?;
        // The patient herself first.
        let mut kinds: Vec<TypeId> = kinds.into_iter().filter(|kind| *kind != TypeId::PATIENT).collect();
        kinds.retain(|kind| !fhir::definitions::in_patient_compartment(*kind).is_empty() || is_for(*kind));
        let rows =
            self.record().scan_ids(ctx, &scan_all(&scan, TypeId::PATIENT), vec![own.id.clone()]).await?;
        archive = add(archive, rows).await?;
        for kind in kinds {
            let mut cursor: Option<String> = None;
            loop {
                let page = self.record().scan(ctx, &scan(kind), cursor.as_deref()).await?;
                archive = add(archive, page.rows).await?;
                cursor = page.next;
                lease.keep(&json!({"resources": archive.resources()})).await?;
                if lease.lost {
                    return Ok(());
                }
                if stopping() {
                    // Begun anew by whoever comes next.
                    return self.give_back(&job).await;
                }
                if cursor.is_none() {
                    break;
                }
            }
        }
        archive = blocking(move || {
            for task in requests {
                archive.add_value(&task)?;
            }
            archive.end_record()?;
            Ok(archive)
        })
        .await?;
        for kind in archive.kinds_with_files() {
            let mut cursor: Option<String> = None;
            loop {
                let page = match kind == TypeId::PATIENT {
                    true => {
                        let wanted = scan_all(&scan, kind);
                        let rows = self.record().scan_ids(ctx, &wanted, vec![own.id.clone()]).await?;
                        record::scan::ScanPage { rows, next: None }
                    }
                    false => self.record().scan(ctx, &scan(kind), cursor.as_deref()).await?,
                };
                archive = blocking(move || {
                    for row in page.rows {
                        archive.add_files(&row)?;
                    }
                    Ok(archive)
                })
                .await?;
                cursor = page.next;
                lease.keep(&json!({"resources": archive.resources()})).await?;
                if lease.lost {
                    return Ok(());
                }
                if cursor.is_none() {
                    break;
                }
            }
        }
        let language = text("language");
        let resources = archive.resources();
        let bytes = blocking(move || archive.finish(&report, &language)).await?;
        self.end_copy(ctx, &job, resources, bytes, &patient).await
    }

    async fn end_copy(
        &self,
        ctx: &Ctx,
        job: &Job,
        resources: u64,
        bytes: u64,
        patient: &str,
    ) -> Result<(), Error> {
        let file = File {
            number: NUMBER,
            role: Role::Output,
            kind: "zip".to_owned(),
            name: "copy.zip".to_owned(),
            count: i64::try_from(resources).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        };
        let what = format!("copy/{} ({resources})", job.id);
        self.record().audit_bulk(ctx, "copy.made", &what, &[patient.to_owned()]).await?;
        let expires = self.record().now().checked_add(COPY_STAYS).unwrap_or(Timestamp::MAX);
        let (id, token, progress) = (job.id, job.token, json!({"resources": resources}));
        let kept = self.record().store().write(move |tx| {
            let kept = job::finish(tx, id, token, &progress, None, expires)?;
            if kept {
                job::add_files(tx, id, std::slice::from_ref(&file))?;
            }
            Ok::<_, store::Error>(kept)
        });
        if !kept.await? {
            // Cancelled meanwhile, e.g. because the record was erased.
            let path = self.path(id, NUMBER);
            blocking(move || match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(disk(error)),
                _ => Ok(()),
            })
            .await?;
        }
        Ok(())
    }

    async fn give_back(&self, job: &Job) -> Result<(), Error> {
        let (id, token) = (job.id, job.token);
        self.record().store().write(move |tx| job::save(tx, id, token, &json!({}), &[])).await?;
        Ok(())
    }
}

/// Tasks have no compartment in R4; what is for the patient lies in hers here.
fn is_for(kind: TypeId) -> bool {
    matches!(kind.name(), "Task" | "Binary")
}

/// The patient herself is in her compartment by being it.
fn scan_all(scan: &impl Fn(TypeId) -> Scan, kind: TypeId) -> Scan {
    Scan { whose: Whose::All, ..scan(kind) }
}

async fn add(mut archive: Archive, rows: Vec<ScanRow>) -> Result<Archive, Error> {
    blocking(move || {
        for row in rows {
            archive.add(&row)?;
        }
        Ok(archive)
    })
    .await
}

/// The lease of a piece that takes longer than it.
struct Lease<'a> {
    insight: &'a Insight,
    job: &'a Job,
    renewed: Instant,
    lost: bool,
}

impl Lease<'_> {
    /// Renews it now and then and notes how far the work is.
    async fn keep(&mut self, progress: &Value) -> Result<(), Error> {
        if self.renewed.elapsed() < RENEW {
            return Ok(());
        }
        self.renewed = Instant::now();
        let (id, token, progress) = (self.job.id, self.job.token, progress.clone());
        let store = self.insight.record().store();
        self.lost = !store.write(move |tx| job::note(tx, id, token, &progress, LEASE_MS)).await?;
        Ok(())
    }
}
