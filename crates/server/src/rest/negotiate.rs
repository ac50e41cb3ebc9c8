//! `Accept`, `_format`, `_pretty`, `Prefer`, and answers with FHIR's headers.

use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::http::version::etag;
use ::fhir::search::Handling;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// Media type of everything the API sends.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
/// Media types of bodies it takes.
pub const ACCEPTED_BODIES: &[&str] = &["application/fhir+json", "application/json"];

/// `Prefer: return=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    Minimal,
    Representation,
    OperationOutcome,
}

/// How a client wants its answer.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    pub pretty: bool,
    pub answer: Return,
    pub handling: Handling,
}

/// The parameters that speak about the answer's form, and the rest of the query.
pub struct Query {
    pub wishes: Wishes,
    /// Percent-decoded, without `_format` and `_pretty`.
    pub pairs: Vec<(String, String)>,
}

/// Reads headers and query. Errors: 406 for anything but JSON, 400 for a wrong `_pretty`.
pub fn negotiate(headers: &HeaderMap, query: &str) -> Result<Query, FhirError> {
    let mut pairs = Vec::new();
    let mut format = None;
    let mut pretty = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "_format" => format = Some(value.into_owned()),
            "_pretty" => {
                pretty = match value.as_ref() {
                    "true" => true,
                    "false" => false,
                    _ => {
                        let refusal = Refusal::new(RefusalKind::ParameterWrong, "_pretty is true or false.");
                        return Err(refusal.at("_pretty").into());
                    }
                }
            }
            _ => pairs.push((name.into_owned(), value.into_owned())),
        }
    }
    let is_json = match &format {
        Some(format) => is_json_type(format, true),
        None => accepts_json(headers),
    };
    if !is_json {
        let refusal =
            Refusal::new(RefusalKind::NotAcceptable, "This server speaks application/fhir+json only.");
        return Err(refusal.into());
    }
    let (answer, handling) = prefer(headers);
    Ok(Query { wishes: Wishes { pretty, answer, handling }, pairs })
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges =
        headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let mut any = false;
    ranges.by_ref().any(|range| {
        any = true;
        is_json_type(range, false)
    }) || !any
}

fn is_json_type(text: &str, allow_short: bool) -> bool {
    // In a query `+` means a blank, so `application/fhir+json` often arrives with one.
    let mut pieces = text.split(';').map(str::trim);
    let essence = pieces.next().unwrap_or_default().to_ascii_lowercase().replace(' ', "+");
    if pieces.any(|p| p.strip_prefix("fhirVersion=").is_some_and(|v| v.trim_matches('"') != "4.0")) {
        return false;
    }
    match essence.as_str() {
        "application/fhir+json" | "application/json" | "text/json" | "application/json+fhir" => true,
        "*/*" | "application/*" => !allow_short,
        "json" => allow_short,
        _ => false,
    }
}

/// The default for unknown search parameters is strict: a misspelt filter must not widen the answer.
fn prefer(headers: &HeaderMap) -> (Return, Handling) {
    let mut answer = Return::Representation;
    let mut handling = Handling::Strict;
    let values = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
    for preference in values.flat_map(|v| v.split([',', ';'])) {
        match preference.trim() {
            "return=minimal" => answer = Return::Minimal,
            "return=OperationOutcome" => answer = Return::OperationOutcome,
            "return=representation" => answer = Return::Representation,
            "handling=lenient" => handling = Handling::Lenient,
            "handling=strict" => handling = Handling::Strict,
            _ => {}
        }
    }
    (answer, handling)
}

/// `200`-like answer with a JSON body.
pub fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
    response
}

/// The stored bytes, without a copy; indented when asked.
pub fn stored(content: std::sync::Arc<[u8]>, pretty: bool) -> Body {
    if pretty
        && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&content)
        && let Ok(text) = serde_json::to_vec_pretty(&value)
    {
        return Body::from(text);
    }
    Body::from(Bytes::from_owner(content))
}

/// JSON text, indented when asked.
pub fn text(value: &serde_json::Value, pretty: bool) -> String {
    let indented = if pretty { serde_json::to_string_pretty(value).ok() } else { None };
    indented.unwrap_or_else(|| value.to_string())
}

/// `ETag` and `Last-Modified` of one version.
pub fn version_headers(headers: &mut HeaderMap, version: u32, last_updated: Timestamp) {
    headers.insert(header::ETAG, etag(version));
    if let Ok(value) = HeaderValue::from_str(&http_date(last_updated)) {
        headers.insert(header::LAST_MODIFIED, value);
    }
}

/// RFC 9110 §5.6.7.
fn http_date(at: Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_spoken() {
        let cases: &[(Option<&str>, &str, bool)] = &[
            (None, "", true),
            (Some("*/*"), "", true),
            (Some("application/fhir+json"), "", true),
            (Some("application/fhir+json; fhirVersion=4.0"), "", true),
            (Some("application/fhir+json; fhirVersion=5.0"), "", false),
            (Some("text/html, application/json;q=0.5"), "", true),
            (Some("application/fhir+xml"), "", false),
            (Some("application/fhir+xml"), "_format=json", true),
            (Some("application/json"), "_format=xml", false),
            (None, "_format=application/fhir+json", true),
            (None, "_format=application%2Ffhir%2Bjson", true),
            (None, "_format=text/turtle", false),
            (None, "_pretty=maybe", false),
        ];
        for (accept, query, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(negotiate(&headers, query).is_ok(), *expected, "{accept:?} {query}");
        }
    }

    #[test]
    fn dates_are_http_dates() {
        let at: Timestamp = "2026-11-21T07:30:00Z".parse().unwrap();
        assert_eq!(http_date(at), "Sat, 21 Nov 2026 07:30:00 GMT");
    }
}
