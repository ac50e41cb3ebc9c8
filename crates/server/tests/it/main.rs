//! The real server on real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where something is not as it must be"
)]

mod account_changes;
mod acme;
mod admin;
mod audit;
mod audit_places;
mod audited;
mod auth;
#[path = "../../../record/tests/it/authenticator.rs"]
mod authenticator;
mod authorization;
mod backup;
#[path = "../../../record/tests/it/balp.rs"]
mod balp;
mod bombs;
mod bulk;
mod canary;
mod cluster;
mod command;
mod command_files;
mod disk;
mod erasure;
mod errors;
mod fault_clock;
mod fault_disk;
mod fault_history;
mod fault_load;
mod fault_message;
mod fault_payment;
mod fault_postgres;
mod fault_power;
mod fault_slow;
mod fhir_bundle;
mod fhir_history;
mod fhir_interactions;
mod files;
mod grants;
mod harness;
mod in_call;
mod keys;
mod kill;
mod kill_reads;
mod live;
mod machine;
mod matrix;
mod network;
mod oauth;
mod oauth_app;
mod oauth_backend;
mod openapi;
mod operations_capability;
mod operations_chart;
mod operations_observation;
mod operations_patient;
mod outside;
mod oversight;
mod paper;
mod parameters;
mod passkey;
mod payments;
mod people;
mod postgres;
mod postgres_restore;
mod privacy;
mod redaction;
mod rest;
mod restore;
mod revocation;
mod rights;
mod routes;
mod search_fuzz;
mod search_parameters;
mod security;
mod serving;
mod subscriptions;
mod taken_away;
mod terminology;
mod tls;
mod tls_probe;
mod validate;
mod views;
mod visit;
mod worker;
