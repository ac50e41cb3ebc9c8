//! batch and transaction. Entries that are no writes run through this API's own routes.

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
use record::bundle::{Call, Dispatch, Echo, Options, Reply};
use serde_json::Value;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use tower::ServiceExt as _;

/// Largest answer of one entry.
const MAX_REPLY: usize = 64 * 1024 * 1024;

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
        dispatch: Arc::new(Routes { app: app.clone(), router: OnceLock::new() }),
    };
    let answer = app.record.bundle(&ctx, bundle, &options).await?;
    Ok(negotiate::json(StatusCode::OK, negotiate::text(answer.value(), query.wishes.pretty)))
}

/// The API itself, for one bundle.
struct Routes {
    app: AppState,
    router: OnceLock<Router>,
}

impl Dispatch for Routes {
    fn call(&self, ctx: Ctx, call: Call) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        Box::pin(async move {
            let Some(request) = request(ctx, call) else {
                let text = "`request.url` is no URL.";
                let outcome = Outcome::one(IssueCode::Value, "", text).to_json();
                return Reply { status: 400, resource: Some(outcome), ..Reply::default() };
            };
            let router = self.router.get_or_init(|| super::routes().with_state(self.app.clone())).clone();
            match router.oneshot(request).await {
                Ok(response) => reply(response).await,
                Err(never) => match never {},
            }
        })
    }
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

async fn reply(response: Response) -> Reply {
    let (parts, body) = response.into_parts();
    let text = |headers: &HeaderMap, name: header::HeaderName| {
        headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let resource: Option<Value> = match axum::body::to_bytes(body, MAX_REPLY).await {
        Ok(bytes) if bytes.is_empty() => None,
        Ok(bytes) => ::fhir::parse_json(&bytes).ok(),
        Err(_) => {
            let text = "The answer of this entry is too large; ask for it by itself.";
            let outcome = Outcome::one(IssueCode::TooCostly, "", text).to_json();
            return Reply { status: 400, resource: Some(outcome), ..Reply::default() };
        }
    };
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
