//! Whole commands against a real record: SQLite always, PostgreSQL where `UZIMA_TEST_POSTGRES_URL` names one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod bench;
mod booking;
mod chart;
mod people;
mod visit;

pub use bench::{Bench, each_engine, name};
