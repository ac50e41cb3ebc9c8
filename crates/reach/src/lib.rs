//! Reaching people: calls and the relay they need, text messages.
//!
//! `turn` is the relay for calls that find no direct path; `consult` is the signalling of a video visit.
//! Neither writes to the record: they report what happened and the caller stores it. Never depends on axum,
//! `care` or `billing`.

pub mod consult;
pub mod sms;
pub mod turn;
