//! What is stored was labelled by the rules of its day. When the rules change, a walk over all rows labels them anew; until
//! it has passed, no stored label is relied on: rows whose codes are indexed are sealed in the transaction that changes
//! the rules, and everything else is judged as it is read ([super::veil]).

use crate::write::Request;
use crate::{Change, ChangeSet, Error, Record};
use access::sensitivity::Rules;
use access::{Ctx, Seals};
use fhir::{Resource, ResourceKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{Tx, setting};

/// Rules by which every row is labelled.
const DONE: &str = "rights.labelled";
/// How far the walk is.
const WALK: &str = "rights.labelling";
/// Counts up when this program labels otherwise by the same rules. 2: by up to 20,000 codings, and sealed beyond (it was by the
/// first 2,000 and open).
const VERSION: u32 = 2;
/// Rows of one step.
const STEP: u32 = 200;
/// Codes of one statement that seals by the index.
const CODES: usize = 200;
/// Other servers write by the old rules for so long after a change.
const SETTLE: SignedDuration = SignedDuration::from_secs(5);

/// How far the labelling is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelling {
    /// Nothing to do: every row is labelled by the rules of now.
    pub settled: bool,
    /// Rows looked at, labelled anew, and all there are.
    pub done: u64,
    pub labelled: u64,
    pub total: u64,
}

