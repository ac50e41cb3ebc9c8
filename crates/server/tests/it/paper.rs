//! What stands on a paper: a reader of the PDFs that `wire::pdf` writes, with each font's map of glyphs to letters.

use flate2::read::ZlibDecoder;
use std::collections::HashMap;
use std::io::Read;

/// All texts of a PDF, read with each of its fonts: what one of them does not make of a text another does. So a word that
/// is there is found, and one that is not found is not there.
pub fn texts(pdf: &[u8]) -> String {
    let streams = streams(pdf);
    let fonts: Vec<HashMap<u16, String>> =
        streams.iter().filter(|s| s.contains("begincmap")).map(|s| letters(s)).collect();
    let mut out = String::new();
    for page in streams.iter().filter(|s| s.contains("TJ") || s.contains("Tj")) {
        for font in &fonts {
            for line in page.split("ET") {
                let glyphs = glyphs(line);
                out.extend(glyphs.iter().filter_map(|glyph| font.get(glyph)).map(String::as_str));
                out.push('\n');
            }
        }
    }
    assert!(!fonts.is_empty(), "a paper without letters");
    // A name and its unit are kept together by another space.
    out.replace('\u{a0}', " ")
}

/// The streams as they are read, one character for each byte.
fn streams(pdf: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    let mut rest = pdf;
    while let Some(start) = find(rest, b"stream\n") {
        rest = &rest[start + 7..];
        let mut plain = Vec::new();
        if ZlibDecoder::new(rest).read_to_end(&mut plain).is_ok() {
            all.push(plain.iter().map(|byte| char::from(*byte)).collect());
        }
        let Some(end) = find(rest, b"endstream") else { break };
        rest = &rest[end + 9..];
    }
    all
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

/// `<0001> <0055>` in a ToUnicode map: glyph, letters in UTF-16.
fn letters(map: &str) -> HashMap<u16, String> {
    let hex = |text: &str| text.strip_prefix('<')?.strip_suffix('>').map(str::to_owned);
    let number = |digits: &str| u16::from_str_radix(digits, 16).ok();
    let pair = |line: &str| {
        let (glyph, letters) = line.trim().split_once(' ')?;
        let letters = hex(letters.trim())?;
        let units: Option<Vec<u16>> =
            letters.as_bytes().chunks(4).map(|four| number(std::str::from_utf8(four).ok()?)).collect();
        Some((number(&hex(glyph)?)?, String::from_utf16_lossy(&units?)))
    };
    let within = map.lines().skip_while(|line| !line.contains("beginbfchar"));
    within.take_while(|line| !line.contains("endcmap")).filter_map(pair).collect()
}

/// The two-byte glyphs of the strings in brackets.
fn glyphs(line: &str) -> Vec<u16> {
    let mut bytes = Vec::new();
    let mut letters = line.chars().peekable();
    let mut inside = 0_u32;
    while let Some(letter) = letters.next() {
        match letter {
            '(' if inside == 0 => inside = 1,
            '(' => {
                inside += 1;
                bytes.push(b'(');
            }
            ')' if inside == 1 => inside = 0,
            ')' if inside > 1 => {
                inside -= 1;
                bytes.push(b')');
            }
            '\\' if inside > 0 => match letters.next() {
                Some(digit @ '0'..='7') => {
                    let mut value = digit.to_digit(8).unwrap();
                    for _ in 0..2 {
                        let Some(digit) = letters.peek().and_then(|next| next.to_digit(8)) else { break };
                        value = value * 8 + digit;
                        letters.next();
                    }
                    bytes.push(u8::try_from(value).unwrap());
                }
                Some('n') => bytes.push(b'\n'),
                Some('r') => bytes.push(b'\r'),
                Some('t') => bytes.push(b'\t'),
                Some('b') => bytes.push(8),
                Some('f') => bytes.push(12),
                Some(other) => bytes.push(u8::try_from(u32::from(other)).unwrap()),
                None => {}
            },
            other if inside > 0 => bytes.push(u8::try_from(u32::from(other)).unwrap()),
            _ => {}
        }
    }
    bytes.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect()
}
