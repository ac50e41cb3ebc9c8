//! Appointments as `/api/v1` shows them.

use super::resource::{Facts, read};
use super::{Appointment, PaymentStatus, Status};
use crate::clinic::Clinic;
use crate::consultation;
use crate::element;
use crate::hidden;
use crate::load;
use crate::schedule::Kind;
use crate::view::{Money, Page, PatientRef, ProviderRef};
use access::Ctx;
use fhir::Resource;
use fhir::search::{Handling, parse};
use jiff::civil::Date;
use record::{Error, Record};
use std::collections::HashMap;

/// What to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// First and last date in the clinic's zone, both included.
    pub from: Option<Date>,
    pub to: Option<Date>,
    pub provider: Option<String>,
    pub patient: Option<String>,
    pub status: Vec<Status>,
    pub kind: Option<Kind>,
}

/// `GET appointments`, by start. Rows the caller may not see are not there.
///
/// Errors: `Malformed` for a bad cursor.
pub async fn list(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    filter: &Filter,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<Appointment>, Error> {
    let page = search(record, ctx, "Appointment", parameters(filter, clinic, limit, cursor)).await?;
    let mut rows = Vec::with_capacity(page.items.len());
    for stored in &page.items {
        rows.push(stored.parse()?);
    }
    Ok(Page { items: views(record, ctx, clinic, &rows).await?, next: page.next })
}

/// A search with the caller's rights; parameters as in a URL.
pub(crate) async fn search(
    record: &Record,
    ctx: &Ctx,
    kind: &str,
    parameters: Vec<(String, String)>,
) -> Result<record::SearchPage, Error> {
    let (query, _) =
        parse(&fhir::search::Params::standard(), element::kind(kind), &parameters, Handling::Strict)
            .map_err(Error::Malformed)?;
    record.search(ctx, query).await
}

fn parameters(filter: &Filter, clinic: &Clinic, limit: u32, cursor: Option<&str>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> =
        vec![("_count".into(), limit.to_string()), ("_sort".into(), "date".into())];
    let mut add = |name: &str, value: String| all.push((name.to_owned(), value));
    let midnight = |date: Date| date.to_zoned(clinic.zone.clone()).ok().map(|zoned| zoned.timestamp());
    if let Some(start) = filter.from.and_then(midnight) {
        add("date", format!("ge{start}"));
    }
    if let Some(end) = filter.to.and_then(|date| midnight(date.tomorrow().ok()?)) {
        add("date", format!("lt{end}"));
    }
    if let Some(id) = &filter.provider {
        add("practitioner", format!("Practitioner/{id}"));
    }
    if let Some(id) = &filter.patient {
        add("patient", format!("Patient/{id}"));
    }
    if !filter.status.is_empty() {
        add("status", filter.status.iter().map(|s| s.fhir()).collect::<Vec<_>>().join(","));
    }
    if let Some(kind) = filter.kind {
        add("service-type", format!("{}|{}", crate::vocabulary::VISIT_KIND, kind.code()));
    }
    if let Some(cursor) = cursor {
        add("_cursor", cursor.to_owned());
    }
    all
}

/// One appointment. Errors: `NotFound` if it is none that Uzima can show.
pub async fn view_of(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    appointment: &Resource,
) -> Result<Appointment, Error> {
    let mut all = views(record, ctx, clinic, std::slice::from_ref(appointment)).await?;
    all.pop().ok_or(Error::NotFound)
}

async fn views(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    rows: &[Resource],
) -> Result<Vec<Appointment>, Error> {
    let facts: Vec<Facts> = rows.iter().filter_map(read).collect();
    let begun = || facts.iter().filter(|f| f.status != Status::Booked).map(|f| f.key.id.clone());
    let patients = load::by_id(record, ctx, "Patient", facts.iter().map(|f| f.patient.id.clone())).await?;
    let encounters = load::by_id(record, ctx, "Encounter", begun()).await?;
    let done =
        facts.iter().filter(|f| f.status == Status::Fulfilled).map(|f| consultation::invoice_id(&f.key.id));
    let invoices = load::by_id(record, ctx, "Invoice", done).await?;
    Ok(facts.into_iter().map(|f| view(f, clinic, &patients, &encounters, &invoices)).collect())
}

fn view(
    facts: Facts,
    clinic: &Clinic,
    patients: &HashMap<String, Resource>,
    encounters: &HashMap<String, Resource>,
    invoices: &HashMap<String, Resource>,
) -> Appointment {
    let patient = patients
        .get(&facts.patient.id)
        .map_or_else(|| PatientRef::named(&facts.patient.id, &facts.patient_name), PatientRef::read);
    let visit = encounters.get(&facts.key.id);
    let session = visit.map(consultation::Session::of).unwrap_or_default();
    let payment_status = match invoices
        .get(&consultation::invoice_id(&facts.key.id))
        .and_then(|invoice| invoice.text("status"))
    {
        Some("balanced") => PaymentStatus::Paid,
        Some("issued") => PaymentStatus::Due,
        _ => PaymentStatus::None,
    };
    let waits = facts.status == Status::Arrived;
    Appointment {
        id: facts.key.id,
        version: facts.version,
        status: facts.status,
        kind: facts.kind,
        start: element::written(facts.span.start),
        end: element::written(facts.span.end),
        reason: facts.reason,
        patient,
        provider: ProviderRef { id: facts.provider.id, name: facts.provider_name },
        consultation_id: visit.and_then(|v| v.id()).map(str::to_owned),
        fee: facts.fee.unwrap_or_else(|| Money::new(0, clinic.currency.clone())),
        created_at: facts.created.map(element::written).unwrap_or_default(),
        cancel_reason: facts.cancel_reason,
        payment_status,
        device_checked: session.device_checked,
        waiting_since: session.waiting_since.filter(|_| waits).map(element::written),
        hidden: hidden::of(&[("reason", facts.reason_hidden)]),
    }
}
