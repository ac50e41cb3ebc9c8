//! Imports of NDJSON in the background: files handed over with the request, or fetched from addresses that the
//! configuration allows. One piece is some thousand lines; how far it came is kept, and taking a line again changes
//! nothing.

use crate::bulk::{Insight, LEASE_MS, RENEW, Stopping, blocking, disk, seal_name, wrong};
use crate::part::{Sealed, close, create};
use crate::sealed::CHUNK;
use access::Ctx;
use fhir::{Issue, IssueCode, Outcome, Severity, TypeId};
use record::Error;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Instant;
use store::bulk::job::{self, Job, Kind, Role};
use uuid::Uuid;

/// Lines and bytes of one piece.
const PIECE_LINES: usize = 5_000;
const PIECE_BYTES: usize = 16 << 20;
/// Longest line, bytes.
const LINE_BYTES: u64 = 16 << 20;
/// Files of one import.
pub const MAX_INPUTS: usize = 1_000;

/// A file to import.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// What every line must be; `None`: anything.
    pub kind: Option<TypeId>,
    /// Where it is fetched from; empty for one that was handed over.
    pub url: String,
}

/// A file that is being handed over with a request. Dropped without [Insight::start_upload], it is taken away.
pub struct Upload {
    id: Uuid,
    sealed: Option<Sealed>,
    insight: Insight,
    left: u64,
}

impl Upload {
    /// The next bytes. Blocks for as long as a disk takes. Errors: `Malformed` beyond [crate::Config::input_bytes];
    /// `Internal`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| wrong("", "the file is larger than an import may be"))?;
        match &mut self.sealed {
            Some(sealed) => sealed.write_all(bytes).map_err(disk),
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.sealed.take().is_some() {
            // Left by a client that went away.
            drop(std::fs::remove_dir_all(self.insight.jobs_folder().join(self.id.to_string())));
        }
    }
}

impl Insight {
    /// For a file that comes with the request. Errors: `Denied`; `Internal`.
    pub async fn upload(&self, ctx: &Ctx) -> Result<Upload, Error> {
        if !self.record().may_import(ctx) {
            return Err(self.record().deny_bulk(ctx, "bulk.import", "").await);
        }
        let (id, key) = (Uuid::now_v7(), self.config().key.clone());
        let path = self.path(id, 1);
        let sealed = blocking(move || create(&path, &key, &seal_name(id, 1))).await?;
        Ok(Upload { id, sealed: Some(sealed), insight: self.clone(), left: self.config().input_bytes })
    }

    /// Begins an import of a file that was handed over whole; audited. Errors: `Throttled` where too many are running.
    pub async fn start_upload(
        &self,
        ctx: &Ctx,
        mut upload: Upload,
        url: String,
        kind: Option<TypeId>,
    ) -> Result<Uuid, Error> {
        let id = upload.id;
        let sealed =
            upload.sealed.take().ok_or_else(|| Error::Internal("an upload without a file".into()))?;
        let folder = self.jobs_folder().join(id.to_string());
        let bytes = sealed.written();
        let started = async {
            blocking(move || close(sealed)).await?;
            let file = input_file(1, kind, bytes);
            self.begin(ctx, id, url, &[Input { kind, url: String::new() }], vec![file]).await
        }
        .await;
        if started.is_err() {
            drop(std::fs::remove_dir_all(folder));
        }
        started
    }

    /// Begins an import of files to be fetched; audited. Errors: `Denied`; `Malformed` for an address that the
    /// configuration does not allow; `Throttled`.
    pub async fn start_import(&self, ctx: &Ctx, url: String, inputs: &[Input]) -> Result<Uuid, Error> {
        if !self.record().may_import(ctx) {
            return Err(self.record().deny_bulk(ctx, "bulk.import", &url).await);
        }
        if inputs.is_empty() || inputs.len() > MAX_INPUTS {
            return Err(wrong("input", format!("give 1 to {MAX_INPUTS} inputs")));
        }
        for input in inputs {
            self.allowed(&input.url)?;
        }
        self.begin(ctx, Uuid::now_v7(), url, inputs, Vec::new()).await
    }

    /// The server fetches nothing from where the operator does not want it to: not from inside the network, not from
    /// anywhere. Errors: `Malformed`.
    fn allowed(&self, url: &str) -> Result<reqwest::Url, Error> {
        let parsed = reqwest::Url::parse(url).map_err(|_| wrong("input.url", "this is no address"))?;
        let fits = |prefix: &String| {
            let Ok(allowed) = reqwest::Url::parse(prefix) else { return false };
            allowed.origin() == parsed.origin() && parsed.path().starts_with(allowed.path())
        };
        let plain = parsed.username().is_empty() && parsed.password().is_none();
        if plain && self.config().import_from.iter().any(fits) {
            Ok(parsed)
        } else {
            let text = "nothing is fetched from there; the operator allows addresses by bulk.import_from, or send the \
                        file itself as application/fhir+ndjson";
            Err(wrong("input.url", text))
        }
    }

