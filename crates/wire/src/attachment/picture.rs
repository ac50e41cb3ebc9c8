//! Pictures: how large they become, where they end, and what they say about whoever took them.

use super::{Kind, Refusal};

/// Pixels of a decoded picture; a full scan of an A3 page at 600 dpi is 70 million.
const PIXELS_MAX: u64 = 100_000_000;
/// Segments or chunks of one picture.
const PARTS_MAX: usize = 100_000;

/// Errors: [Refusal::Picture] where the parts do not fit together or there are too many pixels; [Refusal::Polyglot] for
/// bytes after the end.
pub(super) fn check(kind: Kind, bytes: &[u8]) -> Result<(), Refusal> {
    let (width, height, end) = match kind {
        Kind::Png => png(bytes),
        Kind::Jpeg => jpeg(bytes),
        _ => gif(bytes),
    }
    .ok_or(Refusal::Picture)?;
    if u64::from(width) * u64::from(height) > PIXELS_MAX || width == 0 || height == 0 {
        return Err(Refusal::Picture);
    }
    // Phones put a second picture or a moment of film behind a JPEG; what else hides there was looked for before.
    if kind != Kind::Jpeg && end != bytes.len() {
        return Err(Refusal::Polyglot("there are bytes after the picture's end"));
    }
    Ok(())
}

/// A JPEG or PNG without place, time, device and comments; a JPEG keeps the way it must be turned. Anything else, and what
/// cannot be read, comes back as it is.
pub fn without_metadata(bytes: &[u8]) -> Vec<u8> {
    let plain = match super::sniff(bytes) {
        Some(Kind::Png) => plain_png(bytes),
        Some(Kind::Jpeg) => plain_jpeg(bytes),
        _ => None,
    };
    plain.unwrap_or_else(|| bytes.to_vec())
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Name and extent (with length, name and checksum) of each chunk, up to IEND.
fn chunks(bytes: &[u8]) -> Option<Vec<(&[u8], std::ops::Range<usize>)>> {
    let (mut at, mut found) = (8, Vec::new());
    while found.len() < PARTS_MAX {
        let length = usize::try_from(be32(bytes, at)?).ok()?;
        let name = bytes.get(at + 4..at + 8)?;
        let end = at.checked_add(length)?.checked_add(12)?;
        if end > bytes.len() {
            return None;
        }
        found.push((name, at..end));
        if name == b"IEND" {
            return Some(found);
        }
        at = end;
    }
    None
}

fn png(bytes: &[u8]) -> Option<(u32, u32, usize)> {
    let chunks = chunks(bytes)?;
    let (name, first) = chunks.first()?;
    if *name != b"IHDR" {
        return None;
    }
    Some((be32(bytes, first.start + 8)?, be32(bytes, first.start + 12)?, chunks.last()?.1.end))
}

fn plain_png(bytes: &[u8]) -> Option<Vec<u8>> {
    let said: &[&[u8]] = &[b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"];
    let mut plain = bytes.get(..8)?.to_vec();
    for (name, extent) in chunks(bytes)? {
        if !said.contains(&name) {
            plain.extend_from_slice(&bytes[extent]);
        }
    }
    Some(plain)
}

fn gif(bytes: &[u8]) -> Option<(u32, u32, usize)> {
    let le16 = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let (width, height) = (le16(6)?, le16(8)?);
    let mut at = 13 + table(*bytes.get(10)?);
    for _ in 0..PARTS_MAX {
        let blocks = match bytes.get(at)? {
            0x3b => return Some((width, height, at + 1)),
            0x21 => at + 2,
            0x2c => {
                if u64::from(le16(at + 5)?) * u64::from(le16(at + 7)?) > PIXELS_MAX {
                    return None;
                }
                at + 11 + table(*bytes.get(at + 9)?)
            }
            _ => return None,
        };
        at = blocks;
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
    None
}

/// Marker and extent (with marker and length) of each segment; that of a scan reaches over its data. Ends with EOI.
fn segments(bytes: &[u8]) -> Option<Vec<(u8, std::ops::Range<usize>)>> {
    let (mut at, mut found) = (2, Vec::new());
    while found.len() < PARTS_MAX {
        if *bytes.get(at)? != 0xff {
            return None;
        }
        let marker = *bytes.get(at + 1)?;
        let end = match marker {
            // Fill bytes.
            0xff => {
                at += 1;
                continue;
            }
            0xd9 => {
                found.push((marker, at..at + 2));
                return Some(found);
            }
            0x01 | 0xd0..=0xd7 => at + 2,
            _ => at + 2 + usize::from(be16(bytes, at + 2)?),
        };
        let end = if marker == 0xda { scan_end(bytes, end)? } else { end };
        found.push((marker, at..end));
        at = end;
    }
    None
}

/// Where the data of a scan ends: at the next marker that is no restart and no stuffed byte.
fn scan_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7 | 0xff);
    rest.windows(2).position(is_marker).map(|n| from + n)
}

fn jpeg(bytes: &[u8]) -> Option<(u32, u32, usize)> {
    let segments = segments(bytes)?;
    let is_frame = |marker: u8| matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
    let (_, frame) = segments.iter().find(|(marker, _)| is_frame(*marker))?;
    let (height, width) = (be16(bytes, frame.start + 5)?, be16(bytes, frame.start + 7)?);
    Some((u32::from(width), u32::from(height), segments.last()?.1.end))
}

fn plain_jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = vec![0xff, 0xd8];
    let mut turned = false;
    for (marker, extent) in segments(bytes)? {
        match marker {
            0xe1 => {
                let orientation = orientation(&bytes[extent]).filter(|o| !turned && (2..=8).contains(o));
                if let Some(orientation) = orientation {
                    plain.extend_from_slice(&turn(orientation));
                    turned = true;
                }
            }
            // JFIF, colour profile and Adobe's colour transform belong to the picture; other notes and comments do not.
            0xe3..=0xed | 0xef | 0xfe => {}
            _ => plain.extend_from_slice(&bytes[extent]),
        }
    }
    Some(plain)
}

/// EXIF tag 0x0112 of an APP1 segment.
fn orientation(segment: &[u8]) -> Option<u16> {
    let tiff = segment.get(4..)?.strip_prefix(b"Exif\0\0")?;
    let big = tiff.starts_with(b"MM");
    let u16_at = |at: usize| {
        let two = tiff.get(at..at + 2)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    };
    let four = tiff.get(4..8)?.try_into().ok()?;
    let first =
        usize::try_from(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }).ok()?;
    let count = usize::from(u16_at(first)?);
    (0..count.min(1000))
        .map(|n| first + 2 + 12 * n)
        .find(|at| u16_at(*at) == Some(0x0112))
        .and_then(|at| u16_at(at + 8))
}

/// An APP1 segment that says the orientation and nothing else.
fn turn(orientation: u16) -> Vec<u8> {
    let mut segment = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    segment.extend_from_slice(&orientation.to_be_bytes());
    segment.extend_from_slice(&[0; 6]);
    segment
}
