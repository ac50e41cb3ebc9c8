//! Certificates from an authority that speaks ACME (RFC 8555), e.g. Let's Encrypt: asked for at first start, renewed in time,
//! proved by HTTP-01 at the port without TLS.
//!
//! Account, certificate and private key lie in one file of the data folder, sealed under the file key. Until the first
//! certificate is there, the server shows one that it signed itself.

use crate::config::Config;
use anyhow::{Context as _, bail, ensure};
use axum_server::tls_rustls::RustlsConfig;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Secret32;
use tokio_util::sync::CancellationToken;

const FILE: &str = "acme.sealed";
/// Binds the sealed bytes to what they are.
const PLACE: &[u8] = b"uzima acme 1";
/// How often is looked whether the certificate must be renewed.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Waits after a failure: doubled each time up to the most, as the authorities limit failures.
const FAILED_WAIT: Duration = Duration::from_secs(60);
const FAILED_WAIT_MAX: Duration = Duration::from_secs(6 * 3600);
/// Longest time of one order; the authority looks at the port without TLS meanwhile.
const ORDER_TIME_MAX: Duration = Duration::from_secs(300);
/// Challenges at a time: one per name.
const CHALLENGES_MAX: usize = 100;

/// What the authority asks for at `/.well-known/acme-challenge/{token}`.
#[derive(Clone, Default)]
pub struct Challenges(Arc<Mutex<HashMap<String, String>>>);

impl Challenges {
    /// The answer for a token.
    pub fn answer(&self, token: &str) -> Option<String> {
        self.0.lock().get(token).cloned()
    }
    fn put(&self, token: &str, answer: &str) {
        let mut all = self.0.lock();
        if all.len() < CHALLENGES_MAX {
            all.insert(token.to_owned(), answer.to_owned());
        }
    }
    fn clear(&self) {
        self.0.lock().clear();
    }
}

/// What lies in the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Kept {
    /// Where the account is.
    directory: String,
    account: Option<serde_json::Value>,
    names: Vec<String>,
    /// PEM.
    chain: String,
    /// PEM.
    private_key: String,
}

/// The authority, the names, and what was got so far.
pub struct Acme {
    names: Vec<String>,
    contact: Option<String>,
    directory: String,
    root: Option<PathBuf>,
    /// What else the listener is to keep to.
    tls: crate::config::Tls,
    file: PathBuf,
    key: Secret32,
    kept: Kept,
    pub challenges: Challenges,
}

