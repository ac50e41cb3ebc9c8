//! `Accept`, `_format`, `_pretty`, `_summary`, `_elements`, `Prefer`, and answers with FHIR's headers.

use crate::http::error::{FhirError, Refusal, RefusalKind};
use crate::http::version::etag;
use ::fhir::search::Handling;
use ::fhir::summary::{self, Summary};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use std::borrow::Cow;

/// Media type of everything the handlers send; [super::form] turns it into XML where that is wanted.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
pub const FHIR_XML: &str = "application/fhir+xml; charset=utf-8";
/// Media types of bodies the handlers take; XML has become JSON before it reaches them.
pub const ACCEPTED_BODIES: &[&str] = &["application/fhir+json", "application/json", "text/json"];
/// What is told to who asks for anything else.
const SPOKEN: &str = "This server speaks application/fhir+json and application/fhir+xml.";

/// How resources are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Xml,
}

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
    /// Whether the client said `return=` at all.
    pub answer_given: bool,
    pub handling: Handling,
    /// The server writes JSON; [Query::tag] tells the layer around it.
    pub format: Format,
}

/// Which part of each resource a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subset {
    Whole,
    /// Only the number of matches.
    Count,
    Summary(Summary),
    Elements(Vec<String>),
}

/// The parameters that speak about the answer's form, and the rest of the query.
pub struct Query {
    pub wishes: Wishes,
    pub subset: Subset,
    /// Percent-decoded, without `_format`, `_pretty`, `_summary` and `_elements`.
    pub pairs: Vec<(String, String)>,
    /// Those taken out of `pairs` that change what an answer holds, for its links.
    pub taken: Vec<(String, String)>,
}

/// Longest list of `_elements`.
const MAX_ELEMENTS: usize = 100;

/// Reads headers and query. Errors: 406 for anything but JSON and XML, 400 for wrong values.
pub fn negotiate(headers: &HeaderMap, query: &str) -> Result<Query, FhirError> {
    let (mut pairs, mut taken) = (Vec::new(), Vec::new());
    let mut pretty = false;
    let mut subset = Subset::Whole;
    require_utf8(query.as_bytes())?;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "_format" => {}
            "_pretty" => {
                pretty = match value.as_ref() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(wrong("_pretty", "_pretty is true or false.")),
                }
            }
            "_summary" => {
                subset = match value.as_ref() {
                    "true" => Subset::Summary(Summary::True),
                    "text" => Subset::Summary(Summary::Text),
                    "data" => Subset::Summary(Summary::Data),
                    "count" => Subset::Count,
                    "false" => subset,
                    _ => return Err(wrong("_summary", "_summary is true, text, data, count or false.")),
                };
                taken.push((name.into_owned(), value.into_owned()));
            }
            "_elements" if !value.trim().is_empty() => {
                let names: Vec<String> =
                    value.split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
                if names.len() > MAX_ELEMENTS {
                    return Err(wrong("_elements", "_elements names too many elements."));
                }
                if subset == Subset::Whole {
                    subset = Subset::Elements(names);
                }
                taken.push((name.into_owned(), value.into_owned()));
            }
            _ => pairs.push((name.into_owned(), value.into_owned())),
        }
    }
    let format = format(headers, query)
        .ok_or_else(|| FhirError::from(Refusal::new(RefusalKind::NotAcceptable, SPOKEN)))?;
    let (answer, handling) = prefer(headers);
    let wishes = Wishes {
        pretty,
        answer: answer.unwrap_or(Return::Representation),
        answer_given: answer.is_some(),
        handling,
        format,
    };
    Ok(Query { wishes, subset, pairs, taken })
}

fn wrong(name: &str, text: &str) -> FhirError {
    Refusal::new(RefusalKind::ParameterWrong, text).at(name).into()
}

