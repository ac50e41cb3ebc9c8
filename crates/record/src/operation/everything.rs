//! `$everything`: a whole chart, and whom and what it names.

use super::{Sight, parse};
use crate::rights::veil::Lens;
use crate::{Error, Record, Stored};
use access::Ctx;
use fhir::search::{IndexValue, Params, extract, references};
use fhir::{Reference, ResourceKey, TypeId};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};
use store::Tx;
use store::audit::Outcome as AuditOutcome;
use store::chart::{self, Bond};

/// Resources of one answer; more come with the next page.
pub const MAX_ANSWER: u32 = 10_000;
/// Practitioners, places and medicines that one chart can bring along.
const MAX_BYSTANDERS: usize = 5_000;
/// A practitioner's organization, its place …: how far such links are followed.
const ROUNDS: usize = 3;
/// Rows loaded at once.
const STEP: usize = 256;

/// What is wanted of a chart.
#[derive(Debug, Clone, Default)]
pub struct Everything {
    /// Only these types; empty for all.
    pub kinds: Vec<TypeId>,
    /// Changed at or after.
    pub since: Option<Timestamp>,
    /// Care from here, microseconds since the epoch. Rows without a date belong to every time.
    pub start_us: Option<i64>,
    /// Care before here.
    pub end_us: Option<i64>,
    /// Resources per page; `None` for all at once, as far as [MAX_ANSWER].
    pub count: Option<u32>,
    /// From [EverythingPage::next].
    pub cursor: Option<String>,
}

/// In the order in which they were first recorded, then what they refer to: nothing twice, and nothing missed while
/// others write.
#[derive(Debug, Clone)]
pub struct EverythingPage {
    /// `true` for what belongs to the chart, `false` for what is only referred to.
    pub items: Vec<(Stored, bool)>,
    pub next: Option<String>,
}

enum Place {
    /// Behind this row of the chart.
    Chart(i64),
    /// Behind this one of what the chart refers to.
    Bystanders(ResourceKey),
}

impl Place {
    fn parse(text: &str) -> Option<Place> {
        match text.split_at_checked(1)? {
            ("c", rid) => rid.parse().ok().map(Place::Chart),
            ("b", key) => ResourceKey::parse(key).map(Place::Bystanders),
            _ => None,
        }
    }
}

impl Record {
    /// The chart of a Patient (her compartment) or of an Encounter (what refers to it and what it names), and the
    /// practitioners, organizations, places and medicines behind it: whatever of it the caller may read.
    /// Errors: as [Record::read] for the resource itself; `Malformed` for a bad cursor.
    pub async fn everything(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
        wanted: &Everything,
    ) -> Result<EverythingPage, Error> {
        let (root, own) = self.read_within(ctx, key).await?;
        let root = root.parse()?;
        let place = match &wanted.cursor {
            None => Place::Chart(0),
            Some(text) => Place::parse(text).ok_or_else(|| {
                Error::Malformed(fhir::Outcome::one(fhir::IssueCode::Value, "_cursor", "Invalid cursor."))
            })?,
        };
        let walk = Walk {
            lens: self.lens().await?,
            ctx: ctx.clone(),
            key: key.clone(),
            wanted: wanted.clone(),
            params: self.params(),
            count: wanted.count.unwrap_or(MAX_ANSWER).clamp(1, MAX_ANSWER) as usize,
            // What an encounter names itself belongs to it: the patient, the conditions, the appointment.
            named: match key.kind {
                TypeId::PATIENT => HashSet::new(),
                _ => local_targets(&root),
            },
            now: self.now(),
        };
        let (page, mut patients) = self.reading(move |tx| walk.run(tx, place)).await?;
        patients.extend(own);
        patients.sort();
        patients.dedup();
        self.audit_one(ctx, "everything", AuditOutcome::Success, &format!("{key}/$everything"), &patients)
            .await?;
        Ok(page)
    }
}

struct Walk {
    ctx: Ctx,
    lens: Lens,
    key: ResourceKey,
    wanted: Everything,
    params: Params,
    count: usize,
    named: HashSet<ResourceKey>,
    now: Timestamp,
}

