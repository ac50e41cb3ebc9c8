//! How long records stay: the table of rules, what still stands against an erasure, and what is due to go.

use super::{SubjectEffect, event, law, reason, refuse};
use crate::{ChangeSet, Effect, Error, Record};
use access::{Class, Ctx};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp};
use serde_json::{Value, json};
use store::Tx;
use store::audit::Outcome;
use store::subject::retention::{Due, Kept, Rule};
use store::subject::{erasure, hold, request, retention};

/// Longest time of a rule.
const MAX_YEARS: u32 = 100;
const MAX_AGE: u32 = 40;
const ADULT_YEARS: i32 = 18;
/// A decision to keep what is due holds so long at most.
const MAX_KEEP: SignedDuration = SignedDuration::from_hours(24 * 366 * 5);
/// Patients looked at in one round of the worker.
const LOOKED_AT: u32 = 200;
/// Between two whole walks through all patients.
const ROUND: SignedDuration = SignedDuration::from_hours(24);
const CURSOR: &str = "retention.cursor";

/// A rule of the table as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRow {
    /// Of [law::RETENTION_CLASSES], or `audit`.
    pub class: &'static str,
    pub years: u32,
    pub minor_age: Option<u32>,
    /// Nothing goes earlier, even on request.
    pub duty: bool,
    pub law: String,
    /// Counsel has looked at it.
    pub checked: bool,
    /// When and by whom (account) it was changed; `None`: as it comes.
    pub changed: Option<(Timestamp, i64)>,
    /// `audit`: a floor that no interface goes below.
    pub fixed: bool,
}

/// A change of a rule.
#[derive(Debug, Clone)]
pub struct RuleChange {
    pub class: String,
    pub years: u32,
    pub minor_age: Option<u32>,
    pub duty: bool,
    pub law: String,
    pub checked: bool,
}

/// What stands against an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    LegalHold,
    /// A class of record must be kept until then.
    Retention {
        class: &'static str,
        until: Timestamp,
        law: String,
    },
    /// It was erased already.
    Erased,
}

impl Record {
    /// The table of rules in force. Errors: `Denied`.
    pub async fn retention_rules(&self, ctx: &Ctx) -> Result<Vec<RetentionRow>, Error> {
        self.require_officer(ctx, "retention.rules", "").await?;
        let region = self.region().map(str::to_owned);
        let mut rows = self.reading(move |tx| rules(tx, region.as_deref())).await?;
        rows.push(RetentionRow {
            class: "audit",
            years: u32::from(crate::audit::FLOOR_YEARS),
            minor_age: None,
            duty: true,
            law: "HIPAA 45 CFR 164.316(b)(2); the floor of this program".into(),
            checked: true,
            changed: None,
            fixed: true,
        });
        Ok(rows)
    }

    /// Changes a rule. Privacy officer, freshly signed in.
    /// Errors: `Denied`, `StepUpNeeded`; `Rule` `class-unknown`, `years-wrong`, `law-needed`.
    pub async fn set_retention_rule(&self, ctx: &Ctx, change: RuleChange) -> Result<(), Error> {
        let by = self.require_officer(ctx, "retention.rule", &change.class).await?;
        self.require_fresh(ctx, super::FRESH_MINUTES, true)?;
        if !law::RETENTION_CLASSES.iter().any(|one| one.code == change.class) {
            return Err(refuse("class-unknown", "There is no such class of record.", "/class"));
        }
        if change.years > MAX_YEARS || change.minor_age.is_some_and(|age| age > MAX_AGE) {
            return Err(refuse("years-wrong", "At most 100 years, and an age of at most 40.", "/years"));
        }
        let law = change.law.trim().to_owned();
        if law.is_empty() || law.chars().count() > super::MAX_WORDS {
            return Err(refuse("law-needed", "Name the law or the policy that says so.", "/law"));
        }
        let rule = Rule {
            class: change.class,
            years: change.years,
            minor_age: change.minor_age,
            duty: change.duty,
            law,
            checked: change.checked,
            changed: self.now(),
            changed_by: by,
        };
        let what = format!("retention/{}", rule.class);
        let set =
            ChangeSet { effects: vec![Effect::Subject(SubjectEffect::Rule(rule))], ..ChangeSet::default() };
        self.settle_subject(ctx, "retention.rule", set).await?;
        self.audit_one(ctx, "retention.rule", Outcome::Success, &what, &[]).await
    }

