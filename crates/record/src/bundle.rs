//! Batch and transaction bundles.

use crate::write::Request;
use crate::{Change, ChangeSet, Error, Record, Written};
use access::Ctx;
use fhir::search::Handling;
use fhir::{IssueCode, Outcome, Reference, Resource, ResourceKey, TypeId};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Most entries one bundle may have.
pub const MAX_ENTRIES: usize = 10_000;
/// Batch entries at work at once: enough for group commit, few enough to leave room for others.
const BATCH_WIDTH: usize = 16;

impl Record {
    /// Runs a `batch` or `transaction` Bundle and returns the response Bundle. `base_url` is the server's own FHIR
    /// base without a trailing slash, e.g. `https://clinic.example/fhir/R4`.
    /// Errors: a transaction fails as a whole with the error of its first bad entry (issues carry
    /// `Bundle.entry[n]…` expressions); a batch answers each entry by itself and fails only as a whole when the
    /// Bundle itself is wrong.
    pub async fn bundle(&self, ctx: &Ctx, bundle: Resource, base_url: &str) -> Result<Resource, Error> {
        if bundle.kind() != kind("Bundle") {
            return Err(malformed("", "Send a Bundle of type `batch` or `transaction`."));
        }
        let transaction = match bundle.text("type") {
            Some("transaction") => true,
            Some("batch") => false,
            _ => return Err(malformed("Bundle.type", "`Bundle.type` must be `batch` or `transaction`.")),
        };
        let mut value = bundle.into_value();
        let entries = match value.get_mut("entry").map(Value::take) {
            Some(Value::Array(entries)) => entries,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(malformed("Bundle.entry", "`entry` must be a list.")),
        };
        if entries.len() > MAX_ENTRIES {
            return Err(Error::Malformed(Outcome::one(
                IssueCode::TooCostly,
                "Bundle.entry",
                format!("At most {MAX_ENTRIES} entries; split the bundle."),
            )));
        }
        let base = base_url.trim_end_matches('/');
        if transaction {
            self.transaction(ctx, entries, base).await
        } else {
            self.batch(ctx, entries, base).await
        }
    }

    async fn transaction(&self, ctx: &Ctx, entries: Vec<Value>, base: &str) -> Result<Resource, Error> {
        let mut parsed = Vec::with_capacity(entries.len());
        let mut problems = Outcome::default();
        for (n, entry) in entries.into_iter().enumerate() {
            match Entry::parse(entry, n, base) {
                Ok(entry) => parsed.push(entry),
                Err(outcome) => problems.issues.extend(outcome.issues),
            }
        }
        if !problems.issues.is_empty() {
            return Err(Error::Malformed(problems));
        }
        let links = links(&parsed)?;
        self.resolve(ctx, &mut parsed, &links, base).await?;

        // FHIR R4 §3.1.0.11.2: DELETE, POST, PUT, then GET, whatever the order of the entries.
        let mut request = Request::raw(ChangeSet::default());
        let mut order = Vec::new();
        for phase in [Verb::Delete, Verb::Post, Verb::Put] {
            for (n, entry) in parsed.iter_mut().enumerate().filter(|(_, e)| e.verb == phase) {
                request.push(entry.change()?, format!("Bundle.entry[{n}].resource"));
                order.push(n);
            }
        }
        let mut answers: Vec<Option<Value>> = vec![None; parsed.len()];
        if !order.is_empty() {
            let committed = self.commit(ctx, request).await?;
            for (n, written) in order.into_iter().zip(&committed.written) {
                answers[n] = Some(written_answer(parsed[n].verb, written, base));
            }
        }
        for (n, entry) in parsed.iter().enumerate().filter(|(_, e)| e.verb == Verb::Get) {
            answers[n] = Some(self.get(ctx, entry, base).await?);
        }
        response("transaction-response", answers.into_iter().flatten().collect())
    }

