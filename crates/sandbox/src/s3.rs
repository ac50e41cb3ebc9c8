//! Object storage that speaks S3 as far as backups need it: it verifies Signature Version 4 to the letter, takes conditional
//! writes, lists in small pages, and can be told to fail.
//!
//! **Invariant:** what is kept is bounded, and lives in memory only.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Names on one page of a listing: small, so that clients must turn pages.
const PAGE: usize = 7;
/// Bytes kept in all.
const BYTES_MAX: usize = 512 * 1024 * 1024;

/// How the next requests are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectFault {
    /// 503 SlowDown.
    SlowDown,
    /// The write is kept, but the answer is 500.
    LostAnswer,
    /// 507.
    Full,
    /// The body of the answer breaks off in the middle.
    CutOff,
    /// One bit of the body is another.
    Flip,
}

/// What the credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    pub list: bool,
    /// Over an object that is there, and removing.
    pub change: bool,
}

struct Inner {
    bucket: String,
    access_key: String,
    secret_key: String,
    rights: Mutex<Rights>,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    faults: Mutex<VecDeque<ObjectFault>>,
    refused: Mutex<u64>,
}

/// A running store; it stops when this is dropped.
pub struct ObjectStore {
    /// Where it listens.
    pub address: SocketAddr,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ObjectStore {
    /// With one bucket and one credential. Errors: the address is taken or not ours.
    pub async fn listen(
        address: SocketAddr,
        bucket: &str,
        access_key: &str,
        secret_key: &str,
    ) -> std::io::Result<ObjectStore> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            bucket: bucket.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            rights: Mutex::new(Rights { list: true, change: true }),
            objects: Mutex::default(),
            faults: Mutex::default(),
            refused: Mutex::default(),
        });
        let limit = axum::extract::DefaultBodyLimit::max(BYTES_MAX);
        let router = Router::new().fallback(answer).layer(limit).with_state(inner.clone());
        let server = tokio::spawn(async move {
            // Ends with the test.
            drop(axum::serve(listener, router).await);
        });
        Ok(ObjectStore { address, inner, server })
    }

    pub fn set_rights(&self, rights: Rights) {
        *self.inner.rights.lock() = rights;
    }
    /// The next requests fail so, one each.
    pub fn fail(&self, faults: &[ObjectFault]) {
        self.inner.faults.lock().extend(faults);
    }
    /// Requests that were refused for their signature or their rights.
    pub fn refused(&self) -> u64 {
        *self.inner.refused.lock()
    }
    /// Names and contents.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.inner.objects.lock().clone()
    }
}

