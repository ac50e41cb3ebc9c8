//! From bytes to prepared resources, on threads of their own.

use super::file::{Kind, Source};
use super::table::{self, Row, Rule};
use crate::write::{Put, prepare_put};
use crate::{Error, Record};
use access::Ctx;
use fhir::{Reference, Resource, ResourceKey, TypeId};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Largest unpacked document (a Bundle is held in memory whole).
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;
/// Longest line of NDJSON.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// Lines handed to a thread at once.
const LINES_PER_BLOCK: usize = 250;
/// Blocks waiting at each joint; bounds memory.
const WAITING_BLOCKS: usize = 4;
const MAX_THREADS: usize = 8;

/// Resources of one block, prepared for the writer.
pub(super) struct Ready {
    pub file: usize,
    /// Each with its entry or line number.
    pub puts: Vec<(usize, Put)>,
    /// Entry number, what it is, reason.
    pub refusals: Vec<(usize, String, String)>,
    /// Unpacked.
    pub bytes: u64,
    /// Rows of a table that became resources, and those of them that were left out.
    pub rows: (usize, usize),
}

pub(super) enum Message {
    Skipped {
        file: usize,
    },
    Failed {
        file: usize,
        reason: String,
    },
    Ready(Ready),
    /// The file was read whole in this many blocks.
    End {
        file: usize,
        blocks: usize,
        marker: String,
    },
}

struct Block {
    file: usize,
    body: Body,
}

enum Body {
    Document(Vec<u8>),
    /// First line number, lines.
    Lines(usize, Vec<Vec<u8>>),
    Rows(Arc<Header>, Vec<csv::ByteRecord>),
}

/// What the rows of one table have in common.
struct Header {
    rule: Rule,
    columns: HashMap<String, usize>,
}

/// Starts reading. The channel ends when all files are through.
/// `again`: files that were taken before are read as well.
pub(super) fn start(
    record: Record,
    ctx: Ctx,
    files: Arc<Vec<Source>>,
    again: bool,
) -> mpsc::Receiver<Message> {
    let (messages, receiver) = mpsc::channel(WAITING_BLOCKS);
    let (blocks, queue) = sync_channel::<Block>(WAITING_BLOCKS);
    let queue = Arc::new(Mutex::new(queue));
    let runtime = tokio::runtime::Handle::current();
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, MAX_THREADS);
    for _ in 0..threads {
        let worker = Worker {
            rules: record.known_sensitivity(),
            record: record.clone(),
            ctx: ctx.clone(),
            runtime: runtime.clone(),
            messages: messages.clone(),
        };
        let queue = queue.clone();
        std::thread::spawn(move || worker.run(&queue));
    }
    std::thread::spawn(move || read_files(&record, &files, again, &blocks, &messages));
    receiver
}

/// Reads all files into blocks. A receiver that is gone ends it: the import was given up.
fn read_files(
    record: &Record,
    files: &[Source],
    again: bool,
    blocks: &SyncSender<Block>,
    messages: &mpsc::Sender<Message>,
) {
    for (file, source) in files.iter().enumerate() {
        let marker = match source.marker() {
            Ok(marker) => marker,
            Err(reason) => {
                if messages.blocking_send(Message::Failed { file, reason }).is_err() {
                    return;
                }
                continue;
            }
        };
        let key = marker.clone();
        let known = record.inner.store.read_blocking(move |tx| store::setting::get(tx, &key));
        let message = match known {
            Ok(Some(_)) if !again => Message::Skipped { file },
            Err(error) => Message::Failed { file, reason: error.to_string() },
            Ok(_) => match read_file(file, source, blocks) {
                Ok(blocks) => Message::End { file, blocks, marker },
                Err(reason) => Message::Failed { file, reason },
            },
        };
        if messages.blocking_send(message).is_err() {
            return;
        }
    }
}

/// Returns the number of blocks. Errors: text for the report.
fn read_file(file: usize, source: &Source, blocks: &SyncSender<Block>) -> Result<usize, String> {
    let gone = |_| "the import was stopped".to_owned();
    let mut input = source.open()?;
    match source.kind {
        Kind::Document => {
            let mut bytes = Vec::new();
            let read = input
                .by_ref()
                .take(MAX_DOCUMENT_BYTES + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| e.to_string())?;
            if read as u64 > MAX_DOCUMENT_BYTES {
                return Err("larger than 1 GiB; use NDJSON".to_owned());
            }
            blocks.send(Block { file, body: Body::Document(bytes) }).map_err(gone)?;
            Ok(1)
        }
        Kind::Table => read_table(file, source, input, blocks),
        Kind::Lines => {
            let (mut sent, mut first, mut number) = (0, 0, 0);
            let mut lines: Vec<Vec<u8>> = Vec::new();
            loop {
                let mut line = Vec::new();
                let read = input
                    .by_ref()
                    .take(MAX_LINE_BYTES + 1)
                    .read_until(b'\n', &mut line)
                    .map_err(|e| e.to_string())?;
                if read as u64 > MAX_LINE_BYTES {
                    return Err(format!("line {number} is longer than 64 MiB"));
                }
                if read > 0 {
                    lines.push(line);
                    number += 1;
                }
                if lines.len() == LINES_PER_BLOCK || (read == 0 && !lines.is_empty()) {
                    blocks
                        .send(Block { file, body: Body::Lines(first, std::mem::take(&mut lines)) })
                        .map_err(gone)?;
                    sent += 1;
                    first = number;
                }
                if read == 0 {
                    return Ok(sent);
                }
            }
        }
    }
}