    async fn batch(&self, ctx: &Ctx, entries: Vec<Value>, base: &str) -> Result<Resource, Error> {
        let mut answers: Vec<Value> = vec![Value::Null; entries.len()];
        let mut by_phase: [Vec<Entry>; 4] = Default::default();
        for (n, entry) in entries.into_iter().enumerate() {
            match Entry::parse(entry, n, base) {
                Ok(entry) => by_phase[entry.verb as usize].push(entry),
                Err(outcome) => answers[n] = error_answer(&Error::Malformed(outcome)),
            }
        }
        for phase in by_phase {
            let mut waiting = phase.into_iter();
            let mut running = tokio::task::JoinSet::new();
            loop {
                while running.len() < BATCH_WIDTH
                    && let Some(entry) = waiting.next()
                {
                    let (record, ctx, base) = (self.clone(), ctx.clone(), base.to_owned());
                    running
                        .spawn(async move { (entry.number, record.batch_entry(&ctx, entry, &base).await) });
                }
                match running.join_next().await {
                    Some(Ok((n, answer))) => answers[n] = answer,
                    Some(Err(error)) => return Err(Error::Internal(format!("batch entry: {error}"))),
                    None => break,
                }
            }
        }
        response("batch-response", answers)
    }

    async fn batch_entry(&self, ctx: &Ctx, mut entry: Entry, base: &str) -> Value {
        // One key for the whole bundle must not make its second entry a replay of the first.
        let mut ctx = ctx.clone();
        ctx.idempotency_key = ctx.idempotency_key.map(|text| match text.split_once('\n') {
            Some((key, fingerprint)) => format!("{key}#{}\n{fingerprint}", entry.number),
            None => format!("{text}#{}", entry.number),
        });
        let done = async {
            if entry.verb == Verb::Get {
                return self.get(&ctx, &entry, base).await;
            }
            // Entries of a batch stand alone: only the entry's own fullUrl can be meant by a urn.
            let own = links(std::slice::from_ref(&entry))?;
            self.resolve(&ctx, std::slice::from_mut(&mut entry), &own, base).await?;
            let mut request = Request::raw(ChangeSet::default());
            request.push(entry.change()?, format!("Bundle.entry[{}].resource", entry.number));
            let committed = self.commit(&ctx, request).await?;
            committed
                .written
                .first()
                .map(|w| written_answer(entry.verb, w, base))
                .ok_or_else(|| Error::Internal("nothing written".into()))
        };
        done.await.unwrap_or_else(|error: Error| error_answer(&error))
    }

