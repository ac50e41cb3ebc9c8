//! Records that may be of one person.

use super::types::{List, PageParams};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use care::duplicate::{DuplicateDecision, DuplicateReview};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list_duplicates)).routes(routes!(resolve_duplicate))
}

/// Open questions, oldest first.
#[utoipa::path(get, path = "/api/v1/duplicates", tag = "patients", params(PageParams),
    responses((status = 200, body = List<DuplicateReview>)))]
async fn list_duplicates(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<PageParams>,
) -> Answer<Json<List<DuplicateReview>>> {
    let page =
        care::duplicate::list(&app.record, &caller.0, params.limit(), params.cursor.as_deref()).await?;
    Ok(Json(List::new(page.items, page.next)))
}

/// Links the new record to a candidate, or keeps both apart.
#[utoipa::path(post, path = "/api/v1/duplicates/{task_id}/resolve", tag = "patients",
    params(("task_id" = String, Path)), request_body = DuplicateDecision, responses((status = 204)))]
async fn resolve_duplicate(
    State(app): State<AppState>,
    caller: Caller,
    Path(task_id): Path<String>,
    Json(body): Json<DuplicateDecision>,
) -> Answer<StatusCode> {
    care::duplicate::resolve(&app.record, &caller.0, &task_id, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}