    /// What stands against an erasure of this patient now.
    pub(crate) async fn obstacles(&self, patient: &str) -> Result<Vec<Obstacle>, Error> {
        let (patient, region, now) = (patient.to_owned(), self.region().map(str::to_owned), self.now());
        self.reading(move |tx| obstacles(tx, region.as_deref(), &patient, now)).await
    }

    /// One step of the walk through all patients for records whose time is over. Returns how many were looked at; 0 when
    /// the walk of the day is done. For the worker.
    pub async fn find_retention_due(&self) -> Result<usize, Error> {
        let (region, now) = (self.region().map(str::to_owned), self.now());
        self.writing(move |tx| {
            let state = store::setting::get(tx, CURSOR)?.unwrap_or(Value::Null);
            let after = state.get("after").and_then(Value::as_str).map(str::to_owned);
            let rest = state.get("until").and_then(Value::as_str).and_then(|t| t.parse::<Timestamp>().ok());
            if rest.is_some_and(|until| now < until) {
                return Ok(0);
            }
            let rules = rules(tx, region.as_deref())?;
            // Every record has its Patient; until that one's time is over the record is not due.
            let identity = law::retention_class(Class::Patient);
            let years = rules.iter().find(|rule| rule.class == identity).map_or(0, |rule| rule.years);
            let before = years_before(now, years);
            let patients = retention::quiet_patients(tx, before, after.as_deref(), LOOKED_AT)?;
            for patient in &patients {
                let due = match is_gone_or_held(tx, patient)? {
                    true => None,
                    false => over(tx, &rules, patient, now)?,
                };
                match due {
                    Some(due) => retention::note_due(tx, &due)?,
                    None => retention::forget_due(tx, patient)?,
                }
            }
            let next = match patients.last().filter(|_| patients.len() == LOOKED_AT as usize) {
                Some(last) => json!({"after": last}),
                None => json!({"until": now.checked_add(ROUND).unwrap_or(Timestamp::MAX).to_string()}),
            };
            store::setting::put(tx, CURSOR, &next)?;
            Ok(patients.len())
        })
        .await
    }

    /// Records whose time is over. Errors: `Denied`.
    pub async fn retention_due(&self, ctx: &Ctx) -> Result<Vec<Due>, Error> {
        self.require_officer(ctx, "retention.list", "").await?;
        let now = self.now();
        let found = self.reading(move |tx| Ok(retention::due(tx, now)?)).await?;
        let mut patients: Vec<String> = found.iter().map(|one| one.patient.clone()).collect();
        patients.sort();
        self.audit_one(ctx, "retention.list", Outcome::Success, "", &patients).await?;
        Ok(found)
    }