/// Errors: 400 with the parameter (of a query or a form) whose name or value is not UTF-8 when percent-decoded. Reading
/// it with replacement characters would look for something else than was asked for.
pub fn require_utf8(pairs: &[u8]) -> Result<(), FhirError> {
    let is_text = |part: &[u8]| percent_encoding::percent_decode(part).decode_utf8().is_ok();
    for pair in pairs.split(|byte| *byte == b'&') {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
        if is_text(name) && is_text(value) {
            continue;
        }
        let name = match percent_encoding::percent_decode(name).decode_utf8() {
            Ok(name) => format!("http.{}", super::printable(&name)),
            Err(_) => "http".to_owned(),
        };
        let text = "The parameter is not UTF-8 when percent-decoded.";
        return Err(Refusal::new(RefusalKind::ParameterWrong, text).at(name).into());
    }
    Ok(())
}

/// What `_format`, else `Accept`, asks for: the heavier of JSON and XML, JSON if they weigh the same; `None` if neither
/// will do. RFC 9110 §12.5.1.
pub fn format(headers: &HeaderMap, query: &str) -> Option<Format> {
    let mut asked = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "_format");
    if let Some((_, value)) = asked.next() {
        return match value.as_ref() {
            "json" => Some(Format::Json),
            "xml" => Some(Format::Xml),
            // In a query `+` means a blank, so `application/fhir+json` often arrives with one.
            other => media_type(&other.replace(' ', "+"))?.0,
        };
    }
    let mut best: Option<(Format, f32)> = None;
    let mut any = false;
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
    for range in ranges.flat_map(|v| v.split(',')).filter(|range| !range.trim().is_empty()).take(64) {
        any = true;
        let Some((format, weight)) = media_type(range) else { continue };
        // A wildcard takes what we like best, which is JSON.
        let format = format.unwrap_or(Format::Json);
        if weight > 0.0 && best.is_none_or(|(_, heaviest)| weight > heaviest) {
            best = Some((format, weight));
        }
    }
    if any { best.map(|(format, _)| format) } else { Some(Format::Json) }
}

/// The format of a media type or range, `None` inside for a wildcard, and its weight.
fn media_type(text: &str) -> Option<(Option<Format>, f32)> {
    let mut pieces = text.split(';').map(str::trim);
    let essence = pieces.next().unwrap_or_default().to_ascii_lowercase();
    let mut weight = 1.0;
    for piece in pieces {
        if let Some(version) = piece.strip_prefix("fhirVersion=")
            && !matches!(version.trim_matches('"'), "4.0" | "4.0.1")
        {
            return None;
        }
        if let Some(q) = piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")) {
            weight = q.parse().ok().filter(|q: &f32| (0.0..=1.0).contains(q)).unwrap_or(0.0);
        }
    }
    let format = match essence.as_str() {
        "application/fhir+json" | "application/json" | "text/json" | "application/json+fhir" => {
            Some(Format::Json)
        }
        "application/fhir+xml" | "application/xml" | "text/xml" | "application/xml+fhir" => Some(Format::Xml),
        "*/*" | "application/*" => None,
        _ => return None,
    };
    Some((format, weight))
}

/// The default for unknown search parameters is strict: a misspelt filter must not widen the answer.
fn prefer(headers: &HeaderMap) -> (Option<Return>, Handling) {
    let mut answer = None;
    let mut handling = Handling::Strict;
    let values = headers.get_all("prefer").iter().filter_map(|v| v.to_str().ok());
    for preference in values.flat_map(|v| v.split([',', ';'])) {
        match preference.trim() {
            "return=minimal" => answer = Some(Return::Minimal),
            "return=OperationOutcome" => answer = Some(Return::OperationOutcome),
            "return=representation" => answer = Some(Return::Representation),
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
        && let Ok(value) = ::fhir::parse_json(&content)
        && let Ok(text) = serde_json::to_vec_pretty(&value)
    {
        return Body::from(text);
    }
    Body::from(Bytes::from_owner(content))
}

/// JSON text, indented when asked.
pub fn text(value: &serde_json::Value, pretty: bool) -> String {
    let indented = if pretty { serde_json::to_string_pretty(value).ok() } else { None };
    indented.unwrap_or_else(|| ::fhir::json_text(value))
}

/// The part of a stored resource that is wanted, as JSON text; the stored text itself where that is the whole.
pub fn part<'a>(content: &'a [u8], subset: &Subset) -> Cow<'a, str> {
    if matches!(subset, Subset::Whole | Subset::Count) {
        return String::from_utf8_lossy(content);
    }
    match ::fhir::parse_json(content) {
        Ok(value) => Cow::Owned(::fhir::json_text(&part_of(&value, subset))),
        Err(_) => String::from_utf8_lossy(content),
    }
}

