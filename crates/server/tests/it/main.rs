//! The real server on real sockets.

mod admin;
mod auth;
mod command;
mod errors;
mod harness;
mod kill;
mod live;
mod openapi;
mod payments;
mod rest;
mod routes;
mod serving;
mod worker;
