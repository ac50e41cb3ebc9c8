//! Registering, finding and changing patients.

use super::plan::{check, plan_create, plan_update};
use super::{Candidate, Patient, PatientChange, PatientNew, PatientRow};
use crate::clinic::Clinic;
use crate::element::{key, version};
use crate::view::Page;
use crate::{appointment, load, new_id, rule};
use access::{Capability, Ctx, Role};
use record::authn::phone_e164;
use record::{ChangeSet, Error, Record, Rule};
use serde_json::json;

/// `POST patients/search`: by name, phone or record number. Errors: `Denied` for patients.
pub async fn search(
    record: &Record,
    ctx: &Ctx,
    text: &str,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<PatientRow>, Error> {
    let (rows, next) = record.directory(ctx, text, limit, cursor).await?;
    Ok(Page { items: rows.iter().map(|row| PatientRow::read(&row.patient)).collect(), next })
}

/// `POST patients`. `confirm_new`: the caller has seen the candidates and says it is somebody else.
///
/// Errors: `Denied`; those of [check]; `possible-duplicate` with `details.candidates`.
pub async fn create(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    form: &PatientNew,
    confirm_new: bool,
) -> Result<Patient, Error> {
    let registers = [Role::FrontDesk, Role::Doctor, Role::Nurse].into_iter().any(|role| ctx.has_role(role));
    if !registers || !access::policy::may(ctx, Capability::SearchPatients) {
        return Err(Error::Denied);
    }
    if let Some(id) = load::replayed(record, ctx, "patient.register", "Patient").await? {
        return get(record, ctx, &id).await;
    }
    let today = ctx.now.to_zoned(clinic.zone.clone()).date();
    let form = check(form, today, &phone_e164).map_err(rule::refuse)?;
    if !confirm_new {
        let found = record
            .duplicate_candidates(ctx, &form.given, &form.family, &form.birth_date, form.phone.as_deref())
            .await?;
        if !found.is_empty() {
            let candidates: Vec<Candidate> =
                found.iter().map(|(patient, _, score)| Candidate::new(patient, *score)).collect();
            let rule =
                Rule::new("possible-duplicate", "Somebody like this is registered already; look first.")
                    .with(json!({ "candidates": candidates }));
            return Err(rule::refuse(rule));
        }
    }
    let clinician = ctx.user().filter(|_| ctx.has_role(Role::Doctor) || ctx.has_role(Role::Nurse));
    let practitioner = clinician.and_then(|user| user.practitioner.clone());
    let number = record.next_record_number().await?;
    let id = new_id();
    let set = plan_create(&id, &form, &number, practitioner.as_ref());
    let done = record.command(ctx, "patient.register", set).await?;
    let written = done.written.first().and_then(|written| written.resource.clone());
    match written {
        Some(patient) => Ok(Patient::read(&patient, false)),
        None => get(record, ctx, &id).await,
    }
}

/// Whether somebody signs in as this patient.
async fn has_account(record: &Record, id: &str) -> Result<bool, Error> {
    let patient = key("Patient", id);
    record.store_read(move |tx| Ok(!store::account::by_patient(tx, &patient)?.is_empty())).await
}

/// `GET patients/{id}`. Errors: `NotFound`.
pub async fn get(record: &Record, ctx: &Ctx, id: &str) -> Result<Patient, Error> {
    let patient = load::needed(record, ctx, &key("Patient", id)).await?;
    Ok(Patient::read(&patient, has_account(record, id).await?))
}

/// `PATCH patients/{id}`. Errors: `NotFound`; `Denied`; `VersionConflict`; those of [plan_update].
pub async fn update(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    change: &PatientChange,
    if_match: Option<u32>,
) -> Result<Patient, Error> {
    let patient = load::needed(record, ctx, &key("Patient", id)).await?;
    let current = version(&patient);
    if if_match.or(change.version).is_some_and(|given| given != current) {
        return Err(Error::VersionConflict { current: Some(current) });
    }
    let own = !appointment::is_staff(ctx);
    let today = ctx.now.to_zoned(clinic.zone.clone()).date();
    let set = plan_update(&patient, change, own, today, &phone_e164).map_err(rule::refuse)?;
    if set != ChangeSet::default() {
        record.command(ctx, "patient.update", set).await?;
    }
    get(record, ctx, id).await
}
