//! Reaching people and systems: calls and the relay they need, text messages, e-mail, other servers' endpoints.
//!
//! `turn` is the relay for calls that find no direct path; `consult` is the signalling of a video visit.
//! Neither writes to the record: they report what happened and the caller stores it. Never depends on axum,
//! `care` or `billing`.

pub mod clamd;
pub mod consult;
pub mod egress;
pub mod hook;
pub mod mail;
pub mod oidc;
pub mod sms;
pub mod turn;
