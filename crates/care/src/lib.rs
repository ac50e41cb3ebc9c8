//! Scheduling and the visit: slots, appointments, the waiting room, the note, vitals, prescriptions, the chart.
//!
//! Rules are pure functions `plan(command, snapshot) -> Result<ChangeSet, Rule>`; the functions around them load the
//! snapshot through [record::Record] with the caller's rights and commit through [record::Record::command].
//!
//! **Invariant:** everything is read and written with the caller's [access::Ctx]; a System principal is used only for
//! what carries no patient data (a place in the queue, free times) or is itself a right (a verification token).
//! **Must never depend on:** HTTP, SQL, another domain crate. Billing and messaging listen to the events.

pub mod appointment;
pub mod chart;
pub mod clinic;
pub mod code;
pub mod consultation;
pub mod duplicate;
mod element;
pub mod hidden;
mod load;
pub mod note;
pub mod patient;
pub mod prescription;
pub mod provider;
mod rule;
pub mod schedule;
pub mod slot;
pub mod texts;
pub mod view;
pub mod vitals;
pub mod vocabulary;

pub use clinic::Clinic;
pub use schedule::Kind;

/// How often a command is planned again when somebody else was faster.
const ATTEMPTS_MAX: usize = 4;

/// A new id for a resource: time-ordered, so that rows of one time lie together.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
