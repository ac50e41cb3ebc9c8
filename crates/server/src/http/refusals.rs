//! Every refusal of somebody who is known is in the audit trail, whoever refused: what no event of `record` tells is noted
//! here, where the answer goes out.

use super::address::ClientAddress;
use super::caller::{OnBehalf, authenticate, context};
use crate::state::AppState;
use access::Principal;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

/// Paths that name a patient behind this have whom they are about.
const PATIENTS: &[&str] = &["/api/v1/patients/", "/api/v1/privacy/patients/"];

/// Around all that may be refused for its caller. Who asked is looked up again only for what was refused, so that what
/// goes well costs nothing.
pub async fn note(State(app): State<AppState>, request: Request, next: Next) -> Response {
    // Entries of bundles are told of by their bundle.
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else {
        return next.run(request).await;
    };
    if request.extensions().get::<OnBehalf>().is_some() {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let address = request.extensions().get::<ClientAddress>().copied();
    let uri = request.uri().clone();
    let mut headers = HeaderMap::new();
    for name in [header::AUTHORIZATION, header::COOKIE] {
        for value in request.headers().get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let (response, noted) = record::audit::watch_refusals(next.run(request)).await;
    let is_denial = response.status() == StatusCode::FORBIDDEN;
    if noted || !(is_denial || response.status() == StatusCode::NOT_FOUND) || route.as_str().contains("{*") {
        return response;
    }
    // Whose session ended meanwhile is nobody.
    let Ok(known) = authenticate(&app, &headers, address.and_then(|address| address.0)).await else {
        return response;
    };
    if known.principal == Principal::Anonymous {
        return response;
    }
    let (mut parts, ()) = axum::http::Request::new(()).into_parts();
    if let Some(address) = address {
        parts.extensions.insert(address);
    }
    let ctx = context(&app, known, &parts);
    let path = uri.path();
    let patient = PATIENTS.iter().find_map(|begin| path.strip_prefix(begin)?.split('/').next());
    // The template: what people write into addresses is none of the trail's business.
    app.record.note_refusal(&ctx, is_denial, &format!("{method} {}", route.as_str()), patient).await;
    response
}
