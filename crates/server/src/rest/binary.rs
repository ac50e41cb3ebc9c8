//! Files over REST: Binary as the bytes that it holds (R4 §3.1.0.2, http://hl7.org/fhir/R4/binary.html).
//!
//! **Invariant:** what somebody stored is never run here: it leaves as a download, in a sandbox without origin, with the
//! type that was checked when it came.

use super::FhirAnswer;
use super::negotiate::{self, Wishes};
use crate::http::body;
use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::state::App;
use ::fhir::Resource;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use record::Stored;
use serde_json::{Value, json};

/// The type this is about.
pub const TYPE: &str = "Binary";
/// Names a resource whose readers may read the Binary too.
const SECURITY_CONTEXT: &str = "x-security-context";
/// No script, no form, no origin, no frame, whatever the file says.
const POLICY: &str =
    "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().trim()
}

/// Media types in which a resource is written.
fn is_resource(essence: &str) -> bool {
    matches!(
        essence,
        "application/fhir+json"
            | "application/json"
            | "text/json"
            | "application/json+fhir"
            | "application/fhir+xml"
            | "application/xml+fhir"
    )
}

/// Whether the body of a write to Binary is the file itself.
pub fn comes_plain(headers: &HeaderMap) -> bool {
    wire::attachment::essence(text(headers, "content-type")).is_some_and(|essence| !is_resource(&essence))
}

/// Whether a reader wants the file itself: she names a media type, and none in which resources are written. A browser
/// names `text/html`.
pub fn wants_plain(headers: &HeaderMap, query: &str) -> bool {
    let accept = text(headers, "accept").to_ascii_lowercase();
    let ranges = || {
        accept.split(',').filter_map(|range| range.split(';').next()).map(str::trim).filter(|r| !r.is_empty())
    };
    let is_named = |range: &str| range.contains('/') && range != "*/*";
    let format = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "_format");
    !format
        && (ranges().any(|range| range == "text/html")
            || (ranges().any(is_named)
                && !ranges().any(|r| is_resource(r) || matches!(r, "application/xml" | "text/xml"))))
}

/// The Binary of a body that is a file. Errors: 413; 400 for a type that is none.
pub async fn resource(
    app: &App,
    request: Request,
    id: Option<&str>,
) -> Result<(Resource, Wishes, Vec<(String, String)>), FhirError> {
    let query = negotiate::negotiate(&HeaderMap::new(), request.uri().query().unwrap_or_default())?;
    let headers = request.headers().clone();
    let bytes = body::read(request, app.config.limits.upload_bytes).await?;
    let kind = text(&headers, "content-type").to_owned();
    let mut value = json!({"resourceType": TYPE});
    if let Some(id) = id {
        value["id"] = json!(id);
    }
    let context = text(&headers, SECURITY_CONTEXT);
    if !context.is_empty() {
        value["securityContext"] = json!({"reference": context});
    }
    value["contentType"] = json!(kind);
    // What will be refused, is refused as it came: without its metadata a forged picture might pass.
    let data = match wire::attachment::check(&kind, &bytes) {
        Ok(()) => STANDARD.encode(wire::attachment::without_metadata(&bytes)),
        Err(_) => STANDARD.encode(&bytes),
    };
    value["data"] = json!(data);
    Ok((Resource::from_value(value)?, query.wishes, query.pairs))
}

/// A stored Binary as the file that it holds.
pub fn plain(stored: &Stored) -> FhirAnswer {
    let value: Value = serde_json::from_slice(&stored.content)
        .map_err(|error| record::Error::Internal(format!("a stored Binary: {error}")))?;
    let data = value["data"].as_str().unwrap_or_default();
    let packed: String = data.split_ascii_whitespace().collect();
    let bytes = STANDARD
        .decode(packed)
        .map_err(|error| record::Error::Internal(format!("a stored Binary: {error}")))?;
    let kind = value["contentType"].as_str().and_then(|kind| HeaderValue::from_str(kind).ok());
    let kind =
        kind.ok_or_else(|| Refusal::new(RefusalKind::NotAcceptable, "This Binary has no media type."))?;
    let mut response = (StatusCode::OK, Bytes::from(bytes)).into_response();
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, kind);
    map.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // No name: what somebody called it is nothing that a disk should have to understand.
    map.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    map.append(header::VARY, HeaderValue::from_static("accept"));
    negotiate::version_headers(map, stored.version, stored.last_updated);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_resources_are_told_apart() {
        let with = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        for (accept, query, expected) in [
            ("", "", false),
            ("*/*", "", false),
            ("application/fhir+json", "", false),
            ("application/fhir+xml, */*", "", false),
            ("application/json;q=0.5, image/png", "", false),
            ("image/png", "", true),
            ("image/*, */*;q=0.1", "", true),
            ("application/pdf", "_format=json", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", true),
        ] {
            assert_eq!(wants_plain(&with("accept", accept), query), expected, "{accept} {query}");
        }
        for (kind, expected) in [
            ("", false),
            ("application/fhir+json; charset=utf-8", false),
            ("application/json", false),
            ("application/fhir+xml", false),
            ("application/xml", true),
            ("image/png", true),
            ("TEXT/PLAIN; charset=utf-8", true),
            ("nonsense", false),
        ] {
            assert_eq!(comes_plain(&with("content-type", kind)), expected, "{kind}");
        }
    }
}
