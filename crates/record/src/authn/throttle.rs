//! Delays after failed tries: per name, per account and per address, alike for names that exist and names that do not.
//!
//! What counts for every name is kept in memory, bounded: a flood of unknown names writes nothing to the database.
//! Failures on accounts that exist are also kept there ([store::credential]), so that they outlive a restart and
//! count for all servers. Where a person signed in before, she has tries of her own: a stranger's guesses delay
//! strangers, not her.

use super::Origin;
use crate::Error;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::net::IpAddr;
use store::Tx;
use store::account::Account;

/// Names and addresses remembered; beyond it those that may try again are forgotten first.
const MAX_TRACKED: usize = 100_000;
/// Longest delay: a lock that anybody could hold on anybody forever would be a weapon.
const MAX_DELAY_S: i64 = 15 * 60;
/// Failures are forgotten after this long without a new one.
const FORGET_S: i64 = 60 * 60;
/// Failures from places that nobody knows, of all names together, that one server lets happen in a minute.
const UNKNOWN_PER_MINUTE: u32 = 600;
/// A place is known for this long after the last sign-in from there.
pub(crate) const ORIGIN_KNOWN: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Failed tries in the database are kept this long.
pub(crate) const FAILURES_KEPT: SignedDuration = SignedDuration::from_hours(24);

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
    /// Which minute, and failures from unknown places in it.
    minute: Mutex<(i64, u32)>,
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
        count(&mut self.tracks.lock(), key, allowance, now);
    }

    /// Counts a try as failed before it is made, so that many at once have no more tries than one after the other.
    /// Errors: `Throttled` while the key must wait; then nothing is counted.
    pub fn attempt(&self, key: &str, allowance: Allowance, now: Timestamp) -> Result<(), Error> {
        let mut tracks = self.tracks.lock();
        if let Some(track) = tracks.get(key).filter(|t| t.free_at > now) {
            return Err(Error::Throttled { retry_after_s: seconds(now, track.free_at) });
        }
        count(&mut tracks, key, allowance, now);
        Ok(())
    }

    /// The try was none of a guesser: all of the key's are forgotten.
    pub fn succeeded(&self, key: &str) {
        self.tracks.lock().remove(key);
    }

    /// One try less, for a key that others share.
    pub fn forgive(&self, key: &str, now: Timestamp) {
        let mut tracks = self.tracks.lock();
        if let Some(track) = tracks.get_mut(key) {
            track.failures = track.failures.saturating_sub(1);
            if track.failures < PER_ADDRESS.0 {
                track.free_at = now;
            }
            if track.failures == 0 {
                tracks.remove(key);
            }
        }
    }

    /// Errors: `Throttled` when this minute saw too many failures from unknown places.
    pub fn check_all(&self, now: Timestamp) -> Result<(), Error> {
        let minute = now.as_second().div_euclid(60);
        match *self.minute.lock() {
            (at, failures) if at == minute && failures >= UNKNOWN_PER_MINUTE => {
                let left = 60 - now.as_second().rem_euclid(60);
                Err(Error::Throttled { retry_after_s: u32::try_from(left).unwrap_or(60) })
            }
            _ => Ok(()),
        }
    }

    pub fn failed_all(&self, now: Timestamp) {
        let minute = now.as_second().div_euclid(60);
        let mut counted = self.minute.lock();
        *counted = if counted.0 == minute { (minute, counted.1.saturating_add(1)) } else { (minute, 1) };
    }
}

fn count(tracks: &mut HashMap<String, Track>, key: &str, allowance: Allowance, now: Timestamp) {
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
        let delay = 1_i64.checked_shl(over.min(40)).unwrap_or(MAX_DELAY_S).min(MAX_DELAY_S);
        track.free_at = now.checked_add(SignedDuration::from_secs(delay)).unwrap_or(now);
    }
}

/// How failures on accounts delay, as [store::credential::failed] takes it.
pub(super) const RULE: (u32, SignedDuration, SignedDuration) =
    (PER_NAME.0, SignedDuration::from_secs(MAX_DELAY_S), SignedDuration::from_secs(FORGET_S));

/// Whole seconds from `now` to `then`, at least 1.
pub(crate) fn seconds(now: Timestamp, then: Timestamp) -> u32 {
    u32::try_from(then.duration_since(now).as_secs().max(0) + 1).unwrap_or(u32::MAX)
}

/// Whose failures a try on an account counts among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Strangers,
    /// A device or address that the account was used from before.
    Known([u8; 32]),
}

impl Lane {
    pub fn source(&self) -> &[u8] {
        match self {
            Lane::Strangers => &[0],
            Lane::Known(origin) => origin,
        }
    }

    /// Of second factors: whoever knows the password has as few tries at these.
    pub fn second(&self) -> Vec<u8> {
        [b"2".as_slice(), self.source()].concat()
    }

    /// For keys in memory.
    pub fn suffix(&self) -> String {
        match self {
            Lane::Strangers => String::new(),
            Lane::Known(origin) => format!("/{}", hex(&origin[..8])),
        }
    }

    /// Errors: `Throttled` while the account's lane must wait.
    pub fn check(&self, tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<(), Error> {
        match store::credential::failures(tx, account, self.source())? {
            Some(f) if f.free_at > now => Err(Error::Throttled { retry_after_s: seconds(now, f.free_at) }),
            _ => Ok(()),
        }
    }

    /// Counts a failure for all servers.
    pub fn failed(&self, tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<u32, store::Error> {
        store::credential::failed(tx, account, self.source(), now, RULE)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Of an IPv6 address the network: one person has many of the rest.
pub(super) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let s = address.segments();
            format!("{:x}:{:x}:{:x}:{:x}::/64", s[0], s[1], s[2], s[3])
        }
    }
}

impl Origin {
    /// What of this origin is remembered with an account after a sign-in: the device, and the address.
    pub(super) fn marks(&self) -> Vec<[u8; 32]> {
        let device = self.device.as_deref().map(|token| format!("device\n{token}"));
        let address = self.address.map(|a| format!("address\n{}", network(a)));
        device.into_iter().chain(address).map(|text| Sha256::digest(text).into()).collect()
    }

    /// The account's lane for a try from here.
    pub(super) fn lane(&self, tx: &mut dyn Tx, account: &Account, now: Timestamp) -> Result<Lane, Error> {
        let since = now.checked_sub(ORIGIN_KNOWN).unwrap_or(Timestamp::MIN);
        for mark in self.marks() {
            if store::credential::is_known_origin(tx, account.id, &mark, since)? {
                return Ok(Lane::Known(mark));
            }
        }
        Ok(Lane::Strangers)
    }
}
