//! A ChangeSet is what a command wants written: all of it in one transaction, or nothing.

use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The id may be set by the client (offline); else record makes one.
    Create {
        resource: Resource,
    },
    /// `if_match` [ABSENT]: only if there is none.
    Update {
        resource: Resource,
        if_match: Option<u32>,
    },
    Delete {
        key: ResourceKey,
        if_match: Option<u32>,
    },
    /// A change of the current version, whichever that is when it is written.
    Patch {
        key: ResourceKey,
        patch: Patch,
        if_match: Option<u32>,
    },
    /// Nothing is written; the current version is answered.
    Keep {
        key: ResourceKey,
    },
    /// What happens depends on what a search finds, in the same transaction as the write.
    Conditional(Box<Conditional>),
}

/// As `if_match`: no resource may be there. Versions begin with 1.
pub const ABSENT: u32 = 0;

/// How a resource is to change.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902, a list of operations.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// FHIRPath Patch, a Parameters resource.
    Path(Resource),
}

/// <http://hl7.org/fhir/R4/http.html#cond-update> and its kin.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditional {
    pub kind: TypeId,
    /// Search parameters as in a URL, percent-decoded. Rows that the caller may not see do not match.
    pub criteria: Vec<(String, String)>,
    pub action: ConditionalAction,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ConditionalAction {
    /// Only if nothing matches; one match is answered as it is.
    Create { resource: Resource },
    /// The one match, or a new resource.
    Update { resource: Resource, if_match: Option<u32> },
    /// The one match.
    Patch { patch: Patch, if_match: Option<u32> },
    /// All matches, if they are no more than `most`.
    Delete { if_match: Option<u32>, most: u32 },
}

/// A row outside the FHIR record that must change together with it.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Takes a time span of an actor (practitioner, patient, room) for `by`. Overlap → [crate::Error::Duplicate]
    /// with code `slot-taken`. Times are multiples of `store::claim::QUANTUM_MINUTES`.
    Claim {
        actor: ResourceKey,
        start: Timestamp,
        end: Timestamp,
        by: ResourceKey,
    },
    /// Frees all spans taken by this resource.
    Release {
        by: ResourceKey,
    },
    /// A double-entry transaction; entries must sum to zero per currency.
    Post(store::ledger::NewTransaction),
    PaymentCreate(store::payment::NewPayment),
    /// Moves a payment from one of the states `from`; otherwise [crate::Error::Duplicate] `payment-state`.
    PaymentMove(store::payment::Move),
    /// Makes a ledger account, or leaves the one with this code as it is.
    LedgerAccount(store::ledger::Account),
    /// A message to a person, sent by the worker.
    Message(store::message::NewMessage),
    /// Work for later, e.g. a reminder.
    Job(store::job::NewJob),
    /// Removes jobs that were not started yet, by their key, e.g. a reminder of a cancelled appointment.
    CancelJobs {
        key: String,
    },
    /// Keeps a raw message of an outside provider (`store::inbox`); a copy of one that is there changes nothing.
    Inbox {
        source: &'static str,
        key: String,
        body: Vec<u8>,
    },
    AccountCreate(store::account::NewAccount),
    AccountUpdate(store::account::Update),
    /// Writes a merge of two patients down and moves payments, messages and held time; whatever else still refers to the
    /// source beyond the rows that stay is [crate::Error::VersionConflict]: somebody wrote meanwhile.
    Merge {
        merge: store::merge::New,
        stays: Vec<i64>,
    },
    /// Rights beyond the table: broken glasses, proxies, changed cells.
    Rights(crate::rights::RightsEffect),
    /// A change of an account that a second person settles.
    AccountChange(Box<crate::authn::four_eyes::Settling>),
    /// What people ask about their data, holds, retention, recipients.
    Subject(crate::subject::SubjectEffect),
    /// Takes back what [Effect::Merge] moved; [crate::Error::VersionConflict] if it was taken back already.
    Unmerge {
        id: uuid::Uuid,
    },
}

/// A fact for subscribers (live updates, messages, billing, …), stored in the outbox in the same transaction.
/// Resource changes make their own events (`resource.created|updated|deleted`); these are the domain's.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// e.g. `appointment.booked`
    pub topic: &'static str,
    pub subject: ResourceKey,
    /// Ids only, never patient data.
    pub data: Value,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChangeSet {
    pub changes: Vec<Change>,
    /// Versions the plan was made on; another version at commit → [crate::Error::VersionConflict].
    pub expect: Vec<(ResourceKey, u32)>,
    pub effects: Vec<Effect>,
    pub events: Vec<Event>,
}

/// What was written, in the order of `changes`.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Answered from an earlier request with the same idempotency key; nothing was written now.
    pub replayed: bool,
    /// The resource as stored (id, meta), its version and its change sequence. Deleted: the last content is not kept.
    pub written: Vec<Written>,
}

#[derive(Debug, Clone)]
pub struct Written {
    pub key: ResourceKey,
    pub version: u32,
    pub seq: i64,
    pub last_updated: Timestamp,
    /// A new resource (also by update-as-create), not a new version of one.
    pub created: bool,
    /// The content was already there: no new version, no event.
    pub unchanged: bool,
    /// `None` after a delete.
    pub resource: Option<std::sync::Arc<Resource>>,
}
