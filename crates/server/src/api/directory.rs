//! Who can be visited and when; codes a clinician searches.

use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, Json, Params, Path, Versioned};
use crate::state::{App, AppState};
use access::Role;
use axum::extract::State;
use care::Kind;
use care::code::Medicine;
use care::provider::{Filter, Provider};
use care::schedule::ProviderSchedule;
use care::slot::Availability;
use care::view::{Coded, SystemCode};
use care::vocabulary::ICD10;
use record::terminology::{Expand, Source};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_specialties))
        .routes(routes!(list_providers))
        .routes(routes!(get_provider))
        .routes(routes!(get_availability))
        .routes(routes!(get_schedule, put_schedule))
        .routes(routes!(search_diagnoses))
        .routes(routes!(search_medicines))
}

/// What the care crate must know of the clinic.
pub(crate) fn clinic(app: &App) -> care::Clinic {
    care::Clinic {
        name: app.config.clinic.name.clone(),
        phone: app.config.clinic.phone.clone(),
        currency: app.config.clinic.currency.clone(),
        zone: app.timezone.clone(),
        public_url: app.public_url.clone(),
    }
}

/// Specialties of those who can be visited.
#[utoipa::path(get, path = "/api/v1/specialties", tag = "directory", responses((status = 200, body = List<Coded>)))]
async fn list_specialties(State(app): State<AppState>, caller: Caller) -> Answer<Json<List<Coded>>> {
    Ok(Json(List::new(care::provider::specialties(&app.record, &caller.0).await?, None)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProviderParams {
    /// Code of a specialty.
    specialty: Option<String>,
    /// BCP-47 language the provider speaks.
    language: Option<String>,
    kind: Option<Kind>,
    /// Part of the name.
    name: Option<String>,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Who can be visited; who is free first comes first.
#[utoipa::path(get, path = "/api/v1/providers", tag = "directory", params(ProviderParams),
    responses((status = 200, body = List<Provider>)))]
async fn list_providers(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<ProviderParams>,
) -> Answer<Json<List<Provider>>> {
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        specialty: given(params.specialty),
        language: given(params.language),
        kind: params.kind,
        name: given(params.name),
    };
    let (count, cursor) = (limit(params.limit), params.cursor.as_deref());
    let page = care::provider::list(&app.record, &caller.0, &clinic(&app), &filter, count, cursor).await?;
    Ok(Json(List::new(page.items, page.next)))
}

/// One provider.
#[utoipa::path(get, path = "/api/v1/providers/{id}", tag = "directory", params(("id" = String, Path)),
    responses((status = 200, body = Provider)))]
async fn get_provider(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Provider>> {
    Ok(Json(care::provider::get(&app.record, &caller.0, &clinic(&app), &id).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AvailabilityParams {
    kind: Kind,
    /// First date, in the clinic's zone; today if not given.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<jiff::civil::Date>,
    /// 1 to 31; 7 if not given.
    days: Option<u16>,
}

/// Free times of one kind.
#[utoipa::path(get, path = "/api/v1/providers/{id}/availability", tag = "directory", params(("id" = String, Path),
    AvailabilityParams), responses((status = 200, body = Availability)))]
async fn get_availability(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<AvailabilityParams>,
) -> Answer<Json<Availability>> {
    let (kind, days) = (params.kind, params.days.unwrap_or(7));
    let clinic = clinic(&app);
    Ok(Json(
        care::provider::availability(&app.record, &caller.0, &clinic, &id, kind, params.from, days).await?,
    ))
}

/// Weekly hours and exceptions of both kinds.
#[utoipa::path(get, path = "/api/v1/providers/{id}/schedule", tag = "directory", params(("id" = String, Path)),
    responses((status = 200, body = ProviderSchedule)))]
async fn get_schedule(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<ProviderSchedule>> {
    let schedule = care::schedule::load(&app.record, &caller.0, &id).await?;
    Ok(Versioned(schedule.version.unwrap_or(0), schedule))
}

/// Replaces hours and exceptions: administrators, front desk and the provider herself. Booked visits stay.
#[utoipa::path(put, path = "/api/v1/providers/{id}/schedule", tag = "directory", params(("id" = String, Path)),
    request_body = ProviderSchedule, responses((status = 200, body = ProviderSchedule)))]
async fn put_schedule(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    if_match: super::IfMatch,
    Json(mut body): Json<ProviderSchedule>,
) -> Answer<Versioned<ProviderSchedule>> {
    body.version = if_match.0.or(body.version);
    let schedule = care::schedule::put(&app.record, &caller.0, &id, body).await?;
    Ok(Versioned(schedule.version.unwrap_or(0), schedule))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CodeParams {
    /// What was typed.
    #[serde(default)]
    #[param(required = false)]
    q: String,
}

/// Diagnoses by code, title or synonym (English, Swahili); at most 30.
// What is usual in a clinic comes first, behind it the rest of ICD-10, if it was imported.
#[utoipa::path(get, path = "/api/v1/codes/diagnoses", tag = "directory", params(CodeParams),
    responses((status = 200, body = List<SystemCode>)))]
async fn search_diagnoses(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<CodeParams>,
) -> Answer<Json<List<SystemCode>>> {
    caller.require(&CLINICAL)?;
    let mut found = care::code::diagnoses(&params.q);
    if !params.q.trim().is_empty() && found.len() < care::code::HITS_MAX {
        let mut wanted = Expand::new(Source::Url(format!("{ICD10}?fhir_vs")));
        wanted.filter = Some(params.q.clone());
        wanted.count = Some(care::code::HITS_MAX);
        (wanted.active_only, wanted.exclude_not_for_ui) = (true, true);
        match app.record.expand(&caller.0, wanted).await {
            Ok(expansion) => {
                for one in expansion.contains {
                    if found.len() < care::code::HITS_MAX && !found.iter().any(|f| f.code == one.code) {
                        let display = one.display.unwrap_or_default();
                        found.push(SystemCode { code: one.code, display, system: one.system });
                    }
                }
            }
            // Not imported.
            Err(record::Error::Invalid(_)) => {}
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Json(List::new(found, None)))
}

/// Medicines of the formulary by any of their names; at most 30.
#[utoipa::path(get, path = "/api/v1/codes/medicines", tag = "directory", params(CodeParams),
    responses((status = 200, body = List<Medicine>)))]
async fn search_medicines(
    caller: Caller,
    Params(params): Params<CodeParams>,
) -> Answer<Json<List<Medicine>>> {
    caller.require(&CLINICAL)?;
    Ok(Json(List::new(care::code::medicines(&params.q), None)))
}

/// Who writes codes.
const CLINICAL: [Role; 4] = [Role::Doctor, Role::Nurse, Role::Lab, Role::Pharmacist];
