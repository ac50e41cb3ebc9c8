//! Zip archives by their list of contents, without unpacking anything.

use super::Refusal;

/// Files of one archive.
const ENTRIES_MAX: u64 = 10_000;
/// Bytes of all its files together.
const UNPACKED_MAX: u64 = 1 << 30;
/// Bytes unpacked for each packed one, in all; office documents reach 20.
const RATIO_MAX: u64 = 200;
const END_BYTES: usize = 22;
const COMMENT_MAX: usize = 65_535;
const ENTRY_BYTES: usize = 46;

/// Where the archive's list ends, if there is one whose comment reaches to the end of the file.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(COMMENT_MAX);
    (first..=last).rev().find(|at| {
        let record = &bytes[*at..];
        record.starts_with(b"PK\x05\x06")
            && u16_at(record, 20).is_some_and(|n| at + END_BYTES + usize::from(n) == bytes.len())
    })
}

/// Errors: [Refusal::Bomb] for too many files, or too many bytes by what the list says; [Refusal::Polyglot] for a list that
/// is not there.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    let broken = || Refusal::Polyglot("the archive has no list of its files, or bytes around it");
    let end = end(bytes).ok_or_else(broken)?;
    let record = &bytes[end..];
    let count = u64::from(u16_at(record, 10).ok_or_else(broken)?);
    let start = u32_at(record, 16).ok_or_else(broken)?;
    // ZIP64 is for what is far beyond the limits.
    if count > ENTRIES_MAX || start == u32::MAX {
        return Err(Refusal::Bomb);
    }
    let mut at = usize::try_from(start).map_err(|_| broken())?;
    let (mut seen, mut unpacked) = (0_u64, 0_u64);
    while at < end {
        let entry = bytes.get(at..end).filter(|e| e.starts_with(b"PK\x01\x02")).ok_or_else(broken)?;
        seen += 1;
        unpacked = unpacked.saturating_add(u64::from(u32_at(entry, 24).ok_or_else(broken)?));
        if seen > ENTRIES_MAX
            || unpacked > UNPACKED_MAX
            || unpacked > RATIO_MAX.saturating_mul(bytes.len() as u64)
        {
            return Err(Refusal::Bomb);
        }
        let lengths: usize = [28, 30, 32].iter().map(|p| usize::from(u16_at(entry, *p).unwrap_or(0))).sum();
        at += ENTRY_BYTES + lengths;
    }
    if seen == count { Ok(()) } else { Err(broken()) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
