//! Passwords that leaked and are tried first, known to the program without asking anybody.
//!
//! `breached.bin` holds the first five bytes of the SHA-256 of each, sorted: 21,695 passwords of eight or more
//! characters (shorter ones are refused anyway), in lower case, from the lists named in `NOTICE`. A password that is
//! in none of them is refused by accident once in fifty million.

use sha2::{Digest, Sha256};

static PREFIXES: &[u8] = include_bytes!("breached.bin");
const BYTES: usize = 5;

/// Whether the password, without regard to case, is in the lists.
pub(super) fn is_known(password: &str) -> bool {
    let digest = Sha256::digest(password.to_lowercase().as_bytes());
    let (entries, _) = PREFIXES.as_chunks::<BYTES>();
    entries.binary_search_by(|entry| entry.as_slice().cmp(&digest[..BYTES])).is_ok()
}
