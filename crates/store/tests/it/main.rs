//! Store tests: the same functions on every engine there is.

mod accounts;
mod engine;
mod events;
mod money;
mod plans;
mod resources;
mod search;
mod support;
mod work;