    /// One person agrees that a record whose time is over goes; another one carries it out ([Record::erase_due]).
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` as [Record::approve_erasure]; `Duplicate`.
    pub async fn approve_retention(&self, ctx: &Ctx, patient: &str) -> Result<(), Error> {
        let by = self.require_officer(ctx, "retention.approve", &format!("Patient/{patient}")).await?;
        self.require_fresh(ctx, super::FRESH_MINUTES, true)?;
        let wanted = patient.to_owned();
        let found = self.reading(move |tx| Ok(retention::due_of(tx, &wanted)?)).await?;
        found.ok_or(Error::NotFound)?;
        self.refuse_obstacles(patient).await?;
        let effect = SubjectEffect::ApproveDue { patient: patient.to_owned(), by, at: self.now() };
        let set = ChangeSet {
            effects: vec![Effect::Subject(effect)],
            events: vec![event("retention.approved", patient, json!({}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "retention.approve", set).await.map(|_| ())
    }

    /// Keeps a record whose time is over, for a reason, until a day. Errors: `Denied`; `Rule` `reason-needed`,
    /// `until-wrong`; `Duplicate` `already-settled` where it is not due.
    pub async fn keep_retention(
        &self,
        ctx: &Ctx,
        patient: &str,
        until: Timestamp,
        why: &str,
    ) -> Result<(), Error> {
        let by = self.require_officer(ctx, "retention.keep", &format!("Patient/{patient}")).await?;
        let now = self.now();
        if until <= now || until > now.checked_add(MAX_KEEP).unwrap_or(Timestamp::MAX) {
            return Err(refuse("until-wrong", "A day within the next five years.", "/until"));
        }
        let kept = Kept { until, by, reason: reason(why, "/reason")? };
        let set = ChangeSet {
            effects: vec![Effect::Subject(SubjectEffect::KeepDue { patient: patient.to_owned(), kept })],
            events: vec![event("retention.kept", patient, json!({}))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "retention.keep", set).await.map(|_| ())
    }

    /// Errors: `Rule` `legal-hold`, `retention-not-over` with the classes, `erased-already`.
    pub(crate) async fn refuse_obstacles(&self, patient: &str) -> Result<(), Error> {
        match refusal(&self.obstacles(patient).await?) {
            Some(rule) => Err(Error::Rule(rule)),
            None => Ok(()),
        }
    }
}

/// The rule that refuses, if anything stands against it.
pub(crate) fn refusal(obstacles: &[Obstacle]) -> Option<crate::Rule> {
    let held = obstacles.contains(&Obstacle::LegalHold);
    if held {
        return Some(crate::Rule::new("legal-hold", "A legal hold is in force; nothing may be erased."));
    }
    if obstacles.contains(&Obstacle::Erased) {
        return Some(crate::Rule::new("erased-already", "This record was erased already."));
    }
    let classes: Vec<Value> = obstacles
        .iter()
        .filter_map(|one| match one {
            Obstacle::Retention { class, until, law } => {
                Some(json!({"class": class, "until": until.to_string(), "law": law}))
            }
            Obstacle::LegalHold | Obstacle::Erased => None,
        })
        .collect();
    if classes.is_empty() {
        return None;
    }
    let text = "The law asks to keep parts of this record longer.";
    Some(crate::Rule::new("retention-not-over", text).with(json!({"classes": classes})))
}

/// The clinic's rules, and what comes where it made none; in the order of [law::RETENTION_CLASSES].
pub(crate) fn rules(tx: &mut dyn Tx, region: Option<&str>) -> Result<Vec<RetentionRow>, Error> {
    let own = retention::rules(tx)?;
    let rows = law::defaults(region).iter().map(|start| match own.iter().find(|r| r.class == start.class) {
        Some(rule) => RetentionRow {
            class: start.class,
            years: rule.years,
            minor_age: rule.minor_age,
            duty: rule.duty,
            law: rule.law.clone(),
            checked: rule.checked,
            changed: Some((rule.changed, rule.changed_by)),
            fixed: false,
        },
        None => RetentionRow {
            class: start.class,
            years: start.years,
            minor_age: start.minor_age,
            duty: start.duty,
            law: start.law.to_owned(),
            checked: false,
            changed: None,
            fixed: false,
        },
    });
    Ok(rows.collect())
}

/// What stands against an erasure; also called in the transaction that erases.
pub(crate) fn obstacles(
    tx: &mut dyn Tx,
    region: Option<&str>,
    patient: &str,
    now: Timestamp,
) -> Result<Vec<Obstacle>, Error> {
    let mut found = Vec::new();
    if erasure::load(tx, patient)?.is_some() {
        found.push(Obstacle::Erased);
        return Ok(found);
    }
    let rules = rules(tx, region)?;
    // Records that were merged into this one go with it.
    for patient in store::shred::patients(tx, patient)? {
        if hold::is_held(tx, &patient)? && !found.contains(&Obstacle::LegalHold) {
            found.push(Obstacle::LegalHold);
        }
        for (rule, until) in ends(tx, &rules, &patient)? {
            let known = found.iter().any(|one| matches!(one, Obstacle::Retention { class, until: at, .. } if *class == rule.class && *at >= until));
            if rule.duty && until > now && !known {
                found.push(Obstacle::Retention { class: rule.class, until, law: rule.law });
            }
        }
    }
    Ok(found)
}

fn is_gone_or_held(tx: &mut dyn Tx, patient: &str) -> Result<bool, Error> {
    Ok(hold::is_held(tx, patient)? || erasure::load(tx, patient)?.is_some())
}

/// The record's due note, if the time of all its classes is over.
pub(super) fn over(
    tx: &mut dyn Tx,
    rules: &[RetentionRow],
    patient: &str,
    now: Timestamp,
) -> Result<Option<Due>, Error> {
    let last = ends(tx, rules, patient)?.into_iter().max_by_key(|(_, until)| *until);
    Ok(last.filter(|(_, until)| *until <= now).map(|(rule, until)| Due {
        patient: patient.to_owned(),
        found: now,
        since: until,
        class: rule.class.to_owned(),
        law: rule.law,
        approved: None,
        approved_by: None,
        kept: None,
    }))
}

/// Until when each class of which the record has something is kept.
fn ends(
    tx: &mut dyn Tx,
    rules: &[RetentionRow],
    patient: &str,
) -> Result<Vec<(RetentionRow, Timestamp)>, Error> {
    // What was written about the requests themselves keeps nothing.
    let own: Vec<ResourceKey> = request::of_patient(tx, patient)?
        .into_iter()
        .flat_map(|one| [one.words, one.answer_words, one.disagreement])
        .flatten()
        .collect();
    let born = birth(tx, patient)?;
    let mut ends: Vec<(RetentionRow, Timestamp)> = Vec::new();
    for (kind, changed) in retention::last_changes(tx, patient, &own)? {
        let class = law::retention_class(Class::of(kind));
        let Some(rule) = rules.iter().find(|rule| rule.class == class) else { continue };
        let mut until = years_after(changed, rule.years);
        if let (Some(age), Some(born)) = (rule.minor_age, born)
            && birthday(born, ADULT_YEARS) > changed
        {
            until = until.max(birthday(born, i32::try_from(age).unwrap_or(ADULT_YEARS)));
        }
        match ends.iter_mut().find(|(known, _)| known.class == rule.class) {
            Some((_, known)) => *known = (*known).max(until),
            None => ends.push((rule.clone(), until)),
        }
    }
    Ok(ends)
}

fn birth(tx: &mut dyn Tx, patient: &str) -> Result<Option<Date>, Error> {
    let Some(row) = store::resource::load(tx, &ResourceKey::new(TypeId::PATIENT, patient))? else {
        return Ok(None);
    };
    if row.deleted {
        return Ok(None);
    }
    let Ok(resource) = Resource::parse(&row.content) else { return Ok(None) };
    let text = resource.text("birthDate").unwrap_or_default().to_owned();
    // A year or a month counts to its end: the record is kept rather too long.
    Ok(match text.len() {
        4 => format!("{text}-12-31").parse().ok(),
        7 => format!("{text}-28").parse().ok(),
        _ => text.parse().ok(),
    })
}

fn birthday(born: Date, years: i32) -> Timestamp {
    born.checked_add(Span::new().years(years))
        .ok()
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

fn years_after(at: Timestamp, years: u32) -> Timestamp {
    let years = i64::from(years.min(MAX_YEARS));
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    zoned.checked_add(Span::new().years(years)).map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

fn years_before(at: Timestamp, years: u32) -> Timestamp {
    let years = i64::from(years.min(MAX_YEARS));
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    zoned.checked_sub(Span::new().years(years)).map_or(Timestamp::MIN, |zoned| zoned.timestamp())
}
