//! The web client inside the binary: precompressed files, immutable caching of hashed assets, a shell for navigations.
//!
//! **Invariant:** a page runs the scripts that it names and what these load, and nothing else: each answer has a nonce of
//! its own, no inline script or style runs without it, and text becomes markup or code through named policies only
//! (Trusted Types).

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

/// Where browsers tell what a page's policy has stopped.
const REPORTS: &str = crate::http::report::PATH;

/// Names that adapter-static gives to the shell.
const SHELLS: &[&str] = &["200.html", "fallback.html", "index.html"];

#[cfg(not(debug_assertions))]
#[derive(rust_embed::RustEmbed)]
#[folder = "../../web/build"]
struct Bundle;

/// Bytes of a nonce before they are encoded.
const NONCE_BYTES: usize = 16;

/// Policies that may turn text into markup or into a script's address: Svelte's templates, which come from its compiler,
/// and our own for the service worker (`web/src/lib/ui/UpdatePrompt.svelte`).
const TRUSTED_TYPES: &str = "svelte-trusted-html uzima-worker";

struct File {
    content: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
    etag: HeaderValue,
    kind: &'static str,
    /// Only for the service worker.
    policy: Option<HeaderValue>,
    /// Only for pages, which are put together for each answer.
    page: Option<Page>,
}

/// A page and its policy with the nonce left out.
struct Page {
    /// The nonce goes between these.
    pieces: Vec<String>,
    /// The policy behind the nonce; what goes before it is the same for all pages.
    policy: String,
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
            let page = kind
                .starts_with("text/html")
                .then(|| Page::new(&String::from_utf8_lossy(content), socket_origin));
            let policy = (path == "service-worker.js").then_some(HeaderValue::from_static(WORKER_POLICY));
            let file = File {
                content: content.clone(),
                brotli: raw.get(&format!("{path}.br")).cloned(),
                gzip: raw.get(&format!("{path}.gz")).cloned(),
                etag: etag(content),
                kind,
                policy,
                page,
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
        Some(File { page: Some(page), kind, .. }) => page.serve(kind),
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

impl Page {
    fn new(page: &str, socket_origin: &str) -> Page {
        let (mut pieces, mut piece, mut rest) = (Vec::new(), String::new(), page);
        // Sheets need no nonce, they are let in by where they come from; modules that are asked for ahead do.
        let next = |text: &str| {
            ["<script", "<link"].iter().filter_map(|tag| Some(text.find(tag)? + tag.len())).min()
        };
        while let Some(at) = next(rest) {
            let (before, after) = rest.split_at(at);
            piece.push_str(before);
            if after.starts_with([' ', '\n', '\t', '>']) {
                piece.push_str(" nonce=\"");
                pieces.push(std::mem::replace(&mut piece, "\"".to_owned()));
            }
            rest = after;
        }
        piece.push_str(rest);
        pieces.push(piece);
        Page { pieces, policy: policy(page, socket_origin) }
    }

    fn serve(&self, kind: &'static str) -> Response {
        let nonce = nonce();
        let mut response = Bytes::from(self.pieces.join(&nonce)).into_response();
        let map = response.headers_mut();
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        // Nothing to compare by: an old page with a new answer's policy would not run.
        map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let policy = format!("script-src 'nonce-{nonce}'{}", self.policy);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            map.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// Fresh for each answer, so that nobody who writes into a page can know it.
fn nonce() -> String {
    let mut bytes = [0_u8; NONCE_BYTES];
    if getrandom::fill(&mut bytes).is_err() {
        // Without randomness nothing may be guessed either: a page whose scripts do not run.
        return String::new();
    }
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What follows the nonce in a page's Content-Security-Policy: scripts that the page names by its nonce and what these
/// load; sheets of ours, and the inline ones by their hashes. `'self'` is for browsers that know no `'strict-dynamic'`.
fn policy(page: &str, socket_origin: &str) -> String {
    let styles: String = inline(page, "style").map(|text| format!(" {}", hash(text))).collect();
    let mut attributes: String = style_attributes(page).map(|text| format!(" {}", hash(text))).collect();
    if !attributes.is_empty() {
        attributes.insert_str(0, " 'unsafe-hashes'");
    }
    format!(
        " 'strict-dynamic' 'self'; default-src 'self'; style-src 'self'{styles}{attributes}; img-src 'self' data: blob:; \
         media-src 'self' blob:; connect-src 'self' {socket_origin}; worker-src 'self'; manifest-src 'self'; \
         frame-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types {TRUSTED_TYPES}; report-uri {REPORTS}"
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
    fn every_answer_has_its_own_nonce() {
        let html = "<html><link rel=\"modulepreload\" href=\"/b.js\"><linker><script src=\"/a.js\"></script>\
                    <script>one()</script><style>b{}</style><body><div style=\"display: contents\"></div>";
        let page = Page::new(html, "wss://clinic.example");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let response = page.serve("text/html");
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
            let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
            assert!(nonce.len() >= 22 && seen.insert(nonce.clone()), "{nonce}");
            assert_eq!(page.pieces.join(&nonce).matches(&format!(" nonce=\"{nonce}\"")).count(), 3);
            assert!(!policy.contains("unsafe-inline") && !policy.contains("unsafe-eval"), "{policy}");
            assert!(
                policy.contains("'strict-dynamic'") && policy.contains("require-trusted-types-for 'script'")
            );
            assert!(policy.contains("base-uri 'none'") && policy.contains("frame-ancestors 'none'"));
            for text in ["b{}", "display: contents"] {
                assert!(policy.contains(&hash(text)), "{text}: {policy}");
            }
        }
        assert!(
            page.pieces
                .join("N")
                .contains("<linker><script nonce=\"N\" src=\"/a.js\"></script><script nonce=\"N\">one()")
        );
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
