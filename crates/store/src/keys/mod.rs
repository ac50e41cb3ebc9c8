//! The installation's keys: what holds them, how they are kept, how they are changed.
//!
//! Two keys encrypt what lies on the disk: that of the embedded database and that of the files beside it. They are
//! random, never leave the process unencrypted, and lie in a [Keyring]: a small file with *slots*, each of which holds
//! both keys under one key-encryption key (KEK). The KEK comes from a [KeyProvider]: a key file, a variable of the
//! environment, a credential of systemd, or a program that asks a key service or a smart card.
//!
//! Changing the KEK writes a slot and removes a slot; no row is touched and a running server does not notice, because it
//! read its keys at start. Changing the database's own key rewrites every page: [rekey].
//!
//! Contents inside the database are sealed once more, under keys of patients that lie outside of it: see `vault`.
//!
//! **Invariant:** at every moment, whatever fails, the keyring on the disk can be opened with the KEK on the disk.
//! **Invariant:** no key is in an error, a log line or the arguments of a program.

pub(crate) mod blind;
mod derive;
mod envelope;
mod keyring;
mod program;
mod provider;
mod rekey;
mod sealing;
mod vault;

pub use derive::derive;
pub use envelope::{open, seal};
pub use keyring::{Keyring, Keys, Retired, SlotInfo};
pub use program::Program;
pub use provider::{KeyProvider, LocalKey, replace_key_file};
pub use rekey::{RekeyProgress, rekey};
pub use sealing::{ERASED, Sealing};
pub(crate) use sealing::{KEY_STORE, Place, key_of, open_content, seal_content, sealed_under};
pub(crate) use vault::{CHANNEL, Shred, Vault};
pub use vault::{KeyStoreState, newer, vault_file};

use std::path::PathBuf;

/// What keeps keys from being read, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key file {} is not there", .0.display())]
    Missing(PathBuf),
    /// Others than the owner may read or change it.
    #[error(
        "the key file {} can be read by others (mode {mode:04o}): make it the server's own with `chmod 600 {}`",
        .path.display(),
        .path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{0} does not hold 64 hexadecimal digits")]
    NoKey(String),
    #[error("the key program {program}: {text}")]
    Program { program: String, text: String },
    /// Another KEK, or a damaged file.
    #[error("the keyring {} cannot be opened with this key ({by})", .path.display())]
    NoSlot { path: PathBuf, by: String },
    #[error("the keyring {} is damaged: {text}", .path.display())]
    Damaged { path: PathBuf, text: String },
    /// Somebody else wrote it since it was read.
    #[error("the keyring {} was changed meanwhile; try again", .0.display())]
    Changed(PathBuf),
    #[error("the keyring {} has more than one slot: finish the rotation first", .0.display())]
    Unfinished(PathBuf),
    #[error("{what}: {source}")]
    Disk { what: String, source: std::io::Error },
    #[error("no randomness, or AES-GCM refused")]
    Cryptography,
}

fn disk(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> KeyError {
    move |source| KeyError::Disk { what: what.to_string(), source }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
