//! Rights beyond the table: what the database knows about callers and rows, and what people do about it: consents,
//! proxies, broken glasses, changed rights, and why somebody may or may not.

mod agreement;
pub mod confirm;
pub(crate) mod derived;
mod effect;
pub mod emergency;
pub mod given;
mod names;
pub mod notice;
pub mod proxy;
pub(crate) mod relabel;
mod row;
pub(crate) mod second;
mod sensitivity;
mod standing;
mod table;
pub(crate) mod veil;
mod why;

pub use agreement::{Actor, ConsentRow, Giver, NewConsent};
pub use effect::RightsEffect;
pub(crate) use effect::run;
pub use names::Names;
pub use relabel::Labelling;
pub(crate) use row::{Facts, Version, holds, holds_then, load_if_held};
pub(crate) use sensitivity::Current as Sensitivity;
pub(crate) use standing::{Cache as Standings, standing_of};
pub use table::RightsTable;
pub use why::Question;
