//! "What do you hold about me, who saw it, to whom was it given": the answer to that, as facts a document is made of.

use super::Asker;
use crate::audit::{AuditFilter, AuditRow};
use crate::{Error, Record};
use access::{Class, Ctx};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use store::audit::Outcome;
use store::subject::recipient;
use store::subject::retention;

/// Entries of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub kind: TypeId,
    /// Of the table of rights.
    pub class: Class,
    /// Of the retention table.
    pub retention: &'static str,
    pub count: u64,
    pub changed: Timestamp,
}

/// What is held outside the clinical record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Sign-in accounts of the patient.
    pub accounts: u64,
    /// Messages that were sent, or wait.
    pub messages: u64,
    pub payments: u64,
    /// People who act or acted for her.
    pub proxies: u64,
    pub requests: u64,
}

/// Data that was handed over to somebody: a program, an export, an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// `client/abc`, as in the audit trail.
    pub agent: String,
    pub display: String,
    /// As registered; empty where it is not.
    pub country: String,
    pub basis: String,
    pub times: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// The report.
#[derive(Debug, Clone)]
pub struct AccessReport {
    /// Logical id.
    pub patient: String,
    pub made: Timestamp,
    pub held: Vec<Held>,
    pub besides: Holding,
    pub given: Vec<Given>,
    /// Newest first; as the patient may see them. Those of staff are all of the audit log about her.
    pub seen: Vec<AuditRow>,
    /// There are more than are in [AccessReport::seen].
    pub more: bool,
}

/// Accesses listed in a report. The rest is read page by page by "who saw my record".
pub const MAX_SEEN: usize = 20_000;
const PAGE: u32 = 500;

impl Record {
    /// The patient, who acts for her, and privacy officers. Errors: `Denied`, `NotFound`.
    pub async fn access_report(&self, ctx: &Ctx, patient: &str) -> Result<AccessReport, Error> {
        let asker = self.asker(ctx, patient, "report.make").await?;
        let mut report = self.report_of(ctx, patient, asker != Asker::Officer).await?;
        if asker == Asker::Proxy {
            report.held = self.held_for(ctx, patient, report.held).await?;
        }
        Ok(report)
    }

    /// Of what is held, what the caller may read: who acts for somebody may not know how much there is beside it.
    async fn held_for(&self, ctx: &Ctx, patient: &str, held: Vec<Held>) -> Result<Vec<Held>, Error> {
        let horizon = self.horizon().await?;
        let whose = crate::scan::Whose::Patients(std::sync::Arc::new(vec![patient.to_owned()]));
        let kinds = self.kinds_to_scan(ctx).await?;
        let mut shown = Vec::new();
        for mut one in held {
            if one.kind == TypeId::PATIENT {
                shown.push(one);
                continue;
            }
            if !kinds.contains(&one.kind) {
                continue;
            }
            let (kind, whose) = (one.kind, whose.clone());
            let scan = crate::scan::Scan { kind, horizon, since: None, until: None, whose, deleted: false };
            let (mut count, mut changed, mut from) = (0, Timestamp::MIN, None::<String>);
            loop {
                let page = self.scan(ctx, &scan, from.as_deref()).await?;
                for row in &page.rows {
                    count += 1;
                    changed = changed.max(row.stored.last_updated);
                }
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            if count > 0 {
                (one.count, one.changed) = (count, changed);
                shown.push(one);
            }
        }
        Ok(shown)
    }

    /// Whether the caller may have a copy of this patient's record: the patient, and who acts for her. Officers hand out
    /// reports, not charts. Errors: `Denied`, `NotFound`.
    pub async fn may_copy(&self, ctx: &Ctx, patient: &str) -> Result<(), Error> {
        match self.asker(ctx, patient, "copy.make").await? {
            Asker::Own | Asker::Proxy => Ok(()),
            Asker::Officer => Err(self.denied(ctx, "copy.make", &format!("Patient/{patient}")).await),
        }
    }

    /// What is held, by type. The caller has checked the right. Errors: `Busy`.
    pub async fn held(&self, patient: &str) -> Result<Vec<Held>, Error> {
        let wanted = patient.to_owned();
        let found = self.reading(move |tx| Ok(retention::counts(tx, &wanted)?)).await?;
        Ok(found
            .into_iter()
            .map(|(kind, count, changed)| {
                let class = Class::of(kind);
                Held { kind, class, retention: super::law::retention_class(class), count, changed }
            })
            .collect())
    }

    /// As [Record::access_report], for who was found to have the right.
    pub(crate) async fn report_of(
        &self,
        ctx: &Ctx,
        patient: &str,
        for_patient: bool,
    ) -> Result<AccessReport, Error> {
        let made = self.now();
        let key = ResourceKey::new(TypeId::PATIENT, patient);
        let wanted = key.clone();
        let held = self.held(patient).await?;
        let besides = self
            .reading(move |tx| {
                let outside = retention::outside(tx, &wanted.id)?;
                Ok(Holding {
                    accounts: outside.accounts,
                    messages: outside.messages,
                    payments: outside.payments,
                    proxies: outside.proxies,
                    requests: outside.requests,
                })
            })
            .await?;
        let (mut seen, mut more) = (Vec::new(), false);
        let mut given: Vec<Given> = Vec::new();
        let filter = AuditFilter {
            patient: Some(patient.to_owned()),
            // The making of this report is not part of it.
            to: Some(made),
            ..AuditFilter::default()
        };
        let mut cursor: Option<String> = None;
        loop {
            let page = self.audit_rows(filter.clone(), cursor.as_deref(), PAGE).await?;
            for row in page.rows {
                if seen.len() >= MAX_SEEN {
                    more = true;
                    break;
                }
                note_given(&mut given, &row);
                seen.push(if for_patient { row.for_patient(patient) } else { row });
            }
            cursor = page.next;
            if more || cursor.is_none() {
                break;
            }
        }
        self.name_recipients(&mut given).await?;
        let patients = [patient.to_owned()];
        self.audit_one(ctx, "report.make", Outcome::Success, &key.to_string(), &patients).await?;
        Ok(AccessReport { patient: patient.to_owned(), made, held, besides, given, seen, more })
    }

    async fn name_recipients(&self, given: &mut [Given]) -> Result<(), Error> {
        let names: Vec<String> = given.iter().map(|one| one.agent.clone()).collect();
        let found = self
            .reading(move |tx| {
                let mut found = Vec::new();
                for agent in names {
                    let (kind, name) = match agent.split_once('/') {
                        Some(("client", name)) => (recipient::Kind::Client, name),
                        Some(("endpoint", name)) => (recipient::Kind::Endpoint, name),
                        _ => continue,
                    };
                    if let Some(one) = recipient::find(tx, kind, name)? {
                        found.push((agent.clone(), one));
                    }
                }
                Ok(found)
            })
            .await?;
        for (agent, one) in found {
            for given in given.iter_mut().filter(|given| given.agent == agent) {
                given.display.clone_from(&one.title);
                given.country.clone_from(&one.country);
                given.basis.clone_from(&one.basis);
            }
        }
        Ok(())
    }
}

/// Counts what went to a program or out of the house.
fn note_given(given: &mut Vec<Given>, row: &AuditRow) {
    if row.outcome != "success" {
        return;
    }
    let agent = match (&row.client, row.agent.starts_with("client/")) {
        (Some(client), _) => format!("client/{client}"),
        (None, true) => row.agent.clone(),
        (None, false) => return,
    };
    match given.iter_mut().find(|one| one.agent == agent) {
        Some(one) => {
            one.times += 1;
            one.first = one.first.min(row.at);
            one.last = one.last.max(row.at);
        }
        None => given.push(Given {
            display: row.agent_display.clone(),
            agent,
            country: String::new(),
            basis: String::new(),
            times: 1,
            first: row.at,
            last: row.at,
        }),
    }
}

/// An entry that can be named in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: ResourceKey,
    /// Its own words; empty where it has none.
    pub title: String,
    /// As written: a date, a moment, a year; empty where there is none.
    pub date: String,
}