    async fn begin(
        &self,
        ctx: &Ctx,
        id: Uuid,
        url: String,
        inputs: &[Input],
        files: Vec<job::File>,
    ) -> Result<Uuid, Error> {
        let list: Vec<Value> =
            inputs.iter().map(|i| json!({"type": i.kind.map(TypeId::name), "url": i.url})).collect();
        let request = json!({"url": url, "inputs": list});
        // Numbers up to that of the last input are theirs.
        let progress = json!({"next_file": inputs.len() + 1, "fetched": files.len()});
        let new = job::New { id, ..self.new_job(ctx, Kind::Import, request, progress) };
        self.record().audit_bulk(ctx, "bulk.import", &format!("bulk/{id} {url}"), &[]).await?;
        self.insert(new, files).await
    }

    /// One piece: fetches a file, or takes some lines of it.
    pub(crate) async fn import_piece(
        &self,
        ctx: &Ctx,
        job: Job,
        stopping: Stopping<'_>,
    ) -> Result<(), Error> {
        let mut at = Progress::of(&job.progress);
        let inputs =
            job.request.get("inputs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let (id, token) = (job.id, job.token);
        let Some(input) = inputs.get(at.input) else {
            let (progress, expires) = (at.to_json(), self.expiry());
            self.record()
                .store()
                .write(move |tx| job::finish(tx, id, token, &progress, None, expires))
                .await?;
            return Ok(());
        };
        let kind = input.get("type").and_then(Value::as_str).and_then(TypeId::from_name);
        let number = i64::try_from(at.input).unwrap_or(i64::MAX - 1) + 1;
        if at.fetched <= at.input {
            let url = input.get("url").and_then(Value::as_str).unwrap_or_default();
            let fetched = self.fetch(&job, number, url).await;
            return self.note_fetch(&job, at, number, kind, url, fetched).await;
        }
        let (began, mut refused, mut resting) = (Instant::now(), Vec::new(), Vec::new());
        // Several lots of lines in one piece, as long as it stays short.
        while at.fetched > at.input && !stopping() && began.elapsed() < RENEW {
            let lot = self.lines(id, number, at.offset).await?;
            if lot.lines.is_empty() {
                at = Progress { input: at.input + 1, offset: 0, line_of_file: 0, ..at };
                break;
            }
            let count = lot.lines.len() as u64;
            let name = format!("bulk/{id}");
            let report = self.record().import_lines(ctx, &name, kind, at.line_of_file + 1, lot.lines).await?;
            at.offset += lot.bytes;
            at.line += count;
            at.line_of_file += count;
            at.taken += report.taken;
            at.unchanged += report.unchanged;
            at.refused += report.refused.len() as u64;
            refused.extend(report.refused);
            resting.extend(report.resting);
            if let Some(reason) = lot.fault {
                refused.push((at.line_of_file + 1, String::new(), reason));
                at = Progress {
                    input: at.input + 1,
                    offset: 0,
                    line_of_file: 0,
                    refused: at.refused + 1,
                    ..at
                };
                break;
            }
            if refused.len() + resting.len() >= PIECE_LINES {
                break;
            }
        }
        let mut files = Vec::new();
        if !refused.is_empty() || !resting.is_empty() {
            let refusals = refused.iter().map(|(line, what, reason)| refusal(number, *line, what, reason));
            let lines =
                refusals.chain(resting.iter().map(|(line, what)| rest(number, *line, what))).collect();
            files.push(self.error_file(id, at.next_file, lines).await?);
            at.next_file += 1;
        }
        self.note(&job, at, files).await
    }

    async fn note(&self, job: &Job, at: Progress, files: Vec<job::File>) -> Result<(), Error> {
        let (id, token, progress) = (job.id, job.token, at.to_json());
        let numbers: Vec<i64> = files.iter().map(|f| f.number).collect();
        let kept = self.record().store().write(move |tx| job::save(tx, id, token, &progress, &files)).await?;
        if !kept {
            for number in numbers {
                drop(std::fs::remove_file(self.path(id, number)));
            }
        }
        Ok(())
    }

    async fn note_fetch(
        &self,
        job: &Job,
        mut at: Progress,
        number: i64,
        kind: Option<TypeId>,
        url: &str,
        fetched: Result<u64, Error>,
    ) -> Result<(), Error> {
        at.fetched = at.input + 1;
        match fetched {
            Ok(bytes) => self.note(job, at, vec![input_file(number, kind, bytes)]).await,
            Err(Error::Malformed(outcome)) => {
                let text = outcome.issues.first().map(|i| i.text.clone()).unwrap_or_default();
                let line = Outcome::one(IssueCode::NotFound, "", format!("{url}: {text}")).to_json();
                let file = self.error_file(job.id, at.next_file, vec![line]).await?;
                let at = Progress {
                    next_file: at.next_file + 1,
                    input: at.input + 1,
                    refused: at.refused + 1,
                    offset: 0,
                    line_of_file: 0,
                    ..at
                };
                self.note(job, at, vec![file]).await
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches a file whole. Errors: `Malformed` for an answer that is none; `Busy` for one that may come later.
    async fn fetch(&self, job: &Job, number: i64, url: &str) -> Result<u64, Error> {
        let url = self.allowed(url)?;
        let (id, token, key) = (job.id, job.token, self.config().key.clone());
        let mut answer = self
            .inner
            .http
            .get(url)
            .header("accept", "application/fhir+ndjson")
            .send()
            .await
            .map_err(|_| Error::Busy)?;
        if answer.status().is_server_error() {
            return Err(Error::Busy);
        }
        if !answer.status().is_success() {
            return Err(wrong("input.url", format!("the answer was {}", answer.status())));
        }
        let path = self.path(id, number);
        let mut sealed = blocking(move || create(&path, &key, &seal_name(id, number))).await?;
        let mut renewed = Instant::now();
        while let Some(bytes) = answer.chunk().await.map_err(|_| Error::Busy)? {
            if sealed.written() + bytes.len() as u64 > self.config().input_bytes {
                return Err(wrong("input.url", "the file is larger than an import may be"));
            }
            sealed = blocking(move || {
                sealed.write_all(&bytes).map_err(disk)?;
                Ok(sealed)
            })
            .await?;
            if renewed.elapsed() >= RENEW {
                renewed = Instant::now();
                if !self.record().store().write(move |tx| job::renew(tx, id, token, LEASE_MS)).await? {
                    return Err(Error::Busy);
                }
            }
        }
        let bytes = sealed.written();
        blocking(move || close(sealed)).await?;
        Ok(bytes)
    }

    /// Some whole lines from `offset` on.
    async fn lines(&self, id: Uuid, number: i64, offset: u64) -> Result<Lot, Error> {
        let mut reader = self.unseal(&self.path(id, number), &seal_name(id, number)).await?;
        blocking(move || {
            reader.go_to(offset).map_err(disk)?;
            let mut input = BufReader::with_capacity(CHUNK, reader);
            let mut lot = Lot::default();
            while lot.lines.len() < PIECE_LINES && lot.bytes < PIECE_BYTES as u64 {
                let mut line = Vec::new();
                let read = input.by_ref().take(LINE_BYTES + 1).read_until(b'\n', &mut line).map_err(disk)?;
                if read as u64 > LINE_BYTES {
                    lot.fault = Some(format!(
                        "a line is longer than {LINE_BYTES} bytes; the rest of the file was left"
                    ));
                    // So that the lot is not taken for the end of the file.
                    lot.lines.push(Vec::new());
                    break;
                }
                if read == 0 {
                    break;
                }
                lot.bytes += read as u64;
                lot.lines.push(line);
            }
            Ok(lot)
        })
        .await
    }
}

#[derive(Default)]
struct Lot {
    lines: Vec<Vec<u8>>,
    bytes: u64,
    /// Why the rest of the file cannot be read.
    fault: Option<String>,
}

fn input_file(number: i64, kind: Option<TypeId>, bytes: u64) -> job::File {
    job::File {
        number,
        role: Role::Input,
        kind: kind.map_or("", TypeId::name).to_owned(),
        name: format!("input.{number}.ndjson"),
        count: 0,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
    }
}

/// What was wrong with a line, as an OperationOutcome.
fn refusal(input: i64, line: u64, what: &str, reason: &str) -> Value {
    let text = match what {
        "" => format!("input {input}, line {line}: {reason}"),
        what => format!("input {input}, line {line}, {what}: {reason}"),
    };
    Outcome::one(IssueCode::Value, "", text).to_json()
}

/// That a Subscription was taken and does nothing.
fn rest(input: i64, line: u64, what: &str) -> Value {
    let text = format!(
        "input {input}, line {line}, {what}: taken, and off: a client has to write it, which then owns it and gives its headers"
    );
    let issue = Issue {
        severity: Severity::Information,
        code: IssueCode::Informational,
        text,
        expression: String::new(),
    };
    Outcome { issues: vec![issue] }.to_json()
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Progress {
    /// Number of the input at hand, and how many are on the disk.
    input: usize,
    fetched: usize,
    offset: u64,
    line_of_file: u64,
    line: u64,
    taken: u64,
    unchanged: u64,
    refused: u64,
    next_file: i64,
}

impl Progress {
    fn of(value: &Value) -> Progress {
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        Progress {
            input: usize::try_from(number("input")).unwrap_or(0),
            fetched: usize::try_from(number("fetched")).unwrap_or(0),
            offset: number("offset"),
            line_of_file: number("line_of_file"),
            line: number("line"),
            taken: number("taken"),
            unchanged: number("unchanged"),
            refused: number("refused"),
            next_file: i64::try_from(number("next_file")).unwrap_or(1),
        }
    }
    fn to_json(&self) -> Value {
        json!({
            "input": self.input, "fetched": self.fetched, "offset": self.offset, "line_of_file": self.line_of_file,
            "line": self.line, "taken": self.taken, "unchanged": self.unchanged, "refused": self.refused,
            "next_file": self.next_file,
        })
    }
}
