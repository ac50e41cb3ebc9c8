//! From committed events to the sockets that may see them.
//!
//! One task reads the event stream once for all sockets. A patient's socket is found by the patient's id, so thousands
//! of patients cost an event nothing; staff sockets are asked one account at a time.

use super::frame::{self, Audience, Frame};
use crate::state::AppState;
use access::Ctx;
use axum::extract::ws::Utf8Bytes;
use parking_lot::RwLock;
use record::events::LiveEvent;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

/// Frames that may wait for a slow socket; one that falls further behind is told to load everything anew.
const QUEUE: usize = 32;
/// Changes of one provider's free times within this time make one frame to everybody.
const GATHER: Duration = Duration::from_millis(500);
/// Providers whose changes are gathered at once.
const GATHER_MAX: usize = 1000;

/// One socket as the hub sees it.
pub struct Listener {
    pub ctx: Ctx,
    pub account: i64,
    patient: Option<String>,
    sender: mpsc::Sender<Utf8Bytes>,
    lagged: AtomicBool,
}

#[derive(Default)]
struct Index {
    all: HashMap<u64, Arc<Listener>>,
    /// Sockets of people who are (also) patients, by patient id.
    by_patient: HashMap<String, Vec<u64>>,
    staff: HashSet<u64>,
}

/// All live sockets of this process.
#[derive(Default)]
pub struct Hub {
    index: RwLock<Index>,
    next: AtomicU64,
    last_seq: AtomicI64,
}

/// A socket's end of the hub; dropping it leaves.
pub struct Membership {
    app: AppState,
    number: u64,
    pub listener: Arc<Listener>,
    pub frames: mpsc::Receiver<Utf8Bytes>,
}

impl Membership {
    /// Whether frames were lost since the last call.
    pub fn take_lagged(&self) -> bool {
        self.listener.lagged.swap(false, Relaxed)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut index = self.app.hub.index.write();
        index.all.remove(&self.number);
        index.staff.remove(&self.number);
        if let Some(patient) = &self.listener.patient
            && let Some(numbers) = index.by_patient.get_mut(patient)
        {
            numbers.retain(|n| *n != self.number);
            if numbers.is_empty() {
                index.by_patient.remove(patient);
            }
        }
    }
}

impl Listener {
    fn send(&self, text: &Utf8Bytes) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(text.clone()) {
            self.lagged.store(true, Relaxed);
        }
    }
}

impl Hub {
    /// The number of the last event that this process has seen.
    pub fn last_seq(&self) -> i64 {
        self.last_seq.load(Relaxed)
    }
    /// Before the first event.
    pub fn set_last_seq(&self, seq: i64) {
        self.last_seq.fetch_max(seq, Relaxed);
    }

    fn is_empty(&self) -> bool {
        self.index.read().all.is_empty()
    }

    fn everybody(&self, text: &Utf8Bytes) {
        self.index.read().all.values().for_each(|listener| listener.send(text));
    }

    fn to_account(&self, account: i64, text: &Utf8Bytes) {
        let index = self.index.read();
        index.all.values().filter(|listener| listener.account == account).for_each(|one| one.send(text));
    }

    /// Sockets that may have a right to an event about these patients; staff must still be asked.
    fn candidates(&self, patients: &[String]) -> Vec<Arc<Listener>> {
        let index = self.index.read();
        let own = patients.iter().filter_map(|patient| index.by_patient.get(patient)).flatten();
        let numbers: HashSet<u64> = own.chain(&index.staff).copied().collect();
        numbers.iter().filter_map(|number| index.all.get(number).cloned()).collect()
    }
}

/// Joins the hub; `ctx` must be a user's.
pub fn join(app: &AppState, ctx: Ctx) -> Option<Membership> {
    let user = ctx.user()?;
    let (sender, frames) = mpsc::channel(QUEUE);
    let patient = user.patient.as_ref().map(|key| key.id.clone());
    let is_staff = user.roles.iter().any(|role| !matches!(role, access::Role::Patient | access::Role::Proxy));
    let account = user.account;
    let listener =
        Arc::new(Listener { ctx, account, patient: patient.clone(), sender, lagged: AtomicBool::new(false) });
    let number = app.hub.next.fetch_add(1, Relaxed);
    let mut index = app.hub.index.write();
    index.all.insert(number, listener.clone());
    if let Some(patient) = patient {
        index.by_patient.entry(patient).or_default().push(number);
    }
    if is_staff {
        index.staff.insert(number);
    }
    drop(index);
    Some(Membership { app: app.clone(), number, listener, frames })
}

/// Runs until the server stops.
pub async fn run(app: AppState) {
    let mut events = app.record.subscribe();
    let mut gathered: HashMap<String, Utf8Bytes> = HashMap::new();
    let mut flush = tokio::time::interval(GATHER);
    flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            event = events.recv() => match event {
                Ok(event) => {
                    app.hub.set_last_seq(event.seq);
                    if frame::is_live(&event) && !app.hub.is_empty() {
                        deliver(&app, &event, &mut gathered).await;
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    let seq = app.hub.last_seq();
                    app.hub.everybody(&Frame::new(Audience::Everybody, "resync", seq, &serde_json::json!({})).text);
                }
                Err(RecvError::Closed) => return,
            },
            _ = flush.tick(), if !gathered.is_empty() => {
                for (_, text) in gathered.drain() {
                    app.hub.everybody(&text);
                }
            }
        }
    }
}

async fn deliver(app: &AppState, event: &LiveEvent, gathered: &mut HashMap<String, Utf8Bytes>) {
    let frames = match frame::frames(app, event).await {
        Ok(frames) => frames,
        Err(error) => {
            tracing::warn!(%error, event.topic = %event.topic, "a live update was lost");
            return;
        }
    };
    for frame in frames {
        match frame.audience {
            Audience::Everybody => {
                let provider = frame.text.split("\"data\":").nth(1).unwrap_or_default().to_owned();
                if gathered.len() < GATHER_MAX || gathered.contains_key(&provider) {
                    gathered.insert(provider, frame.text);
                }
            }
            Audience::Account(account) => app.hub.to_account(account, &frame.text),
            Audience::Readers => to_readers(app, event, &frame).await,
        }
    }
}

async fn to_readers(app: &AppState, event: &LiveEvent, frame: &Frame) {
    let mut asked: HashMap<i64, bool> = HashMap::new();
    for listener in app.hub.candidates(&event.patients) {
        let may = match asked.get(&listener.account) {
            Some(may) => *may,
            None => {
                let may = may_see(app, &listener.ctx, event).await;
                asked.insert(listener.account, may);
                may
            }
        };
        if may {
            listener.send(&frame.text);
        }
    }
}

/// The policy's answer now; an error counts as no.
pub async fn may_see(app: &AppState, ctx: &Ctx, event: &LiveEvent) -> bool {
    let ctx = Ctx { now: app.record.now(), ..ctx.clone() };
    app.record.visible(&ctx, event).await.unwrap_or(false)
}
