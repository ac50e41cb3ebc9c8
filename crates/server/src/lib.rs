//! The HTTP server, the WebSockets, the worker, the configuration and the commands of `uzima`.
//!
//! **Invariant:** axum appears only in this crate (and the sandbox); nothing here decides a domain rule.
//! **Invariant:** `http::error` is the only place that gives an error a status.
//! **Must never depend on:** SQL or a database driver.

pub mod admin;
pub mod api;
mod audit_key;
mod audit_work;
pub mod authorization;
pub mod backups;
pub mod cli;
pub mod config;
mod control;
pub mod hooks;
pub mod http;
mod keys;
pub mod oauth;
mod outside;
mod parts;
mod residency;
pub mod rest;
mod start;
pub mod state;
mod storage;
pub mod terminologies;
pub mod web;
pub mod worker;
pub mod ws;

pub use config::Config;
pub use start::{Running, start, start_with_clock, start_worker};
pub use state::{App, AppState};
