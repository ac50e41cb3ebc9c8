//! batch and transaction. Entries that are no writes run through this API's own routes.
//!
//! **Invariant:** an entry costs its sender what it would cost as a request, and what the entries of all bundles bring back
//! is held in bounded memory.

use super::FhirAnswer;
use super::negotiate::{self, ACCEPTED_BODIES, Return};
use crate::http::FhirCaller;
use crate::http::body;
use crate::http::caller::OnBehalf;
use crate::state::AppState;
use ::fhir::{IssueCode, Outcome, Resource};
use access::Ctx;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use record::bundle::{Call, Dispatch, Echo, Options, Reply};
use serde_json::Value;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use tower::ServiceExt as _;

/// What the entries of one bundle may bring back together, bytes; as values they take some times as much.
const MAX_REPLIES: usize = 64 * 1024 * 1024;
/// And those of all bundles that are worked on.
const MAX_HELD: usize = 256 * 1024 * 1024;

/// `POST /`
pub async fn transact(
    State(app): State<AppState>,
    FhirCaller(ctx): FhirCaller,
    request: Request,
) -> FhirAnswer {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let query = negotiate::negotiate(request.headers(), &query)?;
    body::require_json(request.headers(), ACCEPTED_BODIES)?;
    let bytes = body::read(request, body::limit(&app, super::BASE)).await?;
    let bundle = tokio::task::spawn_blocking(move || Resource::parse(super::write::without_mark(&bytes)))
        .await
        .map_err(|error| record::Error::Internal(format!("parsing a bundle: {error}")))??;
    if bundle.kind().name() != "Bundle" {
        return Err(Outcome::one(IssueCode::Value, "resourceType", "Send a Bundle here.").into());
    }
    let echo = match query.wishes.answer {
        Return::Representation if query.wishes.answer_given => Echo::Resource,
        Return::OperationOutcome => Echo::Outcome,
        Return::Representation | Return::Minimal => Echo::Nothing,
    };
    let options = Options {
        base: app.fhir_base(),
        echo,
        conditional_delete_most: app.config.fhir.deletes_at_once(),
        dispatch: Arc::new(Routes { app: app.clone(), router: OnceLock::new(), held: Held::default() }),
    };
    let answer = app.record.bundle(&ctx, bundle, &options).await?;
    Ok(negotiate::json(StatusCode::OK, negotiate::text(answer.value(), query.wishes.pretty)))
}

/// The API itself, for one bundle.
struct Routes {
    app: AppState,
    router: OnceLock<Router>,
    held: Held,
}

/// Bytes of replies that one bundle holds until it is answered.
#[derive(Default)]
struct Held(AtomicUsize);

/// Those of all bundles.
static ALL_HELD: AtomicUsize = AtomicUsize::new(0);

impl Held {
    /// Whether there is room for so many more.
    fn take(&self, bytes: usize) -> bool {
        let add = |counter: &AtomicUsize, most: usize| {
            let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
            counter.fetch_update(Relaxed, Relaxed, more).is_ok()
        };
        if !add(&ALL_HELD, MAX_HELD) {
            return false;
        }
        let is_taken = add(&self.0, MAX_REPLIES);
        if !is_taken {
            ALL_HELD.fetch_sub(bytes, Relaxed);
        }
        is_taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ALL_HELD.fetch_sub(self.0.load(Relaxed), Relaxed);
    }
}

impl Dispatch for Routes {
    fn call(&self, ctx: Ctx, call: Call) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        Box::pin(async move {
            // The bundle itself has cost one request, whatever it holds.
            if let Err(error) = self.app.rates.take(&ctx.principal) {
                return refused(429, error.to_outcome());
            }
            let Some(request) = request(ctx, call) else {
                return refused(400, Outcome::one(IssueCode::Value, "", "`request.url` is no URL."));
            };
            let router = self.router.get_or_init(|| super::routes().with_state(self.app.clone())).clone();
            match router.oneshot(request).await {
                Ok(response) => reply(response, &self.held).await,
                Err(never) => match never {},
            }
        })
    }
}

fn refused(status: u16, outcome: Outcome) -> Reply {
    Reply { status, resource: Some(outcome.to_json()), ..Reply::default() }
}

fn request(ctx: Ctx, call: Call) -> Option<Request> {
    let mut uri = format!("{}/", super::BASE);
    for byte in call.url.trim_end_matches('/').bytes() {
        match byte {
            // What a URL cannot hold as it is.
            0..=b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'}' | b'#' | 0x7f.. => {
                let _ = write!(uri, "%{byte:02X}");
            }
            other => uri.push(char::from(other)),
        }
    }
    let uri = uri.trim_end_matches('/').replace("/?", "?");
    let mut request = axum::http::Request::builder().method(call.method).uri(uri);
    for (name, value) in &call.headers {
        request = request.header(*name, HeaderValue::from_str(value).ok()?);
    }
    let body = match &call.resource {
        Some(resource) => {
            request = request.header(header::CONTENT_TYPE, negotiate::FHIR_JSON);
            Body::from(resource.to_json())
        }
        None => {
            // A search by POST has its parameters in the url here; a bundle's entry has no place for a form.
            if call.method == "POST"
                && call.url.split('?').next().is_some_and(|path| path.ends_with("_search"))
            {
                request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            }
            Body::empty()
        }
    };
    request.extension(OnBehalf(ctx)).body(body).ok()
}

async fn reply(response: Response, held: &Held) -> Reply {
    let (parts, body) = response.into_parts();
    let text = |headers: &HeaderMap, name: header::HeaderName| {
        headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let (mut pieces, mut bytes) = (body.into_data_stream(), Vec::new());
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return refused(
                500,
                Outcome::one(IssueCode::Exception, "", "The answer of this entry broke off."),
            );
        };
        if !held.take(piece.len()) {
            let text = "The answers of this bundle are too large together; ask for less, or for this entry by itself.";
            return refused(400, Outcome::one(IssueCode::TooCostly, "", text));
        }
        bytes.extend_from_slice(&piece);
    }
    let resource: Option<Value> = if bytes.is_empty() { None } else { ::fhir::parse_json(&bytes).ok() };
    Reply {
        status: parts.status.as_u16(),
        etag: text(&parts.headers, header::ETAG),
        location: text(&parts.headers, header::LOCATION),
        last_modified: resource
            .as_ref()
            .and_then(|r| r.pointer("/meta/lastUpdated"))
            .and_then(Value::as_str)
            .map(str::to_owned),
        resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_bundles_bring_back_is_bounded() {
        let answer = || Response::new(Body::from("{\"resourceType\": \"Patient\"}"));
        let held = Held::default();
        assert_eq!(reply(answer(), &held).await.resource.unwrap()["resourceType"], "Patient");
        // One bundle has its part, all of them theirs.
        assert!(!held.take(MAX_REPLIES) && held.take(MAX_REPLIES - 100));
        assert_eq!([reply(answer(), &held).await.status, reply(answer(), &held).await.status], [200, 200]);
        assert_eq!(reply(answer(), &held).await.status, 400);
        drop(held);
        let others: Vec<Held> = (0..MAX_HELD / MAX_REPLIES).map(|_| Held::default()).collect();
        assert!(others.iter().all(|held| held.take(MAX_REPLIES)));
        let held = Held::default();
        let refused = reply(answer(), &held).await;
        let code = refused.resource.unwrap()["issue"][0]["code"].clone();
        assert_eq!((refused.status, code), (400, "too-costly".into()));
        drop(others);
        assert_eq!(reply(answer(), &held).await.status, 200, "what a bundle held is given back");
    }
}