fn error(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    (status, [("content-type", "application/xml")], body).into_response()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The signature as the service computes it from what arrived. Errors: what is wrong, as S3's code.
fn check(
    inner: &Inner,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or("AccessDenied")?;
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("InvalidArgument")?;
    let part =
        |name: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(name)).ok_or("InvalidArgument");
    let (credential, signed, given) = (part("Credential=")?, part("SignedHeaders=")?, part("Signature=")?);
    let mut scope = credential.splitn(2, '/');
    if scope.next() != Some(&inner.access_key) {
        return Err("InvalidAccessKeyId");
    }
    let scope = scope.next().ok_or("InvalidArgument")?;
    let parts: Vec<&str> = scope.split('/').collect();
    let [day, region, "s3", "aws4_request"] = parts[..] else { return Err("InvalidArgument") };
    let date = header("x-amz-date").ok_or("AccessDenied")?;
    if !date.starts_with(day) {
        return Err("SignatureDoesNotMatch");
    }
    let time = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", date).and_then(|time| time.to_datetime());
    let time = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC)).map_err(|_| "AccessDenied")?;
    if jiff::Timestamp::now().duration_since(time.timestamp()).abs() > jiff::SignedDuration::from_mins(15) {
        return Err("RequestTimeTooSkewed");
    }
    let hash = header("x-amz-content-sha256").ok_or("MissingContentLength")?;
    if hash != hex(&Sha256::digest(body)) {
        return Err("XAmzContentSHA256Mismatch");
    }
    let names: Vec<&str> = signed.split(';').collect();
    if !names.is_sorted() || !names.contains(&"host") {
        return Err("SignatureDoesNotMatch");
    }
    // Whatever S3 acts upon must be signed.
    if headers.keys().any(|name| {
        (name.as_str().starts_with("x-amz-") || name == "if-none-match") && !names.contains(&name.as_str())
    }) {
        return Err("AccessDenied");
    }
    let mut canonical = String::new();
    for name in &names {
        let value = header(name).ok_or("SignatureDoesNotMatch")?;
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
    }
    let mut query: Vec<&str> =
        uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()).collect();
    query.sort_unstable();
    let request = format!("{method}\n{}\n{}\n{canonical}\n{signed}\n{hash}", uri.path(), query.join("&"));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
    let mut key = hmac(format!("AWS4{}", inner.secret_key).as_bytes(), day.as_bytes());
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    if given == hex(&hmac(&key, text.as_bytes())) { Ok(()) } else { Err("SignatureDoesNotMatch") }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match escaped.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn answer(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(code) = check(&inner, &method, &uri, &headers, &body) {
        *inner.refused.lock() += 1;
        return error(403, code);
    }
    let fault = inner.faults.lock().pop_front();
    match fault {
        Some(ObjectFault::SlowDown) => return error(503, "SlowDown"),
        Some(ObjectFault::Full) => return error(507, "InsufficientStorage"),
        _ => {}
    }
    let path = decoded(uri.path());
    let Some(key) = path.strip_prefix(&format!("/{}", inner.bucket)) else {
        return error(404, "NoSuchBucket");
    };
    let key = key.trim_start_matches('/').to_owned();
    let rights = *inner.rights.lock();
    let denied = || {
        *inner.refused.lock() += 1;
        error(403, "AccessDenied")
    };
    match method {
        Method::PUT => {
            let mut objects = inner.objects.lock();
            if objects.contains_key(&key) {
                if headers.get("if-none-match").is_some_and(|value| value == "*") {
                    return error(412, "PreconditionFailed");
                }
                if !rights.change {
                    return denied();
                }
            }
            if objects.values().map(Vec::len).sum::<usize>() + body.len() > BYTES_MAX {
                return error(507, "InsufficientStorage");
            }
            objects.insert(key, body.to_vec());
            match fault {
                Some(ObjectFault::LostAnswer) => error(500, "InternalError"),
                _ => StatusCode::OK.into_response(),
            }
        }
        Method::GET if key.is_empty() => {
            if !rights.list {
                return denied();
            }
            list(&inner, uri.query().unwrap_or_default())
        }
        Method::GET => {
            let Some(mut bytes) = inner.objects.lock().get(&key).cloned() else {
                return error(404, "NoSuchKey");
            };
            match fault {
                Some(ObjectFault::CutOff) => {
                    let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
                    let broken = std::io::Error::other("cut off");
                    let stream = futures_util::stream::iter([Ok(half), Err(broken)]);
                    return axum::body::Body::from_stream(stream).into_response();
                }
                Some(ObjectFault::Flip) => {
                    let middle = bytes.len() / 2;
                    if let Some(byte) = bytes.get_mut(middle) {
                        *byte ^= 1;
                    }
                }
                _ => {}
            }
            bytes.into_response()
        }
        Method::DELETE => {
            if !rights.change {
                return denied();
            }
            inner.objects.lock().remove(&key);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

/// ListObjectsV2.
fn list(inner: &Inner, query: &str) -> Response {
    let field = |name: &str| {
        let parts = query.split('&').filter_map(|part| part.split_once('='));
        parts.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
    };
    let (prefix, after) =
        (field("prefix").unwrap_or_default(), field("continuation-token").unwrap_or_default());
    let objects = inner.objects.lock();
    // The token ends in what must be escaped, as real ones may.
    let after = after.trim_end_matches("&=").to_owned();
    let found: Vec<(&String, usize)> = objects
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && name.as_str() > after.as_str())
        .map(|(name, bytes)| (name, bytes.len()))
        .take(PAGE + 1)
        .collect();
    let mut body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        .to_owned();
    for (name, bytes) in found.iter().take(PAGE) {
        body.push_str(&format!("<Contents><Key>{name}</Key><Size>{bytes}</Size></Contents>"));
    }
    if found.len() > PAGE {
        let last = found[PAGE - 1].0;
        body.push_str(&format!("<NextContinuationToken>{last}&amp;=</NextContinuationToken>"));
    }
    body.push_str(&format!("<IsTruncated>{}</IsTruncated></ListBucketResult>", found.len() > PAGE));
    ([("content-type", "application/xml")], body).into_response()
}