/// As [part], of a parsed resource.
pub fn part_of<'a>(value: &'a serde_json::Value, subset: &Subset) -> Cow<'a, serde_json::Value> {
    match subset {
        Subset::Whole | Subset::Count => Cow::Borrowed(value),
        Subset::Summary(wanted) => Cow::Owned(summary::summary(value, *wanted)),
        Subset::Elements(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Cow::Owned(summary::elements(value, &names))
        }
    }
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

/// The instant of an HTTP date; `None` for what is none: the header is then ignored (RFC 9110 §13.1.3).
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_xml_are_spoken() {
        const JSON: Option<Format> = Some(Format::Json);
        const XML: Option<Format> = Some(Format::Xml);
        let cases: &[(Option<&str>, &str, Option<Format>)] = &[
            (None, "", JSON),
            (Some(""), "", JSON),
            (Some("*/*"), "", JSON),
            (Some("application/fhir+json"), "", JSON),
            (Some("application/fhir+json; fhirVersion=4.0"), "", JSON),
            (Some("application/fhir+json; fhirVersion=5.0"), "", None),
            (Some("text/html, application/json;q=0.5"), "", JSON),
            (Some("text/html"), "", None),
            (Some("application/fhir+xml"), "", XML),
            (Some("application/fhir+xml;q=0.5, application/fhir+json;q=0.9"), "", JSON),
            (Some("application/fhir+json;q=0.5, application/fhir+xml"), "", XML),
            (Some("application/fhir+json;q=0, application/fhir+xml;q=0.1"), "", XML),
            (Some("application/fhir+json;q=0"), "", None),
            (Some("application/fhir+xml, */*;q=0.1"), "", XML),
            (Some("application/fhir+json, application/fhir+xml"), "", JSON),
            (Some("application/fhir+xml"), "_format=json", JSON),
            (Some("application/json"), "_format=xml", XML),
            (Some("application/json"), "_format=text/xml", XML),
            (None, "_format=application/fhir+json", JSON),
            (None, "_format=application%2Ffhir%2Bxml", XML),
            (None, "_format=text/turtle", None),
            (None, "_format=html", None),
        ];
        for (accept, query, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(format(&headers, query), *expected, "{accept:?} {query}");
            assert_eq!(negotiate(&headers, query).is_ok(), expected.is_some(), "{accept:?} {query}");
        }
    }

    #[test]
    fn the_form_of_the_answer_is_taken_out_of_the_query() {
        let query = "name=x&_format=json&_pretty=true&_elements=name, birthDate&_count=3";
        let found = negotiate(&HeaderMap::new(), query).unwrap_or_else(|_| unreachable!());
        assert!(found.wishes.pretty);
        assert_eq!(found.subset, Subset::Elements(vec!["name".into(), "birthDate".into()]));
        let names: Vec<&str> = found.pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["name", "_count"]);
        for wrong in ["_pretty=maybe", "_summary=some"] {
            assert!(negotiate(&HeaderMap::new(), wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dates_are_http_dates() {
        let at: Timestamp = "2026-11-21T07:30:00Z".parse().unwrap();
        assert_eq!(http_date(at), "Sat, 21 Nov 2026 07:30:00 GMT");
        assert_eq!(parse_http_date(&http_date(at)), Some(at));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
