//! The audit trail's care: sealing, anchoring, retention, and the alarm when one of them stands still.

use crate::audit_key;
use crate::state::AppState;
use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use reach::egress;
use reach::mail::{Mail, Mailer};
use record::audit::{AuditHead, AuditKey, PLACES, SealError, TreeStatus};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two looks for rows to seal.
const LOOK: Duration = Duration::from_secs(5);
/// Between two tries to anchor after one failed.
const AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// Between two looks for rows past their time.
const PRUNE: Duration = Duration::from_secs(3600);
/// Rows that wait longer are not being sealed.
pub const SEAL_LATE: SignedDuration = SignedDuration::from_secs(180);
/// Longest wait for the address that heads are posted to.
const POST_TIME: Duration = Duration::from_secs(15);
/// Segments sealed between two looks at whether the server stops.
const AT_ONCE: usize = 50;

/// Runs until the server stops; what waits then is sealed.
pub async fn run(app: AppState) {
    let mut pruned: Option<Instant> = None;
    let mut said = String::new();
    loop {
        let done = round(&app, false).await;
        let trouble = done.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        if trouble != said && !trouble.is_empty() {
            tracing::error!(error = trouble, "the audit trail is not sealed or anchored");
        }
        said = trouble;
        if app.config.audit.keep_years > 0 && pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
            if let Err(error) = app.record.audit_prune(app.config.audit.keep_years).await {
                tracing::warn!(%error, "old rows of the audit trail cannot be removed");
            }
            pruned = Some(Instant::now());
        }
        tokio::select! {
            () = app.stopping.cancelled() => break,
            () = tokio::time::sleep(if done.unwrap_or(false) { Duration::ZERO } else { LOOK }) => {}
        }
    }
    // So that a copy of the files of a stopped server can be verified whole.
    if let Err(error) = at_once(&app).await {
        tracing::error!(error = format!("{error:#}"), "the audit trail's last entries are not sealed");
    }
}

/// Seals what waits and takes the head to its places without waiting for their time. Errors: what keeps it from sealing;
/// a place that cannot be reached is noted instead.
pub async fn at_once(app: &AppState) -> anyhow::Result<()> {
    while round(app, true).await? {}
    Ok(())
}

