//! The sandbox's memory: one lock, never held across an await, and one counter that tells watchers
//! that something changed.

use crate::config::{Config, Settings, SettingsChange};
use crate::fault::{FAULTS_MAX, Fault, FaultKind};
use crate::handset::{
    BALANCE_MINOR_MAX, Direction, Handset, HandsetSummary, HandsetView, Held, MESSAGE_CHARS_MAX, Message,
    Prompt,
};
use crate::log::{Entry, Flow, Log, cut};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use wire::daraja::C2bRegister;

/// Handsets that exist at once; the one that was quiet longest goes first.
pub const HANDSETS_MAX: usize = 2_000;
/// Payment prompts that are remembered for queries.
pub const TRANSACTIONS_MAX: usize = 5_000;
/// Bearer tokens that are valid at once.
pub const TOKENS_MAX: usize = 64;
/// Callbacks that may be on their way at once.
const CALLBACKS_MAX: usize = 256;
/// Messages and callbacks that may be under way or delayed at once.
const TASKS_MAX: usize = 10_000;
/// Longest a caller may wait for something to happen.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// A payment prompt and how it ended.
#[derive(Debug, Clone, Serialize)]
pub struct Transaction {
    /// Safaricom's id of the prompt.
    pub checkout_request_id: String,
    /// Safaricom's id of the request.
    pub merchant_request_id: String,
    /// Who is asked to pay, digits.
    pub msisdn: String,
    /// What is asked for, in cents.
    pub amount_minor: i64,
    /// AccountReference.
    pub account: String,
    /// Where the callback goes.
    pub callback_url: String,
    /// `ResultCode` once it has ended.
    pub result_code: Option<String>,
    /// `ResultDesc` once it has ended.
    pub result_desc: Option<String>,
    /// The receipt of a paid one.
    pub receipt: Option<String>,
    /// The receiving shortcode.
    #[serde(skip)]
    pub shortcode: String,
    /// Paybill or till.
    #[serde(skip)]
    pub transaction_type: wire::daraja::TransactionType,
}

#[derive(Debug)]
pub(crate) struct Token {
    pub value: String,
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct C2bUrls {
    pub register: C2bRegister,
    pub version: wire::daraja::C2bVersion,
}

pub(crate) struct State {
    pub settings: Settings,
    pub handsets: HashMap<String, Handset>,
    pub transactions: HashMap<String, Transaction>,
    pub transaction_order: VecDeque<String>,
    pub tokens: VecDeque<Token>,
    pub c2b: Option<C2bUrls>,
    pub faults: Vec<(u64, Fault)>,
    pub log: Log,
    sequence: u64,
    revision: u64,
}

impl State {
    fn new(settings: Settings) -> State {
        State {
            settings,
            handsets: HashMap::new(),
            transactions: HashMap::new(),
            transaction_order: VecDeque::new(),
            tokens: VecDeque::new(),
            c2b: None,
            faults: Vec::new(),
            log: Log::default(),
            sequence: 0,
            revision: 0,
        }
    }

    /// A number that was not given before: for ids and versions.
    pub fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Changes whenever the log, a fault or a handset changes.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The handset of that number, made if need be; marks it as changed.
    pub fn handset(&mut self, msisdn: &str) -> &mut Handset {
        if !self.handsets.contains_key(msisdn) && self.handsets.len() >= HANDSETS_MAX {
            // One with an open prompt goes only when all have one.
            let quiet = self
                .handsets
                .values()
                .min_by_key(|handset| (handset.prompt.is_some(), handset.version))
                .map(|handset| handset.msisdn.clone());
            if let Some(quiet) = quiet {
                self.handsets.remove(&quiet);
            }
        }
        let version = self.next();
        let handset =
            self.handsets.entry(msisdn.to_owned()).or_insert_with(|| Handset::new(msisdn.to_owned()));
        handset.version = version;
        handset
    }

    /// Puts a message on the handset.
    pub fn message(&mut self, msisdn: &str, direction: Direction, party: &str, text: &str) -> u64 {
        let id = self.next();
        let text: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
        let message = Message {
            id,
            at: Timestamp::now(),
            direction,
            party: party.to_owned(),
            parts: wire::sms::segments(&text).parts.len(),
            text,
        };
        self.handset(msisdn).push(message);
        id
    }

    pub fn remember(&mut self, transaction: Transaction) {
        while self.transaction_order.len() >= TRANSACTIONS_MAX {
            if let Some(oldest) = self.transaction_order.pop_front() {
                self.transactions.remove(&oldest);
            }
        }
        self.transaction_order.push_back(transaction.checkout_request_id.clone());
        self.transactions.insert(transaction.checkout_request_id.clone(), transaction);
    }

