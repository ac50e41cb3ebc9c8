//! Store tests: the same functions on every engine there is.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod accounts;
mod bulk;
mod differential;
mod nested;
mod engine;
mod events;
mod money;
mod plans;
mod resources;
mod search;
mod support;
mod work;
