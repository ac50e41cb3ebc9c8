//! The web client inside the binary: precompressed files, immutable caching of hashed assets, a shell for navigations.

use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;

/// Shown by a debug build that has no bundle; a release build refuses to build without one.
const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Uzima</title>\
     <h1>Uzima</h1><p>The server runs; the web client is not built. Run <code>cargo xtask build</code>.</p></html>";

/// Everything SvelteKit names by its content.
const IMMUTABLE: &str = "_app/immutable/";

/// A worker is bound by the policy of its own script, and the service worker fetches what it keeps.
const WORKER_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'self'";

/// Names that adapter-static gives to the shell.
const SHELLS: &[&str] = &["200.html", "fallback.html", "index.html"];

#[cfg(not(debug_assertions))]
#[derive(rust_embed::RustEmbed)]
#[folder = "../../web/build"]
struct Bundle;

struct File {
    content: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
    etag: HeaderValue,
    kind: &'static str,
    /// Only for pages and the service worker.
    policy: Option<HeaderValue>,
}

/// All files of the client, by path without a leading slash.
pub struct Web {
    files: HashMap<String, File>,
    shell: String,
}

impl Web {
    /// Reads the bundle. `socket_origin` is the `ws(s)://` form of the public address, for the policy.
    pub fn load(socket_origin: &str) -> Web {
        let mut raw: HashMap<String, Bytes> = bundle();
        if !SHELLS.iter().any(|name| raw.contains_key(*name)) {
            raw.insert("index.html".into(), Bytes::from_static(PLACEHOLDER.as_bytes()));
        }
        let shell =
            SHELLS.iter().find(|name| raw.contains_key(**name)).copied().unwrap_or("index.html").to_owned();
        let mut files = HashMap::new();
        for (path, content) in &raw {
            if path.ends_with(".br") || path.ends_with(".gz") {
                continue;
            }
            let kind = media_type(path);
            let policy = if path == "service-worker.js" {
                Some(WORKER_POLICY.to_owned())
            } else {
                kind.starts_with("text/html")
                    .then(|| policy(&String::from_utf8_lossy(content), socket_origin))
            };
            let file = File {
                content: content.clone(),
                brotli: raw.get(&format!("{path}.br")).cloned(),
                gzip: raw.get(&format!("{path}.gz")).cloned(),
                etag: etag(content),
                kind,
                policy: policy.and_then(|text| HeaderValue::from_str(&text).ok()),
            };
            files.insert(path.clone(), file);
        }
        Web { files, shell }
    }

    /// The file for a path as in a URL; a page may leave out `.html` or `/index.html`.
    fn find(&self, path: &str) -> Option<&str> {
        let path = path.trim_matches('/');
        let candidates = [path.to_owned(), format!("{path}.html"), format!("{path}/index.html")];
        let found = candidates.iter().find_map(|candidate| self.files.get_key_value(candidate));
        found.filter(|_| !path.is_empty()).map(|(name, _)| name.as_str())
    }
}