impl Acme {
    /// Reads what was kept; `None` where no names are configured. Errors: the file or the key cannot be read.
    pub fn open(config: &Config) -> anyhow::Result<Option<Acme>> {
        let tls = &config.tls;
        if tls.acme_names.is_empty() {
            return Ok(None);
        }
        let (file, key) = (config.data.join(FILE), crate::storage::file_key(config)?);
        let kept = match std::fs::read(&file) {
            Ok(bytes) => {
                let text = store::keys::open(&key, PLACE, &bytes)
                    .with_context(|| format!("{} is damaged or of another installation", file.display()))?;
                serde_json::from_slice(&text).with_context(|| file.display().to_string())?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        Ok(Some(Acme {
            names: tls.acme_names.clone(),
            contact: tls.acme_contact.as_ref().map(|mail| format!("mailto:{mail}")),
            directory: tls.acme_directory.clone(),
            root: tls.acme_root.clone(),
            tls: tls.clone(),
            file,
            key,
            kept,
            challenges: Challenges::default(),
        }))
    }

    /// What to show now: the certificate that was got, or one that nobody trusts. Errors: what is kept does not fit.
    pub fn config(&self) -> anyhow::Result<Arc<rustls::ServerConfig>> {
        let (chain, key) = if self.has_certificate() {
            (self.kept.chain.clone(), self.kept.private_key.clone())
        } else {
            let own =
                rcgen::generate_simple_self_signed(self.names.clone()).context("a certificate of our own")?;
            (own.cert.pem(), own.signing_key.serialize_pem())
        };
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        super::listen::server_config(chain, key, &self.tls)
    }

    fn has_certificate(&self) -> bool {
        !self.kept.chain.is_empty() && self.kept.names == self.names
    }

    /// A third of its time is left, or there is none.
    fn is_due(&self, now: Timestamp) -> bool {
        if !self.has_certificate() {
            return true;
        }
        let first = CertificateDer::pem_slice_iter(self.kept.chain.as_bytes()).next();
        let validity = first.and_then(Result::ok).and_then(|der| validity(&der));
        let Some((from, until)) = validity else { return true };
        let third = (until.as_second() - from.as_second()) / 3;
        now.as_second() >= until.as_second() - third
    }

    /// Gets and renews until the server stops; each new certificate is shown at once.
    pub async fn keep(mut self, tls: RustlsConfig, stopping: CancellationToken) {
        let mut wait = FAILED_WAIT;
        loop {
            let mut pause = LOOK_EVERY;
            if self.is_due(Timestamp::now()) {
                let ordered = tokio::select! {
                    () = stopping.cancelled() => return,
                    ordered = tokio::time::timeout(ORDER_TIME_MAX, self.order()) => ordered,
                };
                self.challenges.clear();
                let done = ordered.unwrap_or_else(|_| Err(anyhow::anyhow!("the authority took too long")));
                match done.and_then(|()| self.config()) {
                    Ok(config) => {
                        tls.reload_from_config(config);
                        tracing::info!(names = ?self.names, "a new certificate is in use");
                        wait = FAILED_WAIT;
                    }
                    Err(error) => {
                        tracing::error!(
                            error = format!("{error:#}"),
                            again_s = wait.as_secs(),
                            "no certificate by ACME"
                        );
                        pause = wait;
                        wait = (wait * 2).min(FAILED_WAIT_MAX);
                    }
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn builder(&self) -> anyhow::Result<instant_acme::AccountBuilder> {
        Ok(match &self.root {
            Some(root) => Account::builder_with_root(root)
                .with_context(|| format!("tls.acme_root {} cannot be read", root.display()))?,
            None => Account::builder()?,
        })
    }

    async fn account(&mut self) -> anyhow::Result<Account> {
        let known = self.kept.account.clone().filter(|_| self.kept.directory == self.directory);
        if let Some(known) = known {
            let credentials: AccountCredentials = serde_json::from_value(known)?;
            return self.builder()?.from_credentials(credentials).await.context("the account");
        }
        let contact: Vec<&str> = self.contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) =
            self.builder()?.create(&new, self.directory.clone(), None).await.context("a new account")?;
        self.kept.directory.clone_from(&self.directory);
        self.kept.account = Some(serde_json::to_value(&credentials)?);
        self.save()?;
        Ok(account)
    }

    async fn order(&mut self) -> anyhow::Result<()> {
        let account = self.account().await?;
        let names: Vec<Identifier> = self.names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.context("a new order")?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => bail!("an authorization is {other:?}"),
            }
            let mut challenge =
                authorization.challenge(ChallengeType::Http01).context("the authority offers no HTTP-01")?;
            let answer = challenge.key_authorization().as_str().to_owned();
            self.challenges.put(&challenge.token, &answer);
            challenge.set_ready().await.context("the challenge")?;
        }
        let retries = RetryPolicy::default();
        let status = order.poll_ready(&retries).await.context("the proof")?;
        ensure!(
            status == OrderStatus::Ready,
            "the authority could not see us at port 80: the order is {status:?}"
        );
        let private_key = order.finalize().await.context("the request")?;
        let chain = order.poll_certificate(&retries).await.context("the certificate")?;
        self.kept.names.clone_from(&self.names);
        self.kept.chain = chain;
        self.kept.private_key = private_key;
        self.save()
    }

    fn save(&self) -> anyhow::Result<()> {
        let sealed = store::keys::seal(&self.key, PLACE, &serde_json::to_vec(&self.kept)?)?;
        write(&self.file, &sealed).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// From when until when a certificate holds: the fifth field of what is signed (RFC 5280 §4.1). `None` for what is none.
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, signed, _) = element(certificate)?;
    let (_, mut rest, _) = element(signed)?;
    // Version (tagged), serial number, algorithm, issuer.
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (from_tag, from, rest) = element(validity)?;
    let (until_tag, until, _) = element(rest)?;
    Some((time(from_tag, from)?, time(until_tag, until)?))
}

/// Tag, content and what follows of the first DER element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
        if digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// UTCTime (`YYMMDDHHMMSSZ`) or GeneralizedTime (`YYYYMMDDHHMMSSZ`).
fn time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?;
    let text = match tag {
        // Two digits mean 1950 to 2049.
        0x17 if text.get(..2)? < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let part = |at: usize, length: usize| text.get(at..at + length);
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 2)?,
        part(6, 2)?,
        part(8, 2)?,
        part(10, 2)?,
        part(12, 2)?
    );
    iso.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_certificate_is_read() {
        let mut params = rcgen::CertificateParams::new(vec!["clinic.example".to_owned()]).unwrap();
        for (year, expected) in [(2027, "2027-03-04T00:00:00Z"), (2126, "2126-03-04T00:00:00Z")] {
            params.not_before = rcgen::date_time_ymd(2026, 1, 2);
            params.not_after = rcgen::date_time_ymd(year, 3, 4);
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let (from, until) = validity(made.der()).unwrap();
            assert_eq!(
                (from.to_string(), until.to_string()),
                ("2026-01-02T00:00:00Z".into(), expected.into())
            );
            for length in 0..200 {
                // Nothing that is cut off is read beyond its end.
                let _ = validity(&made.der()[..length]);
            }
        }
        assert_eq!(validity(b"not a certificate"), None);
    }
}
