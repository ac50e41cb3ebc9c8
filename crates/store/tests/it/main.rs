//! Store tests: the same functions on every engine there is.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod accounts;
mod backup;
mod blind;
mod bulk;
mod differential;
mod engine;
mod events;
mod guard;
mod journal;
mod keys;
mod money;
mod nested;
mod oracle;
mod paging;
mod plans;
mod resources;
mod search;
mod search_parameters;
mod support;
mod terminology;
mod tls;
mod transfer;
mod work;