/// As [read_file] for CSV.
fn read_table(
    file: usize,
    source: &Source,
    input: Box<dyn BufRead>,
    blocks: &SyncSender<Block>,
) -> Result<usize, String> {
    let rule = source.rule.clone().ok_or("CSV needs --mapping FILE or --openmrs")?;
    let mut reader = table::reader(input, rule.delimiter());
    let columns = table::columns(reader.byte_headers().map_err(|e| e.to_string())?, rule.is_latin_1())?;
    let missing = rule.missing_columns(&columns);
    if !missing.is_empty() {
        let mut there: Vec<&str> = columns.keys().map(String::as_str).collect();
        there.sort_unstable();
        return Err(format!("columns missing: {}; there are {}", missing.join(", "), there.join(", ")));
    }
    let header = Arc::new(Header { rule, columns });
    let (mut sent, mut rows) = (0, Vec::new());
    loop {
        let mut row = csv::ByteRecord::new();
        let more = reader.read_byte_record(&mut row).map_err(|e| e.to_string())?;
        if more {
            rows.push(row);
        }
        if rows.len() == LINES_PER_BLOCK || (!more && !rows.is_empty()) {
            let body = Body::Rows(header.clone(), std::mem::take(&mut rows));
            blocks.send(Block { file, body }).map_err(|_| "the import was stopped".to_owned())?;
            sent += 1;
        }
        if !more {
            return Ok(sent);
        }
    }
}

struct Worker {
    record: Record,
    rules: Arc<access::sensitivity::Rules>,
    ctx: Ctx,
    runtime: tokio::runtime::Handle,
    messages: mpsc::Sender<Message>,
}

impl Worker {
    fn run(&self, queue: &Mutex<Receiver<Block>>) {
        loop {
            let Ok(block) = queue.lock().map_err(|_| ()).and_then(|q| q.recv().map_err(|_| ())) else {
                return;
            };
            let mut ready =
                Ready { file: block.file, puts: Vec::new(), refusals: Vec::new(), bytes: 0, rows: (0, 0) };
            match block.body {
                Body::Document(bytes) => self.document(&bytes, &mut ready),
                Body::Rows(header, rows) => rows.iter().for_each(|row| self.row(&header, row, &mut ready)),
                Body::Lines(first, lines) => {
                    for (n, line) in lines.iter().enumerate() {
                        ready.bytes += line.len() as u64;
                        if line.iter().all(u8::is_ascii_whitespace) {
                            continue;
                        }
                        match Resource::parse(line) {
                            Ok(resource) => self.single(first + n, resource, line, &mut ready),
                            Err(outcome) => {
                                ready.refusals.push((first + n, String::new(), outcome.to_string()));
                            }
                        }
                    }
                }
            }
            if self.messages.blocking_send(Message::Ready(ready)).is_err() {
                return;
            }
        }
    }

    fn row(&self, header: &Header, row: &csv::ByteRecord, ready: &mut Ready) {
        let line = row.position().map_or(0, |p| usize::try_from(p.line()).unwrap_or(usize::MAX));
        ready.bytes += row.as_slice().len() as u64;
        let resources = table::text(row, header.rule.is_latin_1())
            .and_then(|values| header.rule.resources(&Row::new(&header.columns, &values)));
        match resources {
            Err(reason) => ready.refusals.push((line, String::new(), reason)),
            Ok(resources) => {
                ready.rows.0 += 1;
                ready.rows.1 += usize::from(resources.is_empty());
                for resource in resources {
                    self.take(line, resource, &HashMap::new(), ready);
                }
            }
        }
    }