/// Answers everything that is no other route.
pub async fn fallback(State(app): State<AppState>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let refusal = Refusal::new(RefusalKind::MethodNotAllowed, "Only GET works here.");
        return ApiError::from(refusal).into_response();
    }
    let web = &app.web;
    let path = percent_encoding::percent_decode_str(uri.path()).decode_utf8_lossy();
    let name = match web.find(&path) {
        Some(name) => name,
        // The front door opens to anybody, also to a probe that names no media type.
        None if path == "/" || is_navigation(&path, &headers) => web.shell.as_str(),
        None => {
            return ApiError::from(Refusal::new(RefusalKind::RouteUnknown, "There is no such file."))
                .into_response();
        }
    };
    match web.files.get(name) {
        Some(file) => serve(file, name, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A page load, not a missing asset: those have an extension or come from a script.
fn is_navigation(path: &str, headers: &HeaderMap) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    if path.starts_with("/_app/")
        || path.starts_with("/ws")
        || path.starts_with("/hooks")
        || path.starts_with("/oauth")
    {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let is_page = match text("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => text("accept").is_some_and(|accept| accept.contains("text/html")),
    };
    is_page && !last.contains('.')
}

fn serve(file: &File, name: &str, headers: &HeaderMap) -> Response {
    let own = file.etag.to_str().unwrap_or_default();
    let known = headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|tags| tags.to_str().is_ok_and(|tags| tags.split(',').any(|tag| tag.trim() == own)));
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let accepts = |coding: &str| {
        accepted.split(',').any(|range| {
            let mut pieces = range.split(';').map(str::trim);
            pieces.next() == Some(coding) && !pieces.any(|p| matches!(p, "q=0" | "q=0.0"))
        })
    };
    let (body, coding) = match (&file.brotli, &file.gzip) {
        _ if known => (Bytes::new(), None),
        (Some(bytes), _) if accepts("br") => (bytes.clone(), Some("br")),
        (_, Some(bytes)) if accepts("gzip") => (bytes.clone(), Some("gzip")),
        _ => (file.content.clone(), None),
    };
    let mut response = body.into_response();
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let map = response.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    map.insert(header::ETAG, file.etag.clone());
    map.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let caching =
        if name.starts_with(IMMUTABLE) { "public, max-age=31536000, immutable" } else { "no-cache" };
    map.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Some(coding) = coding {
        map.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    if let Some(policy) = &file.policy {
        map.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    }
    response
}

#[cfg(not(debug_assertions))]
fn bundle() -> HashMap<String, Bytes> {
    let file = |path: Cow<'static, str>| {
        let data = match Bundle::get(&path)?.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Some((path.into_owned(), data))
    };
    Bundle::iter().filter_map(file).collect()
}

/// A debug build reads the files at start, so that a new bundle needs no new server build.
#[cfg(debug_assertions)]
fn bundle() -> HashMap<String, Bytes> {
    let mut files = HashMap::new();
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/build"));
    let mut folders: Vec<Cow<'_, std::path::Path>> = vec![Cow::Borrowed(root)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(Cow::Owned(path));
            } else if let (Ok(content), Ok(name)) = (std::fs::read(&path), path.strip_prefix(root)) {
                files.insert(name.to_string_lossy().replace('\\', "/"), Bytes::from(content));
            }
        }
    }
    files
}

fn etag(content: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(content);
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&digest[..18]);
    // Weak: the same for every content coding of the file.
    HeaderValue::from_str(&format!("W/\"{text}\"")).unwrap_or(HeaderValue::from_static("W/\"0\""))
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// The page's Content-Security-Policy: only our own files, and the inline scripts and styles by their hashes.
fn policy(page: &str, socket_origin: &str) -> String {
    let scripts: String = inline(page, "script").map(|text| format!(" {}", hash(text))).collect();
    let styles: String = inline(page, "style").map(|text| format!(" {}", hash(text))).collect();
    let mut attributes: String = style_attributes(page).map(|text| format!(" {}", hash(text))).collect();
    if !attributes.is_empty() {
        attributes.insert_str(0, " 'unsafe-hashes'");
    }
    format!(
        "default-src 'self'; script-src 'self'{scripts}; style-src 'self'{styles}{attributes}; img-src 'self' data: blob:; \
         media-src 'self' blob:; connect-src 'self' {socket_origin}; worker-src 'self'; manifest-src 'self'; \
         frame-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text.as_bytes())))
}

/// Contents of `<tag>` elements without `src`.
fn inline<'a>(page: &'a str, tag: &'a str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut rest = page;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(&open)?;
            let after = &rest[start + open.len()..];
            let end_of_tag = after.find('>')?;
            let attributes = &after[..end_of_tag];
            let body = &after[end_of_tag + 1..];
            let end = body.find(&close)?;
            rest = &body[end + close.len()..];
            let is_tag = attributes.is_empty() || attributes.starts_with(char::is_whitespace);
            if is_tag && !attributes.contains("src=") {
                return Some(&body[..end]);
            }
        }
    })
}

/// Values of `style="…"` in the page, e.g. SvelteKit's `display: contents`.
fn style_attributes(page: &str) -> impl Iterator<Item = &str> {
    page.split(" style=\"").skip(1).filter_map(|rest| rest.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_names_the_inline_scripts() {
        let page = "<html><script src=\"/a.js\"></script><script type=\"module\">one()</script><style>b{}</style>\
                    <body><div style=\"display: contents\"><script>two()</script></div>";
        let policy = policy(page, "wss://clinic.example");
        for text in ["one()", "two()", "b{}", "display: contents"] {
            assert!(policy.contains(&hash(text)), "{text}: {policy}");
        }
        assert!(!policy.contains("unsafe-inline"));
        assert_eq!(policy.matches("sha256").count(), 4);
        assert_eq!(hash("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }

    #[test]
    fn only_navigations_get_the_shell() {
        let page =
            |accept: &'static str| HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        assert!(is_navigation("/patients/1", &page("text/html,*/*")));
        assert!(!is_navigation("/patients/1", &page("*/*")));
        assert!(!is_navigation("/missing.js", &page("text/html")));
        assert!(!is_navigation("/_app/immutable/x", &page("text/html")));
    }
}
