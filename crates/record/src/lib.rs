//! The one write path and the reads: policy, validation, versions, audit, outbox, in one transaction.
//!
//! Raw FHIR goes in by [Record::write] and [Record::bundle], the product's own commands by [Record::command];
//! everything is read by [Record::read], [Record::search] and their kin. All of them take the caller's
//! [access::Ctx] and are authorized and audited here.
//!
//! **Invariant:** nothing else in the program opens a write transaction.
//! **Invariant:** a response leaves only after its audit event is durable.
//! **Must never depend on:** HTTP, SQL, or a domain crate.

pub mod attachment;
pub mod audit;
pub mod authn;
pub mod bundle;
pub mod change;
pub mod error;
pub mod events;
pub mod import;
mod keys;
pub mod oauth;
pub mod operation;
pub mod read;
pub mod rights;
pub mod scan;
pub mod search_parameter;
pub mod subject;
pub mod subscription;
pub mod terminology;
mod validate;
mod write;

pub use change::{
    ABSENT, Change, ChangeSet, Committed, Conditional, ConditionalAction, Effect, Event, Patch, Written,
};
pub use error::{Error, Rule};
pub use read::{DirectoryRow, HistoryEntry, HistoryPage, HistoryQuery, Method, Scope, SearchPage, Stored};
pub use write::{CHANGE_REASON, JSON_PATCH, MAX_CHANGES, MERGE_PATCH};

use authn::{SessionInfo, Throttle};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock};
use store::Tx;
use tokio::sync::{Semaphore, broadcast};

/// Where "now" comes from; tests pass a clock they can turn.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The record of one installation. Cheap to clone; all clones share caches and limits.
#[derive(Clone)]
pub struct Record {
    inner: Arc<Inner>,
}

/// Since when, who it is, and for sessions their limits.
type CachedToken = (Timestamp, access::Principal, Option<SessionInfo>);

pub(crate) struct Inner {
    store: store::Store,
    clock: Clock,
    base: OnceLock<String>,
    terminology: terminology::Terminology,
    profiles: validate::Cache,
    /// Principals of tokens seen within the last second, by the token's hash.
    tokens: Mutex<HashMap<[u8; 32], CachedToken>>,
    /// As `tokens`, of applications.
    holders: oauth::Holders,
    key_fetch: OnceLock<oauth::Fetch>,
    throttle: Throttle,
    policy: authn::policy::Cached,
    /// Seals secrets that must be read again; not in the database.
    secret_key: OnceLock<[u8; 32]>,
    site: OnceLock<authn::Site>,
    public_url: OnceLock<String>,
    region: OnceLock<String>,
    /// Ids handed out for logins that do not exist: until when, and guesses so far.
    decoys: Mutex<HashMap<String, (Timestamp, u32)>>,
    hashers: Semaphore,
    hash_queue: Semaphore,
    live: broadcast::Sender<Arc<events::LiveEvent>>,
    following: AtomicBool,
    /// Smallest and largest event number committed by this process.
    first_local: AtomicI64,
    last_local: AtomicI64,
    search_parameters: search_parameter::Current,
    subscriptions: subscription::Shared,
    turns: write::Turns,
    scanner: OnceLock<attachment::Scanner>,
    standings: rights::Standings,
    sensitivity: rights::Sensitivity,
}

impl Record {
    /// The store must already be migrated.
    pub fn new(store: store::Store, clock: Clock) -> Record {
        Record {
            inner: Arc::new(Inner {
                store,
                clock,
                base: OnceLock::new(),
                terminology: terminology::Terminology::default(),
                profiles: validate::Cache::default(),
                tokens: Mutex::default(),
                holders: oauth::Holders::default(),
                key_fetch: OnceLock::new(),
                throttle: Throttle::default(),
                policy: authn::policy::Cached::default(),
                secret_key: OnceLock::new(),
                site: OnceLock::new(),
                public_url: OnceLock::new(),
                region: OnceLock::new(),
                decoys: Mutex::default(),
                hashers: Semaphore::new(authn::password::concurrent_hashes()),
                hash_queue: Semaphore::new(authn::password::WAITING_HASHES),
                live: broadcast::channel(events::BUFFER).0,
                following: AtomicBool::new(false),
                first_local: AtomicI64::new(i64::MAX),
                last_local: AtomicI64::new(0),
                search_parameters: search_parameter::Current::default(),
                subscriptions: subscription::Shared::default(),
                turns: write::Turns::default(),
                scanner: OnceLock::new(),
                standings: rights::Standings::default(),
                sensitivity: rights::Sensitivity::default(),
            }),
        }
    }
    /// The server's own FHIR base without a trailing slash, e.g. `https://clinic.example/fhir/R4`: what is written with
    /// absolute references below it is kept with relative ones. The first call counts.
    pub fn set_base(&self, base: String) {
        let _ = self.inner.base.set(base);
    }
    pub(crate) fn base(&self) -> Option<&str> {
        self.inner.base.get().map(String::as_str)
    }
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }
    /// For what is not the record: job leases, the outbox, health. Never for resources.
    pub fn store(&self) -> &store::Store {
        &self.inner.store
    }

    /// Removes what nobody needs any more: ended sessions, old codes, tokens, idempotency keys. Call every few minutes.
    /// Errors: `Busy`, `Internal`; what was removed before stays removed.
    pub async fn housekeep(&self) -> Result<(), Error> {
        let now = self.now();
        self.writing(move |tx| {
            store::session::prune(tx, now)?;
            store::one_time_code::prune(tx, now.checked_sub(authn::KEEP_EXPIRED).unwrap_or(Timestamp::MIN))?;
            store::oauth::prune(tx, now)?;
            let before = |age| now.checked_sub(age).unwrap_or(Timestamp::MIN);
            store::credential::prune(tx, before(authn::FAILURES_KEPT), before(authn::ORIGIN_KNOWN))?;
            store::ceremony::prune(tx, before(authn::CEREMONIES_KEPT))?;
            store::idempotency::prune(tx, now)?;
            Ok(())
        })
        .await
    }

    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Tx) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.store.read(work).await
    }

    pub(crate) async fn writing<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut dyn Tx) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.store.write(work).await
    }
}
