//! Who may do what: principals, roles, and one policy that is both a check and a query predicate.
//!
//! **Invariant:** pure. No clock, randomness, SQL, HTTP or tokio.
//! **Invariant:** deny by default; [policy::predicate] and [policy::decide] come from one table.

pub mod context;
pub mod policy;

pub use context::{Ctx, Principal, Purpose, Role, User};
pub use policy::{Action, Decision, Predicate, RowFacts};
