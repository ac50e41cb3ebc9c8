//! The audit of reads on SQLite: durable in a small file before the answer, in the table a moment later, many at once.
//!
//! A read that wrote its event straight into the database cost more than the read: a commit for each handful of events,
//! a page of the patients' index for each, and above all every commit emptied the page caches of all readers, who then
//! had to decrypt the same pages again. So a thread of its own appends the events to one of two files (see [segment]),
//! makes them durable, answers, and hands them on to the writer after a second at most. The table remembers the last
//! frame it has, in the same transaction, so that after a crash the rest is taken from the files exactly once.
//!
//! **Invariant:** an event is answered for when it is durable, in a file or in the table.
//! **Invariant:** a file starts over only after the table has all its frames.
//! If the files cannot be written, or are full because the writer lags, events go to the writer directly, as before.

pub mod segment;

use super::queue::Queue;
use super::task::{Reply, Task, fail};
use crate::audit::{self, Event};
use crate::{Error, Result, Secret32, Tx, params};
use parking_lot::{Condvar, Mutex};
use segment::{Cipher, Found, Frames, JournalId, Segment};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an event is in the files only.
const HAND_ON_EVERY: Duration = Duration::from_secs(1);
/// Events after which they are handed on sooner: about 4 MB in memory, and two thirds of a file. Each commit of the writer
/// empties the readers' page caches, so it is better they are few.
const HAND_ON_EVENTS: usize = 8_192;
/// Events in one transaction's share: a few milliseconds of the writer.
const CHUNK_EVENTS: usize = 256;
/// Callers answered together, and how long they wait for each other; as for commits.
const MAX_BATCH: usize = 256;
const MAX_COMPANY_WAIT: Duration = Duration::from_micros(200);
/// After the files could not be written.
const RETRY: Duration = Duration::from_secs(5);

/// Whole frames on their way into the table.
pub(super) struct Chunk {
    journal: JournalId,
    /// The frame that must be the last in the table; `None` for the first of what an earlier start left.
    after: Option<u64>,
    last: u64,
    pub events: Vec<Event>,
    done: Arc<Handed>,
}

impl Chunk {
    /// Appends the events, unless the table has them. `false`: those before them are not there yet.
    pub fn take(&self, tx: &mut dyn Tx) -> Result<bool> {
        let stands = position(tx)?;
        let frame = stands.filter(|(journal, _)| *journal == self.journal).map_or(0, |(_, frame)| frame);
        if frame >= self.last {
            return Ok(true);
        }
        if self.after.is_some_and(|after| frame != after) {
            return Ok(false);
        }
        audit::append(tx, &self.events)?;
        let last = i64::try_from(self.last).map_err(|_| Error::Invalid("frame"))?;
        tx.execute(
            "INSERT INTO audit_journal (id, journal, frame) VALUES (1, $1, $2) \
             ON CONFLICT (id) DO UPDATE SET journal = excluded.journal, frame = excluded.frame",
            params![&self.journal[..], last],
        )?;
        Ok(true)
    }

    pub fn finish(self, outcome: Result<()>) {
        self.done.finish(self.last, outcome);
    }
}

/// The journal and the frame up to which the table has everything.
pub(super) fn position(tx: &mut dyn Tx) -> Result<Option<(JournalId, u64)>> {
    let found = tx.one("SELECT journal, frame FROM audit_journal WHERE id = 1", &[], |row| {
        Ok((row.bytes(0)?.to_vec(), row.int(1)?))
    })?;
    Ok(found.and_then(|(journal, frame)| Some((journal.try_into().ok()?, u64::try_from(frame).ok()?))))
}

/// What the writer has taken.
#[derive(Default)]
struct Handed {
    state: Mutex<HandedState>,
    changed: Condvar,
}

#[derive(Default)]
struct HandedState {
    /// The table has all frames up to this one.
    done: u64,
    /// A chunk did not get in: from `done` on the frames are to be handed on again.
    failed: bool,
    /// Waiting for their frame.
    settling: Vec<(u64, Reply)>,
}

impl Handed {
    fn outcome(&self) -> Result<()> {
        if self.state.lock().failed {
            Err(Error::Database("the audit journal was not taken over".into()))
        } else {
            Ok(())
        }
    }

