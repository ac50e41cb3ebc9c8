//! Forgetting old backups, by a credential that may remove; the one that writes need not.

use crate::manifest::SegmentForm;
use crate::repository::Progress;
use crate::{Repository, Result, Watch};
use crate::{keystore, passphrase};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Every instant of so many days.
    pub instant_days: u32,
    /// One base a day for so many days.
    pub daily_days: u32,
    /// One base a week for so many weeks.
    pub weekly_weeks: u32,
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub bases: u64,
    pub segments: u64,
    pub chunks: u64,
    /// Bytes set free.
    pub bytes: u64,
}

impl Policy {
    /// Which of these (oldest first) stay. The one before the window stays as well: the window's first instants follow from it.
    pub fn keeps(&self, times: &[Timestamp], now: Timestamp) -> Vec<bool> {
        let days = |days: u32| {
            now.checked_sub(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MIN)
        };
        let window = days(self.instant_days);
        let (daily, weekly) = (days(self.daily_days), days(self.weekly_weeks.saturating_mul(7)));
        let mut kept = vec![false; times.len()];
        let first = times.iter().rposition(|at| *at < window);
        let (mut day_of, mut week_of): (BTreeMap<Date, usize>, BTreeMap<(i16, i8), usize>) =
            Default::default();
        for (n, at) in times.iter().enumerate() {
            let date = at.to_zoned(TimeZone::UTC).date();
            let week = date.iso_week_date();
            if *at >= window || Some(n) == first {
                kept[n] = true;
            }
            // The last of a day or week goes over those before it.
            if *at >= daily {
                day_of.insert(date, n);
            }
            if *at >= weekly {
                week_of.insert((week.year(), week.week()), n);
            }
        }
        for n in day_of.into_values().chain(week_of.into_values()) {
            kept[n] = true;
        }
        // The newest is never forgotten, however old it is.
        if let Some(last) = kept.last_mut() {
            *last = true;
        }
        kept
    }
}

impl Repository {
    /// Forgets what the policy does not keep. Nothing may be stored meanwhile: a piece that is offered and was there could
    /// go. Errors: of the target; a base that cannot be read, because then nobody knows what it needs.
    pub fn prune(&self, policy: &Policy, now: Timestamp, watch: &Watch<'_>) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        (watch.tell)(Progress::Doing("looking"));
        let bases = self.bases()?;
        let times: Vec<Timestamp> = bases.iter().map(|(at, _)| *at).collect();
        let keep = policy.keeps(&times, now);
        let mut needed: BTreeSet<String> = BTreeSet::new();
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        let window = now.checked_sub(SignedDuration::from_hours(24 * i64::from(policy.instant_days)));
        let window = window.unwrap_or(Timestamp::MIN);
        let first = times.iter().rposition(|at| *at < window).map_or(Timestamp::MIN, |n| times[n]);
        for ((at, name), _) in bases.iter().zip(&keep).filter(|(_, keep)| **keep) {
            watch.check()?;
            let base = self.base(name)?;
            needed.extend(base.chunks);
            needed.extend(base.files.into_iter().flat_map(|file| file.chunks));
            if *at >= first
                && let Some(line) = base.point.line
            {
                // Bases come oldest first: what follows the oldest one in reach stays.
                lines.entry(line).or_insert(base.point.number);
            }
        }
        // What is referred to goes first, so that a stop in between leaves rubbish and no gaps.
        let mut doomed = Vec::new();
        for segment in self.segments(None)? {
            watch.check()?;
            if lines.get(&segment.line).is_some_and(|from| segment.number > *from) {
                if let (SegmentForm::Chunks(names), _) = self.segment_form(&segment.name)? {
                    needed.extend(names);
                }
            } else {
                pruned.segments += 1;
                pruned.bytes += segment.bytes;
                doomed.push(segment.name);
            }
        }
        for (at, name) in self.file_changes()? {
            if at < first {
                doomed.push(name);
            } else {
                needed.extend(self.changes(&name)?.changed.into_iter().flat_map(|file| file.chunks));
            }
        }
        doomed.extend(self.points()?.into_iter().filter(|(at, _)| *at < first).map(|(_, name)| name));
        let expired = now.checked_sub(passphrase::KEPT).unwrap_or(Timestamp::MIN);
        // Of key stores only the newest counts, and a destroyed key must not live on in an older one.
        let mut key_stores = self.key_stores()?;
        if let Some((_, newest)) = key_stores.pop() {
            needed.extend(self.key_store(&newest)?.chunks);
        }
        doomed.extend(key_stores.into_iter().map(|(_, name)| name));
        let mut keyrings = self.keyrings()?;
        keyrings.pop();
        let aged = now.checked_sub(keystore::KEPT).unwrap_or(Timestamp::MIN);
        doomed.extend(keyrings.into_iter().filter(|(at, _)| *at < aged).map(|(_, name)| name));
        doomed.extend(self.kept_keys()?.into_iter().filter(|(at, _)| *at < expired).map(|(_, name)| name));
        (watch.tell)(Progress::Doing("removing"));
        for ((_, name), _) in bases.iter().zip(&keep).filter(|(_, keep)| !**keep) {
            self.target().remove(name)?;
            pruned.bases += 1;
        }
        for name in doomed {
            watch.check()?;
            self.target().remove(&name)?;
        }
        for entry in self.target().list("chunk/")? {
            if !needed.contains(&entry.name) {
                watch.check()?;
                self.target().remove(&entry.name)?;
                pruned.chunks += 1;
                pruned.bytes += entry.bytes;
            }
        }
        self.forget();
        Ok(pruned)
    }
}
