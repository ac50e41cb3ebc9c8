//! Where backups go and how long they stay.

use super::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Backups of the embedded database and the files beside it. Off until `to` is set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// A folder on another disk, `sftp://user@host/path`, or `s3://bucket/prefix`.
    pub to: Option<String>,
    /// Of the S3 service; unset: Amazon's for the region.
    pub s3_endpoint: String,
    pub s3_region: String,
    pub s3_access_key: String,
    pub s3_secret_key: Option<Secret>,
    /// Private key for SFTP; unset: what `ssh` finds.
    pub ssh_identity: Option<PathBuf>,
    /// File with the SFTP host's key; unset: the user's and the system's.
    pub ssh_known_hosts: Option<PathBuf>,
    /// Hours between two whole copies; in between only what changed is sent, every few seconds.
    pub base_hours: u32,
    /// Days for which every moment can be restored.
    pub keep_instant_days: u32,
    /// Days for which one whole copy a day stays.
    pub keep_daily_days: u32,
    /// Weeks for which one whole copy a week stays.
    pub keep_weekly_weeks: u32,
    /// Removes what is too old. Off where the credential may only add; then another one prunes.
    pub prune: bool,
    /// Hours between two restore drills; 0: none.
    pub drill_hours: u32,
    /// Days without a good drill after which there is an alarm.
    pub drill_alarm_days: u32,
    /// Folder on a disk with room for a whole copy, for drills; unset: the data folder.
    pub drill_folder: Option<PathBuf>,
    /// Databases kept on this disk from before changes of their schema; 0: none.
    pub keep_before_migration: u32,
    /// Disk space kept back, MiB: when the disk is full, writes are refused and this lets reads (whose audit must be
    /// stored) and the shutdown go on.
    pub reserve_mb: u32,
}

impl Default for Backup {
    fn default() -> Backup {
        Backup {
            to: None,
            s3_endpoint: String::new(),
            s3_region: String::new(),
            s3_access_key: String::new(),
            s3_secret_key: None,
            ssh_identity: None,
            ssh_known_hosts: None,
            base_hours: 24,
            keep_instant_days: 7,
            keep_daily_days: 30,
            keep_weekly_weeks: 26,
            prune: true,
            drill_hours: 24,
            drill_alarm_days: 3,
            drill_folder: None,
            keep_before_migration: 2,
            reserve_mb: 64,
        }
    }
}
