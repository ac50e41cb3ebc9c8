//! Reading and recording vital signs of a visit.

use super::plan::{plan_put, read};
use super::{Measure, Vitals, VitalsInput};
use crate::consultation::{self, require_clinician, require_whole_view};
use crate::element::{key, owned};
use crate::{ATTEMPTS_MAX, appointment, load, note, rule};
use access::Ctx;
use fhir::Resource;
use record::{ChangeSet, Error, Record};

const OBSERVATIONS_MAX: u32 = 100;

async fn observations(record: &Record, ctx: &Ctx, visit: &str) -> Result<Vec<Resource>, Error> {
    let encounter = format!("Encounter/{visit}");
    let parameters = [("encounter", encounter.as_str()), ("category", "vital-signs")];
    load::rows(record, ctx, "Observation", &parameters, OBSERVATIONS_MAX).await
}

/// `GET consultations/{id}/vitals`. Errors: `Denied` for staff who treat nobody; `NotFound`.
pub async fn get(record: &Record, ctx: &Ctx, visit: &str) -> Result<Vitals, Error> {
    let encounter = load::needed(record, ctx, &key("Encounter", visit)).await?;
    let facts = consultation::read(&encounter).ok_or(Error::NotFound)?;
    require_whole_view(ctx, &facts.patient.id)?;
    let birth_date = birth_date(record, ctx, &facts).await?;
    let mut items = read(&observations(record, ctx, visit).await?, &birth_date);
    let index = Measure::BodyMassIndex.loinc();
    let bmi = items.iter().find(|vital| vital.code == index).map(|vital| vital.value.clone());
    items.retain(|vital| vital.code != index);
    Ok(Vitals { items, bmi })
}

async fn birth_date(record: &Record, ctx: &Ctx, facts: &consultation::Facts) -> Result<String, Error> {
    let patient = record.load(ctx, &facts.patient).await?;
    Ok(patient.map(|(patient, _)| owned(patient.value(), "/birthDate")).unwrap_or_default())
}

/// `PUT consultations/{id}/vitals`. Errors: `Denied`; `NotFound`; those of [plan_put].
pub async fn put(record: &Record, ctx: &Ctx, visit: &str, input: &VitalsInput) -> Result<Vitals, Error> {
    require_clinician(ctx)?;
    let (performer, name) = note::author_of(ctx)?;
    for attempt in 1.. {
        let encounter = load::needed(record, ctx, &key("Encounter", visit)).await?;
        let facts = consultation::read(&encounter).ok_or(Error::NotFound)?;
        let birth_date = birth_date(record, ctx, &facts).await?;
        let before = observations(record, ctx, visit).await?;
        let set = plan_put(input, &facts, &before, &birth_date, (&performer, &name), ctx.now)
            .map_err(rule::refuse)?;
        if set == ChangeSet::default() {
            break;
        }
        match record.command(ctx, "vitals.record", set).await {
            Err(error) if appointment::lost_race(&error) && attempt < ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    get(record, ctx, visit).await
}