    fn document(&self, bytes: &[u8], ready: &mut Ready) {
        ready.bytes = bytes.len() as u64;
        let resource = match Resource::parse(bytes) {
            Ok(resource) => resource,
            Err(outcome) => {
                ready.refusals.push((0, String::new(), outcome.to_string()));
                return;
            }
        };
        if resource.kind().name() != "Bundle" {
            self.single(0, resource, bytes, ready);
            return;
        }
        let Value::Object(mut bundle) = resource.into_value() else { return };
        let entries = match bundle.remove("entry") {
            Some(Value::Array(entries)) => entries,
            _ => return,
        };
        let mut digest = None;
        // Two passes: an entry may refer to one behind it.
        let mut links: HashMap<String, ResourceKey> = HashMap::new();
        let mut resources = Vec::with_capacity(entries.len());
        for (n, mut entry) in entries.into_iter().enumerate() {
            let full_url = entry.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
            let method = entry.get("request").and_then(|r| r.get("method")).and_then(Value::as_str);
            if let Some(other) = method.filter(|m| !matches!(*m, "POST" | "PUT")) {
                ready.refusals.push((
                    n,
                    full_url.unwrap_or_default(),
                    format!("method {other} is not imported"),
                ));
                continue;
            }
            let Some(value) = entry.get_mut("resource").map(Value::take) else {
                ready.refusals.push((
                    n,
                    full_url.unwrap_or_default(),
                    "the entry has no resource".to_owned(),
                ));
                continue;
            };
            match Resource::from_value(value) {
                Err(outcome) => ready.refusals.push((n, full_url.unwrap_or_default(), outcome.to_string())),
                Ok(mut resource) => {
                    let key = identify(&mut resource, full_url.as_deref(), bytes, &mut digest, n);
                    if let Some(url) = full_url {
                        links.insert(url, key);
                    }
                    resources.push((n, resource));
                }
            }
        }
        for (n, resource) in resources {
            self.take(n, resource, &links, ready);
        }
    }

    fn single(&self, entry: usize, mut resource: Resource, bytes: &[u8], ready: &mut Ready) {
        identify(&mut resource, None, bytes, &mut None, entry);
        self.take(entry, resource, &HashMap::new(), ready);
    }

    fn take(
        &self,
        entry: usize,
        mut resource: Resource,
        links: &HashMap<String, ResourceKey>,
        ready: &mut Ready,
    ) {
        let what = resource.key().map(|k| k.to_string()).unwrap_or_default();
        crate::subscription::at_rest(&mut resource);
        match self.resolve(&mut resource, links) {
            Ok(()) => {}
            Err(reason) => {
                ready.refusals.push((entry, what, reason));
                return;
            }
        }
        match prepare_put(
            (&self.record.params(), self.record.base(), &self.rules),
            resource,
            true,
            None,
            "",
            self.record.now(),
            false,
        ) {
            Ok(put) => ready.puts.push((entry, put)),
            Err(outcome) => ready.refusals.push((entry, what, outcome.to_string())),
        }
    }

    fn resolve(&self, resource: &mut Resource, links: &HashMap<String, ResourceKey>) -> Result<(), String> {
        let mut conditional: HashMap<String, ResourceKey> = HashMap::new();
        for (expression, reference) in fhir::search::references(resource) {
            match reference {
                Reference::Urn(urn) if !links.contains_key(&urn) => {
                    return Err(format!("{expression}: no entry of the bundle has {urn} as its fullUrl"));
                }
                Reference::Conditional { kind, query } => {
                    let key = self.conditional(kind, &query).map_err(|why| format!("{expression}: {why}"))?;
                    conditional.insert(format!("{}?{query}", kind.name()), key);
                }
                _ => {}
            }
        }
        if !links.is_empty() || !conditional.is_empty() {
            fhir::search::rewrite_references(resource, &mut |text| {
                links.get(text).or_else(|| conditional.get(text)).map(ResourceKey::to_string)
            });
        }
        Ok(())
    }

    fn conditional(&self, kind: TypeId, query: &str) -> Result<ResourceKey, String> {
        let pairs = crate::bundle::query_pairs(query);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let system = Ctx::system("import", self.ctx.now);
        let found = self
            .runtime
            .block_on(self.record.find(&system, kind.name(), &pairs, 2))
            .map_err(|e: Error| e.to_string())?;
        match found.as_slice() {
            [(one, _)] => one.key().ok_or_else(|| "stored without id".to_owned()),
            [] => Err(format!("{}?{query} matches nothing", kind.name())),
            _ => Err(format!("{}?{query} matches more than one resource", kind.name())),
        }
    }
}

/// The resource's own id, else that of its `fullUrl`, else one made from the content, so that a second import of the
/// same file finds it again. `digest` is that of `bytes`, once it was needed.
fn identify(
    resource: &mut Resource,
    full_url: Option<&str>,
    bytes: &[u8],
    digest: &mut Option<[u8; 32]>,
    entry: usize,
) -> ResourceKey {
    let id = match resource.id().filter(|id| fhir::resource::valid_id(id)) {
        Some(id) => id.to_owned(),
        None => {
            match full_url.and_then(|u| u.strip_prefix("urn:uuid:")).and_then(|u| Uuid::try_parse(u).ok()) {
                Some(uuid) => uuid.to_string(),
                None => {
                    let digest = digest.get_or_insert_with(|| Sha256::digest(bytes).into());
                    let mut hasher = Sha256::new();
                    hasher.update(*digest);
                    hasher.update(entry.to_le_bytes());
                    let mut half = [0u8; 16];
                    half.copy_from_slice(&hasher.finalize()[..16]);
                    uuid::Builder::from_custom_bytes(half).into_uuid().to_string()
                }
            }
        }
    };
    resource.set_id(&id);
    ResourceKey::new(resource.kind(), id)
}