/// Entries listed to choose from.
const MAX_ENTRIES: usize = 2_000;
/// Of these nobody asks for a correction: they say what happened to the record itself.
const NOT_LISTED: &[&str] =
    &["Patient", "AuditEvent", "Provenance", "Communication", "Consent", "Task", "Binary", "RelatedPerson"];

impl Record {
    /// What the caller may name in a request for correction: entries of this patient that the caller may read, newest
    /// first. Errors: `Denied`, `NotFound`.
    pub async fn entries(&self, ctx: &Ctx, patient: &str) -> Result<Vec<Entry>, Error> {
        self.may_copy(ctx, patient).await?;
        let horizon = self.horizon().await?;
        let whose = crate::scan::Whose::Patients(std::sync::Arc::new(vec![patient.to_owned()]));
        let mut found = Vec::new();
        for kind in self.kinds_to_scan(ctx).await? {
            if NOT_LISTED.contains(&kind.name()) || fhir::definitions::in_patient_compartment(kind).is_empty()
            {
                continue;
            }
            let scan = crate::scan::Scan {
                kind,
                horizon,
                since: None,
                until: None,
                whose: whose.clone(),
                deleted: false,
            };
            let page = self.scan(ctx, &scan, None).await?;
            for row in page.rows {
                let resource = row.stored.parse()?;
                found.push(Entry {
                    title: super::request::title(&resource).unwrap_or_default(),
                    date: date(resource.value()).unwrap_or_default(),
                    key: row.stored.key,
                });
            }
        }
        found.sort_by(|a, b| b.date.cmp(&a.date).then_with(|| a.key.to_string().cmp(&b.key.to_string())));
        found.truncate(MAX_ENTRIES);
        found.insert(
            0,
            Entry {
                key: ResourceKey::new(TypeId::PATIENT, patient),
                title: String::new(),
                date: String::new(),
            },
        );
        let patients = [patient.to_owned()];
        self.audit_one(ctx, "entry.list", Outcome::Success, &format!("Patient/{patient}"), &patients).await?;
        Ok(found)
    }
}

/// When it happened, as written; else when it was written down.
pub fn date(value: &serde_json::Value) -> Option<String> {
    const PLACES: &[&str] = &[
        "/effectiveDateTime",
        "/effectivePeriod/start",
        "/performedDateTime",
        "/performedPeriod/start",
        "/occurrenceDateTime",
        "/recordedDate",
        "/authoredOn",
        "/start",
        "/period/start",
        "/date",
        "/issued",
        "/sent",
        "/created",
        "/dateTime",
        "/meta/lastUpdated",
    ];
    PLACES.iter().find_map(|place| value.pointer(place)?.as_str().map(str::to_owned))
}