impl Walk {
    fn run(&self, tx: &mut dyn Tx, place: Place) -> Result<(EverythingPage, Vec<String>), Error> {
        let mut sight = Sight::new(&self.ctx, self.lens.clone(), self.now);
        let mut page = EverythingPage { items: Vec::new(), next: None };
        let mut patients = Vec::new();
        let bond = if self.key.kind == TypeId::PATIENT { Bond::Compartment } else { Bond::Reference };
        // Who only wants parts of the chart needs no walk through the rest; for bystanders the rest counts as well.
        let of_chart = |kind: &TypeId| !fhir::definitions::in_patient_compartment(*kind).is_empty();
        let kinds: &[TypeId] = if self.wanted.kinds.iter().all(of_chart) { &self.wanted.kinds } else { &[] };
        let mut rids = chart::members(tx, &self.key, bond, kinds)?;
        if let Some(own) = store::resource::head(tx, &self.key)?
            && let Err(at) = rids.binary_search(&own.rid)
        {
            rids.insert(at, own.rid);
        }
        let (after, reached) = match &place {
            Place::Chart(rid) => (*rid, None),
            Place::Bystanders(key) => (i64::MAX, Some(key.clone())),
        };
        let mut members: HashSet<ResourceKey> = HashSet::new();
        let mut targets: HashSet<ResourceKey> = self.named.clone();
        let (before, ahead) = rids.split_at(rids.partition_point(|rid| *rid <= after));
        let mut last = after;
        for step in ahead.chunks(STEP) {
            for row in chart::rows(tx, step)? {
                let is_wanted = self.includes_kind(row.key.kind);
                if !self.is_of_the_time(&row)? || !sight.sees(tx, &row)? {
                    continue;
                }
                if is_wanted && page.items.len() == self.count {
                    page.next = Some(format!("c{last}"));
                    return Ok((page, patients));
                }
                last = row.rid;
                let whose = row.patients.clone();
                let Some(shown) = sight.shown(tx, row)? else { continue };
                members.insert(shown.key.clone());
                targets.extend(local_targets(&shown.parse()?));
                if is_wanted {
                    patients.extend(whose);
                    page.items.push((shown, true));
                }
            }
        }
        // What the earlier pages referred to: all pages must agree on the bystanders.
        for step in before.chunks(STEP) {
            for row in chart::rows(tx, step)? {
                if self.is_of_the_time(&row)?
                    && sight.sees(tx, &row)?
                    && let Some(shown) = sight.shown(tx, row)?
                {
                    targets.extend(local_targets(&shown.parse()?));
                    members.insert(shown.key);
                }
            }
        }
        for row in self.bystanders(tx, &mut sight, &members, targets)? {
            if reached.as_ref().is_some_and(|reached| row.key <= *reached) {
                continue;
            }
            if page.items.len() == self.count {
                page.next = match page.items.last() {
                    Some((item, false)) => Some(format!("b{}", item.key)),
                    _ => Some(format!("c{last}")),
                };
                break;
            }
            let whose = row.patients.clone();
            if let Some(shown) = sight.shown(tx, row)? {
                patients.extend(whose);
                page.items.push((shown, false));
            }
        }
        Ok((page, patients))
    }

    fn includes_kind(&self, kind: TypeId) -> bool {
        self.wanted.kinds.is_empty() || self.wanted.kinds.contains(&kind)
    }

    fn is_of_the_time(&self, row: &store::resource::Stored) -> Result<bool, Error> {
        if self.wanted.since.is_some_and(|since| row.last_updated < since) {
            return Ok(false);
        }
        if self.wanted.start_us.is_none() && self.wanted.end_us.is_none() {
            return Ok(true);
        }
        let Some(date) = fhir::definitions::primary_date(row.key.kind) else { return Ok(true) };
        let mut dated = false;
        for entry in extract(&self.params, &parse(row)?) {
            let IndexValue::Date { low_us, high_us } = entry.value else { continue };
            if entry.param != date {
                continue;
            }
            dated = true;
            let begins = self.wanted.end_us.is_none_or(|end| low_us < end);
            if begins && self.wanted.start_us.is_none_or(|start| high_us > start) {
                return Ok(true);
            }
        }
        Ok(!dated)
    }

    /// What the chart refers to and what that refers to, as far as it is about no patient; in order of type and id.
    fn bystanders(
        &self,
        tx: &mut dyn Tx,
        sight: &mut Sight<'_>,
        members: &HashSet<ResourceKey>,
        mut targets: HashSet<ResourceKey>,
    ) -> Result<Vec<store::resource::Stored>, Error> {
        let mut done: HashSet<ResourceKey> = members.clone();
        let mut found = Vec::new();
        for _ in 0..ROUNDS {
            let next: BTreeSet<ResourceKey> = targets.drain().filter(|key| !done.contains(key)).collect();
            for key in next {
                done.insert(key.clone());
                if found.len() >= MAX_BYSTANDERS {
                    break;
                }
                let Some(row) = store::resource::load(tx, &key)?.filter(|row| !row.deleted) else { continue };
                let impersonal = row.patients.is_empty();
                if !(impersonal || self.named.contains(&key)) || !sight.sees(tx, &row)? {
                    continue;
                }
                if impersonal {
                    targets.extend(local_targets(&parse(&row)?));
                }
                found.push(row);
            }
        }
        let mut kept = Vec::with_capacity(found.len());
        for row in found {
            // The dates of care say nothing about who gave it.
            let fresh = self.wanted.since.is_none_or(|since| row.last_updated >= since);
            if self.includes_kind(row.key.kind) && fresh {
                kept.push(row);
            }
        }
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(kept)
    }
}

/// Local resources that this one refers to.
pub(super) fn local_targets(resource: &fhir::Resource) -> HashSet<ResourceKey> {
    references(resource)
        .into_iter()
        .filter_map(|(_, reference)| match reference {
            Reference::Local { key, .. } => Some(key),
            _ => None,
        })
        .collect()
}
