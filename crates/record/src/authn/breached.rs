//! Passwords that leaked and are tried first, known to the program without asking anybody.
//!
//! `breached.bin` holds the first five bytes of the SHA-256 of each, sorted: 21,695 passwords of eight or more
//! characters (shorter ones are refused anyway), in lower case, from the lists named in `NOTICE`. A password that is
//! in none of them is refused by accident once in fifty million.

use sha2::{Digest, Sha256};

static PREFIXES: &[u8] = include_bytes!("breached.bin");
const BYTES: usize = 5;

/// PINs that people choose first, besides rows and repetitions: shapes on the pad.
const PINS: [&str; 12] = [
    "159753", "147258", "147852", "159357", "258456", "741852", "963852", "852456", "789456", "456123",
    "321654", "102030",
];

pub(super) fn is_common_pin(pin: &str) -> bool {
    PINS.contains(&pin)
}

/// Whether the password, without regard to case, is in the lists.
pub(super) fn is_known(password: &str) -> bool {
    let digest = Sha256::digest(password.to_lowercase().as_bytes());
    let (entries, _) = PREFIXES.as_chunks::<BYTES>();
    entries.binary_search_by(|entry| entry.as_slice().cmp(&digest[..BYTES])).is_ok()
}
