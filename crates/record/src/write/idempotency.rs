//! A repeated request gets the result of the first.

use super::Request;
use crate::{Committed, Error, Record, Rule, Written};
use access::{Ctx, Principal};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use store::{Tx, idempotency, resource};

/// Stored with a reply; the HTTP layer makes its own status from it.
const REPLY_STATUS: u16 = 200;

impl Record {
    /// The result of an earlier command of this name with the idempotency key of `ctx`, if there was one: ask before
    /// planning, as the repeat would meet what the first already did. Errors: `Duplicate` `idempotency-key-reused`.
    pub async fn replayed(&self, ctx: &Ctx, command: &'static str) -> Result<Option<Committed>, Error> {
        let request = Request { command: Some(command), ..Request::default() };
        let Some(idempotency) = Idempotency::of(ctx, &request) else { return Ok(None) };
        let now = self.now();
        // The store can only claim a key; a claim that finds nothing is rolled back.
        let found = self
            .writing(move |tx| match idempotency.begin(tx, now)? {
                Some(committed) => Ok(committed),
                None => Err(Error::NotFound),
            })
            .await;
        match found {
            Ok(committed) => Ok(Some(committed)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The idempotency key of a request: whose, which, and what it was used for.
pub(super) struct Idempotency {
    principal: String,
    key: String,
    hash: [u8; 32],
}

impl Idempotency {
    /// `Ctx::idempotency_key` is the client's key, and behind a line feed the fingerprint of its request (method, path
    /// and body), if the caller made one. Without a fingerprint a raw write is told apart by its content; a command
    /// is not, because planning it again gives other ids.
    /// One HTTP request may run several commands: each has its own reply under the key.
    pub fn of(ctx: &Ctx, request: &Request) -> Option<Idempotency> {
        let text = ctx.idempotency_key.as_deref()?;
        if matches!(ctx.principal, Principal::Anonymous) {
            return None;
        }
        let (key, fingerprint) = match text.split_once('\n') {
            Some((key, fingerprint)) => (key, Some(fingerprint)),
            None => (text, None),
        };
        let mut hasher = Sha256::new();
        match fingerprint {
            Some(fingerprint) => hasher.update(fingerprint),
            None if request.command.is_none() => {
                for change in &request.changes {
                    hash_change(&mut hasher, change);
                }
            }
            None => {}
        }
        let key = match request.command {
            Some(command) => format!("{key}\n{command}"),
            None => key.to_owned(),
        };
        Some(Idempotency { principal: ctx.principal.agent(), key, hash: hasher.finalize().into() })
    }

    pub fn begin(&self, tx: &mut dyn Tx, now: Timestamp) -> Result<Option<Committed>, Error> {
        match idempotency::begin(tx, &self.principal, &self.key, &self.hash, now)? {
            idempotency::Begin::New => Ok(None),
            idempotency::Begin::Mismatch => Err(Error::Duplicate(Rule::new(
                "idempotency-key-reused",
                "This Idempotency-Key was used for another request; use a new one.",
            ))),
            idempotency::Begin::Replay { body, .. } => replay(tx, &body).map(Some),
        }
    }

    pub fn finish(&self, tx: &mut dyn Tx, committed: &Committed) -> Result<(), Error> {
        let written: Vec<Value> = committed
            .written
            .iter()
            .map(|w| {
                json!({"key": w.key.to_string(), "version": w.version, "seq": w.seq,
                    "last_updated": w.last_updated.to_string(), "created": w.created, "unchanged": w.unchanged,
                    "deleted": w.resource.is_none()})
            })
            .collect();
        let body = Value::Array(written).to_string();
        Ok(idempotency::finish(tx, &self.principal, &self.key, REPLY_STATUS, body.as_bytes())?)
    }
}

/// The committed result of a stored reply, with the versions as they were then.
fn replay(tx: &mut dyn Tx, body: &[u8]) -> Result<Committed, Error> {
    let corrupt = || Error::Internal("stored reply cannot be read".into());
    let stored: Value = serde_json::from_slice(body).map_err(|_| corrupt())?;
    let mut written = Vec::new();
    for item in stored.as_array().ok_or_else(corrupt)? {
        let key = item["key"].as_str().and_then(ResourceKey::parse).ok_or_else(corrupt)?;
        let version = item["version"].as_u64().and_then(|v| u32::try_from(v).ok()).ok_or_else(corrupt)?;
        let resource = if item["deleted"] == true {
            None
        } else {
            let found = resource::read_version(tx, &key, version)?.ok_or_else(corrupt)?;
            Some(Arc::new(Resource::parse(&found.content).map_err(|_| corrupt())?))
        };
        written.push(Written {
            key,
            version,
            seq: item["seq"].as_i64().ok_or_else(corrupt)?,
            last_updated: item["last_updated"].as_str().and_then(|t| t.parse().ok()).ok_or_else(corrupt)?,
            created: item["created"] == true,
            unchanged: item["unchanged"] == true,
            resource,
        });
    }
    Ok(Committed { replayed: true, written })
}

fn hash_change(hasher: &mut Sha256, change: &crate::Change) {
    match change {
        crate::Change::Create { resource } => hasher.update(format!("create {}\n", resource.to_json())),
        crate::Change::Update { resource, if_match } => {
            hasher.update(format!("update {if_match:?} {}\n", resource.to_json()));
        }
        crate::Change::Keep { key } => hasher.update(format!("keep {key}\n")),
        crate::Change::Patch { key, patch, if_match } => {
            hasher.update(format!("patch {if_match:?} {key} {patch:?}\n"));
        }
        crate::Change::Conditional(conditional) => hasher.update(format!("conditional {conditional:?}\n")),
        crate::Change::Delete { key, if_match } => hasher.update(format!("delete {if_match:?} {key}\n")),
    }
}
