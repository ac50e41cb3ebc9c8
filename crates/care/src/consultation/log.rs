//! The session log is written in batches: figures come every few seconds, versions of an Encounter should not.

use super::{Quality, Session};
use crate::element::{key, version};
use access::Ctx;
use jiff::Timestamp;
use record::{Change, ChangeSet, Error, Record};
use std::collections::HashMap;
use std::sync::Mutex;

/// Entries of one visit that wait before they are written.
const BATCH: usize = 10;
/// Visits with waiting entries; beyond, new quality samples are dropped (never joins and leaves).
const VISITS_MAX: usize = 20_000;
const ATTEMPTS_MAX: usize = 6;

#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// `role`: `patient`, `clinician` or `guest`; `who`: account id.
    Joined {
        role: String,
        who: String,
        at: Timestamp,
        audio_only: bool,
    },
    Left {
        role: String,
        who: String,
        at: Timestamp,
        /// Her right to be there had ended.
        put_out: bool,
    },
    Quality(Quality),
}

/// What happened in the calls of this process and is not written yet.
#[derive(Debug, Default)]
pub struct LogBook {
    waiting: Mutex<HashMap<String, Vec<Entry>>>,
}

impl LogBook {
    /// Notes an entry. Returns true if the visit should be flushed now: somebody came or went, or a batch is full.
    pub fn add(&self, consultation: &str, entry: Entry) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let sample = matches!(entry, Entry::Quality(_));
        if sample && waiting.len() >= VISITS_MAX && !waiting.contains_key(consultation) {
            return false;
        }
        let entries = waiting.entry(consultation.to_owned()).or_default();
        entries.push(entry);
        !sample || entries.len() >= BATCH
    }

    /// Writes what waits for this visit into its Encounter. Nothing to write is no error; neither is an Encounter
    /// that is gone. On an error the entries are kept for the next time.
    ///
    /// Errors: of `record`.
    pub async fn flush(&self, record: &Record, consultation: &str) -> Result<(), Error> {
        let entries = {
            let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            waiting.remove(consultation).unwrap_or_default()
        };
        if entries.is_empty() {
            return Ok(());
        }
        let result = write(record, consultation, &entries).await;
        if result.is_err() {
            let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let later = waiting.entry(consultation.to_owned()).or_default();
            later.splice(0..0, entries);
        }
        result
    }

    /// Writes everything, e.g. at shutdown. Errors: the first one; the rest is tried all the same.
    pub async fn flush_all(&self, record: &Record) -> Result<(), Error> {
        let visits: Vec<String> = {
            let waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            waiting.keys().cloned().collect()
        };
        let mut first = Ok(());
        for visit in visits {
            let result = self.flush(record, &visit).await;
            if first.is_ok() {
                first = result;
            }
        }
        first
    }
}

async fn write(record: &Record, consultation: &str, entries: &[Entry]) -> Result<(), Error> {
    let ctx = Ctx::system("consultation-log", record.now());
    let key = key("Encounter", consultation);
    for _ in 0..ATTEMPTS_MAX {
        let Some((encounter, _)) = record.load(&ctx, &key).await? else { return Ok(()) };
        let mut session = Session::of(&encounter);
        apply(&mut session, entries);
        let mut next = encounter.clone();
        session.put(&mut next);
        let change = Change::Update { resource: next, if_match: Some(version(&encounter)) };
        let set = ChangeSet { changes: vec![change], ..ChangeSet::default() };
        match record.command(&ctx, "consultation.log", set).await {
            Err(Error::VersionConflict { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    Err(Error::Busy)
}

fn apply(session: &mut Session, entries: &[Entry]) {
    for entry in entries {
        match entry {
            Entry::Joined { role, who, at, audio_only } => session.joined(role, who, *at, *audio_only),
            Entry::Left { role, who, at, put_out } => session.left(role, who, *at, *put_out),
            Entry::Quality(sample) => session.measured(sample.clone()),
        }
    }
    // A report that arrives after the end does not open the log again.
    if let Some(ended_at) = session.ended_at {
        session.end(ended_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consultation::{MediaPath, QualityLevel};
    use fhir::Resource;

    fn sample() -> Entry {
        Entry::Quality(Quality {
            rtt_ms: 40,
            loss_percent: 0.5,
            bitrate_up_kbps: 300,
            bitrate_down_kbps: 500,
            path: MediaPath::Relay,
            frozen_ms: None,
            level: QualityLevel::Good,
        })
    }

    #[test]
    fn figures_wait_and_people_do_not() {
        let book = LogBook::default();
        let due: Vec<bool> = (0..BATCH).map(|_| book.add("a", sample())).collect();
        assert_eq!(due.iter().filter(|d| **d).count(), 1, "only the last of a batch");
        let at = Timestamp::UNIX_EPOCH;
        assert!(book.add("b", Entry::Left { role: "patient".into(), who: "1".into(), at, put_out: false }));
    }

    #[test]
    fn entries_make_one_story() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        let mut session = Session::default();
        let person = |role: &str, who: &str| (role.to_owned(), who.to_owned());
        let joined =
            |(role, who): (String, String), s| Entry::Joined { role, who, at: at(s), audio_only: false };
        let left = |(role, who): (String, String), s| Entry::Left { role, who, at: at(s), put_out: s == 30 };
        apply(
            &mut session,
            &[
                joined(person("patient", "1"), 10),
                joined(person("clinician", "2"), 20),
                joined(person("patient", "1"), 25),
                sample(),
                left(person("patient", "1"), 30),
                joined(person("patient", "1"), 40),
            ],
        );
        assert_eq!(session.participants.len(), 3, "a second join of somebody who is there is none");
        let mut stored = Resource::new(fhir::TypeId::from_name("Encounter").unwrap());
        session.put(&mut stored);
        let log = Session::of(&stored).log().unwrap();
        let put_out: Vec<bool> = log.participants.iter().map(|one| one.put_out).collect();
        assert_eq!(put_out, [true, false, false], "why the patient left the first time is kept");
        session.end(at(50));
        apply(&mut session, &[joined(person("patient", "1"), 60)]);
        assert!(session.participants.iter().all(|p| p.left_at.is_some()));
        assert_eq!(session.quality.len(), 1);
        for _ in 0..500 {
            apply(&mut session, &[sample(), joined(person("guest", "3"), 1), left(person("guest", "3"), 2)]);
        }
        assert!(session.quality.len() <= super::super::session::QUALITY_MAX);
        assert!(session.participants.len() <= super::super::session::PARTICIPANTS_MAX);
    }
}
