//! The readers, by what they read.

pub mod fhir;
pub mod identity;
pub mod network;
pub mod query;
pub mod table;
pub mod terminology;
pub mod wire;

/// The first byte chooses, the rest is read.
fn chosen(bytes: &[u8]) -> Option<(usize, &[u8])> {
    bytes.split_first().map(|(first, rest)| (usize::from(*first), rest))
}

/// What is before and behind the first zero byte; nothing behind it without one.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// Seeds of text.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Seeds of text, each behind the byte that chooses it: those of the list at `n` behind byte `n`.
fn chosen_texts(lists: &[&[&str]]) -> Vec<Vec<u8>> {
    let all = lists.iter().enumerate().flat_map(|(n, texts)| texts.iter().map(move |text| (n, text)));
    all.map(|(n, text)| [&[n as u8], text.as_bytes()].concat()).collect()
}

/// So that nothing is left out because nobody looks at it.
fn seen<T>(value: T) {
    drop(std::hint::black_box(value));
}
