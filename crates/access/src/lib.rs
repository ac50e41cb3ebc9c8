//! Who may do what: principals, roles, and one policy that is both a check and a query predicate.
//!
//! **Invariant:** pure. No clock, randomness, SQL, HTTP or tokio.
//! **Invariant:** deny by default; [policy::predicate] and [policy::decide] come from one table, [matrix::rights].
//! **Invariant:** a scope never widens what its holder may do.

pub mod care;
pub mod class;
pub mod consent;
pub mod context;
pub mod explain;
pub mod matrix;
pub mod policy;
pub mod redact;
pub mod scope;
pub mod seal;
pub mod sensitivity;
pub mod standing;
pub mod trust;

pub use care::CareLink;
pub use class::Class;
pub use context::{Ctx, Due, Factor, Principal, Purpose, Role, SessionFacts, User};
pub use policy::{Action, Capability, Decision, Predicate, RowFacts};
pub use scope::ScopeSet;
pub use seal::Seals;
pub use standing::Standing;
