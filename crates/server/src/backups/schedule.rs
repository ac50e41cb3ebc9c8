//! When copies and drills are made, and how long copies stay: from the configuration, unless an administrator said
//! otherwise.

use crate::config;
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Key of the setting that goes over the configuration.
pub const SETTING: &str = "backup.policy";

/// Hours, days and weeks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupPolicy)]
pub struct Schedule {
    /// Between two whole copies, 1 to 168.
    pub base_hours: u32,
    /// Days for which every moment can be restored, 1 to 365.
    pub keep_instant_days: u32,
    /// Days for which one whole copy a day stays, 7 to 3650.
    pub keep_daily_days: u32,
    /// Weeks for which one whole copy a week stays, 4 to 1040.
    pub keep_weekly_weeks: u32,
    /// Between two restore drills, 1 to 744; the configuration may say 0 for none.
    pub drill_hours: u32,
    /// Days without a good drill after which there is an alarm, 1 to 60.
    pub drill_alarm_days: u32,
}

impl Schedule {
    pub fn of(config: &config::Backup) -> Schedule {
        Schedule {
            base_hours: config.base_hours.max(1),
            keep_instant_days: config.keep_instant_days,
            keep_daily_days: config.keep_daily_days,
            keep_weekly_weeks: config.keep_weekly_weeks,
            drill_hours: config.drill_hours,
            drill_alarm_days: config.drill_alarm_days,
        }
    }

    /// Errors: `Rule` `backup-policy` for the first number that is too small to keep what must be kept, or too large.
    pub fn check(&self) -> Result<(), Error> {
        let allowed: [(&str, u32, RangeInclusive<u32>); 6] = [
            ("/base_hours", self.base_hours, 1..=168),
            ("/keep_instant_days", self.keep_instant_days, 1..=365),
            ("/keep_daily_days", self.keep_daily_days, 7..=3650),
            ("/keep_weekly_weeks", self.keep_weekly_weeks, 4..=1040),
            ("/drill_hours", self.drill_hours, 1..=744),
            ("/drill_alarm_days", self.drill_alarm_days, 1..=60),
        ];
        match allowed.iter().find(|(_, value, range)| !range.contains(value)) {
            None => Ok(()),
            Some((field, _, range)) => {
                let text = format!("This must be {} to {}.", range.start(), range.end());
                let details = serde_json::json!({"min": range.start(), "max": range.end()});
                Err(Error::Rule(Rule::new("backup-policy", text).at(*field).with(details)))
            }
        }
    }

    pub fn keeping(&self) -> backup::Policy {
        backup::Policy {
            instant_days: self.keep_instant_days,
            daily_days: self.keep_daily_days,
            weekly_weeks: self.keep_weekly_weeks,
        }
    }
}
