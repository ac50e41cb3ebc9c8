//! What of the audit trail is the operator's to say.

use super::Secret;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The audit trail: who signs its heads, where they are taken to, and how long rows stay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// File with the key that signs heads; unset: a file beside the data folder named after it with `.audit.key` behind,
    /// made on first start.
    pub key_file: Option<PathBuf>,
    /// File that heads are appended to; on another disk or a share that this machine can only add to.
    pub anchor_file: Option<PathBuf>,
    /// HTTPS address that heads are posted to as text.
    pub anchor_url: Option<String>,
    /// Bearer token for `anchor_url`.
    pub anchor_token: Option<Secret>,
    /// E-mail address that heads are sent to, by `mail.url`.
    pub anchor_mail: Option<String>,
    /// Minutes between two heads that are taken to the file or the address.
    pub anchor_minutes: u32,
    /// Hours between two heads that are sent by e-mail.
    pub anchor_mail_hours: u32,
    /// Address of a FHIR server or collector that every event is posted to, in bundles (IHE ATNA, ITI-20); HTTPS.
    pub feed_url: Option<String>,
    /// Bearer token for `feed_url`.
    pub feed_token: Option<Secret>,
    /// Begins with the oldest event instead of with what happens from now on.
    pub feed_from_start: bool,
    /// Years after which rows are removed, at least 6; 0: never.
    pub keep_years: u16,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            key_file: None,
            anchor_file: None,
            anchor_url: None,
            anchor_token: None,
            anchor_mail: None,
            anchor_minutes: 15,
            anchor_mail_hours: 24,
            feed_url: None,
            feed_token: None,
            feed_from_start: false,
            keep_years: 0,
        }
    }
}