/// Seals and anchors: what is due, or everything. Returns whether there is more to seal.
async fn round(app: &AppState, all: bool) -> anyhow::Result<bool> {
    let _turn = app.metrics.audit.turn.lock().await;
    let sealed = match audit_key::open(&app.config, &app.record).await {
        Ok(key) => seal(app, &key, all).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if sealed.is_err() {
        app.metrics.count("audit_seal_failures", "", 1);
    }
    // Also where sealing fails: heads that are there may still have to be taken elsewhere.
    let standing = app.record.audit_standing().await?;
    anchor(app, &standing, all).await?;
    app.metrics.audit.note(&app.record.audit_standing().await?, app.record.now());
    sealed
}

async fn seal(app: &AppState, key: &AuditKey, all: bool) -> Result<bool, SealError> {
    for _ in 0..AT_ONCE {
        match app.record.audit_seal(key, all).await? {
            Some(_) => app.metrics.count("audit_heads", "", 1),
            None => return Ok(false),
        }
    }
    Ok(true)
}

/// The places of the configuration with the time between two heads.
pub fn places(config: &crate::config::Audit) -> Vec<(&'static str, SignedDuration)> {
    let often = SignedDuration::from_mins(i64::from(config.anchor_minutes.max(1)));
    let daily = SignedDuration::from_hours(i64::from(config.anchor_mail_hours.max(1)));
    let [file, https, mail] = PLACES;
    let wanted = [
        (file, config.anchor_file.is_some(), often),
        (https, config.anchor_url.is_some(), often),
        (mail, config.anchor_mail.is_some(), daily),
    ];
    wanted.into_iter().filter(|(_, is_set, _)| *is_set).map(|(place, _, every)| (place, every)).collect()
}

/// What is wrong with the audit trail's care, in words for the administrator; empty if nothing is.
pub fn alarms(config: &crate::config::Audit, standing: &TreeStatus, now: Timestamp) -> Vec<String> {
    let mut alarms = Vec::new();
    let late = |since: Timestamp, most: SignedDuration| now.duration_since(since) > most;
    if let Some(since) = standing.waiting_since
        && late(since, SEAL_LATE)
    {
        alarms.push(format!("Entries of the audit trail wait to be sealed since {since:.0}."));
    }
    for (place, every) in places(config) {
        let Some(known) = standing.places.iter().find(|known| known.place == place) else { continue };
        let Some(head) = &standing.head else { continue };
        let behind =
            known.arrived.is_none_or(|(size, _)| u64::try_from(size).is_ok_and(|size| size < head.size));
        let since = known.arrived.map(|(_, at)| at);
        let stale = since.is_none_or(|at| late(at, every + every));
        match &known.failed {
            Some((error, at)) if behind => {
                alarms.push(format!("The audit trail's head was not taken to {place} at {at:.0}: {error}."));
            }
            _ if behind && stale && since.is_some() => {
                alarms.push(format!("The audit trail's head was not taken to {place} for long."));
            }
            _ => {}
        }
    }
    alarms
}

async fn anchor(app: &AppState, standing: &TreeStatus, at_once: bool) -> anyhow::Result<()> {
    let Some(head) = &standing.head else { return Ok(()) };
    let now = app.record.now();
    for (place, every) in places(&app.config.audit) {
        let known = standing.places.iter().find(|known| known.place == place);
        let arrived = known.and_then(|known| known.arrived);
        let is_there =
            arrived.is_some_and(|(size, _)| u64::try_from(size).is_ok_and(|size| size >= head.size));
        let is_due = arrived.is_none_or(|(_, at)| now.duration_since(at) >= every);
        let failed = known.and_then(|known| known.failed.as_ref());
        let may_try = failed.is_none_or(|(_, at)| now.duration_since(*at) >= AGAIN.min(every));
        if is_there || !(at_once || (is_due && may_try)) {
            continue;
        }
        let error = take(app, place, head).await.err().map(|error| format!("{error:#}"));
        let outcome = if error.is_some() { "failed" } else { "arrived" };
        app.metrics.count("audit_anchors", &format!("place=\"{place}\",outcome=\"{outcome}\""), 1);
        if let Some(error) = &error {
            tracing::error!(place, error, "a head of the audit trail was not anchored");
        }
        app.record.audit_anchored(place, head.size, error).await?;
    }
    Ok(())
}

async fn take(app: &AppState, place: &str, head: &AuditHead) -> anyhow::Result<()> {
    let (audit, text) = (&app.config.audit, head.text());
    if let (true, Some(file)) = (place == PLACES[0], &audit.anchor_file) {
        let file = file.clone();
        return tokio::task::spawn_blocking(move || add(&file, &text)).await?;
    }
    if let (true, Some(url)) = (place == PLACES[1], &audit.anchor_url) {
        return post(url, audit.anchor_token.as_ref().map(|token| token.expose()), &text).await;
    }
    if let (true, Some(to)) = (place == PLACES[2], &audit.anchor_mail) {
        let url = app.config.mail.url.as_ref().context("mail.url is not set")?;
        let config = reach::mail::Config { url: url.expose().to_owned(), from: app.config.mail.from.clone() };
        let mailer = Mailer::new(&config).map_err(anyhow::Error::msg)?;
        let subject = format!("Audit trail of {}: head of {} entries", app.config.clinic.name, head.size);
        let text = format!(
            "Keep this mail. It proves later that nothing was changed or removed before:\n\n    uzima verify --head FILE\n\n\
             {text}"
        );
        let mail = Mail { to, subject: &subject, text: &text, attachment: None };
        return mailer.send(&mail).await.map_err(anyhow::Error::msg);
    }
    Ok(())
}

/// Appends; the file is made if it is not there, its folder is not: a share that is not mounted must not look like one
/// that is.
fn add(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(file)
        .with_context(|| format!("cannot append to {}", file.display()))?;
    opened.write_all(format!("{text}\n").as_bytes())?;
    Ok(opened.sync_all()?)
}

async fn post(url: &str, token: Option<&str>, text: &str) -> anyhow::Result<()> {
    post_body(url, token, "text/plain; charset=utf-8", text).await
}

/// Posts something to an address that the operator wrote. Errors: it is not taken, in words.
pub(super) async fn post_body(url: &str, token: Option<&str>, kind: &str, text: &str) -> anyhow::Result<()> {
    // The operator wrote the address, so it may be in his own network; plain http only to this machine, for a forwarder.
    let host = url.strip_prefix("http://").unwrap_or_default();
    let is_local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| {
        host.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    let rules = egress::Rules { allow_http: is_local, allow_private: true, hosts: Vec::new() };
    let client = egress::Client::new(rules).context("no HTTP client")?;
    let credential = match token {
        Some(token) => Some(egress::Credential::new(url, "authorization", format!("Bearer {token}"))?),
        None => None,
    };
    let answer = client
        .send(egress::Request {
            method: egress::Method::POST,
            credential: credential.as_ref(),
            body: Some((kind, text)),
            timeout: POST_TIME,
            answer_bytes: 0,
            ..egress::Request::get(url)
        })
        .await?;
    anyhow::ensure!(answer.status.is_success(), "the endpoint answered {}", answer.status.as_u16());
    Ok(())
}

/// Numbers of the audit trail for `/metrics`.
#[derive(Default)]
pub struct Gauges {
    text: parking_lot::Mutex<String>,
    /// One at a time seals and anchors in this process.
    turn: tokio::sync::Mutex<()>,
}

impl Gauges {
    fn note(&self, standing: &TreeStatus, now: Timestamp) {
        use std::fmt::Write as _;
        let seconds =
            |since: Option<Timestamp>| since.map_or(0, |at| now.duration_since(at).as_secs().max(0));
        let mut text = String::new();
        let entries = standing.head.as_ref().map_or(0, |head| head.size);
        let _ = writeln!(
            text,
            "# HELP uzima_audit_entries Sealed entries of the audit trail.\n# TYPE uzima_audit_entries gauge\n\
             uzima_audit_entries {entries}"
        );
        let name = "uzima_audit_waiting_seconds";
        let waiting = seconds(standing.waiting_since);
        let _ = writeln!(
            text,
            "# HELP {name} How long the oldest entry waits to be sealed.\n# TYPE {name} gauge\n{name} {waiting}"
        );
        let name = "uzima_audit_anchored_entries";
        let _ = writeln!(text, "# HELP {name} Entries of the last head that arrived.\n# TYPE {name} gauge");
        for place in &standing.places {
            if let Some((size, _)) = place.arrived {
                let _ = writeln!(text, "{name}{{place=\"{}\"}} {size}", place.place);
            }
        }
        *self.text.lock() = text;
    }

    /// In the Prometheus text format; empty before the worker's first look.
    pub fn render(&self) -> String {
        self.text.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A4: a quarter of an hour where there is a connection, a day by mail.
    #[test]
    fn a_head_is_elsewhere_in_time() {
        let config = crate::config::Audit {
            anchor_file: Some("heads.log".into()),
            anchor_url: Some("https://elsewhere.example/heads".into()),
            anchor_mail: Some("auditor@example.org".into()),
            ..Default::default()
        };
        let all = places(&config);
        assert_eq!(all.len(), PLACES.len());
        for (place, every) in all {
            let most = if place == PLACES[2] { 24 * 60 } else { 15 };
            assert!(every <= SignedDuration::from_mins(most), "{place}: {every}");
        }
    }
}