    fn finish(&self, last: u64, outcome: Result<()>) {
        let mut state = self.state.lock();
        let mut ended = Vec::new();
        match &outcome {
            Ok(()) => state.done = state.done.max(last),
            Err(_) => state.failed = true,
        }
        let done = state.done;
        for (frame, reply) in std::mem::take(&mut state.settling) {
            if frame <= done || outcome.is_err() {
                ended.push(reply);
            } else {
                state.settling.push((frame, reply));
            }
        }
        drop(state);
        self.changed.notify_all();
        for reply in ended {
            reply(outcome.clone());
        }
    }
}

/// Brings what earlier starts left in the files into the table, which stands at `position`; `run` is the writer. A file that does not open is put
/// aside under another name, and the trail tells of it. Errors: of the writer; nothing of the files is lost then.
pub(super) fn take_over(
    database: &Path,
    key: Option<&Secret32>,
    position: Option<(JournalId, u64)>,
    run: &mut dyn FnMut(Task),
) -> Result<()> {
    let key = key_or_none(key);
    let mut journals: Vec<(JournalId, Frames)> = Vec::new();
    for number in 0..2 {
        let path = segment::path_of(database, number);
        match segment::read(&path, &key)? {
            Found::Nothing => {}
            Found::Unreadable => put_aside(&path, run)?,
            Found::Journal(id, frames) => match journals.iter_mut().find(|(known, _)| *known == id) {
                Some((_, known)) => known.extend(frames),
                None => journals.push((id, frames)),
            },
        }
    }
    // Of two journals one is older, and the table has all of it: a start takes everything before it writes.
    for (journal, mut frames) in journals {
        let stands = position.filter(|(known, _)| *known == journal).map_or(0, |(_, frame)| frame);
        frames.retain(|(number, _)| *number > stands);
        frames.sort_by_key(|(number, _)| *number);
        let done: Arc<Handed> = Arc::default();
        let mut after = None;
        let mut frames: VecDeque<_> = frames.into();
        while let Some((last, events)) = next_chunk(&mut frames) {
            let chunk = Chunk { journal, after, last, events, done: done.clone() };
            run(Task::Journal(Box::new(chunk)));
            done.outcome()?;
            after = Some(last);
        }
    }
    Ok(())
}

/// Frames from the front with as many events as a chunk has, and the number of the last of them.
fn next_chunk(frames: &mut VecDeque<(u64, Vec<Event>)>) -> Option<(u64, Vec<Event>)> {
    let (mut last, mut events) = frames.pop_front()?;
    while let Some((number, more)) =
        frames.pop_front_if(|(_, more)| events.len() + more.len() <= CHUNK_EVENTS)
    {
        events.extend(more);
        last = number;
    }
    Some((last, events))
}

fn put_aside(path: &Path, run: &mut dyn FnMut(Task)) -> Result<()> {
    let at = jiff::Timestamp::now();
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".unreadable-{}", at.as_second()));
    let broken = |error: std::io::Error| Error::Database(format!("{}: {error}", path.display()));
    std::fs::rename(path, &aside).map_err(broken)?;
    tracing::error!(file = %Path::new(&aside).display(), "the audit journal does not open with this key; it was put aside");
    let event = Event {
        at,
        action: "audit.journal-unreadable".into(),
        outcome: audit::Outcome::Failed,
        agent: "system/store".into(),
        agent_display: String::new(),
        role: String::new(),
        address: None,
        request_id: String::new(),
        purpose: access::Purpose::System,
        what: Path::new(&aside)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        patients: Vec::new(),
        session: None,
        client: String::new(),
    };
    let done = Arc::new(Mutex::new(Err(Error::Closed)));
    let outcome = done.clone();
    run(Task::Audit(vec![event], Box::new(move |result| *outcome.lock() = result)));
    done.lock().clone()
}

/// Databases without a key are for tests and measurements.
fn key_or_none(key: Option<&Secret32>) -> Secret32 {
    key.cloned().unwrap_or_else(|| Secret32::new([0; 32]))
}

/// The thread's state.
pub(super) struct Journal {
    database: PathBuf,
    key: Secret32,
    cipher: Cipher,
    /// Made at the first event: a database that is only looked at gets no files.
    segments: Option<[Segment; 2]>,
    /// Writing failed: these files take nothing more, and are begun anew once the table has all they hold.
    is_broken: bool,
    current: usize,
    frame: u64,
    /// The last frame handed on.
    handed_on: u64,
    waiting: VecDeque<(u64, Vec<Event>)>,
    waiting_events: usize,
    since: Option<Instant>,
    retry_at: Option<Instant>,
    /// When frames that did not get in may be read from the files again.
    again_at: Option<Instant>,
    handed: Arc<Handed>,
    writes: Arc<Queue<Task>>,
    /// Callers that seem to be at work.
    callers: usize,
}

