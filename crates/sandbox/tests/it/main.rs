//! The sandbox over real sockets: every protocol path and every fault, read with the codecs that
//! Uzima itself uses.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, also in its helpers"
)]
mod control;
mod daraja;
mod faults;
mod pages;
mod sms;
mod world;
