//! Delays after failed tries: per name and per address, alike for names that exist and names that do not.
//! Kept in memory: a flood of unknown names writes nothing to the database.

use crate::Error;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Names and addresses remembered; beyond it those that may try again are forgotten first.
const MAX_TRACKED: usize = 100_000;
/// Longest delay: a lock that anybody could hold on anybody forever would be a weapon.
const MAX_DELAY_S: u64 = 15 * 60;
/// Failures are forgotten after this long without a new one.
const FORGET_S: i64 = 60 * 60;

#[derive(Debug, Clone, Copy)]
struct Track {
    failures: u32,
    last: Timestamp,
    free_at: Timestamp,
}

/// Failed tries by key.
#[derive(Default)]
pub(crate) struct Throttle {
    tracks: Mutex<HashMap<String, Track>>,
}

/// How many failures are free before delays begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance(pub u32);

/// One name: a person mistypes, a program guesses.
pub(crate) const PER_NAME: Allowance = Allowance(5);
/// One address: a whole clinic may sit behind it.
pub(crate) const PER_ADDRESS: Allowance = Allowance(50);

impl Throttle {
    /// Errors: `Throttled` while the key must wait.
    pub fn check(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        match self.tracks.lock().get(key) {
            Some(track) if track.free_at > now => {
                Err(Error::Throttled { retry_after_s: seconds(now, track.free_at) })
            }
            _ => Ok(()),
        }
    }

    pub fn failed(&self, key: &str, allowance: Allowance, now: Timestamp) {
        let mut tracks = self.tracks.lock();
        if tracks.len() >= MAX_TRACKED && !tracks.contains_key(key) {
            tracks.retain(|_, t| t.free_at > now);
            if tracks.len() >= MAX_TRACKED {
                return;
            }
        }
        let track = tracks.entry(key.to_owned()).or_insert(Track { failures: 0, last: now, free_at: now });
        if now.duration_since(track.last) > SignedDuration::from_secs(FORGET_S) {
            track.failures = 0;
        }
        track.failures = track.failures.saturating_add(1);
        track.last = now;
        if let Some(over) = track.failures.checked_sub(allowance.0) {
            let delay = 1u64.checked_shl(over).unwrap_or(MAX_DELAY_S).min(MAX_DELAY_S);
            track.free_at = now.checked_add(SignedDuration::from_secs(delay as i64)).unwrap_or(now);
        }
    }

    pub fn succeeded(&self, key: &str) {
        self.tracks.lock().remove(key);
    }
}

/// Whole seconds from `now` to `then`, at least 1.
pub(crate) fn seconds(now: Timestamp, then: Timestamp) -> u32 {
    u32::try_from(then.duration_since(now).as_secs().max(0) + 1).unwrap_or(u32::MAX)
}
