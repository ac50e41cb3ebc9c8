//! Portable copies.

use super::parse;
use crate::api::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use insight::portable::Copy;
use jiff::Timestamp;
use serde::Serialize;
use std::io::Read;
use store::bulk::job::State as JobState;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Bytes handed on at a time.
const CHUNK: usize = 64 * 1024;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_copies, make_copy))
        .routes(routes!(fetch_copy))
        .routes(routes!(cancel_copy))
}

#[derive(Serialize, ToSchema)]
struct PortableCopy {
    id: String,
    /// `making|ready|failed`
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// Until when a ready one can be fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Resources written.
    resources: u64,
    total: u64,
    /// Of the file; 0 while it is made.
    bytes: u64,
}

fn shown(copy: Copy) -> PortableCopy {
    let state = match copy.state {
        JobState::Active => "making",
        JobState::Done => "ready",
        JobState::Failed | JobState::Cancelled => "failed",
    };
    PortableCopy {
        id: copy.id.to_string(),
        state,
        asked_at: copy.asked,
        until: (copy.state == JobState::Done).then_some(copy.expires),
        resources: copy.resources,
        total: copy.total,
        bytes: copy.bytes,
    }
}

#[derive(Serialize, ToSchema)]
struct PortableCopyList {
    items: Vec<PortableCopy>,
}

/// Your own copies of this patient's record, newest first.
#[utoipa::path(get, path = "/api/v1/privacy/patients/{id}/copies", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, body = PortableCopyList)))]
async fn list_copies(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<PortableCopyList>> {
    app.record.may_copy(&caller.0, &id).await?;
    let found = app.parts.insight.copies(&caller.0, &id).await?;
    Ok(Json(PortableCopyList { items: found.into_iter().map(shown).collect() }))
}

/// Begins a copy of everything: a ZIP with the record as a FHIR Bundle, the files in it, who saw it, and a page to read.
/// The patient, or who acts for her; freshly signed in. It is made in the background.
#[utoipa::path(post, path = "/api/v1/privacy/patients/{id}/copies", tag = "privacy", params(("id" = String, Path)),
    responses((status = 202, body = PortableCopy)))]
async fn make_copy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<PortableCopy>)> {
    let made = app.parts.insight.start_copy(&caller.0, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(made))))
}

/// The finished copy, for an hour and once: when it has been fetched whole it is gone. Freshly signed in.
#[utoipa::path(get, path = "/api/v1/privacy/copies/{id}/file", tag = "privacy", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/zip", body = Vec<u8>)))]
async fn fetch_copy(State(app): State<AppState>, caller: Caller, Path(id): Path<String>) -> Answer<Response> {
    let id = parse(&id)?;
    let (download, name) = app.parts.insight.open_copy(&caller.0, id).await?;
    let (insight, bytes, ctx) = (app.parts.insight.clone(), download.bytes, caller.0.clone());
    let pieces = futures_util::stream::try_unfold(download.reader, move |mut reader| {
        let (insight, ctx) = (insight.clone(), ctx.clone());
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = Vec::with_capacity(CHUNK);
                reader.by_ref().take(CHUNK as u64).read_to_end(&mut piece)?;
                Ok::<_, std::io::Error>((piece, reader))
            });
            let (piece, reader) = read.await.map_err(std::io::Error::other)??;
            if piece.is_empty() {
                // Everything before was taken: the line broke for none of it.
                insight.copy_taken(&ctx, id).await.map_err(std::io::Error::other)?;
                return Ok(None);
            }
            Ok::<_, std::io::Error>(Some((Bytes::from(piece), reader)))
        }
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        map.insert(header::CONTENT_DISPOSITION, value);
    }
    // Not as Content-Length: a client that has that many bytes closes before the end is seen.
    map.insert("x-file-bytes", HeaderValue::from(bytes));
    Ok(response)
}

/// Takes a copy away, finished or not.
#[utoipa::path(delete, path = "/api/v1/privacy/copies/{id}", tag = "privacy", params(("id" = String, Path)),
    responses((status = 204)))]
async fn cancel_copy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.parts.insight.cancel(&caller.0, parse(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