    /// Whether a fault of that kind applies now; uses up one of its times.
    pub fn fault(&mut self, kind: FaultKind, msisdn: Option<&str>) -> Option<Fault> {
        let at = self.faults.iter().position(|(_, fault)| {
            fault.kind == kind && (fault.msisdn.is_none() || fault.msisdn.as_deref() == msisdn)
        })?;
        let (_, fault) = &mut self.faults[at];
        let taken = fault.clone();
        match &mut fault.times {
            None => {}
            Some(times) if *times > 1 => *times -= 1,
            Some(_) => {
                self.faults.remove(at);
            }
        }
        Some(taken)
    }
}

pub(crate) struct Shared {
    pub config: Config,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    pub stopping: watch::Sender<bool>,
    pub http: reqwest::Client,
    pub callbacks: Semaphore,
    tasks: Arc<Semaphore>,
}

/// A running sandbox. Clones share their state.
#[derive(Clone)]
pub struct Sandbox(pub(crate) Arc<Shared>);

/// A change of a handset; absent fields stay.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandsetChange {
    /// In cents, 0 to 1,000,000,000.
    pub balance_minor: Option<i64>,
    /// Four digits.
    pub pin: Option<String>,
    /// Whether it is switched on.
    pub reachable: Option<bool>,
}

impl HandsetChange {
    fn check(&self) -> Result<(), String> {
        if self.balance_minor.is_some_and(|balance| !(0..=BALANCE_MINOR_MAX).contains(&balance)) {
            return Err(format!("balance_minor must be 0 to {BALANCE_MINOR_MAX}"));
        }
        let pin = |pin: &String| pin.len() == 4 && pin.bytes().all(|byte| byte.is_ascii_digit());
        if self.pin.as_ref().is_some_and(|text| !pin(text)) {
            return Err("pin must be four digits".to_owned());
        }
        Ok(())
    }
}

