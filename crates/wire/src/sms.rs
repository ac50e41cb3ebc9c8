//! How a text is cut into short messages (3GPP TS 23.038 alphabets, TS 23.040 concatenation), which
//! is what a provider bills by.

/// Septets in a lone GSM-7 message, and in each part of several (seven go to the join header).
pub const GSM_SINGLE: usize = 160;
/// Septets in each part of a concatenated GSM-7 message.
pub const GSM_PART: usize = 153;
/// UTF-16 units in a lone UCS-2 message.
pub const UCS2_SINGLE: usize = 70;
/// UTF-16 units in each part of a concatenated UCS-2 message.
pub const UCS2_PART: usize = 67;

/// The GSM 7-bit default alphabet, 3GPP TS 23.038 §6.2.1, without the escape character.
const GSM_BASIC: &str = concat!(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
);
/// The extension table, §6.2.1.1: each takes two septets. U+000C is the form feed.
const GSM_EXTENSION: &str = "^{}\\[~]|€\u{c}";

/// The alphabet a text needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Seven bits a character, 160 in one message.
    Gsm7,
    /// UTF-16, 70 units in one message: any character outside GSM-7 forces the whole text here.
    Ucs2,
}

/// A text cut into parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segments<'a> {
    /// The alphabet of all parts.
    pub encoding: Encoding,
    /// Septets (GSM-7) or UTF-16 units (UCS-2) in the whole text.
    pub units: usize,
    /// The text of each part, in order; never empty, because an empty text is still one message.
    pub parts: Vec<&'a str>,
}

/// Septets of a character in GSM-7, `None` when the alphabet has no such character.
fn septets(character: char) -> Option<usize> {
    if character.is_ascii_alphanumeric() || GSM_BASIC.contains(character) {
        Some(1)
    } else if GSM_EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

/// The alphabet that `text` needs.
pub fn encoding(text: &str) -> Encoding {
    if text.chars().all(|character| septets(character).is_some()) { Encoding::Gsm7 } else { Encoding::Ucs2 }
}

/// Cuts `text` as a handset or gateway does: an extension character or a surrogate pair is never
/// divided between two parts.
pub fn segments(text: &str) -> Segments<'_> {
    let encoding = encoding(text);
    let (single, part) = match encoding {
        Encoding::Gsm7 => (GSM_SINGLE, GSM_PART),
        Encoding::Ucs2 => (UCS2_SINGLE, UCS2_PART),
    };
    let width = |character: char| match encoding {
        Encoding::Gsm7 => septets(character).unwrap_or(1),
        Encoding::Ucs2 => character.len_utf16(),
    };
    let units = text.chars().map(width).sum();
    if units <= single {
        return Segments { encoding, units, parts: vec![text] };
    }
    let mut parts = Vec::new();
    let mut start = 0;
    let mut used = 0;
    for (at, character) in text.char_indices() {
        let width = width(character);
        if used + width > part {
            parts.push(&text[start..at]);
            start = at;
            used = 0;
        }
        used += width;
    }
    parts.push(&text[start..]);
    Segments { encoding, units, parts }
}