/// Names a set of rules of the clinic, with those of the program.
fn name(own: &Value) -> String {
    use sha2::{Digest, Sha256};
    let text = format!("{VERSION} {} {own}", access::sensitivity::built_in_text());
    Sha256::digest(text.as_bytes())[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn is_settled(tx: &mut dyn Tx, own: &Value) -> Result<bool, Error> {
    Ok(setting::get(tx, DONE)? == Some(json!(name(own))))
}

/// In a database without any resource there is nothing to label.
pub(crate) fn begin(tx: &mut dyn Tx, own: &Value) -> Result<bool, Error> {
    if setting::get(tx, DONE)?.is_some() || !store::sealed::next_rids(tx, 0, 1)?.is_empty() {
        return Ok(false);
    }
    setting::put(tx, DONE, &json!(name(own)))?;
    Ok(true)
}

/// In the transaction that changes the rules: whatever the index shows to be sealed by the new ones is sealed now.
pub(crate) fn changed(tx: &mut dyn Tx, before: &Value, own: &Value, now: Timestamp) -> Result<(), Error> {
    setting::put(tx, WALK, &json!({"rules": name(own), "from": now.to_string()}))?;
    let codes = access::sensitivity::added(before, own);
    for kind in store::history::kinds(tx)? {
        if !access::policy::is_sealable(access::Class::of(kind)) {
            continue;
        }
        for (system, prefixes, exact, seals) in &codes {
            for prefix in prefixes {
                store::sealed::seal_by_prefix(tx, kind, system, prefix, *seals)?;
            }
            for chunk in exact.chunks(CODES) {
                store::sealed::seal_by_codes(tx, kind, system, chunk, *seals)?;
            }
        }
    }
    Ok(())
}

/// A row that the walk looks at.
struct Row {
    key: ResourceKey,
    rid: i64,
    version: u32,
    patients: Vec<String>,
    resource: Resource,
    whole: Seals,
    parts: Seals,
    /// Labels are missing.
    changed: bool,
}

impl Record {
    /// One step of the walk; returns how many rows it looked at, 0 if there is nothing to do. It goes on where it
    /// was stopped. Any number of servers may call it. Errors: `Busy`, `Internal`.
    pub async fn label_rows(&self) -> Result<usize, Error> {
        let now = self.now();
        let (own, settled, walk) = self
            .reading(|tx| {
                let own = setting::get(tx, super::sensitivity::SETTING)?.unwrap_or_default();
                let settled = is_settled(tx, &own)?;
                Ok((own, settled, setting::get(tx, WALK)?.unwrap_or_default()))
            })
            .await?;
        if settled {
            return Ok(0);
        }
        let rules_name = name(&own);
        let begun = walk.get("rules") == Some(&json!(rules_name));
        let from = walk.get("from").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        if begun && from.is_some_and(|from| now.duration_since(from) < SETTLE) {
            return Ok(0);
        }
        let count =
            |field: &str| if begun { walk.get(field).and_then(Value::as_i64).unwrap_or(0) } else { 0 };
        let (after, done, labelled) = (count("after"), count("done"), count("labelled"));
        // The rules of this process may be older than the setting.
        *self.inner.sensitivity.lock() = None;
        let rules = self.sensitivity().await?;
        let rids = self.reading(move |tx| Ok(store::sealed::next_rids(tx, after, STEP)?)).await?;
        let Some(last) = rids.last().copied() else {
            self.writing(move |tx| {
                // Somebody may have changed the rules again.
                let own = setting::get(tx, super::sensitivity::SETTING)?.unwrap_or_default();
                if name(&own) == rules_name {
                    setting::put(tx, DONE, &json!(rules_name))?;
                }
                Ok(())
            })
            .await?;
            *self.inner.sensitivity.lock() = None;
            return Ok(1);
        };
        let looked_at = rids.len();
        let rows = self.reading(move |tx| Ok(store::chart::rows(tx, &rids)?)).await?;
        let rows = tokio::task::spawn_blocking(move || judged(&rules, &rows))
            .await
            .map_err(|e| Error::Internal(e.to_string()))?;
        let mut renewed = 0;
        let (changed, same): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.changed);
        for row in changed {
            renewed += i64::from(self.label_again(row, now).await?);
        }
        self.writing(move |tx| {
            for row in &same {
                settle(tx, row)?;
            }
            let own = setting::get(tx, super::sensitivity::SETTING)?.unwrap_or_default();
            if name(&own) == rules_name {
                let walk = json!({
                    "rules": rules_name, "after": last, "done": done + looked_at as i64,
                    "labelled": labelled + renewed,
                });
                setting::put(tx, WALK, &walk)?;
            }
            Ok(())
        })
        .await?;
        Ok(looked_at)
    }

    /// How far it is. Errors: `Busy`, `Internal`.
    pub async fn labelling(&self) -> Result<Labelling, Error> {
        self.reading(|tx| {
            let own = setting::get(tx, super::sensitivity::SETTING)?.unwrap_or_default();
            let settled = is_settled(tx, &own)?;
            let walk = setting::get(tx, WALK)?.unwrap_or_default();
            let begun = walk.get("rules") == Some(&json!(name(&own)));
            let count = |field: &str| {
                let found = walk.get(field).and_then(Value::as_u64).filter(|_| begun);
                found.unwrap_or(0)
            };
            let total = store::sealed::count_rows(tx)?;
            Ok(Labelling { settled, done: count("done"), labelled: count("labelled"), total })
        })
        .await
    }

    /// A new version with the labels that are missing. Whoever writes it meanwhile labels it by the new rules anyway.
    async fn label_again(&self, row: Row, now: Timestamp) -> Result<bool, Error> {
        let change = Change::Update { resource: row.resource, if_match: Some(row.version) };
        let mut request = Request::raw(ChangeSet { changes: vec![change], ..ChangeSet::default() });
        request.command = Some("sensitivity.label");
        request.on_behalf = true;
        match self.commit(&Ctx::system("labels", now), request).await {
            Ok(_) => Ok(true),
            Err(Error::VersionConflict { .. } | Error::Gone | Error::NotFound) => Ok(false),
            Err(Error::Busy) => Err(Error::Busy),
            // One row that cannot be written must not stop the walk; the index has sealed what it knows.
            Err(error) => {
                tracing::warn!(%error, kind = row.key.kind.name(), rid = row.rid, "a row cannot be labelled");
                Ok(false)
            }
        }
    }
}

fn judged(rules: &Rules, rows: &[store::resource::Stored]) -> Vec<Row> {
    let judge = |row: &store::resource::Stored| {
        let resource = Resource::parse(&row.content).ok()?;
        let mut own = resource.clone();
        let sealing = rules.seal(&mut own);
        access::seal::label(&mut own, sealing.whole);
        Some(Row {
            key: row.key.clone(),
            rid: row.rid,
            version: row.version,
            patients: row.patients.clone(),
            whole: Seals::of(&own),
            parts: sealing.parts,
            changed: own.value() != resource.value(),
            resource,
        })
    };
    rows.iter().filter_map(judge).collect()
}

/// Of a row that needs no new labels: what stands beside it.
fn settle(tx: &mut dyn Tx, row: &Row) -> Result<(), Error> {
    let head = store::resource::hold(tx, &row.key)?;
    if head.is_none_or(|head| head.deleted || head.version != row.version) {
        return Ok(());
    }
    let (sealed, _) = store::sealed::of(tx, &row.key)?;
    if sealed != row.whole {
        store::sealed::set_parts(tx, row.rid, row.whole, row.parts, &row.patients, &[])?;
    }
    let targets = crate::write::entries::local_targets(&row.resource);
    let refers = super::veil::refers_to_sealed(tx, targets.iter())?;
    Ok(store::sealed::set_veiled(tx, row.rid, row.parts, refers)?)
}
