//! Object storage that speaks Amazon's S3: requests signed by Signature Version 4.

use super::{Entry, OBJECT_BYTES_MAX, Put, Target};
use crate::{Error, Result};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, Response, StatusCode, Url};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::runtime::Handle;

/// What RFC 3986 calls unreserved stays as it is; anything else is encoded, as the signature wants it.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PLAIN_PATH: &AsciiSet = &PLAIN.remove(b'/');
/// Time for one object.
const TIMEOUT: Duration = Duration::from_secs(120);
const TRIES: u32 = 4;
/// Wait before the second try; doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// Pages of a listing; each has up to a thousand names.
const LIST_PAGES_MAX: usize = 10_000;
/// What an error says is shown up to here, characters.
const SHOWN: usize = 300;

/// Keys and where the service is.
#[derive(Clone, Default)]
pub struct S3Options {
    /// e.g. `https://s3.eu-central-1.amazonaws.com`
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

impl std::fmt::Debug for S3Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Options")
            .field("endpoint", &self.endpoint)
            .field("secret_key", &"***")
            .finish_non_exhaustive()
    }
}

pub struct S3 {
    options: S3Options,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    client: Client,
    runtime: Handle,
    host: String,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &[u8]) -> Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Error::Wrong("HMAC key".into()))?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().to_vec())
}

