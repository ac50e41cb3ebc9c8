//! What was done about backups, as it is kept and shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::audit::{Event, Outcome};
use store::backup::{Part, Problem};
use store::backup_run::NewRun;

/// Problems of a run that are kept.
const PROBLEMS: usize = 10;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackupKind)]
pub enum Kind {
    /// A whole copy.
    Base,
    /// A restore into a scratch folder, checked and thrown away.
    Drill,
    /// A time in which nothing could be sent.
    Outage,
    /// This database was restored from a backup.
    Restore,
}

impl Kind {
    pub fn code(self) -> &'static str {
        match self {
            Kind::Base => "base",
            Kind::Drill => "drill",
            Kind::Outage => "outage",
            Kind::Restore => "restore",
        }
    }

    fn of(code: &str) -> Option<Kind> {
        [Kind::Base, Kind::Drill, Kind::Outage, Kind::Restore].into_iter().find(|kind| kind.code() == code)
    }
}

/// The end of a run, for the audit trail; that somebody asked for it stands there before it began.
pub fn event(row: &NewRun) -> Event {
    Event {
        at: row.ended,
        action: "backup.done".to_owned(),
        outcome: if row.is_good { Outcome::Success } else { Outcome::Failed },
        agent: "system/backup".to_owned(),
        agent_display: row.agent.clone(),
        role: "system".to_owned(),
        address: None,
        request_id: String::new(),
        purpose: access::Purpose::Operations,
        what: format!("backup/{}", row.kind),
        patients: Vec::new(),
        session: None,
        client: String::new(),
    }
}

/// One thing that was checked in a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = BackupCheck)]
pub struct Check {
    /// `restored|pages|references|ledger|counts|audit`
    pub name: String,
    pub is_good: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What is kept of a run besides its times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub bytes: Option<u64>,
    pub sent_bytes: Option<u64>,
    pub files: Option<u64>,
    pub until: Option<Timestamp>,
    pub checks: Vec<Check>,
    pub problems: Vec<String>,
}

/// A run as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = BackupRun)]
pub struct Run {
    pub id: String,
    pub kind: Kind,
    #[schema(value_type = String, format = DateTime)]
    pub begun_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: Timestamp,
    pub seconds: u64,
    pub is_good: bool,
    /// `schedule`, or the name of who asked for it.
    pub by: String,
    /// Of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The copy held every write answered before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    pub checks: Vec<Check>,
    pub problems: Vec<String>,
}

impl Run {
    /// `None` for a row of a newer program.
    pub fn of(run: store::backup_run::Run) -> Option<Run> {
        let kind = Kind::of(&run.new.kind)?;
        let facts: Facts = serde_json::from_value(run.new.facts).ok()?;
        Some(Run {
            id: run.id.to_string(),
            kind,
            begun_at: run.new.begun,
            ended_at: run.new.ended,
            seconds: seconds(run.new.begun, run.new.ended),
            is_good: run.new.is_good,
            by: if run.new.agent.is_empty() { "schedule".into() } else { run.new.agent },
            bytes: facts.bytes,
            sent_bytes: facts.sent_bytes,
            files: facts.files,
            until: facts.until,
            checks: facts.checks,
            problems: facts.problems,
        })
    }
}

/// Whole seconds between two instants; 0 where the clock went back.
pub fn seconds(begun: Timestamp, ended: Timestamp) -> u64 {
    u64::try_from(ended.duration_since(begun).as_secs()).unwrap_or(0)
}

/// A row to be written down. `agent` is empty where nobody asked.
pub fn row(
    kind: Kind,
    agent: &str,
    begun: Timestamp,
    is_good: bool,
    facts: &Facts,
) -> anyhow::Result<NewRun> {
    Ok(NewRun {
        kind: kind.code().into(),
        begun,
        ended: Timestamp::now(),
        is_good,
        agent: agent.into(),
        facts: serde_json::to_value(facts)?,
    })
}

/// Every part that was looked at, and what was found; parts behind the first that failed were not reached.
pub fn checks(problems: &[Problem]) -> Vec<Check> {
    // Pages, references, ledger and counts are looked at together; the audit trail only if they are good.
    let last = match problems.iter().map(|problem| problem.part).min_by_key(|part| stage(*part)) {
        Some(part) => stage(part),
        None => usize::MAX,
    };
    let reached = Part::ALL.into_iter().filter(|part| stage(*part) <= last);
    let check = |part: Part| {
        let of = problems.iter().filter(|problem| problem.part == part);
        let texts: Vec<&str> = of.map(|problem| problem.text.as_str()).take(PROBLEMS).collect();
        let detail = (!texts.is_empty()).then(|| texts.join("; "));
        Check { name: part.code().into(), is_good: texts.is_empty(), detail }
    };
    reached.map(check).collect()
}

fn stage(part: Part) -> usize {
    match part {
        Part::Restored => 0,
        Part::Pages | Part::References | Part::Ledger | Part::Counts => 1,
        Part::Audit => 2,
    }
}

/// Their texts, not too many.
pub fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().take(PROBLEMS).map(|problem| problem.text.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reached_is_not_said_to_be_good() {
        let names = |problems: &[Problem]| -> Vec<(String, bool)> {
            checks(problems).into_iter().map(|check| (check.name, check.is_good)).collect()
        };
        let good: Vec<String> =
            names(&[]).into_iter().filter(|(_, good)| *good).map(|(name, _)| name).collect();
        assert_eq!(good, ["restored", "pages", "references", "ledger", "counts", "audit"]);
        assert_eq!(names(&[Problem::new(Part::Restored, "gone")]), [("restored".to_owned(), false)]);
        let ledger = names(&[Problem::new(Part::Ledger, "5 too many")]);
        assert_eq!(ledger.len(), 5, "{ledger:?}");
        assert!(ledger.contains(&("ledger".into(), false)) && ledger.contains(&("pages".into(), true)));
    }
}