/// Replaces typographic characters that would force UCS-2 by plain ones of the same meaning (curly
/// quotes, dashes, ellipsis, odd spaces), which more than halves the cost of an English or Swahili
/// text. All other characters stay: names keep their letters.
pub fn plain_punctuation(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2032}' | '`' | '\u{b4}' => {
                plain.push('\'')
            }
            '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{2033}' => plain.push('"'),
            '\u{2010}'..='\u{2015}' | '\u{2212}' => plain.push('-'),
            '\u{2026}' => plain.push_str("..."),
            '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\t' => plain.push(' '),
            '\u{200b}' | '\u{feff}' | '\u{ad}' => {}
            '\u{2022}' | '\u{b7}' => plain.push('*'),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, encoding: Encoding, units: usize, parts: usize) {
        let found = segments(text);
        assert_eq!((found.encoding, found.units, found.parts.len()), (encoding, units, parts), "{text:?}");
    }

    #[test]
    fn the_alphabet_has_127_characters() {
        assert_eq!(GSM_BASIC.chars().count(), 127);
        assert_eq!(GSM_EXTENSION.chars().count(), 10);
    }

    #[test]
    fn parts_are_counted_as_providers_bill() {
        use Encoding::{Gsm7, Ucs2};
        check("", Gsm7, 0, 1);
        check(&"a".repeat(160), Gsm7, 160, 1);
        check(&"a".repeat(161), Gsm7, 161, 2);
        check(&"a".repeat(306), Gsm7, 306, 2);
        check(&"a".repeat(307), Gsm7, 307, 3);
        check(&"€".repeat(80), Gsm7, 160, 1);
        check(&"€".repeat(81), Gsm7, 162, 2);
        // 76 euro signs fill 152 of 153 septets; the 77th may not straddle.
        assert_eq!(segments(&"€".repeat(153)).parts[0].chars().count(), 76);
        check(&"€".repeat(153), Gsm7, 306, 3);
        check(&"ğ".repeat(70), Ucs2, 70, 1);
        check(&"ğ".repeat(71), Ucs2, 71, 2);
        check(&"ğ".repeat(134), Ucs2, 134, 2);
        check(&"ğ".repeat(135), Ucs2, 135, 3);
        check(&"😀".repeat(35), Ucs2, 70, 1);
        check(&"😀".repeat(36), Ucs2, 72, 2);
        // 33 surrogate pairs fill 66 of 67 units; the pair is never split.
        assert_eq!(segments(&"😀".repeat(36)).parts[0].chars().count(), 33);
        check("It\u{2019}s at 3", Ucs2, 9, 1);
        check("a\tb", Ucs2, 3, 1);
        check("{}[]~|\\^€", Gsm7, 18, 1);
    }

    #[test]
    fn plain_punctuation_keeps_a_text_in_gsm7() {
        let text = "\u{201c}Amina\u{201d} \u{2013} it\u{2019}s at 3\u{2026}\u{a0}Karibu";
        assert_eq!(plain_punctuation(text), "\"Amina\" - it's at 3... Karibu");
        assert_eq!(encoding(&plain_punctuation(text)), Encoding::Gsm7);
        assert_eq!(plain_punctuation("Ọlá 😀"), "Ọlá 😀");
    }

    proptest! {
        #[test]
        fn parts_join_to_the_text_and_fit(text in "(?s)[ -~€^{}éğ😀\u{0}-\u{10ffff}]{0,400}") {
            let found = segments(&text);
            prop_assert_eq!(found.parts.concat(), text.clone());
            let width = |part: &str| match found.encoding {
                Encoding::Gsm7 => part.chars().map(|c| septets(c).unwrap()).sum::<usize>(),
                Encoding::Ucs2 => part.encode_utf16().count(),
            };
            let limit = match (found.encoding, found.parts.len()) {
                (Encoding::Gsm7, 1) => GSM_SINGLE,
                (Encoding::Gsm7, _) => GSM_PART,
                (Encoding::Ucs2, 1) => UCS2_SINGLE,
                (Encoding::Ucs2, _) => UCS2_PART,
            };
            prop_assert!(found.parts.iter().all(|part| width(part) <= limit));
            prop_assert_eq!(found.parts.iter().map(|part| width(part)).sum::<usize>(), found.units);
            // No part could have taken the first character of the next one.
            for pair in found.parts.windows(2) {
                let next: String = pair[1].chars().take(1).collect();
                prop_assert!(width(pair[0]) + width(&next) > limit);
            }
        }

        #[test]
        fn plain_punctuation_is_stable(text in ".*") {
            let once = plain_punctuation(&text);
            prop_assert_eq!(plain_punctuation(&once), once);
        }
    }
}
