//! The HTTP server, the WebSockets, the worker, the configuration and the commands of `uzima`.
//!
//! **Invariant:** axum appears only in this crate; nothing here decides a domain rule or opens a transaction.
//! **Invariant:** `http::error` is the only place that gives an error a status.

pub mod api;
pub mod config;
pub mod fhir;
pub mod hooks;
pub mod http;
pub mod oauth;
pub mod parts;
pub mod state;
mod storage;
pub mod web;
pub mod worker;
pub mod ws;
mod start;

pub use config::Config;
pub use start::{Running, start, start_with_clock};
pub use state::{App, AppState};