impl Journal {
    pub fn new(database: &Path, key: Option<&Secret32>, writes: &Arc<Queue<Task>>) -> Result<Journal> {
        Ok(Journal {
            database: database.to_owned(),
            key: key_or_none(key),
            cipher: Cipher::random()?,
            segments: None,
            is_broken: false,
            current: 0,
            frame: 0,
            handed_on: 0,
            waiting: VecDeque::new(),
            waiting_events: 0,
            since: None,
            retry_at: None,
            again_at: None,
            handed: Arc::default(),
            writes: writes.clone(),
            callers: 1,
        })
    }

    /// Until the queue is closed; then everything is handed on.
    pub fn run(&mut self, queue: &Queue<Task>) {
        loop {
            let next = match self.pause() {
                None => queue.pop(),
                Some(pause) => queue.pop_within(pause),
            };
            match next {
                Some(first) => self.batch(first, queue),
                None if queue.is_closed() => break,
                None => {}
            }
            if self.is_due() {
                self.hand_on();
            }
        }
        self.hand_on();
        self.wait_for_writer();
    }

    /// How long nothing has to be done; `None`: until something comes.
    fn pause(&self) -> Option<Duration> {
        if self.handed.state.lock().failed {
            return Some(HAND_ON_EVERY);
        }
        let since = self.since?;
        Some(HAND_ON_EVERY.saturating_sub(since.elapsed()).max(Duration::from_millis(1)))
    }

    fn is_due(&self) -> bool {
        self.waiting_events >= HAND_ON_EVENTS
            || self.since.is_some_and(|since| since.elapsed() >= HAND_ON_EVERY)
            || self.may_gather_again() && self.handed.state.lock().failed
    }

    /// Answers those who wait, together.
    fn batch(&mut self, first: Task, queue: &Queue<Task>) {
        let mut events: Vec<Event> = Vec::new();
        let mut replies: Vec<Reply> = Vec::new();
        let mut settling: Vec<Reply> = Vec::new();
        let mut next = Some(first);
        let mut waited = Duration::ZERO;
        while let Some(task) = next {
            match task {
                Task::Audit(more, reply) => {
                    events.extend(more);
                    replies.push(reply);
                }
                Task::Settle(reply) => settling.push(reply),
                Task::Write(_) | Task::Read(_) | Task::Journal(_) => {
                    fail(task, &Error::Database("no audit in the queue of audits".into()));
                }
            }
            if replies.len() >= MAX_BATCH {
                break;
            }
            next = queue.try_pop();
            if next.is_none()
                && settling.is_empty()
                && replies.len() < self.callers
                && waited < MAX_COMPANY_WAIT
            {
                let since = Instant::now();
                queue.gather(self.callers - replies.len(), MAX_COMPANY_WAIT - waited);
                next = queue.try_pop();
                waited += since.elapsed();
            }
        }
        self.callers = replies.len() + queue.len();
        if !replies.is_empty() {
            self.append(events, replies);
        }
        if !settling.is_empty() {
            self.settle(settling);
        }
    }

    fn append(&mut self, events: Vec<Event>, replies: Vec<Reply>) {
        match self.write(&events) {
            Ok(true) => {
                self.waiting_events += events.len();
                self.waiting.push_back((self.frame, events));
                self.since.get_or_insert_with(Instant::now);
                for reply in replies {
                    reply(Ok(()));
                }
            }
            Ok(false) => self.directly(events, replies),
            Err(error) => {
                tracing::warn!(%error, "the audit journal cannot be written; audits go to the database directly");
                // Part of the frame may be in the file, and a nonce serves once: what comes next gets another key.
                self.is_broken = true;
                self.retry_at = Some(Instant::now() + RETRY);
                self.directly(events, replies);
            }
        }
    }

