//! The layer around all of `/fhir`: bodies in XML or packed by gzip become plain JSON, answers become XML where that is
//! wanted. So every handler reads and writes JSON, and every interaction and operation speaks both.

use super::FhirAnswer;
use super::negotiate::{self, FHIR_JSON, FHIR_XML, Format};
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::AppState;
use ::fhir::{IssueCode, Outcome};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::io::Read as _;

/// Largest answer that is converted; all that the API makes are far smaller.
const MAX_CONVERTED: usize = 256 * 1024 * 1024;

/// A body may unpack to this without questions, bytes.
const UNPACKED_FREE: usize = 1024 * 1024;
/// Beyond that it may have so many times the bytes it was sent in. Bundles of much the same reach 40; a bomb has 1,000.
const UNPACKED_RATIO: usize = 100;
/// Bytes unpacked between two looks.
const UNPACK_STEP: usize = 64 * 1024;

/// Middleware.
pub async fn convert(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let format = negotiate::format(request.headers(), &query).unwrap_or(Format::Json);
    let pretty = query.contains("_pretty=true");
    let options = request.method() == Method::OPTIONS;
    let allow = super::allowed_methods(request.uri().path());
    let address = require_utf8(request.uri().path(), &query);
    let response = match address {
        Ok(()) => match plain(&app, request).await {
            Ok(request) => next.run(request).await,
            Err(error) => error.into_response(),
        },
        Err(error) => error.into_response(),
    };
    let mut response = allowed(response, options, allow);
    // A form of a POST search may name the format; the handler has read it.
    let format = response.extensions().get::<Format>().copied().unwrap_or(format);
    if is_fhir_json(response.headers()) {
        // Representations differ by what was accepted; caches must not mix them up.
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
        if format == Format::Xml {
            response = to_xml(response, pretty).await;
        }
    }
    response
}

/// Errors: 400 for a path or query that is not UTF-8 when percent-decoded: what was meant cannot be known.
fn require_utf8(path: &str, query: &str) -> Result<(), FhirError> {
    if percent_encoding::percent_decode_str(path).decode_utf8().is_err() {
        return Err(super::path_not_utf8());
    }
    negotiate::require_utf8(query.as_bytes())
}

/// Says which methods a route has, where another one was tried; that is also the answer to OPTIONS that is no preflight.
fn allowed(mut response: Response, is_options: bool, allow: &'static str) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    if is_options {
        response = StatusCode::NO_CONTENT.into_response();
    }
    response.headers_mut().entry(header::ALLOW).or_insert(HeaderValue::from_static(allow));
    response
}

fn is_fhir_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == FHIR_JSON.as_bytes())
}

/// The request with a body that is plain JSON, or untouched. Errors: 400, 413, 415.
async fn plain(app: &AppState, request: Request) -> Result<Request, FhirError> {
    let limit = body::limit(app, request.uri().path());
    let encoding = header_text(request.headers(), header::CONTENT_ENCODING).to_ascii_lowercase();
    let kind = header_text(request.headers(), header::CONTENT_TYPE);
    // A file may be XML of any kind; only FHIR's own is a Binary written out.
    let is_file = request
        .uri()
        .path()
        .strip_prefix(super::BASE)
        .is_some_and(|p| p == "/Binary" || p.starts_with("/Binary/"))
        && super::binary::comes_plain(request.headers());
    let is_xml = !is_file && is_xml(kind);
    let is_packed = match encoding.as_str() {
        "" | "identity" => false,
        "gzip" | "x-gzip" => true,
        _ => {
            let text = "A body may be packed with `Content-Encoding: gzip`, with nothing else.";
            return Err(Refusal::new(RefusalKind::MediaTypeUnsupported, text).into());
        }
    };
    if !is_xml && !is_packed {
        return Ok(request);
    }
    // What costs memory and time is done for those only whom the handler would serve.
    let known = crate::http::caller::authenticate(app, request.headers(), None).await?;
    if known.principal == access::Principal::Anonymous {
        return Err(record::Error::Unauthenticated.into());
    }
    let (mut parts, body) = request.into_parts();
    let packed = body::read_parts(&parts.headers, body, limit).await?;
    let work = move || -> Result<Bytes, FhirError> {
        let bytes = if is_packed { unpack(&packed, limit)? } else { packed };
        if !is_xml {
            return Ok(bytes);
        }
        let resource = ::fhir::xml::parse(&bytes)?;
        Ok(Bytes::from(resource.to_json()))
    };
    let bytes = off_the_worker(work).await??;
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if is_xml {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// Unpacking and converting take time in proportion to the body.
async fn off_the_worker<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FhirError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| record::Error::Internal(format!("converting a body: {error}")).into())
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().trim()
}

fn is_xml(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        essence.as_str(),
        "application/fhir+xml" | "application/xml" | "text/xml" | "application/xml+fhir"
    )
}

/// Errors: 413 as soon as there is more than `limit`, or far more than was sent; 400 for what is no gzip.
fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, FhirError> {
    let most = limit.min(packed.len().saturating_mul(UNPACKED_RATIO).max(UNPACKED_FREE));
    let mut bytes = Vec::new();
    let mut input = flate2::read::MultiGzDecoder::new(packed);
    loop {
        // The buffer grows with what comes out, never by what the body promises.
        let read = input.by_ref().take(UNPACK_STEP as u64).read_to_end(&mut bytes);
        match read {
            Ok(0) => return Ok(Bytes::from(bytes)),
            Ok(_) if bytes.len() > most => {
                let text =
                    format!("The body is larger than {most} bytes when unpacked, which is the limit here.");
                return Err(Refusal::new(RefusalKind::BodyTooLarge, text).into());
            }
            Ok(_) => {}
            Err(_) => {
                let text = "The body says it is packed by gzip, but cannot be unpacked.";
                return Err(Refusal::new(RefusalKind::BodyMalformed, text).into());
            }
        }
    }
}

async fn to_xml(response: Response, pretty: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    let converted: FhirAnswer = async {
        let bytes = axum::body::to_bytes(body, MAX_CONVERTED)
            .await
            .map_err(|error| record::Error::Internal(format!("an answer broke off: {error}")))?;
        // HEAD, and answers without a body.
        if bytes.is_empty() {
            return Ok(Response::new(Body::empty()));
        }
        let xml = off_the_worker(move || -> Result<String, Outcome> {
            let value = ::fhir::parse_json(&bytes)
                .map_err(|_| Outcome::one(IssueCode::Exception, "", "The answer is no JSON."))?;
            if pretty { ::fhir::xml::write_pretty(&value) } else { ::fhir::xml::write(&value) }
        });
        Ok(Response::new(Body::from(xml.await??)))
    }
    .await;
    match converted {
        Ok(xml) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_XML));
            Response::from_parts(parts, xml.into_body())
        }
        Err(error) => error.into_response(),
    }
}
