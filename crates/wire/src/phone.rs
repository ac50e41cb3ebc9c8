//! Phone numbers as people write them, read to E.164.

use phonenumber::country;

/// Longest text that is looked at; longer is no phone number.
const CHARS_MAX: usize = 40;

/// Why a text is no phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing was given.
    #[error("a phone number is needed")]
    Empty,
    /// Neither a number of the clinic's country nor an international one with `+` or `00`.
    #[error("this is no phone number; write it like 0712 345 678 or +254 712 345 678")]
    Invalid,
}

/// Reads `0712 345 678`, `254712345678`, `+254 (712) 345-678`, `00254…`, also in Arabic-Indic digits, and foreign
/// numbers with their country code. `country` is the clinic's two-letter country, e.g. `KE`.
/// Returns E.164, e.g. `+254712345678`. Errors: [PhoneError].
pub fn parse(text: &str, country: &str) -> Result<String, PhoneError> {
    let mut compact = String::with_capacity(text.len());
    for c in text.trim().chars().take(CHARS_MAX + 1) {
        match c {
            '+' | '＋' if compact.is_empty() => compact.push('+'),
            c if c.is_ascii_digit() => compact.push(c),
            '٠'..='٩' => compact.push(digit(c, '٠')),
            '۰'..='۹' => compact.push(digit(c, '۰')),
            ' '
            | '\u{a0}'
            | '-'
            | '–'
            | '.'
            | '('
            | ')'
            | '/'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {}
            _ => return Err(PhoneError::Invalid),
        }
    }
    if compact.is_empty() {
        return Err(PhoneError::Empty);
    }
    if text.chars().count() > CHARS_MAX {
        return Err(PhoneError::Invalid);
    }
    if let Some(rest) = compact.strip_prefix("00") {
        compact = format!("+{rest}");
    }
    let id: Option<country::Id> = country.parse().ok();
    let read = |text: &str| phonenumber::parse(id, text).ok().filter(phonenumber::is_valid);
    // `254712…` without plus: a national reading fails, an international one succeeds.
    let number = read(&compact).or_else(|| read(&format!("+{compact}"))).ok_or(PhoneError::Invalid)?;
    Ok(number.format().mode(phonenumber::Mode::E164).to_string())
}

fn digit(c: char, zero: char) -> char {
    char::from(b'0' + (u32::from(c) - u32::from(zero)) as u8)
}

/// For showing: the country code and the last three digits, `+254 ••• 678`.
pub fn masked(e164: &str) -> String {
    let tail = e164.len().saturating_sub(3);
    match (e164.get(..4), e164.get(tail..)) {
        (Some(head), Some(tail)) if e164.len() > 8 => format!("{head} ••• {tail}"),
        _ => "•••".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_any_form() {
        for (text, expected) in [
            ("0712345678", Ok("+254712345678")),
            ("0712 345 678", Ok("+254712345678")),
            ("712345678", Ok("+254712345678")),
            ("254712345678", Ok("+254712345678")),
            ("+254 (712) 345-678", Ok("+254712345678")),
            ("00254712345678", Ok("+254712345678")),
            ("0110 123 456", Ok("+254110123456")),
            ("٠٧١٢٣٤٥٦٧٨", Ok("+254712345678")),
            ("+255 754 123 456", Ok("+255754123456")),
            ("+44 20 7946 0018", Ok("+442079460018")),
            ("", Err(PhoneError::Empty)),
            ("   ", Err(PhoneError::Empty)),
            ("12", Err(PhoneError::Invalid)),
            ("07123456789012", Err(PhoneError::Invalid)),
            ("Amina", Err(PhoneError::Invalid)),
            ("0712345678'; --", Err(PhoneError::Invalid)),
        ] {
            assert_eq!(parse(text, "KE").as_deref(), expected.as_ref().map(|s| *s), "{text:?}");
        }
    }

    #[test]
    fn shown_numbers_hide_the_middle() {
        assert_eq!(masked("+254712345678"), "+254 ••• 678");
        assert_eq!(masked("12"), "•••");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in ".{0,60}") {
            if let Ok(e164) = parse(&text, "KE") {
                prop_assert_eq!(parse(&e164, "KE"), Ok(e164.clone()));
            }
        }
    }
}
