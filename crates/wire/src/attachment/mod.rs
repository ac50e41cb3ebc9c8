//! Files inside resources: what they are, told by their first bytes, and what they must not be.
//!
//! A declared media type decides what other people's programs do with a file, so a file is taken only if its bytes are
//! what its type says (OWASP ASVS 5.2.2), are nothing else besides (a picture that is also a page), and do not unpack to
//! far more than they are. What is taken is still served so that no browser runs it; see `server::rest::binary`.

mod archive;
mod kind;
mod picture;

pub use kind::{Kind, essence, sniff};
pub use picture::without_metadata;

/// What the test file of every virus scanner begins with (<https://www.eicar.org>); in two pieces, so that this program
/// is not taken for it.
const TEST_FILE: (&[u8], &[u8]) =
    (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$", b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*");
/// Bytes at the beginning in which browsers and readers look for what a file is.
const LOOKED_AT: usize = 1445;
/// How pages and scripts begin, in lower case.
const MARKUP: &[&[u8]] = &[b"<html", b"<!doctype html", b"<script", b"<iframe", b"<svg", b"<body", b"<?php"];

/// Why a file is not taken; the text is for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the media type is missing or malformed")]
    NoType,
    #[error("the content is not what the media type `{declared}` says; it looks like {found}")]
    OtherType { declared: String, found: &'static str },
    #[error("programs are not stored here")]
    Program,
    #[error("the file is two things at once: {0}")]
    Polyglot(&'static str),
    #[error("the archive unpacks to more than may be stored")]
    Bomb,
    #[error("the picture is broken or too large when decoded")]
    Picture,
    #[error("the file was found to be harmful")]
    Harmful,
}

/// Whether a file of this declared media type may be stored. Errors: [Refusal].
pub fn check(declared: &str, bytes: &[u8]) -> Result<(), Refusal> {
    let declared = essence(declared).ok_or(Refusal::NoType)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if text.strip_prefix(TEST_FILE.0).is_some_and(|rest| rest.starts_with(TEST_FILE.1)) {
        return Err(Refusal::Harmful);
    }
    let found = sniff(bytes);
    if found == Some(Kind::Program) {
        return Err(Refusal::Program);
    }
    let other = |found| Err(Refusal::OtherType { declared: declared.clone(), found });
    match (Kind::declared(&declared), found) {
        // Nothing is promised, so nothing is broken; but what a browser would run must say that it is that.
        (Kind::Unknown, None) => {}
        (Kind::Unknown, Some(found)) if declared == "application/octet-stream" && !found.is_active() => {}
        (Kind::Text, None) if kind::is_text(bytes) => {}
        (Kind::Text, None) => return other("binary data"),
        // Markup is text.
        (Kind::Text, Some(Kind::Markup)) if kind::may_hold_markup(&declared) => {}
        (expected, Some(found)) if expected == found => {}
        (_, Some(found)) => return other(found.words()),
        (_, None) => return other("something else"),
    }
    let found = found.unwrap_or(Kind::Unknown);
    if found.is_binary() {
        polyglot(found, bytes)?;
    }
    match found {
        Kind::Zip => archive::check(bytes),
        Kind::Png | Kind::Jpeg | Kind::Gif => picture::check(found, bytes),
        _ => Ok(()),
    }
}

fn polyglot(kind: Kind, bytes: &[u8]) -> Result<(), Refusal> {
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let lower = head.to_ascii_lowercase();
    if MARKUP.iter().any(|mark| contains(&lower, mark)) {
        return Err(Refusal::Polyglot("it holds a page or a script"));
    }
    if kind != Kind::Pdf && contains(head, b"%PDF-") {
        return Err(Refusal::Polyglot("it holds a PDF"));
    }
    if kind != Kind::Zip && archive::end(bytes).is_some() {
        return Err(Refusal::Polyglot("it holds an archive"));
    }
    Ok(())
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests;
