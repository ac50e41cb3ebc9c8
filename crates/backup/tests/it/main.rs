//! Backups to real places: a folder, an object store that verifies signatures, the system's SFTP server.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod append;
mod damage;
mod keys;
mod policy;
mod round;
mod ssh;
mod support;
