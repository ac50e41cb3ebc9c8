//! What becomes of keys: noted in the audit trail, and destroyed with what lies under them.

use crate::write::compartment;
use crate::write::entries::stored_entries;
use crate::{Error, Record};
use access::{Ctx, Principal};
use fhir::{Resource, ResourceKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::audit::Outcome;
use store::resource::{Indexed, Step};
use store::{outbox, setting, shred};

/// One step of erasing or sealing: a few milliseconds of the one writer.
const STEP: Step = Step { resources: 100, bytes: 1024 * 1024 };
/// Where the walk is that seals contents from before there were keys; `true` once it has gone through.
const SEALED: &str = "keys.sealed";
/// When to ask again for what needs all contents sealed.
const SEAL_RETRY_S: u32 = 30;
/// When the tenant key was last rotated.
const ROTATED: &str = "keys.tenant-rotated";
const ROTATE_EVERY: SignedDuration = SignedDuration::from_hours(365 * 24);
const ROTATE_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// Steps of the sealing walk that an erasure does itself.
const MAX_SEAL_STEPS: u32 = 20;
/// Shared resources that are named.
const MAX_SHARED: usize = 1000;

/// What an erasure did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shredded {
    /// The patient and those merged into it; ids.
    pub patients: Vec<String>,
    /// Resources that became deletions.
    pub resources: u64,
    /// Contents of former versions that were removed beside those of the current ones.
    pub versions: u64,
    /// Resources that lie in other patients' compartments as well, and stay; at most 1000.
    pub shared: Vec<ResourceKey>,
    pub keys: u64,
    /// Accounts without name, address and ways to sign in from now on.
    pub accounts: u64,
    pub messages: u64,
}

impl Record {
    /// Notes that the operator changed a key: `rotate`, `finish`, `tenant` or `database`. Errors: `Denied` for anybody but
    /// the program itself.
    pub async fn note_key_change(&self, ctx: &Ctx, what: &str) -> Result<(), Error> {
        let action = "key.change";
        if !matches!(ctx.principal, Principal::System(_)) {
            return Err(self.denied(ctx, action, what).await);
        }
        self.audit_one(ctx, action, Outcome::Success, &format!("key/{what}"), &[]).await
    }

    /// Makes a new tenant key and wraps every patient's key under it; how many. Reads and writes go on and no content is
    /// written anew. Errors: `Denied` for anybody but the program itself; of the key store.
    pub async fn rotate_tenant_key(&self, ctx: &Ctx) -> Result<u64, Error> {
        let action = "key.change";
        if !matches!(ctx.principal, Principal::System(_)) {
            return Err(self.denied(ctx, action, "key/tenant").await);
        }
        let now = self.now();
        self.writing(move |tx| Ok(setting::put(tx, ROTATED, &json!(now.to_string()))?)).await?;
        let store = self.store().clone();
        let rotated = tokio::task::spawn_blocking(move || store.rotate_tenant_key()).await;
        let keys = rotated.map_err(|error| Error::Internal(error.to_string()))??;
        self.note_key_change(ctx, "tenant").await?;
        Ok(keys)
    }

    /// Rotates the tenant key a day after somebody was erased, so that what a disk may still hold of a destroyed key opens
    /// nothing, and every year. Returns how many keys were wrapped anew, 0 if it is not time. For the worker.
    pub async fn rotate_tenant_key_when_due(&self) -> Result<u64, Error> {
        let now = self.now();
        let is_due = self
            .writing(move |tx| {
                let last = setting::get(tx, ROTATED)?;
                let last =
                    last.as_ref().and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
                let Some(last) = last else {
                    setting::put(tx, ROTATED, &json!(now.to_string()))?;
                    return Ok(false);
                };
                let erased = shred::last_erased(tx)?.filter(|erased| *erased > last);
                let passed = |since: Timestamp, time| now.duration_since(since) >= time;
                Ok(passed(last, ROTATE_EVERY) || erased.is_some_and(|erased| passed(erased, ROTATE_AFTER)))
            })
            .await?;
        if is_due && self.store().has_keys() {
            self.rotate_tenant_key(&Ctx::system("keys", now)).await
        } else {
            Ok(0)
        }
    }

