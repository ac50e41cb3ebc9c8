//! The real server on real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod admin;
mod auth;
mod command;
mod errors;
mod harness;
mod kill;
mod live;
mod openapi;
mod payments;
mod postgres;
mod rest;
mod routes;
mod serving;
mod visit;
mod worker;
