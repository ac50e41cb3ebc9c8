//! Batch and transaction bundles.

mod batch;
mod entry;
mod reference;
mod transaction;

use crate::{Error, Record, Written};
use access::Ctx;
use fhir::{IssueCode, Outcome, Resource, TypeId};
use serde_json::{Map, Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) use entry::{query_pairs, query_text};

/// Most entries one bundle may have.
pub const MAX_ENTRIES: usize = 10_000;

/// An entry that is no write of a resource: a read, a search, an operation.
#[derive(Debug, Clone)]
pub struct Call {
    /// `GET`, `HEAD` or `POST`.
    pub method: &'static str,
    /// Below the FHIR base, without a leading slash, e.g. `Patient/1` or `Observation?code=x`.
    pub url: String,
    /// Header names in lower case, and their values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub resource: Option<Resource>,
}

/// What a [Call] came to.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    /// The resource of a success, the OperationOutcome of a failure.
    pub resource: Option<Value>,
    pub etag: Option<String>,
    /// RFC 3339.
    pub last_modified: Option<String>,
    pub location: Option<String>,
}

/// Answers the entries that are no writes: the server does, by its own routes.
pub trait Dispatch: Send + Sync {
    fn call(&self, ctx: Ctx, call: Call) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>>;
}

/// What the entries of writes bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    Nothing,
    Resource,
    Outcome,
}

/// How a bundle is run.
#[derive(Clone)]
pub struct Options {
    /// The server's own FHIR base, e.g. `https://clinic.example/fhir/R4`.
    pub base: String,
    pub echo: Echo,
    /// Most resources that one conditional delete may remove.
    pub conditional_delete_most: u32,
    pub dispatch: Arc<dyn Dispatch>,
}

impl Record {
    /// Runs a `batch` or `transaction` Bundle and returns the response Bundle.
    ///
    /// A transaction is written as a whole or not at all; its GETs see what it wrote and answer for themselves. A batch
    /// answers each entry by itself and fails only as a whole when the Bundle itself is wrong.
    ///
    /// Errors: of the first bad entries, with `Bundle.entry[n]…` expressions.
    pub async fn bundle(&self, ctx: &Ctx, bundle: Resource, options: &Options) -> Result<Resource, Error> {
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
                format!("At most {MAX_ENTRIES} entries; this has {}. Split the bundle.", entries.len()),
            )));
        }
        let mut options = options.clone();
        options.base.truncate(options.base.trim_end_matches('/').len());
        if transaction {
            self.transaction(ctx, entries, &options).await
        } else {
            self.batch(ctx, entries, &options).await
        }
    }
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

fn malformed(expression: impl Into<String>, text: impl Into<String>) -> Error {
    Error::Malformed(Outcome::one(IssueCode::Structure, expression, text))
}

fn written_answer(is_delete: bool, written: &Written, options: &Options) -> Value {
    if is_delete && written.version == 0 {
        return absent_answer();
    }
    let status = match is_delete {
        true => "204 No Content",
        false if written.created => "201 Created",
        false => "200 OK",
    };
    let mut response = Map::new();
    response.insert("status".into(), json!(status));
    if !is_delete {
        let location = format!("{}/{}/_history/{}", options.base, written.key, written.version);
        response.insert("location".into(), json!(location));
    }
    response.insert("etag".into(), json!(format!("W/\"{}\"", written.version)));
    response.insert("lastModified".into(), json!(format!("{:.3}", written.last_updated)));
    let mut entry = json!({});
    if !is_delete {
        entry["fullUrl"] = json!(format!("{}/{}", options.base, written.key));
    }
    match (options.echo, &written.resource) {
        (Echo::Resource, Some(resource)) => entry["resource"] = resource.value().clone(),
        (Echo::Outcome, _) => {
            let done = fhir::Issue {
                severity: fhir::Severity::Information,
                code: IssueCode::Informational,
                text: if written.unchanged { "Nothing to change." } else { "Stored." }.into(),
                expression: String::new(),
            };
            response.insert("outcome".into(), Outcome { issues: vec![done] }.to_json());
        }
        (Echo::Nothing | Echo::Resource, _) => {}
    }
    entry["response"] = Value::Object(response);
    entry
}

/// A delete of what is not there is done.
fn absent_answer() -> Value {
    json!({"response": {"status": "204 No Content"}})
}

fn reply_answer(reply: Reply, call_url: &str, number: usize, base: &str) -> Value {
    let mut response = Map::new();
    response.insert("status".into(), json!(status_line(reply.status)));
    for (name, value) in
        [("location", reply.location), ("etag", reply.etag), ("lastModified", reply.last_modified)]
    {
        if let Some(value) = value {
            response.insert(name.into(), json!(value));
        }
    }
    let mut entry = json!({});
    match reply.resource {
        Some(mut outcome) if reply.status >= 400 => {
            // Places in the entry's own request are places in this bundle.
            for issue in outcome.get_mut("issue").and_then(Value::as_array_mut).into_iter().flatten() {
                if issue.get("expression").is_none() {
                    issue["expression"] = json!([place(number, "request.url")]);
                }
            }
            response.insert("outcome".into(), outcome);
        }
        Some(resource) => {
            if resource.get("id").is_some() && !call_url.contains(['?', '$']) {
                let url = call_url.split("/_history").next().unwrap_or_default();
                entry["fullUrl"] = json!(format!("{base}/{url}"));
            }
            entry["resource"] = resource;
        }
        None => {}
    }
    entry["response"] = Value::Object(response);
    entry
}

/// `404 Not Found`
fn status_line(status: u16) -> String {
    let reason = match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    };
    format!("{status} {reason}").trim_end().to_owned()
}

fn error_answer(error: &Error, number: usize) -> Value {
    let mut outcome = error.to_outcome();
    for issue in outcome.issues.iter_mut().filter(|issue| issue.expression.is_empty()) {
        issue.expression = place(number, "");
    }
    json!({"response": {"status": error.http_status_line(), "outcome": outcome.to_json()}})
}

fn response(kind: &str, entries: Vec<Value>) -> Result<Resource, Error> {
    let mut value = json!({"resourceType": "Bundle", "type": kind});
    if !entries.is_empty() {
        value["entry"] = Value::Array(entries);
    }
    Resource::from_value(value).map_err(|o| Error::Internal(o.to_string()))
}