    /// Rewrites links between entries, references under our own base and conditional references.
    async fn resolve(
        &self,
        ctx: &Ctx,
        entries: &mut [Entry],
        links: &HashMap<String, ResourceKey>,
        base: &str,
    ) -> Result<(), Error> {
        let mut conditional: HashMap<String, ResourceKey> = HashMap::new();
        let mut problems = Outcome::default();
        for entry in entries.iter() {
            let Some(resource) = &entry.resource else { continue };
            for (expression, reference) in fhir::search::references(resource) {
                let place = crate::write::at(&place(entry.number, "resource"), &expression);
                match reference {
                    Reference::Urn(urn) if !links.contains_key(&urn) => {
                        problems.issues.push(fhir::Issue::error(
                            IssueCode::NotFound,
                            place,
                            "No entry of this bundle has this reference as its `fullUrl`.",
                        ))
                    }
                    Reference::Conditional { kind, query } => {
                        let text = format!("{}?{query}", kind.name());
                        if conditional.contains_key(&text) {
                            continue;
                        }
                        match self.conditional(ctx, kind, &query).await? {
                            Ok(key) => {
                                conditional.insert(text, key);
                            }
                            Err(why) => {
                                problems.issues.push(fhir::Issue::error(IssueCode::NotFound, place, why));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        if !problems.issues.is_empty() {
            return Err(Error::Invalid(problems));
        }
        for entry in entries {
            let Some(resource) = &mut entry.resource else { continue };
            fhir::search::rewrite_references(resource, &mut |text| {
                if let Some(key) = links.get(text).or_else(|| conditional.get(text)) {
                    return Some(key.to_string());
                }
                text.strip_prefix(base)?.strip_prefix('/').map(str::to_owned)
            });
        }
        Ok(())
    }

    /// The one resource a conditional reference means, or why there is none.
    async fn conditional(
        &self,
        ctx: &Ctx,
        kind: TypeId,
        query: &str,
    ) -> Result<Result<ResourceKey, String>, Error> {
        let pairs = query_pairs(query);
        let (mut query, _) = fhir::search::parse(&self.params(), kind, &pairs, Handling::Strict).map_err(Error::Malformed)?;
        query.count = 2;
        let page = self.search(ctx, query).await?;
        Ok(match page.items.as_slice() {
            [one] => Ok(one.key.clone()),
            [] => Err("This conditional reference matches nothing.".to_owned()),
            _ => Err("This conditional reference matches more than one resource.".to_owned()),
        })
    }

    async fn get(&self, ctx: &Ctx, entry: &Entry, base: &str) -> Result<Value, Error> {
        match &entry.target {
            Target::Instance(key) => {
                let stored = self.read(ctx, key).await?;
                let resource = stored.parse()?.into_value();
                Ok(json!({"fullUrl": format!("{base}/{key}"), "resource": resource, "response": {
                    "status": "200 OK", "etag": etag(stored.version), "lastModified": instant(stored.last_updated)}}))
            }
            Target::Version(key, version) => {
                let stored = self.vread(ctx, key, *version).await?;
                let resource = stored.parse()?.into_value();
                Ok(json!({"fullUrl": format!("{base}/{key}"), "resource": resource, "response": {
                    "status": "200 OK", "etag": etag(stored.version), "lastModified": instant(stored.last_updated)}}))
            }
            Target::Search(kind, pairs) => {
                let (query, _) =
                    fhir::search::parse(&self.params(), *kind, pairs, Handling::Lenient).map_err(Error::Malformed)?;
                let page = self.search(ctx, query).await?;
                let mut found = Vec::with_capacity(page.items.len());
                for item in &page.items {
                    found.push(json!({"fullUrl": format!("{base}/{}", item.key), "resource": item.parse()?.into_value(),
                        "search": {"mode": "match"}}));
                }
                let mut set = json!({"resourceType": "Bundle", "type": "searchset"});
                if let Some(total) = page.total {
                    set["total"] = json!(total);
                }
                if !found.is_empty() {
                    set["entry"] = Value::Array(found);
                }
                Ok(json!({"resource": set, "response": {"status": "200 OK"}}))
            }
            Target::Type(kind) => Err(malformed(
                place(entry.number, "request.url"),
                format!("Write `{}?…` to search or `{}/id` to read.", kind.name(), kind.name()),
            )),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Delete = 0,
    Post = 1,
    Put = 2,
    Get = 3,
}

#[derive(Debug, Clone)]
enum Target {
    Type(TypeId),
    Instance(ResourceKey),
    Version(ResourceKey, u32),
    Search(TypeId, Vec<(String, String)>),
}

struct Entry {
    number: usize,
    full_url: Option<String>,
    verb: Verb,
    target: Target,
    /// Where the resource will live; `None` for GET.
    key: Option<ResourceKey>,
    resource: Option<Resource>,
    if_match: Option<u32>,
}

impl Entry {
    fn parse(mut value: Value, number: usize, base: &str) -> Result<Entry, Outcome> {
        let wrong =
            |element: &str, text: String| Outcome::one(IssueCode::Structure, place(number, element), text);
        let request = value.get("request").and_then(Value::as_object).cloned().unwrap_or_default();
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let verb = match text("method") {
            Some("GET") => Verb::Get,
            Some("POST") => Verb::Post,
            Some("PUT") => Verb::Put,
            Some("DELETE") => Verb::Delete,
            Some(other) => {
                return Err(Outcome::one(
                    IssueCode::NotSupported,
                    place(number, "request.method"),
                    format!("`{}` is not supported in bundles.", other.chars().take(10).collect::<String>()),
                ));
            }
            None => return Err(wrong("request.method", "Each entry needs `request.method`.".into())),
        };
        for unsupported in ["ifNoneExist", "ifNoneMatch", "ifModifiedSince"] {
            if request.contains_key(unsupported) {
                return Err(Outcome::one(
                    IssueCode::NotSupported,
                    place(number, &format!("request.{unsupported}")),
                    format!("`{unsupported}` is not supported."),
                ));
            }
        }
        let url =
            text("url").ok_or_else(|| wrong("request.url", "Each entry needs `request.url`.".into()))?;
        let target = Target::parse(url, base).ok_or_else(|| {
            wrong("request.url", "`request.url` must be `Type`, `Type/id` or `Type?query`.".into())
        })?;
        let if_match = match text("ifMatch") {
            None => None,
            Some(tag) => Some(
                tag.trim_start_matches("W/")
                    .trim_matches('"')
                    .parse()
                    .map_err(|_| wrong("request.ifMatch", "Write `ifMatch` as `W/\"3\"`.".into()))?,
            ),
        };
        let full_url = value.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
        let resource = match value.get_mut("resource").map(Value::take) {
            None | Some(Value::Null) => None,
            Some(resource) => Some(Resource::from_value(resource).map_err(|o| at_entry(o, number))?),
        };
        let mut entry = Entry { number, full_url, verb, target, key: None, resource, if_match };
        entry.settle()?;
        Ok(entry)
    }

    /// Checks that method, url and resource fit, and gives the resource its id.
    fn settle(&mut self) -> Result<(), Outcome> {
        let number = self.number;
        let wrong =
            |element: &str, text: &str| Outcome::one(IssueCode::Structure, place(number, element), text);
        match (self.verb, &self.target, &mut self.resource) {
            (Verb::Get, _, _) => {}
            (Verb::Post, Target::Type(kind), Some(resource)) => {
                if resource.kind() != *kind {
                    return Err(wrong("request.url", "The resource is of another type than the url."));
                }
                // http://hl7.org/fhir/R4/http.html#create: an id that came along is ignored, and a fullUrl only links.
                let id = Uuid::now_v7().to_string();
                resource.set_id(&id);
                self.key = Some(ResourceKey::new(*kind, id));
            }
            (Verb::Put, Target::Instance(key), Some(resource)) => {
                if resource.kind() != key.kind {
                    return Err(wrong("request.url", "The resource is of another type than the url."));
                }
                if resource.id().is_some_and(|id| id != key.id) {
                    return Err(wrong(
                        "resource.id",
                        "The id in the resource differs from the one in the url.",
                    ));
                }
                resource.set_id(&key.id);
                self.key = Some(key.clone());
            }
            (Verb::Delete, Target::Instance(key), _) => {
                self.key = Some(key.clone());
                self.resource = None;
            }
            (Verb::Post | Verb::Put, _, None) => {
                return Err(wrong("resource", "This entry needs a resource."));
            }
            (Verb::Put | Verb::Delete, Target::Search(..), _) => {
                return Err(Outcome::one(
                    IssueCode::NotSupported,
                    place(number, "request.url"),
                    "Conditional update and delete are not supported; name the id.",
                ));
            }
            (Verb::Post, ..) => return Err(wrong("request.url", "POST takes `Type` as its url.")),
            (Verb::Put | Verb::Delete, ..) => {
                return Err(wrong("request.url", "PUT and DELETE take `Type/id` as their url."));
            }
        }
        Ok(())
    }

    fn change(&mut self) -> Result<Change, Error> {
        let gone = || Error::Internal("bundle entry used twice".into());
        Ok(match self.verb {
            Verb::Delete => {
                Change::Delete { key: self.key.clone().ok_or_else(gone)?, if_match: self.if_match }
            }
            Verb::Post => Change::Create { resource: self.resource.take().ok_or_else(gone)? },
            Verb::Put => {
                Change::Update { resource: self.resource.take().ok_or_else(gone)?, if_match: self.if_match }
            }
            Verb::Get => return Err(gone()),
        })
    }
}

impl Target {
    fn parse(url: &str, base: &str) -> Option<Target> {
        let url = url.strip_prefix(base).unwrap_or(url).trim_start_matches('/');
        if let Some((name, query)) = url.split_once('?') {
            return Some(Target::Search(TypeId::from_name(name)?, query_pairs(query)));
        }
        if let Some((instance, version)) = url.split_once("/_history/") {
            return Some(Target::Version(ResourceKey::parse(instance)?, version.parse().ok()?));
        }
        match url.split_once('/') {
            None => TypeId::from_name(url).map(Target::Type),
            Some(_) => ResourceKey::parse(url).map(Target::Instance),
        }
    }
}

/// `fullUrl` → where the entry will live. Errors: the same `fullUrl` or the same resource twice.
fn links(entries: &[Entry]) -> Result<HashMap<String, ResourceKey>, Error> {
    let mut links = HashMap::with_capacity(entries.len());
    let mut touched = HashSet::with_capacity(entries.len());
    let mut problems = Outcome::default();
    for entry in entries {
        let Some(key) = &entry.key else { continue };
        if !touched.insert(key.clone()) {
            problems.issues.push(fhir::Issue::error(
                IssueCode::Duplicate,
                place(entry.number, "request.url"),
                "Another entry of this bundle already changes this resource.",
            ));
        }
        if let Some(full_url) = &entry.full_url
            && links.insert(full_url.clone(), key.clone()).is_some()
        {
            problems.issues.push(fhir::Issue::error(
                IssueCode::Duplicate,
                place(entry.number, "fullUrl"),
                "Another entry of this bundle has the same `fullUrl`.",
            ));
        }
    }
    if problems.issues.is_empty() { Ok(links) } else { Err(Error::Malformed(problems)) }
}

/// `a=b&c=d`, percent-decoded.
pub(crate) fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| (b as char).to_digit(16);
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                bytes.push((hex(*a).unwrap_or(0) * 16 + hex(*b).unwrap_or(0)) as u8);
                rest = after;
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap_or(TypeId(u16::MAX))
}

fn place(number: usize, element: &str) -> String {
    if element.is_empty() {
        format!("Bundle.entry[{number}]")
    } else {
        format!("Bundle.entry[{number}].{element}")
    }
}

fn at_entry(mut outcome: Outcome, number: usize) -> Outcome {
    for issue in &mut outcome.issues {
        issue.expression = place(number, &format!("resource.{}", issue.expression));
        issue.expression.truncate(issue.expression.trim_end_matches('.').len());
    }
    outcome
}

fn malformed(expression: impl Into<String>, text: impl Into<String>) -> Error {
    Error::Malformed(Outcome::one(IssueCode::Structure, expression, text))
}

fn etag(version: u32) -> String {
    format!("W/\"{version}\"")
}

fn instant(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

fn written_answer(verb: Verb, written: &Written, base: &str) -> Value {
    let status = match verb {
        Verb::Delete => "204 No Content",
        _ if written.created => "201 Created",
        _ => "200 OK",
    };
    let mut response = Map::new();
    response.insert("status".into(), json!(status));
    if verb != Verb::Delete {
        response
            .insert("location".into(), json!(format!("{base}/{}/_history/{}", written.key, written.version)));
    }
    response.insert("etag".into(), json!(etag(written.version)));
    response.insert("lastModified".into(), json!(instant(written.last_updated)));
    json!({"response": response})
}

fn error_answer(error: &Error) -> Value {
    json!({"response": {"status": error.http_status_line(), "outcome": error.to_outcome().to_json()}})
}

fn response(kind: &str, entries: Vec<Value>) -> Result<Resource, Error> {
    let mut value = json!({"resourceType": "Bundle", "type": kind});
    if !entries.is_empty() {
        value["entry"] = Value::Array(entries);
    }
    Resource::from_value(value).map_err(|o| Error::Internal(o.to_string()))
}