    /// Destroys what is readable of this patient and of the records merged into it: contents of all versions, index rows,
    /// messages, links, the account's name and addresses, at last the keys. Ids, times, audit and ledger stay. In many
    /// transactions; after a stop it is called again and goes on. Who may ask, holds and retention are the caller's.
    /// Errors: `NotReady` while contents from before there were keys are being sealed; `Busy`, also if the keys could not
    /// be destroyed yet: call it again.
    pub(crate) async fn shred_patient(&self, ctx: &Ctx, patient: &str) -> Result<Shredded, Error> {
        let (id, now) = (patient.to_owned(), self.now());
        let patients = self.reading(move |tx| Ok(shred::patients(tx, &id)?)).await?;
        let mut steps = 0;
        while steps < MAX_SEAL_STEPS && self.seal_contents().await? > 0 {
            steps += 1;
        }
        if steps == MAX_SEAL_STEPS {
            return Err(Error::NotReady {
                text: "After an upgrade the record is being sealed under the patients' keys; until then nothing can be \
                       erased. Try again in some minutes.",
                retry_after_s: SEAL_RETRY_S,
            });
        }
        let mut done = Shredded { patients: patients.clone(), ..Shredded::default() };
        let mut after = 0;
        loop {
            let (record, own) = (self.clone(), patients.clone());
            let stepped = self
                .writing(move |tx| {
                    let params = record.params();
                    let stepped = shred::step(tx, &own, after, STEP, now, &mut |stored| {
                        let entries = Resource::parse(&stored.content);
                        let entries = entries.map(|resource| stored_entries(&params, &resource));
                        Indexed { entries: entries.unwrap_or_default(), patients: stored.patients.clone() }
                    })?;
                    for (key, written) in &stepped.erased {
                        let event = outbox::NewEvent {
                            topic: "resource.deleted".into(),
                            subject: key.clone(),
                            patients: own.clone(),
                            data: json!({"version": written.version}),
                            created: now,
                        };
                        outbox::append_at(tx, written.seq, &event)?;
                    }
                    Ok(stepped)
                })
                .await?;
            done.resources += stepped.erased.len() as u64;
            done.versions += stepped.versions;
            let room = MAX_SHARED - done.shared.len();
            done.shared.extend(stepped.shared.into_iter().take(room));
            match stepped.last {
                Some(last) => after = last,
                None => break,
            }
        }
        let own = patients.clone();
        let (rows, keys) =
            self.writing(move |tx| Ok((shred::rows(tx, &own, now)?, shred::finish(tx, &own, now)?))).await?;
        (done.accounts, done.messages, done.keys) = (rows.accounts, rows.messages, keys);
        let own = patients.clone();
        let is_destroyed = self
            .reading(move |tx| {
                for patient in &own {
                    if !shred::is_destroyed(tx, patient)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            })
            .await?;
        if !is_destroyed {
            return Err(Error::Busy);
        }
        self.audit_one(ctx, "patient.shred", Outcome::Success, &format!("Patient/{patient}"), &patients)
            .await?;
        Ok(done)
    }

    /// One step of sealing what was stored before there were keys. Returns how many resources it looked at, 1 for the end of
    /// the walk; 0 if there is nothing to do. Errors: `Busy`, `Internal`.
    pub(crate) async fn seal_contents(&self) -> Result<usize, Error> {
        let state = self.reading(|tx| Ok(setting::get(tx, SEALED)?)).await?;
        if state == Some(Value::Bool(true)) {
            return Ok(0);
        }
        self.writing(|tx| {
            let after = setting::get(tx, SEALED)?.and_then(|value| value.as_i64()).unwrap_or(0);
            let (done, last) = shred::seal_step(tx, after, STEP, &mut |_, json| {
                Resource::parse(json).map(|resource| compartment(&resource)).unwrap_or_default()
            })?;
            setting::put(tx, SEALED, &last.map_or(Value::Bool(true), |last| json!(last)))?;
            Ok(done.max(1))
        })
        .await
    }
}
