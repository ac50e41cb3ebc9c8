//! Where backups stand, for people and for Prometheus.

use super::{Backups, Kind, LATE, Run, Schedule, history, hours};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How a restore drill went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drill {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub is_good: bool,
    /// How long restoring and checking took.
    pub seconds: u64,
    /// Bytes of the restored database.
    pub bytes: u64,
    /// The restored state held every write answered before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    pub problems: Vec<String>,
    /// When the last good one was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_good: Option<Timestamp>,
}

/// Where backups stand.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct Standing {
    /// Where they go; none: backups are off.
    pub place: Option<String>,
    /// Every write answered before this is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// When the last whole copy was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub base_at: Option<Timestamp>,
    /// Bytes that wait to be sent.
    pub waiting_bytes: u64,
    pub drill: Option<Drill>,
    /// What is wrong, in words; empty if nothing is.
    pub alarms: Vec<String>,
}

/// What is being done now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = BackupDoing)]
pub struct Doing {
    pub kind: Kind,
    #[schema(value_type = String, format = DateTime)]
    pub begun_at: Timestamp,
    /// `schedule`, or the name of who asked for it.
    pub by: String,
    /// The step, in English.
    pub doing: String,
    pub done_bytes: u64,
    /// 0 as long as it is not known.
    pub total_bytes: u64,
}

/// What kind of place backups go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = BackupTargetKind)]
pub enum TargetKind {
    Folder,
    Sftp,
    S3,
    /// PostgreSQL's own archive of its log.
    Archive,
}

/// One place that backups go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = BackupTarget)]
pub struct Target {
    /// Its address, without secrets.
    pub place: String,
    pub kind: TargetKind,
    /// Every write answered before this is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// How long ago that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<u64>,
    pub waiting_bytes: u64,
    /// Why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Whole {
    pub targets: Vec<Target>,
    pub base: Option<Run>,
    pub drill: Option<Run>,
    pub last_good: Option<Timestamp>,
    pub next_base: Option<Timestamp>,
    pub next_drill: Option<Timestamp>,
    pub doing: Option<Doing>,
    pub schedule: Schedule,
}

fn kind(place: &str) -> TargetKind {
    match place {
        place if place.starts_with("sftp://") => TargetKind::Sftp,
        place if place.starts_with("s3://") => TargetKind::S3,
        _ => TargetKind::Folder,
    }
}

impl Backups {
    /// What the administrator's page shows.
    pub fn whole(&self, now: Timestamp) -> Whole {
        let schedule = self.schedule();
        let state = self.state.lock();
        let Some(capture) = self.capture() else {
            return Whole {
                targets: Vec::new(),
                base: None,
                drill: None,
                last_good: None,
                next_base: None,
                next_drill: None,
                doing: None,
                schedule,
            };
        };
        let target = |place: &String| Target {
            place: place.clone(),
            kind: kind(place),
            until: state.until,
            lag_seconds: state.until.map(|until| history::seconds(until, now)),
            waiting_bytes: capture.waiting_bytes(),
            error: state.error.clone(),
        };
        let after = |last: Option<Timestamp>, every: SignedDuration| match last {
            Some(last) => last.checked_add(every).unwrap_or(now).max(now),
            None => now,
        };
        let drilled = state.drill.as_ref().map(|drill| drill.begun_at);
        Whole {
            targets: self.config.backup.to.iter().map(target).collect(),
            base: state.base.clone(),
            drill: state.drill.clone(),
            last_good: state.last_good,
            next_base: Some(after(state.base_at, hours(schedule.base_hours.max(1)))),
            next_drill: (schedule.drill_hours > 0).then(|| after(drilled, hours(schedule.drill_hours))),
            doing: state.doing.clone(),
            schedule,
        }
    }

    /// Where backups stand now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let Some(capture) = self.capture() else { return Standing::default() };
        let schedule = self.schedule();
        let state = self.state.lock();
        let mut alarms = Vec::new();
        let until = state.until.unwrap_or(self.started);
        if now.duration_since(until) > LATE {
            alarms.push(format!("nothing has left this machine since {until:.0}"));
        }
        if let Some(error) = &state.error {
            alarms.push(format!("the last try failed: {error}"));
        }
        let allowed = hours(schedule.drill_alarm_days.saturating_mul(24));
        let good = state.last_good;
        if schedule.drill_hours > 0 && now.duration_since(good.unwrap_or(self.started)) > allowed {
            alarms.push(match good {
                Some(good) => format!("the last good restore drill was at {good:.0}"),
                None => "no restore drill has been good yet".to_owned(),
            });
        }
        if let Some(drill) = state.drill.as_ref().filter(|drill| !drill.is_good) {
            alarms.push(format!(
                "the restore drill of {:.0} failed: {}",
                drill.begun_at,
                drill.problems.join("; ")
            ));
        }
        let drill = state.drill.as_ref().map(|run| Drill {
            at: run.begun_at,
            is_good: run.is_good,
            seconds: run.seconds,
            bytes: run.bytes.unwrap_or(0),
            until: run.until,
            problems: run.problems.clone(),
            last_good: state.last_good,
        });
        Standing {
            place: self.config.backup.to.clone(),
            until: state.until,
            base_at: state.base_at,
            waiting_bytes: capture.waiting_bytes(),
            drill,
            alarms,
        }
    }

    /// Gauges in the Prometheus text format; nothing where backups are off.
    pub fn render(&self, now: Timestamp) -> String {
        let standing = self.standing(now);
        if standing.place.is_none() {
            return String::new();
        }
        let age = |at: Option<Timestamp>| now.duration_since(at.unwrap_or(self.started)).as_secs();
        let good = self.state.lock().last_good;
        let mut text = String::new();
        for (name, help, value) in [
            ("backup_age_seconds", "Age of the newest write that is surely elsewhere.", age(standing.until)),
            ("backup_base_age_seconds", "Age of the last whole copy.", age(standing.base_at)),
            ("backup_good_drill_age_seconds", "Age of the last good restore drill.", age(good)),
            (
                "backup_waiting_bytes",
                "Bytes that wait to be sent.",
                i64::try_from(standing.waiting_bytes).unwrap_or(i64::MAX),
            ),
            (
                "backup_alarms",
                "What is wrong with the backups.",
                i64::try_from(standing.alarms.len()).unwrap_or(i64::MAX),
            ),
        ] {
            text.push_str(&format!(
                "# HELP uzima_{name} {help}\n# TYPE uzima_{name} gauge\nuzima_{name} {value}\n"
            ));
        }
        text
    }
}
