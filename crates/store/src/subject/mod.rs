//! People's rights about their own data: what they asked for, what is held back from erasure, how long records stay, to
//! whom data may go, and what was erased.
//!
//! Why tables and not resources: this is the evidence that must outlive the patient's key. What people wrote lies in
//! Communications, which go with the key.

pub mod erasure;
pub mod hold;
pub mod recipient;
pub mod region;
pub mod request;
pub mod retention;

/// Most rows of one list.
pub(crate) const MAX_ROWS: i64 = 500;