impl Sandbox {
    pub(crate) fn new(config: Config, http: reqwest::Client) -> Sandbox {
        let settings = config.settings.clone();
        Sandbox(Arc::new(Shared {
            config,
            state: Mutex::new(State::new(settings)),
            changed: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            http,
            callbacks: Semaphore::new(CALLBACKS_MAX),
            tasks: Arc::new(Semaphore::new(TASKS_MAX)),
        }))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Reads or changes the state and tells the watchers.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.0.state.lock();
            state.revision += 1;
            change(&mut state)
        };
        self.0.changed.send_modify(|version| *version += 1);
        result
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.state.lock())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Uses up a fault; see [State::fault].
    pub(crate) fn fault(&self, kind: FaultKind, msisdn: Option<&str>) -> Option<Fault> {
        let taken = {
            let mut state = self.0.state.lock();
            let taken = state.fault(kind, msisdn);
            state.revision += u64::from(taken.is_some());
            taken
        };
        if taken.is_some() {
            self.0.changed.send_modify(|version| *version += 1);
        }
        taken
    }

    /// Ends when the sandbox stops.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // An error means that the sender is gone, which also means stopped.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Waits, but no longer than the sandbox runs. `false` when it stopped.
    pub(crate) async fn pause(&self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.stopped() => false,
        }
    }

    /// Runs a task that ends with the sandbox. `false`, and nothing is run, when too many are under way.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(permit) = self.0.tasks.clone().try_acquire_owned() else {
            tracing::warn!("too many messages and callbacks are under way; one is dropped");
            return false;
        };
        let sandbox = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                () = sandbox.stopped() => {}
            }
            drop(permit);
        });
        true
    }

    /// Waits until `check` finds something, at most `wait` (cut to 30 s).
    pub(crate) async fn wait_for<T>(
        &self,
        wait: Duration,
        mut check: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let mut changes = self.watch();
        let deadline = tokio::time::Instant::now() + wait.min(WAIT_MAX);
        loop {
            changes.borrow_and_update();
            if let Some(found) = self.read(&mut check) {
                return Some(found);
            }
            tokio::select! {
                changed = changes.changed() => changed.ok()?,
                () = tokio::time::sleep_until(deadline) => return None,
                () = self.stopped() => return None,
            }
        }
    }

    /// The handset of that number (digits); a fresh one when nothing happened to it yet.
    pub fn handset(&self, msisdn: &str) -> HandsetView {
        self.read(|state| match state.handsets.get(msisdn) {
            Some(handset) => handset.view(),
            None => Handset::new(msisdn.to_owned()).view(),
        })
    }

    /// All handsets, the one that changed last first.
    pub fn handsets(&self) -> Vec<HandsetSummary> {
        self.read(|state| {
            let mut handsets: Vec<_> = state.handsets.values().collect();
            handsets.sort_by_key(|handset| std::cmp::Reverse(handset.version));
            handsets.into_iter().map(Handset::summary).collect()
        })
    }

    /// Changes balance, PIN or reachability. Errors: a sentence that names the wrong field.
    pub fn change_handset(&self, msisdn: &str, change: HandsetChange) -> Result<HandsetView, String> {
        change.check()?;
        let held = self.change(|state| {
            let handset = state.handset(msisdn);
            handset.balance_minor = change.balance_minor.unwrap_or(handset.balance_minor);
            if let Some(pin) = change.pin {
                handset.pin = pin;
            }
            handset.reachable = change.reachable.unwrap_or(handset.reachable);
            if handset.reachable { std::mem::take(&mut handset.held) } else { VecDeque::new() }
        });
        self.deliver_held(msisdn, held);
        Ok(self.handset(msisdn))
    }

    fn deliver_held(&self, msisdn: &str, held: VecDeque<Held>) {
        for Held { from, text, message_id } in held {
            self.change(|state| state.message(msisdn, Direction::Received, &from, &text));
            if let Some(message_id) = message_id {
                let (sandbox, msisdn) = (self.clone(), msisdn.to_owned());
                self.spawn(async move { sandbox.report_success(&msisdn, &message_id).await });
            }
        }
    }

    /// The next message to `msisdn` after message `after` whose text contains `contains`, as soon as it
    /// is there; `None` after `wait`.
    pub async fn wait_for_message(
        &self,
        msisdn: &str,
        after: u64,
        contains: &str,
        wait: Duration,
    ) -> Option<Message> {
        self.wait_for(wait, |state| {
            let messages = &state.handsets.get(msisdn)?.messages;
            messages
                .iter()
                .find(|message| {
                    message.id > after
                        && message.direction == Direction::Received
                        && message.text.contains(contains)
                })
                .cloned()
        })
        .await
    }

    /// The open prompt as soon as there is one; `None` after `wait`.
    pub async fn wait_for_prompt(&self, msisdn: &str, wait: Duration) -> Option<Prompt> {
        self.wait_for(wait, |state| state.handsets.get(msisdn)?.prompt.clone()).await
    }

    /// Switches a fault on. Returns its id, `None` when too many are active.
    pub fn add_fault(&self, fault: Fault) -> Option<u64> {
        self.change(|state| {
            if state.faults.len() >= FAULTS_MAX {
                return None;
            }
            let id = state.next();
            state.faults.push((id, fault));
            Some(id)
        })
    }

    /// Switches one fault off; `false` when there was none.
    pub fn remove_fault(&self, id: u64) -> bool {
        self.change(|state| {
            let before = state.faults.len();
            state.faults.retain(|(known, _)| *known != id);
            state.faults.len() < before
        })
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.change(|state| state.faults.clear());
    }

    /// The active faults with their ids.
    pub fn faults(&self) -> Vec<(u64, Fault)> {
        self.read(|state| state.faults.clone())
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.read(|state| state.settings.clone())
    }

    /// Changes settings. Errors: a sentence that names the wrong field.
    pub fn change_settings(&self, change: SettingsChange) -> Result<Settings, String> {
        self.change(|state| {
            change.apply(&mut state.settings)?;
            Ok(state.settings.clone())
        })
    }

    /// Payment prompts, oldest first.
    pub fn transactions(&self) -> Vec<Transaction> {
        self.read(|state| {
            state.transaction_order.iter().filter_map(|id| state.transactions.get(id)).cloned().collect()
        })
    }

    /// Calls after entry `after`, oldest first.
    pub fn log(&self, after: u64) -> Vec<Entry> {
        self.read(|state| state.log.after(after))
    }

    /// Forgets everything and goes back to the settings of the start.
    pub fn reset(&self) {
        self.change(|state| {
            state.settings = self.config().settings.clone();
            state.handsets.clear();
            state.transactions.clear();
            state.transaction_order.clear();
            state.tokens.clear();
            state.c2b = None;
            state.faults.clear();
            state.log.clear();
        });
    }

    pub(crate) fn log_open(&self, flow: Flow, method: &str, target: &str, request: &[u8]) -> u64 {
        self.change(|state| {
            let id = state.next();
            state.log.open(Entry {
                id,
                at: Timestamp::now(),
                flow,
                method: method.to_owned(),
                target: target.to_owned(),
                request: cut(request),
                status: None,
                response: String::new(),
            });
            id
        })
    }

    pub(crate) fn log_close(&self, id: u64, status: Option<u16>, response: &[u8]) {
        self.change(|state| state.log.close(id, status, cut(response)));
    }
}
