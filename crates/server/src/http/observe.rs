//! The outermost layer: request id, client address, log line, metrics, panic catcher, time and load limits.
//!
//! **Invariant:** a log line has the route's template, never the path, the query or anything about a person.

use super::address::{ClientAddress, client_address};
use super::caller::PrincipalKind;
use super::error::{ApiError, FhirError, Refusal, RefusalKind};
use super::request_id;
use crate::state::AppState;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// A request that takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_millis(500);
/// Longest time for a file that comes with a request, seconds.
const UPLOAD_SECONDS: u64 = 6 * 60 * 60;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static PRINCIPAL: Cell<&'static str>;
}

/// Remembers for the log line what kind of caller this is.
pub(super) fn note_principal(kind: PrincipalKind) {
    let _ = PRINCIPAL.try_with(|cell| cell.set(kind.0));
}

/// Middleware around every route.
pub async fn observe(State(app): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id_of(&request);
    let address: ClientAddress = client_address(
        request.extensions().get::<ConnectInfo<SocketAddr>>(),
        request.headers(),
        &app.config.proxy,
    );
    request.extensions_mut().insert(address);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|m| m.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    let is_fhir = request.uri().path().starts_with(crate::rest::BASE);
    let is_probe = matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics");

    let work = async {
        let place = Place::take(&app);
        let limit = i64::try_from(app.config.limits.concurrent_requests).unwrap_or(i64::MAX);
        let response = if place.number > limit && !is_probe {
            refuse(is_fhir, RefusalKind::Overloaded, "Too many requests at once; try again in a moment.")
        } else {
            run(&app, request, next, is_fhir, &route).await
        };
        (response, PRINCIPAL.with(Cell::get))
    };
    let scoped = PRINCIPAL.scope(Cell::new("-"), request_id::CURRENT.scope(id.clone(), work));
    let (mut response, principal) = scoped.await;

    let took = started.elapsed();
    let status = response.status().as_u16();
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    app.metrics.request(known(&method), &route, status, took);
    if !is_probe {
        let line = Line { id: &id, method: &method, route: &route, status, took, principal };
        line.write();
    }
    response
}

/// A client may send any word as a method; metrics and log lines hold the usual ones.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

struct Line<'a> {
    id: &'a str,
    method: &'a Method,
    route: &'a str,
    status: u16,
    took: Duration,
    principal: &'static str,
}

impl Line<'_> {
    /// Reads that went well and fast are thousands a second, counted in the metrics and kept in the audit trail: they are
    /// logged at `debug`, everything else at `info`.
    fn write(&self) {
        let Line { id, method, route, status, took, principal } = self;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if **method == Method::GET && *status < 400 && *took < SLOW {
            tracing::debug!(
                request.id = %id, request.method = known(method), request.route = %route, response.status = status,
                duration_ms, principal.kind = principal, "request"
            );
        } else {
            tracing::info!(
                request.id = %id, request.method = known(method), request.route = %route, response.status = status,
                duration_ms, principal.kind = principal, "request"
            );
        }
    }
}

/// A request's place among those worked on. Given back also when the client goes away and the work is dropped.
struct Place<'a> {
    app: &'a AppState,
    number: i64,
}

impl Place<'_> {
    fn take(app: &AppState) -> Place<'_> {
        Place { app, number: app.metrics.in_flight.fetch_add(1, Relaxed) + 1 }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.app.metrics.in_flight.fetch_sub(1, Relaxed);
    }
}

async fn run(app: &AppState, request: Request, next: Next, is_fhir: bool, route: &str) -> Response {
    let limits = &app.config.limits;
    let seconds = match route {
        crate::rest::BASE => limits.bundle_seconds,
        // A file comes in with the request, however slowly.
        "/fhir/R4/$import" | "/fhir/R4/%24import" => UPLOAD_SECONDS,
        _ => limits.request_seconds,
    };
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(Duration::from_secs(seconds), work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic hook has logged where; the message may hold data of a person and stays out of the answer.
            tracing::error!(request.id = %request_id::current(), request.route = route, "handler panicked");
            app.metrics.count("panics", "", 1);
            refuse(
                is_fhir,
                RefusalKind::Panicked,
                "Something went wrong on our side. Please report the request id.",
            )
        }
        Err(_) => {
            refuse(is_fhir, RefusalKind::TimedOut, "This took too long and was given up; it may be repeated.")
        }
    }
}

fn refuse(is_fhir: bool, kind: RefusalKind, text: &str) -> Response {
    let refusal = Refusal::new(kind, text);
    if is_fhir { FhirError::from(refusal).into_response() } else { ApiError::from(refusal).into_response() }
}

fn request_id_of(request: &Request) -> String {
    let own = request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok());
    match own.filter(|text| request_id::acceptable(text)) {
        Some(text) => text.to_owned(),
        None => uuid::Uuid::now_v7().to_string(),
    }
}