impl S3 {
    /// Errors: options that are missing or wrong.
    pub fn new(bucket: &str, prefix: &str, options: &S3Options) -> Result<S3> {
        let wrong = |text: String| Error::Wrong(text);
        if bucket.is_empty() || options.access_key.is_empty() || options.secret_key.is_empty() {
            return Err(wrong("S3 needs a bucket, an access key and a secret key".into()));
        }
        let mut options = options.clone();
        if options.region.is_empty() {
            options.region = "us-east-1".into();
        }
        if options.endpoint.is_empty() {
            options.endpoint = format!("https://s3.{}.amazonaws.com", options.region);
        }
        let url =
            Url::parse(&options.endpoint).map_err(|error| wrong(format!("the S3 endpoint: {error}")))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(wrong("the S3 endpoint has no host".into())),
        };
        options.endpoint = format!("{}://{host}", url.scheme());
        let client = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| wrong(format!("HTTP client: {error}")))?;
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(S3 { options, bucket: bucket.to_owned(), prefix, client, runtime: Handle::current(), host })
    }

    /// One signed request; `query` is sorted and not encoded yet.
    async fn once(
        &self,
        method: &Method,
        key: &str,
        query: &[(&str, &str)],
        body: &[u8],
        new_only: bool,
    ) -> Result<Response> {
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &now[..8];
        let path = format!("/{}/{}", self.bucket, key);
        let path = utf8_percent_encode(path.trim_end_matches('/'), PLAIN_PATH).to_string();
        let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
        let query: Vec<String> = query.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
        let query = query.join("&");
        let hash = hex(&Sha256::digest(body));
        let mut headers = vec![("host", self.host.as_str())];
        if new_only {
            headers.push(("if-none-match", "*"));
        }
        headers.extend([("x-amz-content-sha256", hash.as_str()), ("x-amz-date", now.as_str())]);
        let canonical: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let signed = signed.join(";");
        let request = format!("{method}\n{path}\n{query}\n{canonical}\n{signed}\n{hash}");
        let scope = format!("{day}/{}/s3/aws4_request", self.options.region);
        let text = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hex(&Sha256::digest(request.as_bytes())));
        let mut key = hmac(format!("AWS4{}", self.options.secret_key).as_bytes(), day.as_bytes())?;
        for part in [self.options.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes())?;
        }
        let signature = hex(&hmac(&key, text.as_bytes())?);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.options.access_key
        );
        let joiner = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{joiner}{query}", self.options.endpoint);
        let mut request = self.client.request(method.clone(), url).header("authorization", authorization);
        for (name, value) in headers.iter().skip(1) {
            request = request.header(*name, *value);
        }
        request.body(body.to_vec()).send().await.map_err(|error| {
            // The address may be told, it holds no secret; the cause is what helps.
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(next) = cause {
                text = format!("{text}: {next}");
                cause = next.source();
            }
            Error::Unreachable(text)
        })
    }

    /// With tries again where that may help; the answer's status is success.
    fn request(
        &self,
        method: &Method,
        name: &str,
        query: &[(&str, &str)],
        body: &[u8],
        new_only: bool,
    ) -> Result<(StatusCode, Vec<u8>)> {
        self.runtime.block_on(async {
            let mut pause = PAUSE;
            let mut tried = 1;
            loop {
                let outcome = self.whole(method, name, query, body, new_only).await;
                match outcome {
                    Err(error) if error.may_pass() && tried < TRIES => {
                        tracing::debug!(%error, "S3 is asked again");
                        tokio::time::sleep(pause).await;
                        pause *= 2;
                        tried += 1;
                    }
                    outcome => return outcome,
                }
            }
        })
    }

    async fn whole(
        &self,
        method: &Method,
        name: &str,
        query: &[(&str, &str)],
        body: &[u8],
        new_only: bool,
    ) -> Result<(StatusCode, Vec<u8>)> {
        let mut response = self.once(method, name, query, body, new_only).await?;
        let status = response.status();
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if bytes.len() + piece.len() <= OBJECT_BYTES_MAX => {
                    bytes.extend_from_slice(&piece)
                }
                Ok(Some(_)) => return Err(Error::Damaged(name.to_owned())),
                Ok(None) => break,
                Err(error) => return Err(Error::Unreachable(error.to_string())),
            }
        }
        if status.is_success() || status == StatusCode::PRECONDITION_FAILED && new_only {
            return Ok((status, bytes));
        }
        let text: String = String::from_utf8_lossy(&bytes).chars().take(SHOWN).collect();
        let text = format!("{status} {text}");
        Err(match status.as_u16() {
            404 if *method == Method::GET && query.is_empty() => Error::NotFound(name.to_owned()),
            // 409: another write of the same object is under way.
            408 | 409 | 429 | 500 | 502 | 503 | 504 => Error::Unreachable(text),
            507 => Error::Full(text),
            _ => Error::Refused(text),
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Target for S3 {
    fn describe(&self) -> String {
        format!("s3://{}/{} at {}", self.bucket, self.prefix, self.options.endpoint)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        match self.request(&Method::PUT, &self.key(name), &[], bytes, true) {
            Ok((StatusCode::PRECONDITION_FAILED, _)) => Ok(Put::WasThere),
            Ok(_) => Ok(Put::Made),
            // Services that do not know the condition say so; names are not used twice anyway.
            Err(Error::Refused(text)) if text.starts_with("501") => {
                self.request(&Method::PUT, &self.key(name), &[], bytes, false).map(|_| Put::Made)
            }
            Err(error) => Err(error),
        }
    }

    fn get(&self, name: &str) -> Result<Vec<u8>> {
        match self.request(&Method::GET, &self.key(name), &[], &[], false) {
            Ok((_, bytes)) => Ok(bytes),
            Err(Error::NotFound(_)) => Err(Error::NotFound(name.to_owned())),
            Err(error) => Err(error),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let prefix = self.key(prefix);
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..LIST_PAGES_MAX {
            let mut query = vec![("list-type", "2"), ("prefix", prefix.as_str())];
            if let Some(token) = &token {
                query.insert(0, ("continuation-token", token));
            }
            let (_, bytes) = self.request(&Method::GET, "", &query, &[], false)?;
            let page = page(&bytes)?;
            found.extend(page.entries.into_iter().filter_map(|entry| {
                Some(Entry { name: entry.name.strip_prefix(&self.prefix)?.to_owned(), bytes: entry.bytes })
            }));
            match page.next {
                Some(next) => token = Some(next),
                None => {
                    found.sort_by(|a, b| a.name.cmp(&b.name));
                    return Ok(found);
                }
            }
        }
        Err(Error::Refused("the listing does not end".into()))
    }

    fn remove(&self, name: &str) -> Result<()> {
        match self.request(&Method::DELETE, &self.key(name), &[], &[], false) {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

pub(super) struct Page {
    entries: Vec<Entry>,
    next: Option<String>,
}

/// A page of ListObjectsV2.
pub(super) fn page(bytes: &[u8]) -> Result<Page> {
    use quick_xml::events::Event;
    let broken = || Error::Damaged("the listing of S3".into());
    let mut reader = quick_xml::Reader::from_reader(bytes);
    let mut page = Page { entries: Vec::new(), next: None };
    let (mut inside, mut text) = (Vec::new(), String::new());
    let (mut name, mut size) = (String::new(), 0);
    let mut buffer = Vec::new();
    loop {
        match reader.read_event_into(&mut buffer).map_err(|_| broken())? {
            Event::Start(start) => {
                inside.push(start.local_name().as_ref().to_owned());
                text.clear();
            }
            Event::Text(piece) => text.push_str(&piece),
            // Our names have nothing to be escaped; a token may.
            Event::GeneralRef(entity) => text.push_str(match &*entity {
                "amp" => "&",
                "lt" => "<",
                "gt" => ">",
                "quot" => "\"",
                "apos" => "'",
                _ => return Err(broken()),
            }),
            Event::End(_) => {
                match (inside.get(1).map(String::as_str), inside.last().map(String::as_str)) {
                    (Some("Contents"), Some("Key")) => name = std::mem::take(&mut text),
                    (Some("Contents"), Some("Size")) => size = text.trim().parse().map_err(|_| broken())?,
                    (Some("Contents"), Some("Contents")) => {
                        page.entries.push(Entry { name: std::mem::take(&mut name), bytes: size });
                    }
                    (Some("NextContinuationToken"), _) => page.next = Some(std::mem::take(&mut text)),
                    _ => {}
                }
                inside.pop();
            }
            Event::Eof => break,
            _ => {}
        }
        buffer.clear();
    }
    if inside.is_empty() { Ok(page) } else { Err(broken()) }
}
