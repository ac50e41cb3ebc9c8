//! Extractors for JSON bodies, query parameters and path segments with errors that name the place.

use super::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A JSON body. Types derive `Deserialize` with `#[serde(deny_unknown_fields)]`.
/// As a response: `200` with JSON.
pub struct Json<T>(pub T);

/// Query parameters; types derive `Deserialize` with `#[serde(deny_unknown_fields)]`.
pub struct Params<T>(pub T);

/// Path segments; a wrong form is 404, as if the route did not exist.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        require_json(request.headers(), &["application/json"])?;
        let limit = limit(state, request.uri().path());
        let bytes = read(request, limit).await?;
        Ok(Json(parse(&bytes)?))
    }
}

/// As [Json], but the body may be empty; a body that is there needs the content type of JSON.
pub struct MaybeJson<T>(pub Option<T>);

impl<T: DeserializeOwned> FromRequest<AppState> for MaybeJson<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let headers = request.headers().clone();
        let limit = limit(state, request.uri().path());
        let bytes = read(request, limit).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(MaybeJson(None));
        }
        require_json(&headers, &["application/json"])?;
        Ok(MaybeJson(Some(parse(&bytes)?)))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let deserializer = serde_path_to_error::deserialize(axum_query(query));
        deserializer.map(Params).map_err(|error| {
            let field = error.path().to_string();
            let field = if field == "." { String::new() } else { field };
            Refusal::new(RefusalKind::ParameterWrong, format!("Query: {}.", error.inner())).at(field).into()
        })
    }
}

fn axum_query(query: &str) -> serde_urlencoded::Deserializer<'_> {
    serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()))
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(_) => Err(record::Error::NotFound.into()),
        }
    }
}

/// Where people are who have not signed in yet.
pub(super) const OPEN_PATHS: &str = "/api/v1/auth/";
/// Largest body there, bytes: anybody may send one.
const OPEN_BYTES: usize = 64 * 1024;

/// Largest body of a request to this path, bytes.
pub fn limit(app: &crate::state::App, path: &str) -> usize {
    let limits = &app.config.limits;
    if path == crate::rest::BASE {
        limits.bundle_bytes.max(limits.json_bytes)
    } else if path.starts_with(OPEN_PATHS) {
        limits.json_bytes.min(OPEN_BYTES)
    } else {
        limits.json_bytes
    }
}

/// Reads the body up to `limit` bytes. Errors: 413, 400.
pub async fn read(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let (parts, body) = request.into_parts();
    read_parts(&parts.headers, body, limit).await
}

/// As [read], of a request in its parts.
pub async fn read_parts(headers: &HeaderMap, body: axum::body::Body, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(
            RefusalKind::BodyTooLarge,
            format!("The body is larger than {limit} bytes, which is the limit here."),
        )
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|s| s.is::<http_body_util::LengthLimitError>()) {
            too_large()
        } else {
            Refusal::new(RefusalKind::BodyMalformed, "The body broke off.")
        }
    })
}

/// Errors: 415 unless `Content-Type` is one of `allowed` (parameters do not matter).
pub fn require_json(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if allowed.iter().any(|a| a.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::MediaTypeUnsupported,
        format!("Send the body as {}.", allowed.join(" or ")),
    ))
}

/// Parses JSON into `T`. Errors: 400 with the kind of mistake and, where known, the JSON pointer of the field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| refusal(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Refusal {
    let what = if error.is_eof() { "it ends too early" } else { "it is no valid JSON" };
    Refusal::new(
        RefusalKind::BodyMalformed,
        format!("The body cannot be read: {what} at line {}, column {}.", error.line(), error.column()),
    )
}

fn refusal(error: &serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() || inner.is_io() {
        return malformed(inner);
    }
    let text = inner.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let pointer = pointer(error.path());
    if let Some(field) = quoted(text, "unknown field `") {
        let field = child(&pointer, field);
        return Refusal::new(RefusalKind::FieldUnknown, format!("{}.", capital(text))).at(field);
    }
    if let Some(field) = quoted(text, "missing field `") {
        let field = child(&pointer, field);
        return Refusal::new(RefusalKind::FieldMissing, format!("{}.", capital(text))).at(field);
    }
    Refusal::new(RefusalKind::FieldWrong, format!("{}.", capital(text))).at(pointer)
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split('`').next()
}

/// The pointer of `field` inside `parent`; some deserializers already include it in the path.
fn child(parent: &str, field: &str) -> String {
    let last = format!("/{field}");
    if parent.ends_with(&last) { parent.to_owned() } else { format!("{parent}{last}") }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } => text.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors matter")]
    struct Outer {
        name: String,
        items: Vec<Inner>,
    }
    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors matter")]
    struct Inner {
        count: u32,
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let cases = [
            ("{", RefusalKind::BodyMalformed, ""),
            ("", RefusalKind::BodyMalformed, ""),
            ("{\"name\": tru}", RefusalKind::BodyMalformed, ""),
            ("{\"name\":\"a\",\"items\":[]} x", RefusalKind::BodyMalformed, ""),
            ("[]", RefusalKind::FieldWrong, ""),
            ("{\"name\":1,\"items\":[]}", RefusalKind::FieldWrong, "/name"),
            (
                "{\"name\":\"a\",\"items\":[{\"count\":1},{\"count\":\"x\"}]}",
                RefusalKind::FieldWrong,
                "/items/1/count",
            ),
            (
                "{\"name\":\"a\",\"items\":[{\"count\":1,\"more\":2}]}",
                RefusalKind::FieldUnknown,
                "/items/0/more",
            ),
            ("{\"items\":[]}", RefusalKind::FieldMissing, "/name"),
            ("{\"name\":\"a\",\"items\":[{}]}", RefusalKind::FieldMissing, "/items/0/count"),
        ];
        for (body, kind, field) in cases {
            let refusal = parse::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.kind, refusal.field.as_str()), (kind, field), "{body}: {}", refusal.text);
        }
    }
}