    /// As the next frame. `false`: there is no room now, or no file.
    fn write(&mut self, events: &[Event]) -> Result<bool> {
        if (self.segments.is_none() || self.is_broken) && !self.begin()? {
            return Ok(false);
        }
        let Some(segments) = &mut self.segments else { return Ok(false) };
        let number = self.frame + 1;
        let frame = self.cipher.frame(number, events)?;
        if !segments[self.current].holds(&frame) {
            let other = 1 - self.current;
            if self.handed.state.lock().done < segments[other].last {
                return Ok(false);
            }
            segments[other].restart();
            self.current = other;
            if !segments[other].holds(&frame) {
                return Ok(false);
            }
        }
        segments[self.current].append(number, &frame)?;
        self.frame = number;
        Ok(true)
    }

    /// Takes the files for a new journal, once the table has all of the one before.
    fn begin(&mut self) -> Result<bool> {
        if self.retry_at.is_some_and(|at| Instant::now() < at) || !self.is_settled() {
            return Ok(false);
        }
        let cipher = Cipher::random()?;
        let make = |number| Segment::create(segment::path_of(&self.database, number), &cipher, &self.key);
        self.segments = Some([make(0)?, make(1)?]);
        self.cipher = cipher;
        (self.current, self.frame, self.handed_on) = (0, 0, 0);
        self.handed = Arc::default();
        (self.is_broken, self.retry_at) = (false, None);
        Ok(true)
    }

    /// Whether the table has all frames.
    fn is_settled(&self) -> bool {
        self.handed.state.lock().done >= self.frame
    }

    /// Through the writer, as a commit of its own.
    fn directly(&mut self, events: Vec<Event>, replies: Vec<Reply>) {
        let reply = move |outcome: Result<()>| {
            for reply in replies {
                reply(outcome.clone());
            }
        };
        if let Err((error, task)) = self.writes.try_push(Task::Audit(events, Box::new(reply))) {
            fail(task, &error);
        }
    }

    /// Gives what waits to the writer.
    fn hand_on(&mut self) {
        if self.handed.state.lock().failed {
            if !self.may_gather_again() {
                return;
            }
            // While the writer's queue is full, not at each read.
            self.again_at = Some(Instant::now() + HAND_ON_EVERY);
            self.gather_again();
        }
        while let Some((last, events)) = next_chunk(&mut self.waiting) {
            let chunk = Chunk {
                journal: self.cipher.id,
                after: Some(self.handed_on),
                last,
                events,
                done: self.handed.clone(),
            };
            self.waiting_events -= chunk.events.len();
            self.handed_on = chunk.last;
            if let Err((error, task)) = self.writes.try_push_later(Task::Journal(Box::new(chunk))) {
                // They are safe in the files, and are taken from there again.
                fail(task, &error);
                return;
            }
        }
        self.since = None;
    }

    fn may_gather_again(&self) -> bool {
        self.again_at.is_none_or(|at| Instant::now() >= at)
    }

    /// After a chunk did not get in: everything from there on once more, from the files.
    fn gather_again(&mut self) {
        let Some(segments) = &self.segments else { return };
        let mut frames: Frames = Vec::new();
        for segment in segments {
            match segment.frames(&self.cipher) {
                Ok(more) => frames.extend(more),
                Err(error) => {
                    tracing::error!(%error, "the audit journal cannot be read; it is tried again");
                    return;
                }
            }
        }
        let mut state = self.handed.state.lock();
        state.failed = false;
        let done = state.done;
        drop(state);
        frames.retain(|(number, _)| *number > done);
        frames.sort_by_key(|(number, _)| *number);
        self.waiting_events = frames.iter().map(|(_, events)| events.len()).sum();
        self.waiting = frames.into();
        self.handed_on = done;
    }

    fn settle(&mut self, replies: Vec<Reply>) {
        self.hand_on();
        let mut state = self.handed.state.lock();
        let (done, frame) = (state.done, self.frame);
        if !state.failed && done < frame && self.waiting.is_empty() {
            state.settling.extend(replies.into_iter().map(|reply| (frame, reply)));
            return;
        }
        let outcome = if done >= frame { Ok(()) } else { Err(Error::Busy) };
        drop(state);
        for reply in replies {
            reply(outcome.clone());
        }
    }

    /// At the end: the writer goes on until it has everything. What a broken disk refuses stays in the files.
    fn wait_for_writer(&self) {
        let mut state = self.handed.state.lock();
        while state.done < self.frame && !state.failed && self.waiting.is_empty() {
            if self.handed.changed.wait_for(&mut state, RETRY).timed_out() {
                break;
            }
        }
    }
}
