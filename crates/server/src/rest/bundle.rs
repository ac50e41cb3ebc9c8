//! batch and transaction.

use super::FhirAnswer;
use super::negotiate::{self, ACCEPTED_BODIES};
use crate::http::FhirCaller;
use crate::http::body;
use crate::state::AppState;
use ::fhir::{IssueCode, Outcome, Resource};
use axum::extract::{Request, State};
use axum::http::StatusCode;

/// `POST /`
pub async fn transact(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    request: Request,
) -> FhirAnswer {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let query = negotiate::negotiate(request.headers(), &query)?;
    body::require_json(request.headers(), ACCEPTED_BODIES)?;
    let bytes = body::read(request, app.config.limits.json_bytes).await?;
    let bundle = Resource::parse(&bytes)?;
    if bundle.kind().name() != "Bundle" {
        return Err(Outcome::one(IssueCode::Value, "resourceType", "Send a Bundle here.").into());
    }
    let answer = app.record.bundle(&ctx, bundle, &app.fhir_base()).await?;
    Ok(negotiate::json(StatusCode::OK, negotiate::text(answer.value(), query.wishes.pretty)))
}
